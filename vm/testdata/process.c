/* process - a process that does what the host tells it: host_call(0, 0) says what.
 * janos:build pages=4 */
#include <janos.h>

JANOS_CAPSULE("process", 64)

__attribute__((import_module("test"), import_name("call"))) uint32_t host_call(uint32_t what, uint32_t arg);

JANOS_EVALUATE { return JANOS_DROP; }

static volatile uint32_t sink;

__attribute__((noinline)) static uint32_t deep(uint32_t n)
{
	uint32_t r = sink ? deep(n + 1) : 1;

	sink = r + n;
	return r + 1;
}

/* A computation of some 20 units a round, whose result depends on all of it. */
static uint32_t work(uint32_t rounds)
{
	uint32_t x = 1;

	for (uint32_t i = 0; i < rounds; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
	}
	return x;
}

__attribute__((export_name("run"))) uint32_t run(void)
{
	uint32_t what = host_call(0, 0);

	switch (what >> 24) {
	case 0: /* return */
		return what;
	case 1: /* never end */
		for (;;)
			sink++;
	case 2:
		sink = 1;
		return deep(0);
	case 3:
		__builtin_trap();
	case 4:
		return work(what & 0xffffff);
	case 5: /* kernel calls without end */
		for (;;)
			host_call(1, sink++);
	case 6: /* all the memory there is */
		while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1)
			;
		return __builtin_wasm_memory_size(0);
	case 7: /* a short program: computation, calls, memory, kernel calls */
		for (uint32_t i = 0; i < (what & 0xffffff); i++) {
			sink = work(i);
			host_call(1, i);
		}
		return work(3);
	}
	return 0;
}

__attribute__((export_name("exiting"))) void exiting(void)
{
	if (host_call(2, 0) == 1)
		for (;;)
			sink++;
}
