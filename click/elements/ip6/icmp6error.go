package ip6

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ICMP6Error", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &ICMP6Error{} },
		Doc: click.Doc{
			Group: "ip6", Title: "answers packets with ICMPv6 errors",
			Text: "Each packet is replaced by an error to its source, which quotes as much of it as fits into 1280 bytes (RFC 4443). There are none about ICMPv6 errors and redirects, fragments other than the first, " +
				"packets from multicast addresses or none, and, except for toobig and a parameter problem of code 2, packets to multicast addresses or that came as link-level broadcast; those are dropped. " +
				"The destination annotation is set to the error's destination.",
			Args: []string{
				"IP6ADDR: Source address of the errors.", "TYPE: unreachable, toobig, timeexceeded, parameterproblem, or a number below 128.",
				"CODE: noroute, prohibited, scope, address, port, policy, reject; transit, reassembly; header, nextheader, option; or a number; default 0.",
				"MTU: What toobig errors tell; default 1280.", "POINTER: What parameter problems tell: the place of the mistake in bytes; default 0.",
			},
			Handlers: []string{"count (r): Errors sent.", "src (rw): The IP6ADDR argument.", "mtu (rw): The MTU argument.", "drops (r): Packets that get no error."},
			Example:  "h[1] -> ICMP6Error(2001:db8::1, timeexceeded, transit) -> rt;", See: []string{"DecIP6HLIM", "ICMPError"},
		},
	})
}

const (
	toobig           = 2
	parameterproblem = 4
	redirect         = 137
	minMTU           = 1280 // RFC 8200 section 5
)

var errorTypes = map[string]int{"unreachable": 1, "toobig": toobig, "timeexceeded": 3, "parameterproblem": parameterproblem}

var errorCodes = map[int]map[string]int{
	1:                {"noroute": 0, "prohibited": 1, "scope": 2, "address": 3, "port": 4, "policy": 5, "reject": 6},
	3:                {"transit": 0, "reassembly": 1},
	parameterproblem: {"header": 0, "nextheader": 1, "option": 2},
}

// ICMP6Error makes ICMPv6 errors.
type ICMP6Error struct {
	click.Base
	src       netip.Addr
	typ, code int
	mtu       int
	pointer   int
	count     uint64
}

// Configure implements click.Element.
func (e *ICMP6Error) Configure(a *click.Args) {
	e.mtu = minMTU
	named := func(p *int, top int, names func() map[string]int) click.Value {
		return func(s string, a *click.Args) error {
			if n, ok := names()[lang.Unquote(s)]; ok {
				*p = n
				return nil
			}
			if _, err := strconv.Atoi(s); err != nil {
				return fmt.Errorf("unknown name '%s'", s)
			}
			return click.IntRange(p, 0, top)(s, a)
		}
	}
	a.Parse(click.Must("IP6ADDR", click.Addr6(&e.src)), click.Must("TYPE", named(&e.typ, 127, func() map[string]int { return errorTypes })),
		click.May("CODE", named(&e.code, 255, func() map[string]int { return errorCodes[e.typ] })),
		click.Key("MTU", click.IntRange(&e.mtu, minMTU, 1<<32-1)), click.Key("POINTER", click.IntRange(&e.pointer, 0, 1<<32-1)))
}

// answerable reports whether a packet may be answered with an error (RFC 4443 section 2.4).
func (e *ICMP6Error) answerable(p *packet.Packet, h []byte) bool {
	if h == nil || h[8] == 0xff || src(h).IsUnspecified() {
		return false
	}
	if e.typ != toobig && !(e.typ == parameterproblem && e.code == 2) && (h[24] == 0xff || p.Anno.Kind == packet.ToBroadcast || p.Anno.Kind == packet.ToMulticast) {
		return false
	}
	proto, at, there, ok := upper(h)
	switch {
	case !ok: // broken or cut: only what is certain to be no error itself
		return proto != protoICMP6
	case !there:
		return false
	case proto == protoICMP6:
		return at < len(h) && h[at] >= 128 && h[at] != redirect
	}
	return true
}

// answer makes the error about p, or nil.
func (e *ICMP6Error) answer(p *packet.Packet) *packet.Packet {
	h := header(p)
	if !e.answerable(p, h) {
		return nil
	}
	quote := min(len(h), headerLen+int(binary.BigEndian.Uint16(h[4:])), minMTU-headerLen-8)
	q := e.Cache().Alloc(e.Owner())
	if q == nil {
		return nil
	}
	d := q.Put(headerLen + 8 + quote)
	if d == nil {
		e.Cache().Free(q)
		return nil
	}
	to := src(h)
	put(d, e.src, to, protoICMP6, 255, 0)
	m := d[headerLen:]
	clear(m[:8])
	m[0], m[1] = byte(e.typ), byte(e.code)
	switch e.typ {
	case toobig:
		binary.BigEndian.PutUint32(m[4:], uint32(e.mtu))
	case parameterproblem:
		binary.BigEndian.PutUint32(m[4:], uint32(e.pointer))
	}
	copy(m[8:], h[:quote])
	binary.BigEndian.PutUint16(m[2:], sum(e.src, to, protoICMP6, m))
	q.SetNetwork(0)
	q.SetTransport(headerLen)
	q.Anno.Dst, q.Anno.Time = to, e.Now()
	return q
}

// Act implements click.Actor.
func (e *ICMP6Error) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		if q := e.answer(p); q != nil {
			b.Set(keep, q)
			keep++
			e.count++
		} else {
			e.CountDrops(1)
		}
		e.Cache().Free(p)
	}
	b.Truncate(keep)
}

// Inherit implements click.Inheritor.
func (e *ICMP6Error) Inherit(old click.Element) error {
	if o, ok := old.(*ICMP6Error); ok {
		e.count = o.count
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *ICMP6Error) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("src", func() string { return e.src.String() }, click.Addr6(&e.src))
	h.Value("mtu", func() string { return strconv.Itoa(e.mtu) }, click.IntRange(&e.mtu, minMTU, 1<<32-1))
}
