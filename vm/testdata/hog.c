/* hog - asks for pages until there are no more and touches them. It reports how many it has, or, if the first byte is 1,
 * gives up by trapping. If the byte is 2, it divides by zero; if it is 3, it traps at once.
 * janos:build pages=16 */
#include <janos.h>

JANOS_CAPSULE("hog", 64, .window_min = 4)

JANOS_EVALUATE
{
	volatile uint32_t zero = 0;

	if (janos_window[0] == 2)
		return 7 / zero;
	if (janos_window[0] == 3)
		__builtin_trap();
	for (;;) {
		size_t old = __builtin_wasm_memory_grow(0, 1);

		if (old == (size_t)-1)
			break;
		*(volatile uint32_t *)(old << 16) = 1;
	}
	if (janos_window[0] == 1)
		__builtin_trap();
	janos_put32(0, __builtin_wasm_memory_size(0));
	return JANOS_DELIVER;
}
