/* data - follows the pointers that subscribe left, away from the sender, with one copy for each neighbour that leads to
 * subscribers, and is delivered on nodes that have one. It is injected at the sender, with the sender's own
 * address as its destination. See tree.h for the first eight bytes;
 *
 *   8  sequence number, 4 bytes
 *  12  payload
 */
#include "tree.h"

JANOS_CAPSULE("data", 12, .window_min = 12, TREE_STATE)

JANOS_EVALUATE
{
	const struct tree *t = janos_state(struct tree);

	if (janos_get32(SENDER) != janos_block.src)
		return JANOS_ERROR; /* nobody else may send in its name */
	for (uint32_t i = 0; i < BRANCHES; i++)
		if (good(t, i) && t->node[i] != janos_block.prev)
			janos_send_to(t->node[i]);
	return janos_block.out_count ? JANOS_FORWARD : JANOS_DROP;
}
