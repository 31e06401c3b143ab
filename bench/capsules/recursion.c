/* recursion - one kernel of the benchmark of metering: the Fibonacci number that the first four bytes ask for, by two calls for each above 1. It goes to
 * the next four. */
#include <janos.h>

JANOS_CAPSULE("recursion", 64, .window_min = 8)

__attribute__((noinline)) static uint32_t fib(uint32_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

JANOS_EVALUATE
{
	janos_put32(4, fib(janos_get32(0)));
	return JANOS_FORWARD;
}
