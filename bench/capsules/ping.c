/* ping - what is loaded again and again, never seen before: of about the size of the ping capsule that the figure was set with, 221 bytes. It counts in the
 * first byte how often it was forwarded. */
#include <janos.h>

JANOS_CAPSULE("ping", 64, .window_min = 4)

JANOS_EVALUATE
{
	janos_window[0]++;
	return JANOS_FORWARD;
}
