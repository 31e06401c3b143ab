package analysis

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ToDump", Ports: "1/0-1", Processing: "a", New: func() click.Element { return &ToDump{} },
		Doc: click.Doc{
			Group: "analysis", Title: "writes packets to a capture",
			Text: "The format is pcap, which tcpdump and FromDump read. A name that ends in .gz is compressed. Packets without a timestamp get the present time. With an output, packets go on; as a pull element without one it pulls itself. At most one of ENCAP and USE_ENCAP_FROM may be given.",
			Args: []string{
				"FILENAME: Where to write; a dash is standard output.", "SNAPLEN: Most bytes of a packet to write, 0 for all; default 2000.",
				"ENCAP: What packets begin with: ETHER, IP, FDDI, ATM, 802_11, SLL, AIRONET, HDLC, PPP_HDLC, PPP, SUNATM, PRISM, NULL, or the number of a link type; default ETHER.",
				"USE_ENCAP_FROM: Elements, apart by spaces, whose encap handlers say it, and must agree.", "EXTRA_LENGTH: Whether the extra length annotation counts for the length on the wire; default true.",
				"UNBUFFERED: Whether each packet is written at once; default false.", "NANO: Whether timestamps are in nanoseconds, not microseconds; default false.",
			},
			Handlers: []string{"count (r): Packets written.", "reset_counts (w): Makes the count 0.", "filename (r): The FILENAME argument.", "flush (w): Writes what waits in memory."},
			Example:  "FromDevice(eth0) -> ToDump(eth0.pcap) -> Discard;", See: []string{"FromDump", "ToIPSummaryDump"},
		},
	})
}

// Encapper is an element that knows what its packets begin with, as ToDump's ENCAP names it. Encap may be called in Initialize, of others too.
type Encapper interface{ Encap() (string, error) }

// ToDump writes packets to a capture.
type ToDump struct {
	click.Base
	file                   string
	snap                   int
	link                   layers.LinkType
	from                   []Encapper
	more, unbuffered, nano bool

	out    outFile
	w      *pcapgo.Writer
	count  uint64
	intake *click.Intake
}

// Configure implements click.Element.
func (e *ToDump) Configure(a *click.Args) {
	e.snap, e.link, e.more = 2000, 1, true
	var named bool
	encap := func(s string, _ *click.Args) error {
		l, ok := parseEncap(s)
		if !ok {
			return fmt.Errorf("'%s' is no encapsulation", s)
		}
		e.link = l
		return nil
	}
	from := ""
	a.Parse(click.Must("FILENAME", click.String(&e.file)), click.May("SNAPLEN", click.IntRange(&e.snap, 0, 1<<30)), click.May("ENCAP", encap).Given(&named), click.Key("USE_ENCAP_FROM", click.String(&from)),
		click.Key("EXTRA_LENGTH", click.Bool(&e.more)), click.Key("UNBUFFERED", click.Bool(&e.unbuffered)), click.Key("NANO", click.Bool(&e.nano)))
	if from != "" && named {
		a.Errorf("at most one of ENCAP and USE_ENCAP_FROM may be given")
	}
	for _, name := range strings.Fields(from) {
		if el, ok := a.Element(name).(Encapper); ok {
			e.from = append(e.from, el)
		} else {
			a.Errorf("USE_ENCAP_FROM: '%s' is no element that says what packets begin with", name)
		}
	}
}

// Initialize implements click.Initializer.
func (e *ToDump) Initialize() error {
	for i, el := range e.from {
		s, err := el.Encap()
		if err != nil {
			return fmt.Errorf("USE_ENCAP_FROM: %w", err)
		}
		l, ok := parseEncap(s)
		switch {
		case !ok:
			return fmt.Errorf("USE_ENCAP_FROM: '%s' is no encapsulation", s)
		case i > 0 && l != e.link:
			return fmt.Errorf("USE_ENCAP_FROM: one says %s, and another %s", encapName(e.link), encapName(l))
		}
		e.link = l
	}
	if err := e.out.open(&e.Base, e.file); err != nil {
		return err
	}
	if e.nano {
		e.w = pcapgo.NewWriterNanos(e.out)
	} else {
		e.w = pcapgo.NewWriter(e.out)
	}
	snap := uint32(e.snap)
	if snap == 0 {
		snap = 1<<18 - 1 // what readers expect of captures that are not cut
	}
	if err := e.w.WriteFileHeader(snap, e.link); err != nil {
		return err
	}
	if e.InputKind(0) == click.PullKind && e.Outputs() == 0 {
		t := e.NewTask(e.run)
		e.intake = e.NewIntake(0, t)
		t.Schedule()
	}
	return nil
}

func (e *ToDump) run() (int, bool) {
	b := e.Thread().Scratch()
	n, more := e.intake.Pull(b, 32)
	if n > 0 {
		e.Push(0, b)
	}
	e.Thread().Release(b)
	return n, more
}

// Push implements click.Pusher.
func (e *ToDump) Push(_ int, b *packet.Batch) {
	e.writeAll(b.Packets())
	if e.Outputs() > 0 {
		e.Out(0).Push(b)
		return
	}
	e.Cache().FreeBatch(b)
}

// Pull implements click.Puller.
func (e *ToDump) Pull(_ int, b *packet.Batch, n int) {
	had := b.Len()
	e.In(0).Pull(b, n)
	e.writeAll(b.Packets()[had:])
}

func (e *ToDump) writeAll(ps []*packet.Packet) {
	for _, p := range ps {
		at := p.Anno.Time
		if at == 0 {
			at = e.Now()
		}
		d := p.Data()
		length := len(d)
		if e.more {
			length += int(min(click.ExtraLength(p), 1<<30))
		}
		if e.snap > 0 && len(d) > e.snap {
			d = d[:e.snap]
		}
		if err := e.w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, e.Router().WallOf(at)), CaptureLength: len(d), Length: length}, d); err != nil {
			e.out.report(&e.Base, err)
			continue
		}
		e.count++
		if e.unbuffered {
			e.out.report(&e.Base, e.out.Flush())
		}
	}
	if e.out.shared {
		e.out.report(&e.Base, e.out.Flush())
	}
}

// Cleanup implements click.Cleaner.
func (e *ToDump) Cleanup() {
	e.out.report(&e.Base, e.out.close())
}

// AddHandlers implements click.HandlerAdder.
func (e *ToDump) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Write("reset_counts", func(string) error {
		e.count = 0
		return nil
	})
	h.Read("filename", func() string { return e.file })
	h.Write("flush", func(string) error { return e.out.Flush() })
}
