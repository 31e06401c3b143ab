/* Goes to every neighbour but the one it came from, and to the application here. The weights
 * are those in the window, if there are any. */
#include <janos.h>

JANOS_CAPSULE("flood", 64, .window_min = 4)

JANOS_EVALUATE
{
	for (uint32_t i = 0; i < janos_block.neighbours; i++) {
		uint32_t n = janos_neighbour(i);
		if (n != janos_block.prev && janos_send_to(n) && janos_window[i & 3])
			janos_block.outputs[janos_block.out_count - 1].share = janos_window[i & 3];
	}
	return JANOS_DELIVER;
}
