/* calls - a handler that uses the calls that handlers have: 1 is an in-channel, 2 an out-channel. It answers "ok", or the number that was not as it should be. */
#include <janos.h>
#include <janos_nodeos.h>

JANOS_CAPSULE("calls", 64, .window_min = 1)

static struct no_packet p[2];

static int32_t check(void)
{
	uint64_t now[2];
	struct no_event ev = {.h = 1};
	struct no_channel_status st;
	int32_t r;

	if ((r = no_time(now)) || (r = no_random(now, 16)))
		return r;
	if ((r = no_channel_status(1, &st)))
		return r;
	if ((r = no_receive(1, p, 1, janos_window, 64, 0)) != 0)
		return r - 100;
	if ((r = no_receive(1, p, 1, janos_window, 64, 1000)) != -8) /* a handler never waits */
		return r - 200;
	if ((r = no_wait(&ev, 1, NO_FOREVER)) != -8)
		return r - 300;
	p[0].length = 1;
	if ((r = no_hand_off(1, p, 1, janos_window, 64)) != 1)
		return r - 400;
	if ((r = no_wait(&ev, 1, NO_FOREVER)) != 1 || ev.ready != NO_RECEIVE) /* it is there at once */
		return r - 500;
	if ((r = no_receive(1, p, 2, janos_window, 64, NO_FOREVER)) != 1)
		return r - 600;
	return 0;
}

JANOS_EVALUATE
{
	struct no_packet out = {.length = 2};
	int32_t r;

	/* who sent it is in the block; the address of the answer is made from that */
	out.remote.family = 4;
	out.remote.port = janos_block.src_port;
	for (int k = 0; k < 4; k++)
		out.remote.addr[k] = (uint8_t)(janos_block.src >> (24 - 8 * k));
	out.remote.has_hw = 1; /* that of the tester's Ethernet; links that have none do not look */
	out.remote.hw[0] = 2;
	out.remote.hw[5] = 2;
	r = check();
	if (r) {
		__builtin_memcpy(janos_window, &r, 4);
		out.length = 4;
	} else {
		janos_window[0] = 'o';
		janos_window[1] = 'k';
	}
	no_send(2, &out, 1, janos_window, 64, 0);
	return JANOS_DROP;
}
