/* Goes to its destination, turns round there, and is delivered where it came from. */
#include <janos.h>

JANOS_CAPSULE("ping", 128, .window_min = 8)

enum { SEQ = 0, BACK = 4, HOPS = 5 };

JANOS_EVALUATE
{
	janos_window[HOPS]++;
	if (!janos_here())
		return JANOS_FORWARD;
	if (janos_window[BACK])
		return JANOS_DELIVER;
	janos_window[BACK] = 1;
	janos_block.out_dst = janos_block.src;
	return JANOS_FORWARD;
}
