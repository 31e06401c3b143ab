/* flood - fills the node's soft state with values under keys of its own, as many as one evaluation may, and goes on to the
 * next node. What it stores is bounded by the node's limits for one protocol; the oldest values make room. */
#include <janos.h>

JANOS_CAPSULE("flood", 8)

JANOS_EVALUATE
{
	uint64_t key[JANOS_KEY_MAX / 8] = { janos_block.random };
	uint8_t value[JANOS_STATE_MAX] = { 1 };

	do
		key[1]++;
	while (janos_state_put(key, sizeof key, value, sizeof value, 0x7fffffff) == 0);
	return JANOS_FORWARD;
}
