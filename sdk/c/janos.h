/* janos.h - the guest side of the Janos capsule ABI, version 1.
 * Code generated from abi.yaml by sdk/abi/internal/gen; DO NOT EDIT.
 */
#ifndef JANOS_H
#define JANOS_H

#include <stddef.h>
#include <stdint.h>

#define JANOS_ABI 1

#define JANOS_OUTPUTS_MAX 16 /* most entries of the output list */
#define JANOS_EMITS_MAX 4 /* most entries of the emit list */
#define JANOS_STATE_MAX 64 /* most bytes of a soft-state value */
#define JANOS_KEY_MAX 32 /* most bytes of an explicit soft-state key */
#define JANOS_KEY_PARTS_MAX 4 /* most parts of the declared key */
#define JANOS_NAME_MAX 32 /* bytes of the class name in the manifest */
#define JANOS_WINDOW_LIMIT 65536 /* largest window a guest may declare */
#define JANOS_LOG_MAX 128 /* bytes of a log line that are kept */

enum janos_verdict {
	/* the capsule ends here */
	JANOS_DROP = 0,
	/* send the window: to every entry of the output list, or to out_dst if the list is empty */
	JANOS_FORWARD = 1,
	/* hand the window to the application on dst_port of this node; entries of the output list
	 * are sent as well */
	JANOS_DELIVER = 2,
	/* hand the unchanged capsule to the node's slow path */
	JANOS_PUNT = 3,
	/* the guest found the capsule malformed: dropped and counted apart */
	JANOS_ERROR = 4,
};

enum janos_state_act {
	JANOS_STATE_KEEP = 0, /* leave the stored value as it is */
	JANOS_STATE_WRITE = 1, /* store the first state_size bytes of state under the declared key */
	JANOS_STATE_DELETE = 2, /* forget the stored value */
};

/* One part of the declared key. */
struct janos_key_part {
	uint16_t offset; /* offset in the window */
	uint16_t length; /* length in bytes; all parts together at most 32 */
};
_Static_assert(sizeof(struct janos_key_part) == 4, "janos.h: struct janos_key_part has a wrong size");

/* Constant data of the module, read once when it is loaded. A module whose abi is not the
 * node's is refused. */
struct janos_manifest {
	uint32_t size; /* sizeof(struct janos_manifest) */
	uint32_t abi; /* ABI version the module was made for */
	uint32_t window_size; /* capacity of janos_window in bytes */
	uint32_t window_min; /* capsules with fewer captured bytes are not evaluated, they count as malformed */
	uint32_t state_space; /* number that keeps keys of different meaning apart; classes of one protocol that use the same number and key see the same value */
	uint16_t state_size; /* bytes of the soft-state value, 0 for none, at most 64 */
	uint16_t key_parts; /* used entries of key; 0 with a state_size means one value for the protocol */
	struct janos_key_part key[4]; /* which bytes of the window form the key */
	uint8_t name[32]; /* class name, ASCII, zero padded */
	uint32_t reserved[2]; /* zero */
};
_Static_assert(sizeof(struct janos_manifest) == 80, "janos.h: struct janos_manifest has a wrong size");

/* One copy of the window. A copy whose next hop is the node's own address is delivered here. */
struct janos_output {
	uint32_t to; /* address of the neighbour to send it to, or of a node to route towards; 0 stands for out_dst */
	uint16_t ttl; /* hops left for the copy, 0 for what the capsule has left; never more than that */
	uint16_t share; /* weight of this copy when the credit is divided; all zero divides it evenly */
};
_Static_assert(sizeof(struct janos_output) == 8, "janos.h: struct janos_output has a wrong size");

/* A different capsule of the same protocol, made of bytes anywhere in the guest's memory. */
struct janos_emit {
	uint32_t addr; /* where its class-specific part begins in the guest's memory */
	uint32_t length; /* its length in bytes, at most window_size */
	uint32_t dst; /* its destination */
	uint16_t class; /* index of its class in the code group */
	uint16_t ttl; /* as in output */
	uint16_t share; /* as in output */
	uint16_t reserved; /* zero */
};
_Static_assert(sizeof(struct janos_emit) == 20, "janos.h: struct janos_emit has a wrong size");

/* The context of one evaluation. The host fills the fields marked in before, and reads only
 * the fields marked out afterwards; it never believes an in field again. */
struct janos_block {
	uint32_t size; /* in: sizeof(struct janos_block) of the host */
	uint32_t abi; /* in: ABI version of the host */
	uint64_t time_ns; /* in: the node's time in nanoseconds, coarse: one reading per batch */
	uint64_t fuel; /* in: budget of this evaluation */
	uint64_t random; /* in: fresh pseudo-random bits; not for secrets */
	uint32_t node; /* in: address of this node */
	uint32_t prev; /* in: address of the previous hop, 0 if injected here */
	uint32_t src; /* in: address of the node where the capsule was injected */
	uint32_t dst; /* in: destination address */
	uint32_t length; /* in: bytes of the class-specific part of the capsule */
	uint32_t captured; /* in: how many of them are in the window */
	uint32_t credit; /* in: resource count that the capsule brought */
	uint32_t ttl; /* in: hops left after this node */
	uint32_t in_link; /* in: number of the link it came by, 0 if injected here */
	uint32_t neighbours; /* in: how many neighbours are alive */
	uint16_t src_port; /* in: application port at the source */
	uint16_t dst_port; /* in: application port at the destination */
	uint32_t state_found; /* in: 1 if state holds a stored value */
	uint32_t out_dst; /* out: destination of what is sent; the host presets it to dst */
	uint32_t out_length; /* out: bytes of what is sent; the host presets it to length. A guest may grow it to window_size if it saw everything, else only cut */
	uint32_t out_count; /* out: used entries of outputs */
	uint32_t emit_count; /* out: used entries of emits */
	uint32_t state_act; /* out: what to do with state */
	uint32_t state_lifetime; /* out: seconds until a written state expires, 0 for the node's default */
	uint32_t out_reserved[2]; /* out: zero */
	uint8_t state[64]; /* inout: the soft-state value; zero if state_found is 0 */
	struct janos_output outputs[16]; /* out: copies to send; undefined at entry */
	struct janos_emit emits[4]; /* out: other capsules to send; undefined at entry */
};
_Static_assert(sizeof(struct janos_block) == 384, "janos.h: struct janos_block has a wrong size");

/* Host calls. Unused ones are not imported. */

/* copies the soft-state value of an explicit key to value and returns its length, or an
 * error (3 not found, 2 bad arguments, 15 value longer than cap). Costs 200 units of fuel. */
__attribute__((import_module("janos"), import_name("state_get")))
int32_t janos_state_get(const void *key, uint32_t key_len, void *value, uint32_t cap);

/* stores a soft-state value under an explicit key for lifetime seconds (0 for the node's
 * default); len 0 forgets it. Takes effect only if the evaluation ends without a fault.
 * Costs 300 units of fuel. */
__attribute__((import_module("janos"), import_name("state_put")))
int32_t janos_state_put(const void *key, uint32_t key_len, const void *value, uint32_t len, uint32_t lifetime);

/* the neighbour that is the next hop towards addr, 0 if there is no route. Costs 100 units
 * of fuel. */
__attribute__((import_module("janos"), import_name("route_next")))
uint32_t janos_route_next(uint32_t addr);

/* address of the index-th live neighbour in the order of addresses, 0 past the end. Costs 50
 * units of fuel. */
__attribute__((import_module("janos"), import_name("neighbour")))
uint32_t janos_neighbour(uint32_t index);

/* writes a line to the protocol's log, cut to log_max bytes, rate limited by the node. Costs
 * 500 units of fuel. */
__attribute__((import_module("janos"), import_name("log")))
void janos_log(const void *text, uint32_t len);

/* JANOS_CAPSULE(name, capacity, ...) defines what every capsule exports: the manifest, the
 * context block and the packet window. name is a string of at most 31 characters, capacity the bytes
 * of the window, and what follows are designated initialisers of the manifest:
 *
 *     JANOS_CAPSULE("ping", 64, .window_min = 12)
 *     JANOS_CAPSULE("count", 64, .window_min = 8, JANOS_STATE(16, {0, 4}))
 *
 * Afterwards janos_block and janos_window are ordinary variables, and the capsule is
 *
 *     JANOS_EVALUATE { return JANOS_FORWARD; }
 */
#define JANOS_CAPSULE(class_name, capacity, ...) \
	__attribute__((used, visibility("default"))) const struct janos_manifest janos_manifest = { \
		.size = sizeof(struct janos_manifest), .abi = JANOS_ABI, .window_size = (capacity), \
		.name = class_name, __VA_ARGS__ }; \
	__attribute__((used, visibility("default"))) struct janos_block janos_block __attribute__((aligned(8))); \
	__attribute__((used, visibility("default"))) uint8_t janos_window[((capacity) + 7) & ~7] __attribute__((aligned(8)));

/* JANOS_STATE(bytes, {offset, length}, ...) declares the soft state: bytes of value under a key of
 * up to four parts of the window. */
#define JANOS_STATE(bytes, ...) \
	.state_size = (bytes), .key = { __VA_ARGS__ }, \
	.key_parts = sizeof((struct janos_key_part[]){ __VA_ARGS__ }) / sizeof(struct janos_key_part)

/* JANOS_EVALUATE begins the function that the host calls once for every capsule. */
#define JANOS_EVALUATE \
	__attribute__((export_name("evaluate"))) enum janos_verdict evaluate(void)

extern struct janos_block janos_block;
extern uint8_t janos_window[];

/* Numbers in a capsule are in network order. Offsets are not checked: stay below window_min. */
static inline uint32_t janos_get32(uint32_t offset)
{
	uint32_t v;
	__builtin_memcpy(&v, janos_window + offset, 4);
	return __builtin_bswap32(v);
}

static inline void janos_put32(uint32_t offset, uint32_t v)
{
	v = __builtin_bswap32(v);
	__builtin_memcpy(janos_window + offset, &v, 4);
}

static inline uint16_t janos_get16(uint32_t offset)
{
	uint16_t v;
	__builtin_memcpy(&v, janos_window + offset, 2);
	return __builtin_bswap16(v);
}

static inline void janos_put16(uint32_t offset, uint16_t v)
{
	v = __builtin_bswap16(v);
	__builtin_memcpy(janos_window + offset, &v, 2);
}

static inline uint64_t janos_get64(uint32_t offset)
{
	uint64_t v;
	__builtin_memcpy(&v, janos_window + offset, 8);
	return __builtin_bswap64(v);
}

static inline void janos_put64(uint32_t offset, uint64_t v)
{
	v = __builtin_bswap64(v);
	__builtin_memcpy(janos_window + offset, &v, 8);
}

/* The soft-state value as a structure of the capsule's own: janos_state(struct mine). */
#define janos_state(type) ((type *)(void *)janos_block.state)

/* janos_state_write keeps the value in janos_block.state for so many seconds (0: the node's default). */
static inline void janos_state_write(uint32_t seconds)
{
	janos_block.state_act = JANOS_STATE_WRITE;
	janos_block.state_lifetime = seconds;
}

/* janos_send_to appends to the output list and returns whether there was room. */
static inline int janos_send_to(uint32_t to)
{
	uint32_t n = janos_block.out_count;
	if (n >= JANOS_OUTPUTS_MAX)
		return 0;
	janos_block.outputs[n] = (struct janos_output){ .to = to };
	janos_block.out_count = n + 1;
	return 1;
}

/* janos_emit appends another capsule, of length bytes at data, to the emit list. */
static inline int janos_emit(uint16_t class, uint32_t dst, const void *data, uint32_t length)
{
	uint32_t n = janos_block.emit_count;
	if (n >= JANOS_EMITS_MAX)
		return 0;
	janos_block.emits[n] = (struct janos_emit){
		.addr = (uint32_t)(uintptr_t)data, .length = length, .dst = dst, .class = class };
	janos_block.emit_count = n + 1;
	return 1;
}

/* janos_here tells whether the capsule has reached its destination. */
static inline int janos_here(void)
{
	return janos_block.dst == janos_block.node;
}
#endif /* JANOS_H */
