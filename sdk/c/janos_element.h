/* janos_element.h - the guest side of the Janos ABI for graph elements, version 1.
 * Code generated from element.yaml by sdk/abi/internal/gen; DO NOT EDIT.
 */
#ifndef JANOS_ELEMENT_H
#define JANOS_ELEMENT_H

#include <stddef.h>
#include <stdint.h>

#define JANOS_ELEMENT_ABI 1

#define JANOS_PORTS_MAX 64 /* most inputs, and most outputs */
#define JANOS_WINDOW_LIMIT 65536 /* largest window an element may declare */
#define JANOS_CONFIG_LIMIT 16384 /* most bytes of configuration arguments an element may ask for */
#define JANOS_COUNTERS_MAX 256 /* most counters of an element */
#define JANOS_NAME_MAX 32 /* bytes of the element's name in the manifest */
#define JANOS_LABEL_MAX 24 /* bytes of a counter's name */
#define JANOS_WRITES 1 /* the element changes packets: without this flag what it does to the window, to out_start, out_length and network is ignored, which is faster */
#define JANOS_PARTIAL 2 /* a packet longer than the window is shown in part; without this flag such a packet is not evaluated and counts as too long */

/* Constant data of the module, read once when it is loaded. A module whose abi is not the
 * node's is refused. */
struct janos_element {
	uint32_t size; /* sizeof(struct janos_element) */
	uint32_t abi; /* version of this ABI that the element was made for */
	uint32_t flags; /* the flags below */
	uint32_t headroom; /* bytes at the start of the window that are free for headers the element puts before a packet; a multiple of 8 */
	uint32_t window_size; /* capacity of janos_window in bytes, headroom included */
	uint32_t window_min; /* shorter packets are not evaluated, they count as too short */
	uint32_t config_size; /* capacity of janos_config in bytes after its record, 0 for an element without arguments */
	uint32_t counters; /* entries of janos_counters, 0 for none */
	uint16_t inputs; /* most inputs */
	uint16_t outputs; /* most outputs */
	uint8_t name[32]; /* name, ASCII, zero padded */
	uint32_t reserved; /* zero */
};
_Static_assert(sizeof(struct janos_element) == 72, "janos_element.h: struct janos_element has a wrong size");

/* The context of one packet. The host fills the fields marked in and inout before, and reads
 * those marked out and inout afterwards; it never believes an in field again. The packet's
 * bytes begin at start in the window. */
struct janos_packet {
	uint64_t time_ns; /* in: the router's time in nanoseconds, one reading per batch */
	uint64_t random; /* in: fresh pseudo-random bits; not for secrets */
	uint32_t input; /* in: number of the input that it came by */
	uint32_t length; /* in: bytes of the packet */
	uint32_t captured; /* in: how many of them are in the window */
	uint32_t start; /* in: offset of its first byte in the window; this is headroom */
	uint32_t transport; /* in: offset of its transport header in the window, or 0xffffffff if it has none */
	uint32_t network; /* inout: offset of its network header in the window, or 0xffffffff if it has none */
	uint32_t dst; /* inout: destination annotation (next hop), an IPv4 address as a number, 0 for none */
	uint32_t aggregate; /* inout: aggregate annotation */
	uint32_t paint; /* inout: paint annotation, 0 to 255 */
	uint32_t out_start; /* out: offset in the window of the first byte of what goes on; the host presets it to start */
	uint32_t out_length; /* out: bytes of what goes on; the host presets it to length. An element that sees everything may grow the packet to the end of the window, one that does not may only take bytes away at the front: out_start + out_length then stays start + length */
	uint32_t reserved; /* out: zero */
};
_Static_assert(sizeof(struct janos_packet) == 64, "janos_element.h: struct janos_packet has a wrong size");

/* The arguments that follow the file's name in the configuration, filled in before the call
 * of configure. The arguments follow the record, each ends with a zero byte. */
struct janos_config {
	uint32_t count; /* in: number of arguments */
	uint32_t length; /* in: bytes of all of them, with their zero bytes */
};
_Static_assert(sizeof(struct janos_config) == 8, "janos_element.h: struct janos_config has a wrong size");

/* One of the element's counters, which handlers show. The host reads them between packets
 * and never writes them. */
struct janos_counter {
	uint64_t value; /* the count */
	uint8_t name[24]; /* name, printable ASCII without spaces, zero padded; empty shows its number */
};
_Static_assert(sizeof(struct janos_counter) == 32, "janos_element.h: struct janos_counter has a wrong size");

#define JANOS_DROP_PACKET (-1)
#define JANOS_NONE 0xffffffffu

/* JANOS_ELEMENT(name, inputs, outputs, capacity, ...) defines what every element exports: the manifest, the
 * packet record and the window. name is a string of at most 31 characters, capacity the bytes of the window with its
 * headroom, and what follows are designated initialisers of the manifest:
 *
 *     JANOS_ELEMENT("count", 1, 1, 64, .window_min = 20)
 *     JANOS_ELEMENT("tunnel", 1, 2, 2048, .headroom = 64, .flags = JANOS_WRITES)
 *
 * Afterwards janos_packet and janos_window are ordinary variables, and the element is
 *
 *     JANOS_PACKET { return 0; }
 */
#define JANOS_ELEMENT(element_name, in, out, capacity, ...) \
	__attribute__((used, visibility("default"))) const struct janos_element janos_element = { \
		.size = sizeof(struct janos_element), .abi = JANOS_ELEMENT_ABI, .window_size = (capacity), \
		.inputs = (in), .outputs = (out), .name = element_name, __VA_ARGS__ }; \
	__attribute__((used, visibility("default"))) struct janos_packet janos_packet __attribute__((aligned(8))); \
	__attribute__((used, visibility("default"))) uint8_t janos_window[((capacity) + 7) & ~7] __attribute__((aligned(8)));

/* JANOS_ARGUMENTS(bytes) makes room for the arguments; .config_size = bytes goes into the manifest. */
#define JANOS_ARGUMENTS(bytes) \
	__attribute__((used, visibility("default"))) \
	struct { struct janos_config c; char text[((bytes) + 7) & ~7]; } janos_config __attribute__((aligned(8)));

/* JANOS_COUNTERS(n) makes the array janos_counters; .counters = n goes into the manifest. */
#define JANOS_COUNTERS(n) \
	__attribute__((used, visibility("default"))) struct janos_counter janos_counters[n] __attribute__((aligned(8)));

/* JANOS_CONFIGURE begins the function that looks at the arguments, JANOS_PACKET the one that is called once for every packet. */
#define JANOS_CONFIGURE __attribute__((export_name("configure"))) int32_t configure(void)
#define JANOS_PACKET __attribute__((export_name("evaluate"))) int32_t evaluate(void)

extern const struct janos_element janos_element;
extern struct janos_packet janos_packet;
extern uint8_t janos_window[];

/* janos_data is where the packet's first byte is: janos_packet.start, which is always the headroom, known to the compiler. */
static inline uint8_t *janos_data(void) { return janos_window + janos_element.headroom; }

/* Numbers in a packet are in network order. Offsets count from the packet's first byte and are not checked: stay below
 * window_min, or look at janos_packet.captured. */
static inline uint32_t janos_get32(uint32_t offset)
{
	uint32_t v;
	__builtin_memcpy(&v, janos_data() + offset, 4);
	return __builtin_bswap32(v);
}

static inline void janos_put32(uint32_t offset, uint32_t v)
{
	v = __builtin_bswap32(v);
	__builtin_memcpy(janos_data() + offset, &v, 4);
}

static inline uint16_t janos_get16(uint32_t offset)
{
	uint16_t v;
	__builtin_memcpy(&v, janos_data() + offset, 2);
	return __builtin_bswap16(v);
}

static inline void janos_put16(uint32_t offset, uint16_t v)
{
	v = __builtin_bswap16(v);
	__builtin_memcpy(janos_data() + offset, &v, 2);
}

static inline uint8_t janos_get8(uint32_t offset) { return janos_data()[offset]; }
static inline void janos_put8(uint32_t offset, uint8_t v) { janos_data()[offset] = v; }

/* janos_network is the offset of the network header from the packet's first byte, or JANOS_NONE. */
static inline uint32_t janos_network(void)
{
	return janos_packet.network == JANOS_NONE ? JANOS_NONE : janos_packet.network - janos_element.headroom;
}

/* janos_push makes n bytes before the packet part of it and returns whether there is headroom; janos_pull takes n bytes away. Both say where the
 * packet that goes on begins, and leave the offsets of the functions above as they were. */
static inline int janos_push(uint32_t n)
{
	if (n > janos_packet.out_start)
		return 0;
	janos_packet.out_start -= n;
	janos_packet.out_length += n;
	return 1;
}

static inline int janos_pull(uint32_t n)
{
	if (n > janos_packet.out_length)
		return 0;
	janos_packet.out_start += n;
	janos_packet.out_length -= n;
	return 1;
}

/* janos_argument returns the n-th argument, from 0, or a null pointer. It needs JANOS_ARGUMENTS. */
#define janos_argument(n) janos_argument_in(&janos_config.c, janos_config.text, (n))
static inline const char *janos_argument_in(const struct janos_config *c, const char *text, uint32_t n)
{
	if (n >= c->count)
		return 0;
	for (uint32_t i = 0; i < n; text++)
		i += *text == 0;
	return text;
}

/* janos_number reads a decimal number up to the first other byte and moves *text there; -1 if there is none or it is above 2^31 - 1. */
static inline int32_t janos_number(const char **text)
{
	const char *s = *text;
	uint32_t v = 0;
	if (*s < '0' || *s > '9')
		return -1;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (v > 214748364u || (v == 214748364u && *s > '7'))
			return -1;
		v = 10 * v + (uint32_t)(*s - '0');
	}
	*text = s;
	return (int32_t)v;
}

/* janos_address reads an IPv4 address in dots and moves *text behind it; 0 if there is none. */
static inline int janos_address(const char **text, uint32_t *address)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		if (i > 0 && *(*text)++ != '.')
			return 0;
		int32_t part = janos_number(text);
		if (part < 0 || part > 255)
			return 0;
		v = v << 8 | (uint32_t)part;
	}
	*address = v;
	return 1;
}

#endif /* JANOS_ELEMENT_H */
