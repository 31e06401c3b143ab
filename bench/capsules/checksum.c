/* checksum - one kernel of the benchmark of metering: the Internet checksum (RFC 1071) of 1,500 bytes, as often as the
 * first four bytes say. The sum of the results goes to the next four. */
#include <janos.h>

JANOS_CAPSULE("checksum", 64, .window_min = 8)

static uint8_t packet[1500];

static uint32_t checksum(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0;

	for (; n > 1; p += 2, n -= 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	if (n)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

JANOS_EVALUATE
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < sizeof packet; i++)
		packet[i] = i * 7 + 1;
	for (uint32_t n = janos_get32(0); n; n--) {
		packet[n % sizeof packet] ^= n;
		total = total * 31 + checksum(packet, sizeof packet);
	}
	janos_put32(4, total);
	return JANOS_FORWARD;
}
