/* greedy - takes memory, page by page, until it is refused, and then gives up. Its limit is the largest that nodes accept.
 *
 * janos:build pages=16
 */
#include <janos.h>

JANOS_CAPSULE("greedy", 8)

JANOS_EVALUATE
{
	for (;;) {
		size_t page = __builtin_wasm_memory_grow(0, 1);

		if (page == (size_t)-1)
			__builtin_trap();
		*(volatile uint8_t *)(page << 16) = 1;
	}
}
