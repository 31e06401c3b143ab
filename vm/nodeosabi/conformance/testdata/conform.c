/* conform - a guest that tries the calls of janos_nodeos as its argument says. What is not as it should be ends it with the number of the line.
 * janos:build process=1 pages=12 stack=16384 */
#include <janos_nodeos.h>
#include <janos_vm.h>

#define PART static __attribute__((noinline)) int32_t /* one function would be too long for the gate */
#define WANT(c) do { if (!(c)) return 1000 + __LINE__; } while (0)

static struct {
	int32_t domain, port;
	struct no_address peer; /* the tester's */
	uint8_t what, n;
} args;

static uint8_t window[70000];
static struct no_packet packets[NO_BATCH_MAX + 1];
static uint8_t code[65536];
static uint32_t code_len;

static struct no_in in_spec(const char *key, uint32_t quota)
{
	struct no_in s = {.size = sizeof s, .quota = quota};

	if (key) {
		s.tuples = 1;
		for (; key[s.tuple[0].length]; s.tuple[0].length++) {
			s.tuple[0].value[s.tuple[0].length] = (uint8_t)key[s.tuple[0].length];
			s.tuple[0].mask[s.tuple[0].length] = 0xff;
		}
	}
	return s;
}

static int32_t open_in(int32_t domain, const char *key, uint32_t quota)
{
	struct no_in s = in_spec(key, quota);

	return no_in_new(domain, args.port, &s);
}

static int32_t open_out(int32_t domain)
{
	struct no_out s = {.size = sizeof s};

	return no_out_new(domain, args.port, &s);
}

static struct no_domain named(const char *name)
{
	struct no_domain s = {.size = sizeof s};

	for (int k = 0; name[k]; k++)
		s.name[k] = (uint8_t)name[k];
	return s;
}

/* Says something to the tester. */
static int32_t say(int32_t out, uint8_t what)
{
	struct no_packet p = {.length = 1, .remote = args.peer};

	window[0] = what;
	return no_send(out, &p, 1, window, 8, NO_FOREVER);
}

/* Says that all is ready, and waits for the tester's word. */
static int32_t ready(int32_t out, int32_t in)
{
	int32_t n = say(out, 'r');

	return n != 1 ? n : no_receive(in, packets, 1, window, sizeof window, NO_FOREVER);
}

/* Takes code that comes in pieces: 'c', the number of pieces, and bytes. */
static int32_t get_code(int32_t in, int32_t out)
{
	uint32_t pieces = 0;

	code_len = 0;
	WANT(say(out, 'r') == 1);
	do {
		int32_t n = no_receive(in, packets, 1, window, sizeof window, NO_FOREVER);

		WANT(n == 1 && window[0] == 'c');
		__builtin_memcpy(code + code_len, window + 2, packets[0].captured - 2);
		code_len += packets[0].captured - 2;
	} while (++pieces < window[1]);
	return 0;
}

/* Sends back what comes, in batches, until a packet says to end. */
PART echo(void)
{
	int32_t in = open_in(args.domain, "e", 0), out = open_out(args.domain);
	struct no_channel_status st;
	uint32_t sum = 0;

	WANT(in > 0 && out > 0 && say(out, 'r') == 1);
	for (;;) {
		int32_t n = no_receive(in, packets, 16, window, sizeof window, NO_FOREVER), done = 0;

		WANT(n > 0);
		for (int32_t k = 0; k < n; k++) {
			WANT(packets[k].offset % 8 == 0 && packets[k].remote.family == 4 && packets[k].remote.port != 0);
			WANT(packets[k].captured <= packets[k].length && packets[k].captured <= 1536);
			if (window[packets[k].offset + 1] == 'x') {
				WANT(no_channel_status(in, &st) == 0 && st.packets == sum + (uint32_t)n && st.full == 0);
				WANT(no_channel_close(in) == 0 && no_channel_close(in) == 0);
				WANT(no_receive(in, packets, 1, window, sizeof window, NO_FOREVER) == -9);
				WANT(no_channel_status(in, &st) == 0 && st.closed == 1);
				WANT(vm_handle_close(in) == 0 && no_receive(in, packets, 1, window, 1, 0) == -3);
				return 0;
			}
			packets[k].length = packets[k].captured;
		}
		while (done < n) {
			int32_t m = no_send(out, packets + done, (uint32_t)(n - done), window, sizeof window, NO_FOREVER);

			WANT(m > 0);
			done += m;
		}
		sum += (uint32_t)n;
	}
}

/* Everything that is wrong with arguments. */
PART wrong(void)
{
	struct no_in s = in_spec("w", 0);
	struct no_out o = {.size = sizeof o};
	struct no_domain d = named("a/b");
	int32_t in = open_in(args.domain, "w", 0), out = open_out(args.domain), t = no_timer_new(), l[2], h;
	struct no_event ev = {.h = args.port};
	const uint32_t far = 0xfffffff0;

	WANT(in > 0 && out > 0 && t > 0 && vm_link_new(1, 8, l) == 0);
	WANT(no_time((void *)far) == -2 && no_random((void *)far, 32) == -2 && no_random(window, 5000) == -15);
	WANT(no_log((const void *)far, 100) == -2 && no_log("x", 0xffffffff) == -2);
	/* handles of nothing, of another kind, and without rights */
	WANT(no_receive(0, packets, 1, window, 8, 0) == -3 && no_receive(0x7fff0001, packets, 1, window, 8, 0) == -3);
	WANT(no_receive(out, packets, 1, window, 8, 0) == -2 && no_send(in, packets, 1, window, 8, 0) == -2);
	WANT(no_receive(l[1], packets, 1, window, 8, 0) == -2 && no_receive(args.port, packets, 1, window, 8, 0) == -2);
	WANT(no_in_new(args.port, args.port, &s) == -2 && no_in_new(args.domain, args.domain, &s) == -2);
	WANT(no_timer_set(in, (void *)window) == -2 && no_timer_take(args.domain) == -2 && no_domain_status(t, (void *)window) == -2);
	WANT(no_domain_end(args.domain) == -5); /* not the own one */
	d = named("x");
	WANT(no_domain_set(args.domain, &d) == -5);
	h = vm_handle_narrow(in, VM_MAY_SEE | VM_MAY_GRANT);
	WANT(h > 0 && no_receive(h, packets, 1, window, 8, 0) == -5 && no_channel_close(h) == -5);
	WANT(vm_handle_narrow(h, 0xffffffff) > 0 && vm_handle_revoke(h) == 1);
	WANT(vm_handle_revoke(in) == 1 && no_channel_status(h, (void *)window) == -9);
	/* addresses */
	WANT(no_receive(in, (void *)far, 1, window, 8, 0) == -2 && no_receive(in, packets, 1, (void *)far, 32, 0) == -2);
	WANT(no_receive(in, packets, NO_BATCH_MAX + 1, window, 8, 0) == -15 && no_receive(in, packets, 0xffffffff, window, 8, 0) == -15);
	WANT(no_receive(in, packets, 2, packets + 1, 64, 0) == -2); /* overlap */
	WANT(no_receive(in, packets, 0, window, 8, NO_FOREVER) == 0 && no_receive(in, packets, 1, window, 0, 0) == 0);
	packets[0] = (struct no_packet){.offset = 0xfffffff8, .length = 16};
	WANT(no_send(out, packets, 1, window, sizeof window, 0) == -2);
	packets[0] = (struct no_packet){.length = 2000};
	WANT(no_send(out, packets, 1, window, sizeof window, 0) == -15);
	packets[0] = (struct no_packet){.length = 8, .remote.family = 5};
	WANT(no_send(out, packets, 1, window, sizeof window, 0) == -2);
	packets[0] = (struct no_packet){.length = 8, .remote = {.addr = {192, 0, 2, 1}, .family = 4, .port = 9}};
	WANT(no_send(out, packets, 1, window, sizeof window, 0) == -5); /* the port does not lead there */
	WANT(no_send(out, packets, 1, (void *)far, 32, 0) == -2);
	/* records */
	WANT(no_in_new(args.domain, args.port, (void *)far) == -2);
	s.size = 3;
	WANT(no_in_new(args.domain, args.port, &s) == -2);
	s.size = 0x7fffffff;
	WANT(no_in_new(args.domain, args.port, &s) == -2);
	s = in_spec("w", NO_QUOTA_MAX + 1);
	WANT(no_in_new(args.domain, args.port, &s) == -15);
	s = in_spec("w", 4);
	s.snap = 0xffffffff;
	WANT(no_in_new(args.domain, args.port, &s) == -15);
	s = in_spec("w", 4);
	s.tuples = NO_TUPLES_MAX + 1;
	WANT(no_in_new(args.domain, args.port, &s) == -15);
	s.tuples = 2;
	WANT(no_in_new(args.domain, args.port, &s) == -2); /* a tuple without bytes */
	s = in_spec("w", 4);
	s.tuple[0].offset = 60000;
	WANT(no_in_new(args.domain, args.port, &s) == -2);
	s = in_spec("w", 4);
	s.port = 1;
	WANT(no_in_new(args.domain, args.port, &s) == -5);
	o.remote = (struct no_address){.addr = {192, 0, 2, 1}, .family = 4, .port = 9};
	WANT(no_out_new(args.domain, args.port, &o) == -5);
	__builtin_memcpy(window, &o, sizeof o); /* a guest of tomorrow, whose new fields are not used */
	__builtin_memset(window + sizeof o, 0, 16);
	((struct no_out *)(void *)window)->size = sizeof o + 16;
	((struct no_out *)(void *)window)->remote.family = 0;
	h = no_out_new(args.domain, args.port, (void *)window);
	WANT(h > 0 && no_channel_close(h) == 0);
	window[sizeof o + 3] = 1; /* and used */
	WANT(no_out_new(args.domain, args.port, (void *)window) == -10);
	/* domains */
	d = named("a/b");
	WANT(no_domain_new(args.domain, &d) == -2);
	d = named("");
	WANT(no_domain_new(args.domain, &d) == -2);
	d = named("x");
	d.memory = 1ull << 63;
	WANT(no_domain_new(args.domain, &d) == -2);
	/* waiting */
	WANT(no_wait(&ev, 1, 0) == -2 && no_wait(&ev, 0, 0) == -2 && no_wait(&ev, NO_EVENTS_MAX + 1, 0) == -2);
	WANT(no_wait((void *)far, 4, 0) == -2);
	ev.h = l[0];
	WANT(no_wait(&ev, 1, 0) == -2);
	/* isolates */
	WANT(no_isolate_new(args.domain, 0, 0x10000) == -15 && no_isolate_new(in, 0, 0) == -2);
	h = no_isolate_new(args.domain, 0, 4);
	WANT(h > 0 && no_isolate_load(h, "junk", 4, NO_PROCESS) == -2 && no_isolate_load(h, "junk", 4, 7) == -2);
	WANT(no_isolate_load(h, (void *)far, 32, 0) == -2 && no_isolate_serve(h, h, in, out, 0) == -2);
	WANT(vm_child_halt(h, 1) == 0);
	return 0;
}

/* Domains have limits, and what they hold goes with them. */
PART domains(void)
{
	struct no_domain d = named("a");
	struct no_domain_status st, own;
	struct no_event ev;
	int32_t a, b, in;

	WANT(no_domain_status(args.domain, &own) == 0 && own.state == 0 && own.memory.limit != 0);
	d.memory = 100000;
	d.share = 7;
	a = no_domain_new(args.domain, &d);
	WANT(a > 0 && no_domain_new(args.domain, &d) == -4);
	WANT(no_domain_status(a, &st) == 0 && st.memory.limit == 100000 && st.memory.use == 0 && st.share == 7);
	WANT(open_in(a, "d", 64) == -6); /* 64 packets of 1536 bytes are too many for it */
	WANT(no_domain_status(a, &st) == 0 && st.memory.use == 0 && st.memory.drops > 0);
	d.memory = 400000;
	WANT(no_domain_set(a, &d) == 0);
	in = open_in(a, "d", 64);
	WANT(in > 0 && no_domain_status(a, &st) == 0 && st.memory.use > 64 * 1536 && st.memory.peak >= st.memory.use);
	d = named("b");
	b = no_domain_new(a, &d);
	WANT(b > 0);
	d.memory = NO_NOTHING;
	WANT(no_domain_set(b, &d) == 0 && open_out(b) == -6);
	WANT(no_domain_end(a) == 0);
	ev.h = a;
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1 && ev.ready == NO_ENDED);
	WANT(no_domain_status(a, &st) == 0 && st.state == 2 && st.reason == 9 && st.memory.use == 0);
	WANT(no_domain_status(b, &st) == 0 && st.state == 2);
	WANT(no_receive(in, packets, 1, window, sizeof window, NO_FOREVER) == -9);
	ev.h = in;
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1 && ev.ready & NO_ENDED);
	WANT(open_out(a) < 0 && no_domain_end(a) == 0);
	d = named("a"); /* the name is free again */
	WANT(no_domain_new(args.domain, &d) > 0);
	return 0;
}

PART timers(void)
{
	int32_t t = no_timer_new(), out = open_out(args.domain), in = open_in(args.domain, "t", 0);
	struct no_timer when = {0};
	struct no_event ev[3] = {{.h = t}, {.h = in}, {.h = out}}, twice[2] = {{.h = in}, {.h = in}};
	uint64_t before, after;
	uint32_t a, b;

	WANT(t > 0 && out > 0 && in > 0);
	WANT(no_time(&before) == 0);
	WANT(no_wait(ev, 2, 0) == 0 && no_wait(ev, 2, 1000) == 0 && no_wait(twice, 2, 1000) == 0);
	WANT(no_time(&after) == 0 && after >= before + 1000000);
	WANT(no_wait(ev, 3, NO_FOREVER) == 1 && ev[2].ready == NO_SEND && ev[0].ready == 0);
	when.at_ns = after + 2000000;
	WANT(no_timer_set(t, &when) == 0 && no_wait(ev, 2, NO_FOREVER) == 1 && ev[0].ready == NO_FIRED);
	WANT(no_time(&before) == 0 && before >= when.at_ns);
	WANT(no_timer_take(t) == 1 && no_timer_take(t) == 0 && no_wait(ev, 2, 0) == 0);
	when.every_ns = 10;
	WANT(no_timer_set(t, &when) == -2);
	when.every_ns = 1000000;
	when.at_ns = before - 5000000;
	WANT(no_timer_set(t, &when) == 0 && no_timer_take(t) >= 6);
	WANT(no_wait(ev, 1, NO_FOREVER) == 1 && no_timer_take(t) >= 1);
	when.at_ns = 0;
	WANT(no_timer_set(t, &when) == 0 && no_wait(ev, 2, 3000) == 0);
	WANT(no_random(&a, 4) == 0 && no_random(&b, 4) == 0 && a != b);
	WANT(no_log("hello\nworld\xff", 12) == 0);
	return 0;
}

/* A process in a domain of its own, with channels of that domain. */
PART child(void)
{
	int32_t in = open_in(args.domain, "c", 0), out = open_out(args.domain), d, i, c, h[2];
	struct no_domain spec = named("child");
	struct no_domain_status st;
	struct no_event ev;
	struct vm_status vs;

	WANT(in > 0 && out > 0);
	int32_t r = get_code(in, out);

	if (r)
		return r;
	spec.memory = 4 << 20;
	d = no_domain_new(args.domain, &spec);
	WANT(d > 0);
	h[0] = open_in(d, "GEP", 0);
	h[1] = open_out(d);
	i = no_isolate_new(d, 0, 8);
	WANT(h[0] > 0 && h[1] > 0 && i > 0);
	c = no_isolate_load(i, code, code_len, NO_PROCESS);
	WANT(c > 0 && vm_child_start(i, c, 0, 0, h, 2) == 0);
	WANT(no_domain_status(d, &st) == 0 && st.memory.use > 65536 && st.loads.use == 1);
	WANT(ready(out, in) == 1); /* the tester talks with the child */
	WANT(ready(out, in) == 1);
	WANT(no_domain_status(d, &st) == 0 && st.fuel.use > 0 && st.cpu.use > 0);
	ev.h = i;
	if (args.n == 1) {
		WANT(vm_child_halt(i, 3) == 0);
		WANT(no_wait(&ev, 1, NO_FOREVER) == 1 && ev.ready == NO_ENDED);
		WANT(vm_child_status(i, &vs) == 0 && vs.state == 3 && vs.cause == 6 && vs.code == 3);
	}
	WANT(no_domain_end(d) == 0);
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1);
	ev.h = d;
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1);
	WANT(no_domain_status(d, &st) == 0 && st.state == 2 && st.memory.use == 0);
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1); /* the second time too */
	return 0;
}

/* A handler that is evaluated for each packet. */
PART serve(void)
{
	int32_t in = open_in(args.domain, "c", 0), out = open_out(args.domain), d, i, c, from, to;
	struct no_domain spec = named("handler");
	struct no_event ev;

	WANT(in > 0 && out > 0);
	int32_t r = get_code(in, out);

	if (r)
		return r;
	d = no_domain_new(args.domain, &spec);
	WANT(d > 0);
	from = open_in(d, "h", 0);
	to = open_out(d);
	i = no_isolate_new(d, 0, 8);
	c = no_isolate_load(i, code, code_len, NO_HANDLER);
	WANT(from > 0 && to > 0 && i > 0 && c > 0);
	WANT(vm_child_start(i, c, 0, 0, 0, 0) == -2); /* it is no process */
	WANT(no_isolate_serve(i, c, in, out, 0) == -5); /* of the wrong domain */
	WANT(no_isolate_serve(i, c, from, to, 20000000) == -15);
	WANT(no_isolate_serve(i, c, from, to, 5000) == 0);
	WANT(no_isolate_serve(i, c, from, to, 0) == -4 && no_receive(from, packets, 1, window, sizeof window, 0) == -4);
	WANT(ready(out, in) == 1);
	WANT(ready(out, in) == 1);
	if (args.n == 1) { /* it faults until it is ended */
		ev.h = i;
		WANT(no_wait(&ev, 1, NO_FOREVER) == 1 && ev.ready == NO_ENDED);
		return 0;
	}
	WANT(vm_child_halt(i, 0) == 0);
	ev.h = i;
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1);
	i = no_isolate_new(d, 0, 8); /* the channel is free for another */
	c = no_isolate_load(i, code, code_len, NO_HANDLER);
	WANT(c > 0 && no_isolate_serve(i, c, from, to, 5000) == 0);
	WANT(ready(out, in) == 1);
	return 0;
}

/* A handler that uses calls itself: it was given an in-channel and an out-channel, which are its handles 1 and 2. */
PART caller(void)
{
	int32_t in = open_in(args.domain, "c", 0), out = open_out(args.domain), d, i, c, from, side;
	struct no_domain spec = named("caller");
	struct no_event ev;

	WANT(in > 0 && out > 0);
	int32_t r = get_code(in, out);

	if (r)
		return r;
	d = no_domain_new(args.domain, &spec);
	from = open_in(d, "h", 0);
	side = open_in(d, "nobody sends it", 4);
	i = no_isolate_new(d, 0, 2);
	c = no_isolate_load(i, code, code_len, NO_HANDLER);
	WANT(d > 0 && from > 0 && side > 0 && i > 0 && c > 0);
	WANT(no_isolate_give(i, side) == 1 && no_isolate_give(i, out) == 2);
	WANT(no_isolate_give(i, in) == -6 && no_isolate_give(in, side) == -2 && no_isolate_give(i, 12345) == -3);
	WANT(no_isolate_serve(i, c, from, 0, 50000) == 0);
	WANT(ready(out, in) == 1);
	WANT(vm_handle_revoke(side) == 1); /* it has it no more */
	WANT(ready(out, in) == 1);
	WANT(no_domain_end(d) == 0);
	ev.h = i;
	WANT(no_wait(&ev, 1, NO_FOREVER) == 1 && ev.ready == NO_ENDED);
	return 0;
}

/* As many things as there may be. All of it goes when we go. */
PART storm(void)
{
	struct no_domain d = named("s00000");
	int32_t r = 0, k, deepest = 0;

	for (k = 0; k < 200000; k++) {
		switch (args.n) {
		case 0: /* handles */
			r = no_timer_new();
			break;
		case 1: /* memory of the domain */
			r = open_in(args.domain, "s", 16);
			if (r > 0)
				WANT(vm_handle_close(r) == 0);
			break;
		case 2: /* domains, whose handles are given up */
			for (int j = 0; j < 5; j++)
				d.name[1 + j] = (uint8_t)('a' + (k >> (4 * j) & 15));
			r = no_domain_new(args.domain, &d);
			if (r > 0)
				WANT(vm_handle_close(r) == 0);
			break;
		case 3: /* isolates */
			r = no_isolate_new(args.domain, 0, 1);
			break;
		case 4: /* channels that are closed as fast as they are opened */
			r = open_out(args.domain);
			if (r > 0)
				WANT(no_channel_close(r) == 0 && vm_handle_close(r) == 0);
			if (k == 300)
				return 0;
			break;
		case 5: /* domains in domains */
			r = no_domain_new(k ? deepest : args.domain, &d);
			if (k)
				vm_handle_close(deepest);
			deepest = r;
			WANT(k < 200);
			break;
		}
		if (r < 0)
			return r == -6 && k > 0 ? 0 : r;
	}
	return 1;
}

/* Waits for ever, in one call or another. */
PART sleeper(void)
{
	int32_t in = open_in(args.domain, "z", 0), out = open_out(args.domain);
	struct no_event ev = {.h = in};

	WANT(in > 0 && out > 0 && say(out, 'r') == 1);
	switch (args.n) {
	case 0:
		return no_receive(in, packets, 1, window, sizeof window, NO_FOREVER);
	case 1:
		return no_wait(&ev, 1, NO_FOREVER);
	case 2:
		for (;;)
			no_wait(&ev, 1, 1);
	case 3:
		for (;;)
			no_receive(in, packets, 1, window, sizeof window, 0);
	}
	return 0;
}

/* Packets that one channel gets are handed off to another. */
PART handoff(void)
{
	int32_t in = open_in(args.domain, "o", 0), out = open_out(args.domain), d, to;
	struct no_domain spec = named("o");
	struct no_channel_status st;
	int32_t n;

	d = no_domain_new(args.domain, &spec);
	WANT(in > 0 && out > 0 && d > 0 && say(out, 'r') == 1);
	to = open_in(d, "nobody sends it", 2);
	WANT(to > 0);
	n = no_receive(in, packets, 1, window, sizeof window, NO_FOREVER);
	WANT(n == 1);
	packets[0].length = packets[0].captured;
	packets[1] = packets[2] = packets[0];
	WANT(no_hand_off(to, packets, 3, window, sizeof window) == 2); /* there is room for two */
	WANT(no_hand_off(to, packets, 1, window, 1) == -2);
	WANT(no_channel_status(to, &st) == 0 && st.handed == 2 && st.packets == 2 && st.held == 2);
	packets[0].remote.port = 0;
	n = no_receive(to, packets, 2, window, sizeof window, 0);
	WANT(n == 2 && packets[1].remote.port != 0);
	packets[1].length = packets[1].captured;
	WANT(no_send(out, packets + 1, 1, window, sizeof window, NO_FOREVER) == 1);
	return 0;
}

VM_RUN
{
	int32_t n = vm_args(&args, sizeof args);

	if (n < (int32_t)sizeof args - 2)
		return -2;
	switch (args.what) {
	case 'e':
		return echo();
	case 'w':
		return wrong();
	case 'd':
		return domains();
	case 't':
		return timers();
	case 'c':
		return child();
	case 'h':
		return serve();
	case 'k':
		return caller();
	case 's':
		return storm();
	case 'z':
		return sleeper();
	case 'o':
		return handoff();
	}
	return -1;
}
