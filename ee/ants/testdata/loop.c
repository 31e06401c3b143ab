/* Never ends by itself. */
#include <janos.h>

JANOS_CAPSULE("loop", 64)

JANOS_EVALUATE
{
	volatile uint32_t n = 0;
	for (;;)
		n++;
}
