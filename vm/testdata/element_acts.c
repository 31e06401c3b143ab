/* element_acts - does with a packet what the packet's first byte says; the second is an argument. For tests.
 * janos:build pages=4 */
#include <janos_element.h>

JANOS_ELEMENT("acts", 2, 3, 128, .headroom = 32, .window_min = 2, .flags = JANOS_WRITES | JANOS_PARTIAL, .config_size = 64, .counters = 2)
JANOS_ARGUMENTS(64)
JANOS_COUNTERS(2)

static uint32_t packets;
static volatile uint32_t sink;

static int recurse(int n)
{
	volatile int here[16];
	here[n & 15] = n;
	return n <= 0 ? 0 : recurse(n - 1) + here[n & 15];
}

JANOS_CONFIGURE
{
	const char *first = janos_argument(0);

	__builtin_memcpy(janos_counters[0].name, "packets", 8);
	if (!first)
		return 0;
	switch (first[0]) {
	case 'm':
		return -1;
	case 'w':
		return (int32_t)janos_config.c.count;
	case 'l':
		for (;;)
			sink++;
	case 'b':
		return 77;
	case 's': {
		int32_t n;
		first++;
		n = janos_number(&first);
		if (n < 0)
			return 1;
		janos_counters[1].value = (uint64_t)n;
	}
	}
	return 0;
}

JANOS_PACKET
{
	uint8_t arg = janos_get8(1);

	janos_counters[0].value = ++packets;
	switch (janos_get8(0)) {
	case 0:
		return arg;
	case 1:
		return JANOS_DROP_PACKET;
	case 2:
		for (;;)
			sink++;
	case 3:
		__builtin_trap();
	case 4:
		if (!janos_push(arg))
			return 2;
		for (uint32_t i = 0; i < arg; i++)
			janos_window[janos_packet.out_start + i] = 0xaa;
		return 0;
	case 5:
		return janos_pull(arg) ? 0 : 2;
	case 6:
		janos_packet.out_start = 0xfffffff0u;
		return 0;
	case 7:
		return __builtin_wasm_memory_grow(0, arg) == (unsigned long)-1 ? 2 : 0;
	case 8:
		sink = (uint32_t)recurse(1 << 20);
		return 0;
	case 9:
		janos_put8(1, 0x55);
		janos_packet.paint = janos_packet.input + 7;
		janos_packet.dst = 0x0a000001;
		janos_packet.aggregate = janos_packet.captured;
		return 1;
	case 10:
		janos_packet.out_length = janos_packet.length - 1;
		return 0;
	case 11:
		janos_packet.network = janos_packet.start + arg;
		return 0;
	case 12:
		*(volatile uint32_t *)(uintptr_t)0x7ffffff0u = 1;
	}
	return 0;
}
