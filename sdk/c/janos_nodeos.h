/* janos_nodeos.h - The NodeOS
 * Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT.
 */
#ifndef JANOS_NODEOS_H
#define JANOS_NODEOS_H

#include <stddef.h>
#include <stdint.h>

#define NO_RECEIVE 1 /* of an event: a packet can be received */
#define NO_SEND 2 /* of an event: a packet can be sent */
#define NO_FIRED 4 /* of an event: the timer is due */
#define NO_ENDED 8 /* of an event: the isolate is terminated, the domain dead, or the channel closed */
#define NO_FOREVER 4294967295u /* a timeout that never comes */
#define NO_NOTHING 18446744073709551615ull /* a limit that refuses everything; 0 is none of its own */
#define NO_PROCESS 0 /* of isolate_load: code of a process */
#define NO_HANDLER 1 /* of isolate_load: code that is evaluated once for each packet, as capsules are (abi.md) */
#define NO_BATCH_MAX 256 /* most packets of a call */
#define NO_EVENTS_MAX 64 /* most events of a call */
#define NO_QUOTA_MAX 4096 /* most packets that a channel of a guest holds */
#define NO_SNAP_MAX 16384 /* most bytes of a packet that a channel of a guest keeps */
#define NO_TUPLES_MAX 8 /* most tuples of a key */
#define NO_LOG_MAX 256 /* bytes of a log line that are kept */

/* An address and port, and a hardware address where the link has them. */
struct no_address {
	uint8_t addr[16]; /* network order; IPv4 in the first 4 */
	uint16_t port;
	uint8_t family; /* 4 or 6; 0: none */
	uint8_t has_hw; /* 1 if hw is one */
	uint8_t hw[6]; /* hardware address of the neighbour */
	uint8_t reserved[6]; /* zero */
};
_Static_assert(sizeof(struct no_address) == 32, "janos_nodeos.h: struct no_address has a wrong size");

/* The block of one packet, whose bytes are in the window of the call. */
struct no_packet {
	uint32_t offset; /* where its bytes begin in the window */
	uint32_t length; /* bytes of the packet */
	uint32_t captured; /* how many of them are in the window; to send, all are */
	uint32_t link; /* number of the link it came by, 0: unknown */
	uint64_t time_ns; /* when it came, on the host's clock, or 0 */
	struct no_address remote; /* who sent it; or where to send it, where family 0 stands for the channel's own destination */
};
_Static_assert(sizeof(struct no_packet) == 56, "janos_nodeos.h: struct no_packet has a wrong size");

/* One condition of a demultiplexing key, see docs/nodeos.md. */
struct no_tuple {
	uint16_t offset; /* from the payload of the port's topmost protocol */
	uint16_t length; /* bytes, at most 16 */
	uint8_t value[16];
	uint8_t mask[16]; /* which bits of value count */
};
_Static_assert(sizeof(struct no_tuple) == 36, "janos_nodeos.h: struct no_tuple has a wrong size");

/* What in-channel is wanted. Zeros are defaults. */
struct no_in {
	uint32_t size; /* sizeof(struct no_in) */
	uint32_t quota; /* packets held, 0: 64 */
	uint32_t snap; /* bytes of each that are kept, 0: 1536 */
	uint32_t rate; /* packets per second that are taken, 0: any number */
	uint32_t burst; /* packets that may come at once under rate */
	uint16_t port; /* UDP port, 0: the port handle's own */
	uint16_t tuples; /* used entries of tuple; the port handle's key holds besides */
	struct no_tuple tuple[8];
};
_Static_assert(sizeof(struct no_in) == 312, "janos_nodeos.h: struct no_in has a wrong size");

/* What out-channel is wanted. Zeros are defaults. */
struct no_out {
	uint32_t size; /* sizeof(struct no_out) */
	uint32_t quota; /* packets that wait to be sent, 0: 64 */
	uint32_t snap; /* most bytes of each, 0: 1536 */
	uint16_t port; /* UDP source port, 0: the port handle's own */
	uint16_t reserved; /* zero */
	uint64_t bit_rate; /* bits per second, 0: any number */
	struct no_address remote; /* where packets go that do not say; family 0: all say */
};
_Static_assert(sizeof(struct no_out) == 56, "janos_nodeos.h: struct no_out has a wrong size");

/* What domain is wanted. A limit of 0 is none of its own, no_nothing refuses everything;
 * those of the domains above hold besides. */
struct no_domain {
	uint32_t size; /* sizeof(struct no_domain) */
	uint32_t share; /* weight in processor time, 0: 100 */
	uint64_t cpu_ns; /* nanoseconds of processor time a second */
	uint64_t fuel; /* units a second */
	uint64_t memory; /* bytes */
	uint64_t frames; /* frames of packets */
	uint64_t loads; /* loads of code a second */
	uint8_t name[32]; /* ASCII, zero padded, unique below the domain above */
};
_Static_assert(sizeof(struct no_domain) == 80, "janos_nodeos.h: struct no_domain has a wrong size");

/* One resource of a domain. */
struct no_usage {
	uint64_t use; /* held now, or consumed since it was made */
	uint64_t peak; /* most that was held */
	uint64_t limit; /* 0: none of its own */
	uint64_t drops; /* what this limit refused */
};
_Static_assert(sizeof(struct no_usage) == 32, "janos_nodeos.h: struct no_usage has a wrong size");

/* How a domain is. */
struct no_domain_status {
	uint32_t state; /* 0 active, 1 terminating, 2 dead */
	uint32_t reason; /* error kind of why it ends; 0: it does not */
	uint32_t share; /* weight in processor time */
	uint32_t reserved; /* zero */
	struct no_usage cpu; /* nanoseconds */
	struct no_usage fuel; /* units */
	struct no_usage memory; /* bytes */
	struct no_usage frames; /* frames of packets */
	struct no_usage loads; /* loads of code */
};
_Static_assert(sizeof(struct no_domain_status) == 176, "janos_nodeos.h: struct no_domain_status has a wrong size");

/* Counters of a channel since it was made. */
struct no_channel_status {
	uint64_t packets; /* accepted, or sent */
	uint64_t bytes; /* of these */
	uint64_t full; /* dropped: no room */
	uint64_t limited; /* dropped: faster than the rate */
	uint64_t poor; /* dropped: the domain could not pay */
	uint64_t invalid; /* dropped: no destination, too big, or a fault of the handler */
	uint64_t handed; /* of packets, those that somebody handed off */
	uint32_t held; /* that wait now */
	uint32_t closed; /* 1 if the channel is closed */
};
_Static_assert(sizeof(struct no_channel_status) == 64, "janos_nodeos.h: struct no_channel_status has a wrong size");

/* Something that a process waits for. */
struct no_event {
	int32_t h; /* a channel, timer, isolate or domain */
	uint32_t ready; /* written: what is, of no_receive, no_send, no_fired, no_ended */
};
_Static_assert(sizeof(struct no_event) == 8, "janos_nodeos.h: struct no_event has a wrong size");

/* When a timer fires. */
struct no_timer {
	uint64_t at_ns; /* on the host's clock */
	uint64_t every_ns; /* and then again after so long; 0: once. At least 100000 */
};
_Static_assert(sizeof(struct no_timer) == 16, "janos_nodeos.h: struct no_timer has a wrong size");

/* Calls. Unused ones are not imported. A result below zero is minus an error kind. */

/* writes the host's clock, 8 bytes, nanoseconds since some time before. Costs 300 units of
 * fuel. */
__attribute__((import_module("janos_nodeos"), import_name("time")))
int32_t no_time(void *out);

/* writes pseudo-random bytes of the host's, at most 4096; not for secrets. Costs 300 + 1 a
 * byte units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("random")))
int32_t no_random(void *out, uint32_t len);

/* writes a line to the log of the guest's starter, cut to log_max bytes; what is more than
 * 10 a second is dropped. Costs 1000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("log")))
int32_t no_log(const void *text, uint32_t len);

/* makes a domain below one and returns its handle. It ends with that domain, or by
 * domain_end. Costs 20000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("domain_new")))
int32_t no_domain_new(int32_t domain, const struct no_domain *spec);

/* changes a domain's share and limits, but for those of the own domain, error 5; the name
 * does not matter. Costs 2000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("domain_set")))
int32_t no_domain_set(int32_t domain, const struct no_domain *spec);

/* writes state and use. Costs 2000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("domain_status")))
int32_t no_domain_status(int32_t domain, struct no_domain_status *out);

/* ends a domain, everything in it and all below it. It does not wait: see wait. Until it is
 * dead, packets that match its channels are still theirs, and dropped. Costs 5000 units of
 * fuel. */
__attribute__((import_module("janos_nodeos"), import_name("domain_end")))
int32_t no_domain_end(int32_t domain);

/* makes an in-channel of the domain, which pays quota times snap bytes for it, and returns
 * its handle. Costs 20000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("in_new")))
int32_t no_in_new(int32_t domain, int32_t port, const struct no_in *spec);

/* makes an out-channel of the domain, which pays quota times snap bytes for it, and returns
 * its handle. Costs 20000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("out_new")))
int32_t no_out_new(int32_t domain, int32_t port, const struct no_out *spec);

/* ends a channel, of which the handles stay until they are closed. Costs 5000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("channel_close")))
int32_t no_channel_close(int32_t channel);

/* writes the counters. Costs 1000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("channel_status")))
int32_t no_channel_status(int32_t channel, struct no_channel_status *out);

/* receives up to n packets into the window, one behind the other at multiples of 8, writes a
 * block for each and returns how many. A packet that does not fit stays for the next call,
 * or is cut if it would be the first. Waits for the first only; timeout 0 does not wait.
 * Costs 500 + 50 each + 1 for 16 bytes units of fuel. May wait. */
__attribute__((import_module("janos_nodeos"), import_name("receive")))
int32_t no_receive(int32_t channel, struct no_packet *packets, uint32_t n, void *window, uint32_t len, uint32_t timeout_us);

/* sends up to n packets, whose blocks say where in the window they are and where they go,
 * and returns how many were taken. Waits until there is room for one; timeout 0 does not
 * wait. Costs 500 + 50 each + 1 for 16 bytes units of fuel. May wait. */
__attribute__((import_module("janos_nodeos"), import_name("send")))
int32_t no_send(int32_t channel, const struct no_packet *packets, uint32_t n, const void *window, uint32_t len, uint32_t timeout_us);

/* queues up to n packets in an in-channel, perhaps of another domain, as if they had come
 * there, and returns how many there was room for. It does not wait. Costs 500 + 50 each + 1
 * for 16 bytes units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("hand_off")))
int32_t no_hand_off(int32_t channel, const struct no_packet *packets, uint32_t n, const void *window, uint32_t len);

/* makes a timer, which is not set, and returns its handle. Costs 1000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("timer_new")))
int32_t no_timer_new(void);

/* sets a timer; at_ns 0 stops it. Costs 500 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("timer_set")))
int32_t no_timer_set(int32_t timer, const struct no_timer *when);

/* returns how often a timer has fired since the last time, at most 2^31-1. Costs 500 units
 * of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("timer_take")))
int32_t no_timer_take(int32_t timer);

/* waits until one of n events is there, writes ready of each, and returns how many are; 0
 * when the time is over. Costs 500 + 20 each units of fuel. May wait. */
__attribute__((import_module("janos_nodeos"), import_name("wait")))
int32_t no_wait(struct no_event *events, uint32_t n, uint32_t timeout_us);

/* makes an isolate inside the own one on account of the domain, with which it ends, and
 * returns its handle, for the calls child_start, child_halt and so on of janos_vm. Costs
 * 20000 units of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("isolate_new")))
int32_t no_isolate_new(int32_t domain, uint32_t memory, uint32_t handles);

/* passes a module through the gate, at the cost of the isolate's domain, and returns the
 * handle of its code. Error 2: it is no module; 16: the gate refuses it. Costs 50000 units
 * of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("isolate_load")))
int32_t no_isolate_load(int32_t isolate, const void *code, uint32_t len, uint32_t kind);

/* gives an isolate a handle made from h, and returns its number there. In an isolate that
 * has had none they are 1, 2, 3 and so on, so that a handler can know them. Costs 1000 units
 * of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("isolate_give")))
int32_t no_isolate_give(int32_t isolate, int32_t h);

/* from now on evaluates a handler once for each packet that comes to the in-channel, of the
 * isolate's domain, with at most so much fuel (0: 100,000); what it forwards goes to the
 * out-channel, 0: nowhere. After 16 faults in a row the isolate is ended. Costs 50000 units
 * of fuel. */
__attribute__((import_module("janos_nodeos"), import_name("isolate_serve")))
int32_t no_isolate_serve(int32_t isolate, int32_t code, int32_t in, int32_t out, uint32_t fuel);

#endif /* JANOS_NODEOS_H */
