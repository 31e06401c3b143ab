/* loop - never ends, unless its first byte is 0. The byte says how: 1 in a loop, 2 by recursion, 3 by filling
 * memory over and over, 4 by a tree of calls without any loop. */
#include <janos.h>

JANOS_CAPSULE("loop", 64, .window_min = 1)

static volatile uint32_t sink;

__attribute__((noinline)) static uint32_t deep(uint32_t n)
{
	uint32_t r = sink ? deep(n + 1) : 1;

	sink = r + n;
	return r + 1;
}

__attribute__((noinline)) static void t0(void) { sink++; }
__attribute__((noinline)) static void t1(void) { t0(); t0(); t0(); t0(); t0(); t0(); t0(); t0(); }
__attribute__((noinline)) static void t2(void) { t1(); t1(); t1(); t1(); t1(); t1(); t1(); t1(); }
__attribute__((noinline)) static void t3(void) { t2(); t2(); t2(); t2(); t2(); t2(); t2(); t2(); }
__attribute__((noinline)) static void t4(void) { t3(); t3(); t3(); t3(); t3(); t3(); t3(); t3(); }
__attribute__((noinline)) static void t5(void) { t4(); t4(); t4(); t4(); t4(); t4(); t4(); t4(); }
__attribute__((noinline)) static void t6(void) { t5(); t5(); t5(); t5(); t5(); t5(); t5(); t5(); }

static uint8_t area[16384];

JANOS_EVALUATE
{
	switch (janos_window[0]) {
	case 1:
		for (;;)
			sink++;
	case 2:
		sink = 1;
		deep(0);
		break;
	case 3:
		for (;;)
			__builtin_memset(area, (int)sink, sizeof area);
	case 4:
		t6();
		t6();
		break;
	}
	janos_put32(0, sink);
	return JANOS_FORWARD;
}
