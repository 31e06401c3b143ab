// janos_nodeos.ts - The NodeOS
// Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT.
// Records are described by the offsets of their fields. Unused calls are not imported; a result below zero is minus an error kind.

export const NO_RECEIVE: u32 = 1; // of an event: a packet can be received
export const NO_SEND: u32 = 2; // of an event: a packet can be sent
export const NO_FIRED: u32 = 4; // of an event: the timer is due
export const NO_ENDED: u32 = 8; // of an event: the isolate is terminated, the domain dead, or the channel closed
export const NO_FOREVER: u32 = 4294967295; // a timeout that never comes
export const NO_NOTHING: u64 = 18446744073709551615; // a limit that refuses everything; 0 is none of its own
export const NO_PROCESS: u32 = 0; // of isolate_load: code of a process
export const NO_HANDLER: u32 = 1; // of isolate_load: code that is evaluated once for each packet, as capsules are (abi.md)
export const NO_BATCH_MAX: u32 = 256; // most packets of a call
export const NO_EVENTS_MAX: u32 = 64; // most events of a call
export const NO_QUOTA_MAX: u32 = 4096; // most packets that a channel of a guest holds
export const NO_SNAP_MAX: u32 = 16384; // most bytes of a packet that a channel of a guest keeps
export const NO_TUPLES_MAX: u32 = 8; // most tuples of a key
export const NO_LOG_MAX: u32 = 256; // bytes of a log line that are kept

// An address and port, and a hardware address where the link has them.
export const NO_SIZEOF_ADDRESS: usize = 32;
export const NO_ADDRESS_ADDR: usize = 0; // u8[16]: network order; IPv4 in the first 4
export const NO_ADDRESS_PORT: usize = 16; // u16
export const NO_ADDRESS_FAMILY: usize = 18; // u8: 4 or 6; 0: none
export const NO_ADDRESS_HAS_HW: usize = 19; // u8: 1 if hw is one
export const NO_ADDRESS_HW: usize = 20; // u8[6]: hardware address of the neighbour
export const NO_ADDRESS_RESERVED: usize = 26; // u8[6]: zero

// The block of one packet, whose bytes are in the window of the call.
export const NO_SIZEOF_PACKET: usize = 56;
export const NO_PACKET_OFFSET: usize = 0; // u32: where its bytes begin in the window
export const NO_PACKET_LENGTH: usize = 4; // u32: bytes of the packet
export const NO_PACKET_CAPTURED: usize = 8; // u32: how many of them are in the window; to send, all are
export const NO_PACKET_LINK: usize = 12; // u32: number of the link it came by, 0: unknown
export const NO_PACKET_TIME_NS: usize = 16; // u64: when it came, on the host's clock, or 0
export const NO_PACKET_REMOTE: usize = 24; // address: who sent it; or where to send it, where family 0 stands for the channel's own destination

// One condition of a demultiplexing key, see docs/nodeos.md.
export const NO_SIZEOF_TUPLE: usize = 36;
export const NO_TUPLE_OFFSET: usize = 0; // u16: from the payload of the port's topmost protocol
export const NO_TUPLE_LENGTH: usize = 2; // u16: bytes, at most 16
export const NO_TUPLE_VALUE: usize = 4; // u8[16]
export const NO_TUPLE_MASK: usize = 20; // u8[16]: which bits of value count

// What in-channel is wanted. Zeros are defaults.
export const NO_SIZEOF_IN: usize = 312;
export const NO_IN_SIZE: usize = 0; // u32: sizeof(struct no_in)
export const NO_IN_QUOTA: usize = 4; // u32: packets held, 0: 64
export const NO_IN_SNAP: usize = 8; // u32: bytes of each that are kept, 0: 1536
export const NO_IN_RATE: usize = 12; // u32: packets per second that are taken, 0: any number
export const NO_IN_BURST: usize = 16; // u32: packets that may come at once under rate
export const NO_IN_PORT: usize = 20; // u16: UDP port, 0: the port handle's own
export const NO_IN_TUPLES: usize = 22; // u16: used entries of tuple; the port handle's key holds besides
export const NO_IN_TUPLE: usize = 24; // tuple[8]

// What out-channel is wanted. Zeros are defaults.
export const NO_SIZEOF_OUT: usize = 56;
export const NO_OUT_SIZE: usize = 0; // u32: sizeof(struct no_out)
export const NO_OUT_QUOTA: usize = 4; // u32: packets that wait to be sent, 0: 64
export const NO_OUT_SNAP: usize = 8; // u32: most bytes of each, 0: 1536
export const NO_OUT_PORT: usize = 12; // u16: UDP source port, 0: the port handle's own
export const NO_OUT_RESERVED: usize = 14; // u16: zero
export const NO_OUT_BIT_RATE: usize = 16; // u64: bits per second, 0: any number
export const NO_OUT_REMOTE: usize = 24; // address: where packets go that do not say; family 0: all say

// What domain is wanted. A limit of 0 is none of its own, no_nothing refuses everything; those of the domains above hold besides.
export const NO_SIZEOF_DOMAIN: usize = 80;
export const NO_DOMAIN_SIZE: usize = 0; // u32: sizeof(struct no_domain)
export const NO_DOMAIN_SHARE: usize = 4; // u32: weight in processor time, 0: 100
export const NO_DOMAIN_CPU_NS: usize = 8; // u64: nanoseconds of processor time a second
export const NO_DOMAIN_FUEL: usize = 16; // u64: units a second
export const NO_DOMAIN_MEMORY: usize = 24; // u64: bytes
export const NO_DOMAIN_FRAMES: usize = 32; // u64: frames of packets
export const NO_DOMAIN_LOADS: usize = 40; // u64: loads of code a second
export const NO_DOMAIN_NAME: usize = 48; // u8[32]: ASCII, zero padded, unique below the domain above

// One resource of a domain.
export const NO_SIZEOF_USAGE: usize = 32;
export const NO_USAGE_USE: usize = 0; // u64: held now, or consumed since it was made
export const NO_USAGE_PEAK: usize = 8; // u64: most that was held
export const NO_USAGE_LIMIT: usize = 16; // u64: 0: none of its own
export const NO_USAGE_DROPS: usize = 24; // u64: what this limit refused

// How a domain is.
export const NO_SIZEOF_DOMAIN_STATUS: usize = 176;
export const NO_DOMAIN_STATUS_STATE: usize = 0; // u32: 0 active, 1 terminating, 2 dead
export const NO_DOMAIN_STATUS_REASON: usize = 4; // u32: error kind of why it ends; 0: it does not
export const NO_DOMAIN_STATUS_SHARE: usize = 8; // u32: weight in processor time
export const NO_DOMAIN_STATUS_RESERVED: usize = 12; // u32: zero
export const NO_DOMAIN_STATUS_CPU: usize = 16; // usage: nanoseconds
export const NO_DOMAIN_STATUS_FUEL: usize = 48; // usage: units
export const NO_DOMAIN_STATUS_MEMORY: usize = 80; // usage: bytes
export const NO_DOMAIN_STATUS_FRAMES: usize = 112; // usage: frames of packets
export const NO_DOMAIN_STATUS_LOADS: usize = 144; // usage: loads of code

// Counters of a channel since it was made.
export const NO_SIZEOF_CHANNEL_STATUS: usize = 64;
export const NO_CHANNEL_STATUS_PACKETS: usize = 0; // u64: accepted, or sent
export const NO_CHANNEL_STATUS_BYTES: usize = 8; // u64: of these
export const NO_CHANNEL_STATUS_FULL: usize = 16; // u64: dropped: no room
export const NO_CHANNEL_STATUS_LIMITED: usize = 24; // u64: dropped: faster than the rate
export const NO_CHANNEL_STATUS_POOR: usize = 32; // u64: dropped: the domain could not pay
export const NO_CHANNEL_STATUS_INVALID: usize = 40; // u64: dropped: no destination, too big, or a fault of the handler
export const NO_CHANNEL_STATUS_HANDED: usize = 48; // u64: of packets, those that somebody handed off
export const NO_CHANNEL_STATUS_HELD: usize = 56; // u32: that wait now
export const NO_CHANNEL_STATUS_CLOSED: usize = 60; // u32: 1 if the channel is closed

// Something that a process waits for.
export const NO_SIZEOF_EVENT: usize = 8;
export const NO_EVENT_H: usize = 0; // i32: a channel, timer, isolate or domain
export const NO_EVENT_READY: usize = 4; // u32: written: what is, of no_receive, no_send, no_fired, no_ended

// When a timer fires.
export const NO_SIZEOF_TIMER: usize = 16;
export const NO_TIMER_AT_NS: usize = 0; // u64: on the host's clock
export const NO_TIMER_EVERY_NS: usize = 8; // u64: and then again after so long; 0: once. At least 100000

// writes the host's clock, 8 bytes, nanoseconds since some time before. Costs 300 units of fuel.
@external("janos_nodeos", "time")
export declare function no_time(out: usize): i32;

// writes pseudo-random bytes of the host's, at most 4096; not for secrets. Costs 300 + 1 a byte units of fuel.
@external("janos_nodeos", "random")
export declare function no_random(out: usize, len: u32): i32;

// writes a line to the log of the guest's starter, cut to log_max bytes; what is more than 10 a second is dropped. Costs 1000 units of fuel.
@external("janos_nodeos", "log")
export declare function no_log(text: usize, len: u32): i32;

// makes a domain below one and returns its handle. It ends with that domain, or by domain_end. Costs 20000 units of fuel.
@external("janos_nodeos", "domain_new")
export declare function no_domain_new(domain: i32, spec: usize): i32;

// changes a domain's share and limits, but for those of the own domain, error 5; the name does not matter. Costs 2000 units of fuel.
@external("janos_nodeos", "domain_set")
export declare function no_domain_set(domain: i32, spec: usize): i32;

// writes state and use. Costs 2000 units of fuel.
@external("janos_nodeos", "domain_status")
export declare function no_domain_status(domain: i32, out: usize): i32;

// ends a domain, everything in it and all below it. It does not wait: see wait. Until it is dead, packets that match its channels are still theirs, and dropped. Costs 5000 units of fuel.
@external("janos_nodeos", "domain_end")
export declare function no_domain_end(domain: i32): i32;

// makes an in-channel of the domain, which pays quota times snap bytes for it, and returns its handle. Costs 20000 units of fuel.
@external("janos_nodeos", "in_new")
export declare function no_in_new(domain: i32, port: i32, spec: usize): i32;

// makes an out-channel of the domain, which pays quota times snap bytes for it, and returns its handle. Costs 20000 units of fuel.
@external("janos_nodeos", "out_new")
export declare function no_out_new(domain: i32, port: i32, spec: usize): i32;

// ends a channel, of which the handles stay until they are closed. Costs 5000 units of fuel.
@external("janos_nodeos", "channel_close")
export declare function no_channel_close(channel: i32): i32;

// writes the counters. Costs 1000 units of fuel.
@external("janos_nodeos", "channel_status")
export declare function no_channel_status(channel: i32, out: usize): i32;

// receives up to n packets into the window, one behind the other at multiples of 8, writes a block for each and returns how many. A packet that does not fit stays for the next call, or is cut if it would be the first. Waits for the first only; timeout 0 does not wait. Costs 500 + 50 each + 1 for 16 bytes units of fuel.
@external("janos_nodeos", "receive")
export declare function no_receive(channel: i32, packets: usize, n: u32, window: usize, len: u32, timeout_us: u32): i32;

// sends up to n packets, whose blocks say where in the window they are and where they go, and returns how many were taken. Waits until there is room for one; timeout 0 does not wait. Costs 500 + 50 each + 1 for 16 bytes units of fuel.
@external("janos_nodeos", "send")
export declare function no_send(channel: i32, packets: usize, n: u32, window: usize, len: u32, timeout_us: u32): i32;

// queues up to n packets in an in-channel, perhaps of another domain, as if they had come there, and returns how many there was room for. It does not wait. Costs 500 + 50 each + 1 for 16 bytes units of fuel.
@external("janos_nodeos", "hand_off")
export declare function no_hand_off(channel: i32, packets: usize, n: u32, window: usize, len: u32): i32;

// makes a timer, which is not set, and returns its handle. Costs 1000 units of fuel.
@external("janos_nodeos", "timer_new")
export declare function no_timer_new(): i32;

// sets a timer; at_ns 0 stops it. Costs 500 units of fuel.
@external("janos_nodeos", "timer_set")
export declare function no_timer_set(timer: i32, when: usize): i32;

// returns how often a timer has fired since the last time, at most 2^31-1. Costs 500 units of fuel.
@external("janos_nodeos", "timer_take")
export declare function no_timer_take(timer: i32): i32;

// waits until one of n events is there, writes ready of each, and returns how many are; 0 when the time is over. Costs 500 + 20 each units of fuel.
@external("janos_nodeos", "wait")
export declare function no_wait(events: usize, n: u32, timeout_us: u32): i32;

// makes an isolate inside the own one on account of the domain, with which it ends, and returns its handle, for the calls child_start, child_halt and so on of janos_vm. Costs 20000 units of fuel.
@external("janos_nodeos", "isolate_new")
export declare function no_isolate_new(domain: i32, memory: u32, handles: u32): i32;

// passes a module through the gate, at the cost of the isolate's domain, and returns the handle of its code. Error 2: it is no module; 16: the gate refuses it. Costs 50000 units of fuel.
@external("janos_nodeos", "isolate_load")
export declare function no_isolate_load(isolate: i32, code: usize, len: u32, kind: u32): i32;

// gives an isolate a handle made from h, and returns its number there. In an isolate that has had none they are 1, 2, 3 and so on, so that a handler can know them. Costs 1000 units of fuel.
@external("janos_nodeos", "isolate_give")
export declare function no_isolate_give(isolate: i32, h: i32): i32;

// from now on evaluates a handler once for each packet that comes to the in-channel, of the isolate's domain, with at most so much fuel (0: 100,000); what it forwards goes to the out-channel, 0: nowhere. After 16 faults in a row the isolate is ended. Costs 50000 units of fuel.
@external("janos_nodeos", "isolate_serve")
export declare function no_isolate_serve(isolate: i32, code: i32, in_: i32, out: i32, fuel: u32): i32;
