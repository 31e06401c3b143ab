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
} prefixes[PREFIXES];
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

		if (!janos_address(&text, &prefixes[n].address))
			return (int32_t)n + 1;
		if (*text == '/') {
			text++;
			length = janos_number(&text);
		}
		if (length < 0 || length > 32 || *text)
			return (int32_t)n + 1;
		prefixes[n].mask = length == 0 ? 0 : 0xffffffffu << (32 - length);
		prefixes[n].address &= prefixes[n].mask;
		name(&janos_counters[2 * n], janos_argument(n), 'p');
		name(&janos_counters[2 * n + 1], janos_argument(n), 'b');
	}
	name(&janos_counters[2 * n], "other", 'p');
	name(&janos_counters[2 * n + 1], "other", 'b');
	return 0;
}

JANOS_PACKET
{
	uint32_t ip = janos_network();
	uint32_t best = n;

	if (ip == JANOS_NONE || ip + 20 > janos_packet.captured)
		ip = 0;
	uint32_t to = janos_get32(ip + 16);
	for (uint32_t i = 0; i < n; i++)
		if ((to & prefixes[i].mask) == prefixes[i].address && (best == n || prefixes[i].mask > prefixes[best].mask))
			best = i;
	janos_counters[2 * best].value++;
	janos_counters[2 * best + 1].value += janos_packet.length;
	return best == n;
}
