/* attack - what the benchmark vm-attack runs beside a victim: the first byte chooses the attack. None of them comes back with a verdict.
 * janos:build pages=16 */
#include <janos.h>

JANOS_CAPSULE("attack", 64, .window_min = 8)

static volatile uint32_t sink;

typedef uint32_t fn(uint32_t);

__attribute__((noinline)) static uint32_t deeper(uint32_t n)
{
	return n == 0xffffffff ? n : deeper(n + 1) + sink;
}

static fn *volatile again = deeper;

__attribute__((noinline)) static uint32_t around(uint32_t n)
{
	return again(n + 1) + sink;
}

/* A tree of calls without a loop. */
#define LEVEL(name, below) __attribute__((noinline)) static void name(void) { below(); below(); below(); below(); sink++; }
static void leaf(void) { sink++; }
LEVEL(t1, leaf) LEVEL(t2, t1) LEVEL(t3, t2) LEVEL(t4, t3) LEVEL(t5, t4) LEVEL(t6, t5) LEVEL(t7, t6) LEVEL(t8, t7) LEVEL(t9, t8) LEVEL(t10, t9)

JANOS_EVALUATE
{
	switch (janos_window[0]) {
	case 0: /* a loop without an end */
		for (;;)
			sink++;
	case 1: /* recursion */
		return deeper(0);
	case 2: /* recursion through the table */
		again = around;
		return around(0);
	case 3:
		t10();
		t10();
		break;
	case 4: /* all the memory there is, touched, and more */
		for (;;) {
			uint32_t page = __builtin_wasm_memory_grow(0, 1);

			if (page == 0xffffffff)
				__builtin_trap();
			__builtin_memset((void *)(page << 16), 1, 1 << 16);
		}
	case 5: /* bulk operations */
		for (;;)
			__builtin_memset((void *)0x8000, (int)sink, 0x8000);
	case 6:
		__builtin_trap();
	case 7: /* out of bounds */
		sink = *(volatile uint32_t *)0xfffffff0;
		break;
	case 8:
		sink = 1 / sink;
		break;
	case 9: /* outputs that cannot be */
		janos_block.out_count = 1000;
		return JANOS_FORWARD;
	}
	return 1000;
}
