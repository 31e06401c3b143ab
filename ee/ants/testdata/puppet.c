/* Does what its window says: the first byte is the verdict, the others go over the out fields of the block. */
#include <janos.h>

JANOS_CAPSULE("puppet", 512, .window_min = 1, JANOS_STATE(64, {0, 1}))

JANOS_EVALUATE
{
	uint8_t *to = (uint8_t *)&janos_block.out_dst;
	uint32_t n = janos_block.captured - 1;
	uint32_t most = sizeof janos_block - offsetof(struct janos_block, out_dst);

	for (uint32_t i = 0; i < n && i < most; i++)
		to[i] = janos_window[1 + i];
	return janos_window[0];
}
