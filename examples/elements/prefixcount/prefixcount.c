/* prefixcount - counts packets and bytes by the prefix that their destination lies in. Arguments: up to 64 prefixes, such as 10.0.0.0/8. The longest
 * one that fits counts; packets of none of them leave by output 1, if there is one, and count as "other".
 *
 *     FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> c :: Wasm(prefixcount.wasm, 10.0.0.0/8, 192.0.2.0/24) -> ...
 *     read c.counters
 *
 * janos:build pages=2 */
#include <janos_element.h>

#define PREFIXES 64

JANOS_ELEMENT("prefixcount", 1, 2, 64, .window_min = 20, .flags = JANOS_PARTIAL, .config_size = 2048, .counters = 2 * (PREFIXES + 1))
JANOS_ARGUMENTS(2048)
JANOS_COUNTERS(2 * (PREFIXES + 1))

static struct prefix {
	uint32_t address, mask;
	struct janos_counter *counters;
} prefixes[PREFIXES + 1]; /* the longest first, and at the end one of all addresses */
static uint32_t n;

static void name(struct janos_counter *counter, const char *argument, char unit)
{
	uint32_t i = 0;
	for (; i < JANOS_LABEL_MAX - 2 && argument[i] && argument[i] != ' '; i++)
		counter->name[i] = (uint8_t)argument[i];
	counter->name[i++] = '.';
	counter->name[i] = (uint8_t)unit;
}

JANOS_CONFIGURE
{
	if (janos_config.c.count == 0 || janos_config.c.count > PREFIXES)
		return janos_config.c.count == 0 ? -1 : PREFIXES + 1;
	for (n = 0; n < janos_config.c.count; n++) {
		const char *text = janos_argument(n);
		int32_t length = 32;
		struct prefix new;
		uint32_t at;

		if (!janos_address(&text, &new.address))
			return (int32_t)n + 1;
		if (*text == '/') {
			text++;
			length = janos_number(&text);
		}
		if (length < 0 || length > 32 || *text)
			return (int32_t)n + 1;
		new.mask = length == 0 ? 0 : 0xffffffffu << (32 - length);
		new.address &= new.mask;
		new.counters = &janos_counters[2 * n];
		for (at = n; at > 0 && prefixes[at - 1].mask < new.mask; at--)
			prefixes[at] = prefixes[at - 1];
		prefixes[at] = new;
		name(&janos_counters[2 * n], janos_argument(n), 'p');
		name(&janos_counters[2 * n + 1], janos_argument(n), 'b');
	}
	prefixes[n].counters = &janos_counters[2 * n];
	name(&janos_counters[2 * n], "other", 'p');
	name(&janos_counters[2 * n + 1], "other", 'b');
	return 0;
}

JANOS_PACKET
{
	uint32_t ip = janos_network();
	const struct prefix *best = prefixes;

	if (ip == JANOS_NONE || ip + 20 > janos_packet.captured)
		ip = 0;
	uint32_t to = janos_get32(ip + 16);
	while ((to & best->mask) != best->address)
		best++;
	best->counters[0].value++;
	best->counters[1].value += janos_packet.length;
	return best == &prefixes[n];
}
