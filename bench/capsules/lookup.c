/* lookup - one kernel of the benchmark of metering: as many lookups as the first four bytes say in a table of 16,384 places
 * with open addressing, half full. The sum of what was found goes to the next four.
 * janos:build pages=8 */
#include <janos.h>

JANOS_CAPSULE("lookup", 64, .window_min = 8)

enum { PLACES = 1 << 14 };

static struct place {
	uint32_t key, value;
} table[PLACES];

static uint32_t hash(uint32_t key)
{
	key *= 0x9e3779b1;
	return key >> 18;
}

__attribute__((noinline)) static struct place *find(uint32_t key)
{
	uint32_t i = hash(key);

	while (table[i].key != key && table[i].key)
		i = (i + 1) % PLACES;
	return &table[i];
}

JANOS_EVALUATE
{
	uint32_t total = 0, x = 1;

	if (!table[hash(1)].key)
		for (uint32_t key = 1; key <= PLACES / 2; key++)
			*find(key * 3) = (struct place){ key * 3, key };
	for (uint32_t n = janos_get32(0); n; n--) {
		x = x * 1664525 + 1013904223;
		total += find((x >> 18) * 3 + 1 - (x >> 31))->value;
	}
	janos_put32(4, total);
	return JANOS_FORWARD;
}
