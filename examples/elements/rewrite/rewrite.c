/* rewrite - gives UDP packets over IPv4 another destination: arguments OLD-PORT, NEW-ADDRESS, NEW-PORT. Packets of another kind leave by output 1. Both checksums are
 * corrected as RFC 1624 says. Packets begin with their IP header.
 *
 *     ... -> CheckIPHeader -> w :: Wasm(rewrite.wasm, 5000, 192.0.2.7, 6000) -> ...; w[1] -> ...;
 */
#include <janos_element.h>

JANOS_ELEMENT("rewrite", 1, 2, 128, .window_min = 20, .flags = JANOS_WRITES | JANOS_PARTIAL, .config_size = 64, .counters = 2)
JANOS_ARGUMENTS(64)
JANOS_COUNTERS(2)

static uint32_t old_port, new_address, new_port;

/* adjust corrects the checksum at an offset for one 16-bit word that changes. */
static void adjust(uint32_t at, uint32_t before, uint32_t after)
{
	uint32_t sum = (uint16_t)~janos_get16(at) + (uint16_t)~before + after;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	janos_put16(at, (uint16_t)~sum);
}

static int32_t number(uint32_t argument, uint32_t *to)
{
	const char *text = janos_argument(argument);
	int32_t v = text ? janos_number(&text) : -1;
	if (v < 1 || v > 65535 || *text)
		return 0;
	*to = (uint32_t)v;
	return 1;
}

JANOS_CONFIGURE
{
	const char *text;

	__builtin_memcpy(janos_counters[0].name, "rewritten", 10);
	__builtin_memcpy(janos_counters[1].name, "others", 7);
	if (janos_config.c.count < 3)
		return -1;
	if (janos_config.c.count > 3)
		return 4;
	if (!number(0, &old_port))
		return 1;
	text = janos_argument(1);
	if (!janos_address(&text, &new_address) || *text)
		return 2;
	return number(2, &new_port) ? 0 : 3;
}

JANOS_PACKET
{
	uint32_t first = janos_get8(0), udp = 4 * (first & 15);

	if (first >> 4 != 4 || udp < 20 || udp + 8 > janos_packet.captured || janos_get8(9) != 17 || (janos_get16(6) & 0x1fff) != 0 || janos_get16(udp + 2) != old_port) {
		janos_counters[1].value++;
		return 1;
	}
	uint32_t checked = janos_get16(udp + 6) != 0;
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t before = janos_get16(16 + 2 * i), after = new_address >> (16 - 16 * i) & 0xffff;
		adjust(10, before, after);
		if (checked)
			adjust(udp + 6, before, after);
	}
	if (checked)
		adjust(udp + 6, old_port, new_port);
	if (checked && janos_get16(udp + 6) == 0)
		janos_put16(udp + 6, 0xffff);
	janos_put32(16, new_address);
	janos_put16(udp + 2, (uint16_t)new_port);
	janos_packet.dst = new_address;
	janos_counters[0].value++;
	return 0;
}
