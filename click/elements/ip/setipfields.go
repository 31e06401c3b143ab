package ip

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "SetIPDSCP", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIPDSCP{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the differentiated services code point",
			Text: "The checksum is updated. Packets without a marked IP header are dropped.",
			Args: []string{"DSCP: 0 to 63, the upper six bits of the type of service."}, Handlers: []string{"dscp (rw): The DSCP argument.", "drops (r): Packets dropped."},
			Example: "... -> SetIPDSCP(46) -> ...;", See: []string{"SetIPECN"},
		},
	})
	click.Register(click.Class{
		Name: "SetIPECN", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIPECN{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the congestion notification bits",
			Text: "The checksum is updated. Packets without a marked IP header are dropped.",
			Args: []string{"ECN: 0 to 3, or no, ect1 or ECT(1), ect2 or ECT(0), ce or CE (RFC 3168)."}, Handlers: []string{"ecn (rw): The ECN argument.", "drops (r): Packets dropped."},
			Example: "... -> SetIPECN(ect1) -> ...;", See: []string{"SetIPDSCP", "MarkIPCE"},
		},
	})
	click.Register(click.Class{
		Name: "MarkIPCE", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &MarkIPCE{} },
		Doc: click.Doc{
			Group: "ip", Title: "marks packets as having met congestion",
			Text: "The congestion notification bits become 3 and the checksum is updated. Packets whose sender does not understand them (bits 0), and those without a marked IP header, are dropped.",
			Args: []string{"FORCE: Whether to mark packets with bits 0 too; default false."}, Handlers: []string{"drops (r): Packets dropped."},
			Example: "... -> RandomSample(0.1) -> MarkIPCE -> ...;", See: []string{"SetIPECN"},
		},
	})
}

// setTOS replaces the bits of mask in the type of service of p, which must be unshared and have an IP header at h, and keeps the checksum right.
func setTOS(h []byte, mask, bits byte) {
	old := binary.BigEndian.Uint16(h)
	h[1] = h[1]&^mask | bits
	binary.BigEndian.PutUint16(h[10:], demux.Update16(binary.BigEndian.Uint16(h[10:]), old, binary.BigEndian.Uint16(h)))
}

// setAllTOS does that for a batch; packets without a header are dropped.
func setAllTOS(e *click.Base, b *packet.Batch, mask, bits byte) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if len(p.Network()) < 20 || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		setTOS(p.Network(), mask, bits)
		return true
	})
}

// SetIPDSCP sets code points.
type SetIPDSCP struct {
	click.Base
	dscp int
}

func (e *SetIPDSCP) parse(s string, a *click.Args) error {
	var n int
	if err := click.Int(&n)(s, a); err != nil {
		return err
	}
	if n < 0 || n > 63 {
		return fmt.Errorf("diffserv code point out of range, must be 0 to 63")
	}
	e.dscp = n
	return nil
}

// Configure implements click.Element.
func (e *SetIPDSCP) Configure(a *click.Args) { a.Parse(click.Must("DSCP", e.parse)) }

// Act implements click.Actor.
func (e *SetIPDSCP) Act(b *packet.Batch) { setAllTOS(&e.Base, b, 0xfc, byte(e.dscp)<<2) }

// AddHandlers implements click.HandlerAdder.
func (e *SetIPDSCP) AddHandlers(h *click.Handlers) {
	h.Value("dscp", func() string { return strconv.Itoa(e.dscp) }, e.parse)
}

// SetIPECN sets congestion notification bits.
type SetIPECN struct {
	click.Base
	ecn  byte
	text string
}

var ecnNames = map[string]byte{
	"0": 0, "1": 1, "2": 2, "3": 3, "no": 0, "ect1": 1, "ECT(1)": 1, "ect2": 2, "ECT(0)": 2, "ce": 3, "CE": 3,
}

func (e *SetIPECN) parse(s string, _ *click.Args) error {
	t := strings.TrimSpace(lang.Unquote(s))
	n, ok := ecnNames[t]
	if !ok {
		return fmt.Errorf("expected 0 to 3, no, ect1, ect2 or ce, not '%s'", s)
	}
	e.ecn, e.text = n, t
	return nil
}

// Configure implements click.Element.
func (e *SetIPECN) Configure(a *click.Args) { a.Parse(click.Must("ECN", e.parse)) }

// Act implements click.Actor.
func (e *SetIPECN) Act(b *packet.Batch) { setAllTOS(&e.Base, b, 3, e.ecn) }

// AddHandlers implements click.HandlerAdder.
func (e *SetIPECN) AddHandlers(h *click.Handlers) {
	h.Value("ecn", func() string { return e.text }, e.parse)
}

// MarkIPCE marks packets as having met congestion.
type MarkIPCE struct {
	click.Base
	force bool
}

// Configure implements click.Element.
func (e *MarkIPCE) Configure(a *click.Args) { a.Parse(click.May("FORCE", click.Bool(&e.force))) }

// Act implements click.Actor.
func (e *MarkIPCE) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		h := p.Network()
		if len(h) < 20 || h[1]&3 == 0 && !e.force || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		setTOS(p.Network(), 3, 3)
		return true
	})
}
