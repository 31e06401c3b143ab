/* ee - an execution environment that is a guest itself. It takes code from the network, runs each program in a domain with a quarter of what it has
 * itself, has the host bring packets to it, and ends it when it uses processor time and takes no packets.
 *
 * It is started with a domain and a port. Every packet begins with "GE" and a letter, and then the number of one of four places:
 *
 *	L place offset(2) total(2) bytes   a piece of a program; the last one starts it. Answered by A place result
 *	P place bytes                      for the program in the place: the host gives it to that and to nobody else
 *	S place                            answered by s place state, and how many packets the program got (4)
 *	K place error                      sent to who loaded the program when it has ended, with its error kind
 *
 * Numbers are little-endian.
 * janos:build process=1 pages=8 stack=8192 */
#include <janos_nodeos.h>
#include <janos_vm.h>

#define PLACES 4
#define CODE_MAX 32768
#define TICK_NS 20000000ull /* how often programs are looked at */
#define IDLE_TICKS 5        /* that a program may let packets wait, if it uses */
#define IDLE_FUEL 1000000   /* more fuel than this meanwhile */

static struct {
	int32_t domain, port;
} args;

static struct place {
	int32_t domain, in, out, isolate; /* 0: nobody is there */
	struct no_address owner;
	uint32_t total, have;
	uint64_t fuel, taken;
	uint32_t bad;
	uint8_t code[CODE_MAX];
} places[PLACES];

static int32_t in, out, tick;
static uint8_t window[16384];
static struct no_packet packets[16];

static void answer(const struct no_address *to, uint8_t op, uint32_t place, const void *data, uint32_t len)
{
	static uint8_t reply[32];
	struct no_packet p = {.length = 4 + len, .remote = *to};

	reply[0] = 'G';
	reply[1] = 'E';
	reply[2] = op;
	reply[3] = (uint8_t)place;
	__builtin_memcpy(reply + 4, data, len);
	no_send(out, &p, 1, reply, sizeof reply, 0); /* who does not get it asks again */
}

/* Ends what is in a place, all of it at once: the isolate, the channels and what they hold belong to the domain. It waits for that, which takes a moment: until then
 * packets still go to the old channel, where there will be another of the same key. */
static void clear_place(struct place *p)
{
	struct no_event gone = {.h = p->domain};

	if (p->domain == 0)
		return;
	no_domain_end(p->domain);
	no_wait(&gone, 1, 1000000);
	vm_handle_close(p->isolate);
	vm_handle_close(p->in);
	vm_handle_close(p->out);
	vm_handle_close(p->domain);
	p->domain = p->in = p->out = p->isolate = 0;
}

static uint64_t quarter(uint64_t limit)
{
	return limit == 0 || limit == NO_NOTHING ? limit : limit / 4;
}

static int32_t start(struct place *p, uint32_t n)
{
	static uint32_t generation;
	struct no_domain spec = {.size = sizeof spec, .share = 25};
	struct no_domain_status own;
	struct no_in want = {.size = sizeof want, .quota = 16, .tuples = 1};
	struct no_out send = {.size = sizeof send, .quota = 16};
	int32_t code, r, give[2], narrow[2];

	clear_place(p);
	r = no_domain_status(args.domain, &own);
	if (r < 0)
		return r;
	spec.cpu_ns = quarter(own.cpu.limit);
	spec.fuel = quarter(own.fuel.limit);
	spec.memory = quarter(own.memory.limit);
	spec.frames = quarter(own.frames.limit);
	spec.loads = 1;
	generation++;
	spec.name[0] = (uint8_t)('a' + n);
	for (int k = 0; k < 8; k++)
		spec.name[1 + k] = (uint8_t)('a' + (generation >> (4 * k) & 15));
	p->domain = r = no_domain_new(args.domain, &spec);
	if (r < 0) {
		p->domain = 0;
		return r;
	}
	want.tuple[0].length = 4;
	__builtin_memcpy(want.tuple[0].value, "GEP", 3);
	want.tuple[0].value[3] = (uint8_t)n;
	__builtin_memset(want.tuple[0].mask, 0xff, 4);
	p->in = r = no_in_new(p->domain, args.port, &want);
	if (r < 0)
		goto failed;
	p->out = r = no_out_new(p->domain, args.port, &send);
	if (r < 0)
		goto failed;
	p->isolate = r = no_isolate_new(p->domain, 0, 8);
	if (r < 0)
		goto failed;
	code = r = no_isolate_load(p->isolate, p->code, p->total, NO_PROCESS);
	if (r < 0)
		goto failed;
	/* It may use its channels, and neither close them nor pass more on than it has. */
	give[0] = p->in;
	give[1] = p->out;
	for (int k = 0; k < 2; k++) {
		narrow[k] = r = vm_handle_narrow(give[k], VM_MAY_USE | VM_MAY_SEE | VM_MAY_GRANT);
		if (r < 0)
			goto failed;
	}
	r = vm_child_start(p->isolate, code, 0, 0, narrow, 2);
	vm_handle_close(narrow[0]);
	vm_handle_close(narrow[1]);
	vm_handle_close(code);
	if (r < 0)
		goto failed;
	p->fuel = p->taken = 0;
	p->bad = 0;
	return 0;
failed:
	clear_place(p);
	return r;
}

static uint32_t get16(const uint8_t *b) { return b[0] | (uint32_t)b[1] << 8; }

static void load(struct place *p, uint32_t n, const struct no_packet *k, const uint8_t *b)
{
	uint32_t len = k->captured, offset, total;
	int32_t r;

	if (len < 8)
		return;
	offset = get16(b + 4);
	total = get16(b + 6);
	if (total == 0 || total > CODE_MAX || offset + (len - 8) > total)
		return;
	if (offset == 0) {
		p->have = 0;
		p->total = total;
		p->owner = k->remote;
	}
	if (offset != p->have || total != p->total)
		return; /* a piece is missing: the sender begins again */
	__builtin_memcpy(p->code + offset, b + 8, len - 8);
	p->have += len - 8;
	if (p->have < total)
		return;
	r = start(p, n);
	answer(&k->remote, 'A', n, &r, 4);
}

static void status(struct place *p, uint32_t n, const struct no_packet *k)
{
	struct no_channel_status st = {0};
	uint8_t said[5] = {0};
	uint32_t got;

	if (p->domain) {
		said[0] = 1;
		no_channel_status(p->in, &st);
	}
	got = (uint32_t)st.packets;
	__builtin_memcpy(said + 1, &got, 4);
	answer(&k->remote, 's', n, said, sizeof said);
}

/* Looks at the programs: one that has ended makes place, and so does one that computes and leaves its packets where they are. */
static void look(void)
{
	for (uint32_t n = 0; n < PLACES; n++) {
		struct place *p = &places[n];
		struct no_domain_status d;
		struct no_channel_status c;
		struct vm_status st;

		if (p->domain == 0)
			continue;
		if (vm_child_status(p->isolate, &st) < 0 || st.state == 3) {
			answer(&p->owner, 'K', n, &st.error, 4);
			clear_place(p);
			continue;
		}
		if (no_domain_status(p->domain, &d) < 0 || no_channel_status(p->in, &c) < 0)
			continue;
		uint64_t taken = c.packets - c.held;
		if (taken != p->taken || c.held == 0) {
			p->taken = taken;
			p->fuel = d.fuel.use;
			p->bad = 0;
		} else {
			p->bad++;
		}
		/* Where its limit of fuel has it wait now and then, it has computed all the same. */
		if (p->bad >= IDLE_TICKS && d.fuel.use > p->fuel + IDLE_FUEL) {
			uint32_t why = 12; /* out of fuel */

			vm_child_halt(p->isolate, 1);
			answer(&p->owner, 'K', n, &why, 4);
			clear_place(p);
		}
	}
}

VM_RUN
{
	struct no_in want = {.size = sizeof want, .quota = 32, .tuples = 1};
	struct no_out send = {.size = sizeof send, .quota = 32};
	struct no_timer when = {.every_ns = TICK_NS};
	struct no_event events[2];

	if (vm_args(&args, sizeof args) < (int32_t)sizeof args)
		return -2;
	want.tuple[0].length = 2;
	__builtin_memcpy(want.tuple[0].value, "GE", 2);
	__builtin_memset(want.tuple[0].mask, 0xff, 2);
	if ((in = no_in_new(args.domain, args.port, &want)) < 0)
		return in;
	if ((out = no_out_new(args.domain, args.port, &send)) < 0)
		return out;
	tick = no_timer_new();
	no_time(&when.at_ns);
	if (tick < 0 || no_timer_set(tick, &when) < 0)
		return tick;
	events[0].h = in;
	events[1].h = tick;
	for (;;) {
		int32_t n = no_wait(events, 2, NO_FOREVER);

		if (n < 0)
			return n;
		if (events[1].ready && no_timer_take(tick) > 0)
			look();
		if (!events[0].ready)
			continue;
		n = no_receive(in, packets, 16, window, sizeof window, 0);
		for (int32_t k = 0; k < n; k++) {
			const uint8_t *b = window + packets[k].offset;

			if (packets[k].captured < 4 || b[3] >= PLACES)
				continue;
			if (b[2] == 'L')
				load(&places[b[3]], b[3], &packets[k], b);
			else if (b[2] == 'S')
				status(&places[b[3]], b[3], &packets[k]);
		}
		if (n < 0)
			return n;
	}
}
