/* count - counts the capsules of a flow, whose number is the first four bytes, in soft state, and
 * carries the count on in the next four. At its destination it is delivered. */
#include <janos.h>

struct flow {
	uint32_t capsules;
};

JANOS_CAPSULE("count", 64, .window_min = 8, JANOS_STATE(sizeof(struct flow), {0, 4}))

JANOS_EVALUATE
{
	struct flow *flow = janos_state(struct flow);

	flow->capsules++;
	janos_state_write(30);
	janos_put32(4, flow->capsules);
	if (janos_here())
		return JANOS_DELIVER;
	return JANOS_FORWARD;
}
