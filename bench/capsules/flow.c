/* flow - what the benchmarks evaluate: counts packets and bytes of a flow, whose number is the first four bytes, in soft state,
 * carries the count on in the next four, and is forwarded. The window is a whole packet. */
#include <janos.h>

struct flow {
	uint32_t packets, bytes;
};

JANOS_CAPSULE("flow", 1500, .window_min = 8, JANOS_STATE(sizeof(struct flow), {0, 4}))

JANOS_EVALUATE
{
	struct flow *flow = janos_state(struct flow);

	flow->packets++;
	flow->bytes += janos_block.length;
	janos_state_write(30);
	janos_put32(4, flow->packets);
	return JANOS_FORWARD;
}
