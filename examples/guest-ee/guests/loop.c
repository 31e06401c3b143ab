/* loop - a program for ee.c that answers one packet and then computes for ever.
 * janos:build process=1 stack=1024 */
#include <janos_nodeos.h>
#include <janos_vm.h>

static struct {
	int32_t in, out;
} args;

static struct no_packet packet;
static uint8_t window[1536];
static volatile uint32_t sink;

VM_RUN
{
	int32_t n;

	vm_args(&args, sizeof args);
	n = no_receive(args.in, &packet, 1, window, sizeof window, NO_FOREVER);
	if (n < 0)
		return n;
	packet.length = packet.captured;
	no_send(args.out, &packet, 1, window, sizeof window, 0);
	for (;;)
		sink++;
}
