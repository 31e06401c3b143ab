/* greedy - behaves at home, so that it can leave, and takes memory anywhere else until it is refused.
 *
 * janos:build pages=16
 */
#include <janos.h>

JANOS_CAPSULE("greedy", 8)

JANOS_EVALUATE
{
	if (!janos_block.prev)
		return JANOS_FORWARD;
	for (;;) {
		size_t page = __builtin_wasm_memory_grow(0, 1);

		if (page == (size_t)-1)
			__builtin_trap();
		*(volatile uint8_t *)(page << 16) = 1;
	}
}
