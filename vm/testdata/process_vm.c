/* process_vm - a process that uses links, segments, services and children, as its arguments say: handles first, then a command. What is not as
 * it should be ends it with the number of the line.
 * janos:build process=1 pages=8 stack=16384 */
#include <janos_vm.h>

#define WANT(c) do { if (!(c)) return 1000 + __LINE__; } while (0)

static struct {
	int32_t h[4];
	uint32_t what, n;
} args;
static uint8_t code[65536];
static volatile uint32_t sink;

/* Sends n messages, of which each begins with its number. */
static int32_t produce(void)
{
	uint32_t m[16] = {0};

	for (uint32_t i = 0; i < args.n; i++) {
		int32_t r;

		m[0] = i;
		r = vm_send(args.h[0], m, sizeof m, 0, 0, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

static int32_t consume(void)
{
	uint32_t m[16];

	for (uint32_t i = 0; i < args.n; i++) {
		int32_t r = vm_receive(args.h[1], m, sizeof m, 0, 0, 0);

		if (r < 0)
			return r;
		WANT(r == sizeof m && m[0] == i);
	}
	return 0;
}

/* Answers questions until there are none. */
static int32_t echo(void)
{
	uint32_t m[16];

	for (;;) {
		int32_t r = vm_receive(args.h[1], m, sizeof m, 0, 0, 0);

		if (r < 0)
			return r;
		m[0]++;
		r = vm_send(args.h[0], m, (uint32_t)r, 0, 0, 0);
		if (r < 0)
			return r;
	}
}

/* Makes a link, sends its own receiving end and a segment through the link it has, and talks through it then. */
static int32_t pass(void)
{
	int32_t l[2], hs[2], seg;
	uint32_t v = 42;

	WANT(vm_link_new(2, 64, l) == 0);
	seg = vm_segment_new("shared", 6);
	WANT(seg > 0);
	hs[0] = l[1];
	hs[1] = seg;
	WANT(vm_send(args.h[0], "x", 1, hs, 2, 0) == 0);
	WANT(vm_handle_close(l[1]) == 0);
	WANT(vm_handle_close(l[1]) == -3); /* not found */
	WANT(vm_send(l[0], &v, 4, 0, 0, 0) == 0);
	if (args.n == 1) { /* what was passed ends here, for everybody */
		WANT(vm_handle_revoke(seg) == 1);
		WANT(vm_send(l[0], &v, 4, 0, 0, 0) == 0);
	}
	WANT(vm_handle_close(l[0]) == 0);
	WANT(vm_receive(args.h[1], 0, 0, 0, 0, 0) == -9); /* the link is ours, and would end with us */
	return 0;
}

static int32_t take(void)
{
	int32_t hs[3];
	uint32_t v;
	char b[8];

	WANT(vm_receive(args.h[1], b, 0, hs, 3, 0) == -15); /* too big: the message stays */
	WANT(vm_receive(args.h[1], b, 8, hs, 1, 0) == -15);
	WANT(vm_receive(args.h[1], b, 8, hs, 3, 0) == 1);
	WANT(hs[0] > 0 && (hs[1] > 0 || args.n == 1) && hs[2] == 0);
	WANT(vm_receive(hs[0], &v, 4, 0, 0, 0) == 4 && v == 42);
	if (args.n == 1) {
		WANT(vm_receive(hs[0], &v, 4, 0, 0, 0) == 4);
		WANT(vm_segment_size(hs[1]) == (hs[1] ? -9 : -3)); /* dead; or it was so when it came */
		return 0;
	}
	WANT(vm_segment_size(hs[1]) == 6);
	WANT(vm_segment_read(hs[1], 2, b, 8) == 4 && b[0] == 'a' && b[3] == 'd');
	WANT(vm_segment_read(hs[1], 6, b, 8) == 0);
	WANT(vm_send(hs[0], b, 1, 0, 0, 0) == -2); /* it is no sending end */
	WANT(vm_receive(hs[0], &v, 4, 0, 0, 0) == -9); /* nobody sends any more */
	return 0;
}

static int32_t visits(void)
{
	uint8_t b[64] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint32_t ok = 0;

	for (uint32_t i = 0; i < args.n; i++) {
		int32_t r;

		b[0] = 1;
		r = vm_visit(args.h[0], b, 8, sizeof b, 0);
		if (r < 0)
			return r;
		ok += r == 8;
	}
	return (int32_t)ok;
}

/* A parent: loads the code that comes, gives it a quarter, and ends it if it does not end. */
static int32_t parent(void)
{
	struct vm_status st;
	uint32_t a[6] = {0, 0, 0, 0, args.n, 3};
	int32_t n = vm_receive(args.h[1], code, sizeof code, 0, 0, 0);
	int32_t c = vm_child_new(1 << 20, 100, 0, 8), m;

	WANT(n > 0 && c > 0);
	WANT(vm_child_load(c, "junk", 4) < 0);
	m = vm_child_load(c, code, (uint32_t)n);
	if (m < 0)
		return m;
	WANT(vm_child_status(c, &st) == 0 && st.state == 0);
	n = vm_child_start(c, m, (uint8_t *)a + 8, sizeof a - 8, args.h, 2);
	if (n < 0)
		return n;
	if (args.n == 7) { /* it does not end of itself */
		WANT(vm_child_suspend(c) == 0 && vm_child_resume(c) == 0);
		WANT(vm_child_halt(c, 77) == 0);
		WANT(vm_child_halt(c, 78) == 1);
	}
	WANT(vm_child_wait(c, &st) == 0);
	WANT(st.state == 3);
	WANT(vm_child_start(c, m, a, 0, 0, 0) == -9);
	c = vm_child_new(1 << 20, 100, 0, 8); /* the code went with the child that paid for it */
	WANT(c > 0 && vm_child_start(c, m, a, 0, 0, 0) == -9);
	return (int32_t)(st.cause << 16 | st.code);
}

/* As many handles, links and children as there may be. */
static int32_t storm(void)
{
	int32_t l[2], r = 0;

	for (uint32_t i = 0; i < 100000; i++) {
		switch (args.n) {
		case 0:
			r = vm_link_new(4, 1024, l);
			break;
		case 1:
			r = vm_segment_new(code, sizeof code);
			break;
		case 2:
			r = vm_child_new(0, 0, 0, 1);
			break;
		case 3:
			r = vm_send(args.h[0], code, 1000, args.h, 1, VM_NOWAIT);
			break;
		}
		if (r < 0)
			return r;
	}
	return 1;
}

VM_RUN
{
	WANT(vm_args(&args, sizeof args) == sizeof args);
	WANT(vm_args(&args, 0xfffffff0) == -2);
	switch (args.what) {
	case 0:
		return produce();
	case 1:
		return consume();
	case 2:
		return echo();
	case 3:
		return pass();
	case 4:
		return take();
	case 5:
		return visits();
	case 6:
		return parent();
	case 7:
		return storm();
	case 8:
		return vm_exit(5);
	case 9:
		return vm_halt(6);
	case 10:
		for (;;)
			sink += (uint32_t)vm_yield();
	case 11:
		WANT(vm_send(0, 0, 0, 0, 0, 0) == -3);
		WANT(vm_send(args.h[0], code, 0xffffff, 0, 0, 0) == -2);
		WANT(vm_send(args.h[0], code, 1, (int32_t *)code, 9, 0) == -15);
		WANT(vm_receive(args.h[1], code, 1, 0, 0, VM_NOWAIT) == -8);
		WANT(vm_link_new(1 << 20, 1, (int32_t *)code) == -15);
		WANT(vm_link_new(1, 1, (int32_t *)0xfffffffc) == -2);
		WANT(vm_handle_revoke(12345) == -3);
		WANT(vm_segment_read(args.h[0], 0, code, 1) == -2);
		WANT(vm_child_halt(args.h[0], 1) == -2);
		return 11;
	}
	return -1;
}
