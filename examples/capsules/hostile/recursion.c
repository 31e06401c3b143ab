/* recursion - calls itself without end. The node stops it when its call stack is used up. */
#include <janos.h>

JANOS_CAPSULE("recursion", 8)

static volatile uint32_t depth;

__attribute__((noinline)) static uint32_t deeper(uint32_t n)
{
	uint32_t below = 0;

	if (depth <= n)
		below = deeper(++depth);
	return below + depth; /* work after the call, so that it does not become a loop */
}

JANOS_EVALUATE { return deeper(0) > 1 ? JANOS_FORWARD : JANOS_DROP; }
