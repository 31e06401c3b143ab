/* subscribe - walks from a subscriber to the sender and leaves, at every node, a pointer to where it came from. An
 * application sends one every three seconds for as long as it wants to receive. See tree.h for the layout.
 */
#include "tree.h"

JANOS_CAPSULE("subscribe", 8, .window_min = 8, TREE_STATE)

JANOS_EVALUATE
{
	struct tree *t = janos_state(struct tree);
	uint32_t from = janos_block.prev ? janos_block.prev : janos_block.node;
	uint32_t place = BRANCHES;

	if (janos_get32(SENDER) != janos_block.dst)
		return JANOS_ERROR;
	for (uint32_t i = 0; i < BRANCHES; i++) {
		if (t->node[i] == from) {
			place = i;
			break;
		}
		if (place == BRANCHES && !good(t, i))
			place = i;
	}
	if (place == BRANCHES)
		return JANOS_DROP; /* no room for another branch here */
	t->node[place] = from;
	t->tick[place / 2] &= 0xf0 >> place % 2 * 4;
	t->tick[place / 2] |= now() << place % 2 * 4;
	janos_state_write(LIFETIME);
	return janos_here() ? JANOS_DROP : JANOS_FORWARD;
}
