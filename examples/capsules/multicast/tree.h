/* tree.h - what the two classes of the multicast protocol share.
 *
 * Every node keeps, for each group and sender, the neighbours that lead to subscribers: up to 14, with the time of
 * the last subscribe that came from there. A subscriber on the node itself is the node's own address.
 * The soft state is keyed by the first eight bytes of both classes:
 *
 *   0  group, 4 bytes
 *   4  address of the sender, 4 bytes
 */
#ifndef TREE_H
#define TREE_H

#include <janos.h>

#define SENDER 4
#define BRANCHES 14

/* Times are counted in ticks of two seconds, modulo 16. A branch is good for five ticks after a subscribe. The value itself
 * ends sooner than the count comes round. */
#define TICK_NS 2000000000ull
#define GOOD_FOR 5
#define LIFETIME 16

struct tree {
	uint32_t node[BRANCHES];
	uint8_t tick[BRANCHES / 2]; /* four bits each */
	uint8_t unused;
};

#define TREE_STATE .state_space = 1, JANOS_STATE(sizeof(struct tree), {0, 4}, {4, 4})

static inline uint32_t now(void)
{
	return janos_block.time_ns / TICK_NS & 15;
}

static inline int good(const struct tree *t, uint32_t i)
{
	uint32_t tick = t->tick[i / 2] >> i % 2 * 4 & 15;

	return t->node[i] && (now() - tick & 15) < GOOD_FOR;
}

#endif
