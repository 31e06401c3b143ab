/* Sends a capsule of class ping (number 0 of the group) to the node in its window, and ends. */
#include <janos.h>

JANOS_CAPSULE("spawn", 64, .window_min = 4)

static uint8_t data[8] = { 0, 0, 0, 42 };

JANOS_EVALUATE
{
	if (!janos_here())
		return JANOS_FORWARD;
	janos_log("spawn", 5);
	janos_emit(janos_window[4], janos_get32(0), data, sizeof data);
	return JANOS_DROP;
}
