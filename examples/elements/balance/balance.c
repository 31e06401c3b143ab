/* balance - a small load balancer: spreads the flows of TCP and UDP over IPv4 among its outputs. Arguments: a weight for each output, 1 to 255. A flow, that is the packets with the
 * same addresses, protocol and ports, keeps its output. It is found by rendezvous hashing, so that when a weight becomes 0 only the flows of that output move.
 * Fragments and what is neither TCP nor UDP are spread by their addresses alone. Packets begin with their IP header.
 *
 *     ... -> CheckIPHeader -> b :: Wasm(balance.wasm, 1, 1, 2); b[0] -> ...; b[1] -> ...; b[2] -> ...;
 *
 * janos:build pages=2 */
#include <janos_element.h>

#define OUTPUTS 16

JANOS_ELEMENT("balance", 1, OUTPUTS, 128, .window_min = 20, .flags = JANOS_PARTIAL, .config_size = 256, .counters = OUTPUTS)
JANOS_ARGUMENTS(256)
JANOS_COUNTERS(OUTPUTS)

static uint32_t weights[OUTPUTS], n;

static uint32_t mix(uint32_t h)
{
	h ^= h >> 16;
	h *= 0x7feb352du;
	h ^= h >> 15;
	h *= 0x846ca68bu;
	return h ^ h >> 16;
}

JANOS_CONFIGURE
{
	uint32_t sum = 0;

	if (janos_config.c.count == 0)
		return -1;
	for (n = 0; n < janos_config.c.count; n++) {
		const char *text = janos_argument(n);
		int32_t w;

		if (n == OUTPUTS)
			return OUTPUTS + 1;
		w = janos_number(&text);
		if (w < 0 || w > 255 || *text)
			return (int32_t)n + 1;
		weights[n] = (uint32_t)w;
		sum += weights[n];
	}
	return sum == 0 ? 1 : 0;
}

JANOS_PACKET
{
	uint32_t h = janos_get32(12) ^ mix(janos_get32(16)), header = 4 * (janos_get8(0) & 15u), protocol = janos_get8(9);
	uint32_t best = 0, most = 0;

	if ((protocol == 6 || protocol == 17) && (janos_get16(6) & 0x3fff) == 0 && header >= 20 && header + 4 <= janos_packet.captured)
		h ^= mix(janos_get32(header) ^ protocol << 24);
	for (uint32_t i = 0; i < n; i++) {
		/* The greatest of weight draws, one for each unit: each unit of weight wins equally often. */
		for (uint32_t unit = 0; unit < weights[i]; unit++) {
			uint32_t draw = mix(h + 0x9e3779b9u * (i * 256 + unit + 1));
			if (draw >= most) {
				most = draw;
				best = i;
			}
		}
	}
	janos_counters[best].value++;
	return (int32_t)best;
}
