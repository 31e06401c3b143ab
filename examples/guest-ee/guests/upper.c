/* upper - a program for ee.c: sends every packet back with its letters in upper case, until it is ended.
 * janos:build process=1 stack=1024 */
#include <janos_nodeos.h>
#include <janos_vm.h>

static struct {
	int32_t in, out;
} args;

static struct no_packet packets[8];
static uint8_t window[8 * 1536];

VM_RUN
{
	vm_args(&args, sizeof args);
	for (;;) {
		int32_t n = no_receive(args.in, packets, 8, window, sizeof window, NO_FOREVER);

		if (n < 0)
			return n;
		for (int32_t k = 0; k < n; k++) {
			uint8_t *b = window + packets[k].offset;

			packets[k].length = packets[k].captured;
			for (uint32_t i = 4; i < packets[k].length; i++)
				if (b[i] >= 'a' && b[i] <= 'z')
					b[i] -= 32;
		}
		n = no_send(args.out, packets, (uint32_t)n, window, sizeof window, NO_FOREVER);
		if (n < 0)
			return n;
	}
}
