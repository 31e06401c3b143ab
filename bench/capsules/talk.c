/* talk - a process for scenario vm-link. Its arguments are four handles and what it is: 0 sends as many messages of 64 bytes to the next
 * process as it is told, 1 receives them and tells when it has them all, 2 answers each, 3 computes without end. The first message of all tells how many.
 * janos:build pages=1 */
#include <janos.h>

JANOS_CAPSULE("talk", 64)
JANOS_EVALUATE { return JANOS_DROP; }

#define VM_CALL(name) __attribute__((import_module("janos_vm"), import_name(#name)))
VM_CALL(args) int32_t vm_args(void *buf, uint32_t cap);
VM_CALL(send) int32_t vm_send(int32_t link, const void *data, uint32_t len, const int32_t *handles, uint32_t n, uint32_t flags);
VM_CALL(receive) int32_t vm_receive(int32_t link, void *buf, uint32_t cap, int32_t *handles, uint32_t n, uint32_t flags);

static volatile uint32_t sink;

static struct {
	int32_t told, in, out, tell;
	uint32_t what;
} a;

__attribute__((export_name("run"))) int32_t run(void)
{
	uint32_t m[16] = {0}, n;
	int32_t r;

	vm_args(&a, sizeof a);
	while (a.what == 3)
		sink++;
	for (;;) {
		if (a.what == 2)
			n = 1;
		else if ((r = vm_receive(a.told, &n, sizeof n, 0, 0, 0)) < 0)
			return r;
		for (uint32_t i = 0; i < n; i++) {
			m[0] = i;
			if (a.what != 0 && (r = vm_receive(a.in, m, sizeof m, 0, 0, 0)) < 0)
				return r;
			if (a.what != 1 && (r = vm_send(a.out, m, sizeof m, 0, 0, 0)) < 0)
				return r;
		}
		if (a.what == 1 && (r = vm_send(a.tell, m, 4, 0, 0, 0)) < 0)
			return r;
	}
}
