/* Takes memory until it gets no more, and fails then.
 * janos:build pages=16 */
#include <janos.h>

JANOS_CAPSULE("greedy", 64)

JANOS_EVALUATE
{
	for (;;)
		if (__builtin_wasm_memory_grow(0, 1) == (size_t)-1)
			__builtin_trap();
}
