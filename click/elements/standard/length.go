package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Pad", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Pad{} },
		Doc: click.Doc{
			Group: "standard", Title: "makes packets at least so long",
			Text:     "Without LENGTH a packet gets back the bytes that its extra length annotation counts, as Truncate leaves it. The annotation is zero afterwards. Packets without room are dropped.",
			Args:     []string{"LENGTH: Least length.", "ZERO: Whether the new bytes are zero; else they are what the memory holds; default true."},
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> Pad(60) -> ToDevice(eth0);", See: []string{"Truncate", "Resize"},
		},
	})
	click.Register(click.Class{
		Name: "Resize", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Resize{} },
		Doc: click.Doc{
			Group: "standard", Title: "adds or removes bytes at both ends of packets",
			Text:     "What new bytes hold is not defined. Packets without room, and those that are shorter than what is to be removed, are dropped.",
			Args:     []string{"HEAD: Bytes to add in front; a negative number removes.", "TAIL: Bytes to add at the end; a negative number removes."},
			Handlers: []string{"drops (r): Packets without room or too short."}, Example: "... -> Resize(-14, 4) -> ...;", See: []string{"Strip", "Unstrip", "Truncate"},
		},
	})
	click.Register(click.Class{
		Name: "CheckLength", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckLength{} },
		Doc: click.Doc{
			Group: "standard", Title: "lets packets up to a length pass",
			Text:     "Longer ones go to output 1, or are dropped without one.",
			Args:     []string{"LENGTH: Most bytes.", "EXTRA_LENGTH: Whether bytes count that the packet had on the wire and has no more (the extra length annotation); default false."},
			Handlers: []string{"length (rw): The LENGTH argument.", "drops (r): Longer packets that had nowhere to go."}, Example: "... -> CheckLength(1500) -> ...;", See: []string{"Truncate"},
		},
	})
	click.Register(click.Class{
		Name: "Align", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Align{} },
		Doc: click.Doc{
			Group: "standard", Title: "aligns the data of packets in memory",
			Text:     "The first byte is then OFFSET bytes behind a multiple of MODULUS, which moves the data where it is not so already. No element here needs it; tools insert it for Click.",
			Args:     []string{"MODULUS: 2, 4 or 8.", "OFFSET: Less than MODULUS."},
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> Align(4, 2) -> ...;", See: []string{"AlignmentInfo"},
		},
	})
}

// Pad makes packets longer.
type Pad struct {
	click.Base
	length int
	zero   bool
}

// Configure implements click.Element.
func (e *Pad) Configure(a *click.Args) {
	e.length, e.zero = -1, true
	a.Parse(click.May("LENGTH", click.IntRange(&e.length, 0, 1<<16)), click.Key("ZERO", click.Bool(&e.zero)))
}

// Act implements click.Actor.
func (e *Pad) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		n := e.length - p.Len()
		if e.length < 0 {
			n = int(click.ExtraLength(p))
		}
		click.SetExtraLength(p, 0)
		if n <= 0 {
			return true
		}
		if n > p.Tailroom() || !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		d := p.Put(n)
		if e.zero {
			clear(d[len(d)-n:])
		}
		return true
	})
}

// Resize changes both ends.
type Resize struct {
	click.Base
	head, tail int
}

// Configure implements click.Element.
func (e *Resize) Configure(a *click.Args) {
	a.Parse(click.Must("HEAD", click.IntRange(&e.head, -1<<16, 1<<16)), click.Must("TAIL", click.IntRange(&e.tail, -1<<16, 1<<16)))
}

// Reconfigure implements click.Reconfigurer.
func (e *Resize) Reconfigure(from click.Element) error {
	o := from.(*Resize)
	e.head, e.tail = o.head, o.tail
	return nil
}

// Act implements click.Actor.
func (e *Resize) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		ok := p.Len()+min(e.head, 0)+min(e.tail, 0) >= 0 && p.Headroom() >= e.head && p.Tailroom() >= e.tail
		if ok && (e.head > 0 || e.tail > 0) {
			ok = e.Cache().Unshare(p) // the new bytes are to be written to
		}
		if !ok {
			e.DropOne(p)
			return false
		}
		if e.head < 0 {
			p.Pull(-e.head)
		} else {
			p.Push(e.head)
		}
		if e.tail < 0 {
			p.Take(-e.tail)
		} else {
			p.Put(e.tail)
		}
		return true
	})
}

// CheckLength sorts by length.
type CheckLength struct {
	click.Base
	length int
	extra  bool
}

// Configure implements click.Element.
func (e *CheckLength) Configure(a *click.Args) {
	a.Parse(click.Must("LENGTH", click.IntRange(&e.length, 0, 1<<31)), click.Key("EXTRA_LENGTH", click.Bool(&e.extra)))
}

// Reconfigure implements click.Reconfigurer.
func (e *CheckLength) Reconfigure(from click.Element) error {
	o := from.(*CheckLength)
	e.length, e.extra = o.length, o.extra
	return nil
}

// Act implements click.Actor.
func (e *CheckLength) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		n := p.Len()
		if e.extra {
			n += int(click.ExtraLength(p))
		}
		if n > e.length {
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckLength) AddHandlers(h *click.Handlers) {
	h.Keyword("length", "LENGTH", func() string { return strconv.Itoa(e.length) })
}

// Align moves data.
type Align struct {
	click.Base
	modulus, offset int
}

// Configure implements click.Element.
func (e *Align) Configure(a *click.Args) {
	if !a.Parse(click.Must("MODULUS", click.IntRange(&e.modulus, 2, 8)), click.Must("OFFSET", click.IntRange(&e.offset, 0, 7))) {
		return
	}
	if e.modulus&(e.modulus-1) != 0 {
		a.Errorf("MODULUS: must be 2, 4 or 8")
	} else if e.offset >= e.modulus {
		a.Errorf("OFFSET: must be less than MODULUS")
	}
}

// Act implements click.Actor. Frames begin at multiples of 8 bytes, so the room in front of the data says where it is.
func (e *Align) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		up := (e.offset - p.Headroom()) & (e.modulus - 1) // bytes towards the end
		if up == 0 {
			return true
		}
		n, down := p.Len(), e.modulus-up
		if up > p.Tailroom() && down > p.Headroom() || !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		mac, hasMAC := p.MACOffset()
		network, hasNetwork := p.NetworkOffset()
		transport, hasTransport := p.TransportOffset()
		if up <= p.Tailroom() {
			p.Put(up)
			d := p.Data()
			copy(d[up:], d[:n])
			p.Pull(up)
		} else {
			p.Push(down)
			d := p.Data()
			copy(d, d[down:])
			p.Take(down)
		}
		p.ClearHeaders() // one in front of the data has not moved with it
		if hasMAC && mac >= 0 {
			p.SetMAC(mac)
		}
		if hasNetwork && network >= 0 {
			p.SetNetwork(network)
		}
		if hasTransport && transport >= 0 {
			p.SetTransport(transport)
		}
		return true
	})
}
