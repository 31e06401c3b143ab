/* trace - notes address and time of every node on the way to its destination, turns round there, and is delivered
 * where it came from.
 *
 *   0  flags: 1 on the way back, 2 there was no room for the whole path
 *   1  number of entries
 *   2  zero, 2 bytes
 *   4  entries of 12 bytes: address of the node, 4 bytes, and its time in nanoseconds, 8 bytes
 *
 * It is sent with the first four bytes zero and grows on its way.
 */
#include <janos.h>

#define BACK 1
#define CUT 2
#define HEAD 4
#define ENTRY 12
#define ENTRIES_MAX 64

JANOS_CAPSULE("trace", HEAD + ENTRY * ENTRIES_MAX, .window_min = HEAD)

JANOS_EVALUATE
{
	uint32_t n = janos_window[1], end = HEAD + ENTRY * n;

	if (n > ENTRIES_MAX || janos_block.length != end)
		return JANOS_ERROR;
	if (janos_window[0] & BACK)
		return janos_here() ? JANOS_DELIVER : JANOS_FORWARD;
	if (n < ENTRIES_MAX) {
		janos_put32(end, janos_block.node);
		janos_put64(end + 4, janos_block.time_ns);
		janos_window[1] = n + 1;
		janos_block.out_length = end + ENTRY;
	} else {
		janos_window[0] |= CUT;
	}
	if (!janos_here())
		return JANOS_FORWARD;
	janos_window[0] |= BACK;
	janos_block.out_dst = janos_block.src;
	return janos_block.src == janos_block.node ? JANOS_DELIVER : JANOS_FORWARD;
}
