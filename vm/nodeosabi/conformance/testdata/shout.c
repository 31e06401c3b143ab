/* shout - a handler: forwards a packet with its third byte raised by one; loops for ever if that is 'L'. */
#include <janos.h>

JANOS_CAPSULE("shout", 64, .window_min = 3)

static volatile uint32_t sink;

JANOS_EVALUATE
{
	if (janos_window[2] == 'L')
		for (;;)
			sink++;
	janos_window[2]++;
	return JANOS_FORWARD;
}
