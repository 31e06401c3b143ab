/* Counts the capsules that had the same first four bytes, under the declared key and under an explicit one, and
 * brings both numbers to the application. */
#include <janos.h>

struct count { uint64_t n; };

JANOS_CAPSULE("count", 64, .window_min = 16, .state_space = 7, JANOS_STATE(sizeof(struct count), {0, 4}))

JANOS_EVALUATE
{
	uint32_t again = 0;
	if (!janos_here())
		return JANOS_FORWARD;
	struct count *c = janos_state(struct count);
	c->n++;
	janos_state_write(2);
	janos_state_get(janos_window, 4, &again, sizeof again);
	again++;
	janos_state_put(janos_window, 4, &again, sizeof again, 0);
	if (janos_window[4]) /* a fault undoes both */
		__builtin_trap();
	janos_put32(8, (uint32_t)c->n);
	janos_put32(12, again);
	return JANOS_DELIVER;
}
