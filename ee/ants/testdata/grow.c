/* Becomes longer at every node, by as many bytes as its first two say. */
#include <janos.h>

JANOS_CAPSULE("grow", 2048, .window_min = 2)

JANOS_EVALUATE
{
	if (janos_here())
		return JANOS_DELIVER;
	for (uint32_t i = 0; i < janos_get16(0); i++)
		janos_window[janos_block.length + i] = 'x';
	janos_block.out_length = janos_block.length + janos_get16(0);
	return JANOS_FORWARD;
}
