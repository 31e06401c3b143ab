/* loop - never ends. The node stops it when its fuel is used up. */
#include <janos.h>

JANOS_CAPSULE("loop", 8)

static volatile uint32_t turns;

JANOS_EVALUATE
{
	for (;;)
		turns++;
}
