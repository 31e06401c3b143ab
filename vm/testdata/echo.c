/* echo - uses every output there is: the first byte says which. 1 sends the window back, 2 makes copies, 3 emits
 * another capsule, 4 grows the payload, 5 cuts it, 6 asks the node for a route; from 16 on it cheats. */
#include <janos.h>

JANOS_CAPSULE("echo", 1500, .window_min = 8)

static const char hello[] = "hello";
static uint32_t evaluations;

JANOS_EVALUATE
{
	struct janos_block *b = &janos_block;

	evaluations++;
	switch (janos_window[0]) {
	case 1:
		b->out_dst = b->src;
		return JANOS_FORWARD;
	case 2:
		for (uint32_t i = 0; i < b->neighbours; i++)
			janos_send_to(100 + i);
		return JANOS_FORWARD;
	case 3:
		janos_emit(2, b->src, hello, sizeof hello - 1);
		return JANOS_DROP;
	case 4:
		janos_window[b->length] = '!';
		b->out_length = b->length + 1;
		return JANOS_FORWARD;
	case 5:
		b->out_length = 8;
		return JANOS_FORWARD;
	case 6:
		b->out_dst = janos_route_next(b->dst);
		return JANOS_FORWARD;
	case 7:
		janos_put32(4, evaluations);
		return JANOS_DELIVER;
	case 8: {
		uint32_t sum = 0;
		for (uint32_t i = 8; i < b->captured; i++)
			sum += janos_window[i];
		janos_put32(4, sum);
		return JANOS_FORWARD;
	}
	case 16:
		return 99;
	case 17:
		b->out_count = JANOS_OUTPUTS_MAX + 1;
		return JANOS_FORWARD;
	case 18:
		b->out_length = 1501;
		return JANOS_FORWARD;
	case 19:
		b->emit_count = 1;
		b->emits[0] = (struct janos_emit){ .addr = 0xffffff00, .length = 1000 };
		return JANOS_DROP;
	case 20:
		b->state_act = JANOS_STATE_WRITE;
		return JANOS_DROP;
	}
	return JANOS_PUNT;
}
