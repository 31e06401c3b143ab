package ip6

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IP6Print", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &IP6Print{} },
		Doc: click.Doc{
			Group: "ip6", Title: "prints IPv6 packets",
			Text: "A line has the label, addresses, payload length, protocol, hop limit, traffic class and flow label, and what TCP, UDP and ICMPv6 begin with. Packets whose network header is not marked are not printed. " +
				"It is for looking, not for the fast path: it writes to the router's output, standard error as a rule.",
			Args: []string{
				"TAG: Begins each line.", "NBYTES: Bytes of contents to print; default 1500.", "CONTENTS: Whether to print the packet's bytes in hexadecimal; default false.",
				"TIMESTAMP: Whether to print the timestamp annotation; default false.", "ACTIVE: Whether to print; default true.",
			},
			Handlers: []string{"active (rw): The ACTIVE argument."}, Example: "... -> CheckIP6Header -> IP6Print(in) -> ...;", See: []string{"IPPrint", "CheckIP6Header"},
		},
	})
}

// IP6Print prints packets.
type IP6Print struct {
	click.Base
	label            string
	most             int
	contents, stamps bool
	active           bool
	buf              []byte
}

// Configure implements click.Element.
func (e *IP6Print) Configure(a *click.Args) {
	e.most, e.active = 1500, true
	a.Parse(click.May("TAG", click.String(&e.label)), click.May("NBYTES", click.IntRange(&e.most, 0, 1<<16)), click.May("CONTENTS", click.Bool(&e.contents)),
		click.Key("TIMESTAMP", click.Bool(&e.stamps)), click.Key("ACTIVE", click.Bool(&e.active)))
}

// Act implements click.Actor.
func (e *IP6Print) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	for _, p := range b.Packets() {
		d := p.Network()
		if d == nil {
			continue
		}
		o := e.buf[:0]
		if e.label != "" {
			o = append(append(o, e.label...), ": "...)
		}
		if e.stamps {
			o = append(click.AppendTime(o, e.Router().WallOf(p.Anno.Time)), ": "...)
		}
		if h := header(p); h != nil {
			o = describe(o, h)
		} else {
			o = append(o, "no-ip6"...)
		}
		if d = d[:min(len(d), e.most)]; e.contents {
			for i := range d {
				switch {
				case i%24 == 0:
					o = append(o, "\n  "...)
				case i%4 == 0:
					o = append(o, ' ')
				}
				o = hex.AppendEncode(o, d[i:i+1])
			}
		}
		e.buf = append(o, '\n')
		_, _ = e.Output().Write(e.buf)
	}
}

func number(o []byte, name string, n int) []byte {
	return strconv.AppendInt(append(o, name...), int64(n), 10)
}

// describe appends what headers say.
func describe(o, h []byte) []byte {
	o = src(h).AppendTo(o)
	o = dst(h).AppendTo(append(o, " > "...))
	proto, at, there, ok := upper(h)
	o = number(o, ": plen ", int(binary.BigEndian.Uint16(h[4:])))
	o = number(o, " next ", int(proto))
	o = number(o, " hlim ", int(h[7]))
	if c := h[0]<<4 | h[1]>>4; c != 0 {
		o = number(o, " class ", int(c))
	}
	if f := binary.BigEndian.Uint32(h) & 0xfffff; f != 0 {
		o = number(o, " flow ", int(f))
	}
	switch {
	case !ok:
		return append(o, " truncated-ip6"...)
	case !there:
		return append(o, " fragment"...)
	}
	t := h[min(at, len(h)):]
	switch proto {
	case protoTCP, protoUDP:
		name := " tcp "
		if proto == protoUDP {
			name = " udp "
		}
		if len(t) < 4 {
			return append(append(o, name...), "truncated"...)
		}
		o = number(o, name, int(binary.BigEndian.Uint16(t)))
		return number(o, " > ", int(binary.BigEndian.Uint16(t[2:])))
	case protoICMP6:
		if len(t) < 2 {
			return append(o, " icmp6 truncated"...)
		}
		o = number(o, " icmp6 type ", int(t[0]))
		return number(o, " code ", int(t[1]))
	}
	return o
}

// AddHandlers implements click.HandlerAdder.
func (e *IP6Print) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
