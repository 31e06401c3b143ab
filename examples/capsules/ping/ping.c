/* ping - goes to its destination, turns round there, and is delivered where it came from.
 *
 *   0  sequence number, 4 bytes
 *   4  0 on the way there, 1 on the way back, 4 bytes
 *   8  payload, which comes back as it was
 *
 * The window has only the first eight bytes, so that a node touches no more of a large capsule.
 */
#include <janos.h>

#define PHASE 4

JANOS_CAPSULE("ping", 8, .window_min = 8)

JANOS_EVALUATE
{
	if (!janos_here())
		return JANOS_FORWARD;
	switch (janos_get32(PHASE)) {
	case 0:
		janos_put32(PHASE, 1);
		janos_block.out_dst = janos_block.src;
		if (janos_block.src == janos_block.node)
			return JANOS_DELIVER; /* it was sent to its own node */
		return JANOS_FORWARD;
	case 1:
		return JANOS_DELIVER;
	}
	return JANOS_ERROR;
}
