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

/* change is by how much the sum of 16-bit words grows, carries aside, when a word of 32 bits becomes another. */
static uint32_t change(uint32_t before, uint32_t after)
{
	return (~before >> 16) + (~before & 0xffff) + (after >> 16) + (after & 0xffff);
}

/* corrected is a checksum after the words that it covers have changed. */
static uint32_t corrected(uint32_t checksum, uint32_t by)
{
	uint32_t sum = (~checksum & 0xffff) + by;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
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
	uint32_t by = change(janos_get32(16), new_address), checksum = janos_get16(udp + 6);
	janos_put16(10, (uint16_t)corrected(janos_get16(10), by));
	if (checksum) { /* 0 says that there is none */
		checksum = corrected(checksum, by + change(old_port, new_port));
		janos_put16(udp + 6, (uint16_t)(checksum ? checksum : 0xffff));
	}
	janos_put32(16, new_address);
	janos_put16(udp + 2, (uint16_t)new_port);
	janos_packet.dst = new_address;
	janos_counters[0].value++;
	return 0;
}
