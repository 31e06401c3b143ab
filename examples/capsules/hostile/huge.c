/* huge - declares 64 MiB of memory. No node loads it.
 *
 * janos:build pages=1024
 */
#include <janos.h>

JANOS_CAPSULE("huge", 8)

JANOS_EVALUATE { return JANOS_FORWARD; }
