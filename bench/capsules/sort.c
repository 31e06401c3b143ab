/* sort - one kernel of the benchmark of metering: fills an array with as many pseudo-random numbers as the first four bytes say, at most
 * 4,096, and sorts it by quicksort. A number that depends on the order goes to the next four.
 * janos:build pages=2 */
#include <janos.h>

JANOS_CAPSULE("sort", 64, .window_min = 8)

static uint32_t a[4096];

static void sort(int lo, int hi)
{
	while (lo < hi) {
		uint32_t p = a[(lo + hi) / 2];
		int i = lo, j = hi;

		while (i <= j) {
			while (a[i] < p)
				i++;
			while (a[j] > p)
				j--;
			if (i <= j) {
				uint32_t t = a[i];

				a[i++] = a[j];
				a[j--] = t;
			}
		}
		/* The shorter part first, so that the recursion is not deep. */
		if (j - lo < hi - i) {
			sort(lo, j);
			lo = i;
		} else {
			sort(i, hi);
			hi = j;
		}
	}
}

JANOS_EVALUATE
{
	uint32_t x = 1, n = janos_get32(0), total = 0;

	if (n > sizeof a / sizeof a[0])
		return JANOS_ERROR;
	for (uint32_t i = 0; i < n; i++)
		a[i] = x = x * 1664525 + 1013904223;
	sort(0, (int)n - 1);
	for (uint32_t i = 0; i < n; i++)
		total = total * 31 + a[i];
	janos_put32(4, total);
	return JANOS_FORWARD;
}
