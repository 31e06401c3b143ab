/* loop - behaves at home, so that it can leave, and never ends anywhere else. */
#include <janos.h>

JANOS_CAPSULE("loop", 8)

static volatile uint32_t turns;

JANOS_EVALUATE
{
	if (!janos_block.prev)
		return JANOS_FORWARD;
	for (;;)
		turns++;
}
