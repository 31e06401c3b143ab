package standard

import (
	"fmt"
	"math"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RandomBitErrors", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &RandomBitErrors{} },
		Doc: click.Doc{
			Group: "standard", Title: "changes bits of packets at random",
			Args:     []string{"P: Probability for each bit.", "KIND: flip, the default, set or clear.", "ACTIVE: Default true."},
			Handlers: []string{"p_bit_error (rw): The P argument.", "error_kind (rw): The KIND argument.", "active (rw): The ACTIVE argument.", "drops (r): Packets for which there was no memory."},
			Example:  "... -> RandomBitErrors(0.0001) -> ...;", See: []string{"RandomSample"},
		},
	})
}

// RandomBitErrors changes bits.
type RandomBitErrors struct {
	click.Base
	p      float64
	kind   string
	active bool
	skip   int // bits until the next change
}

func (e *RandomBitErrors) setKind(s string, _ *click.Args) error {
	switch k := lang.Unquote(s); k {
	case "flip", "set", "clear":
		e.kind = k
		return nil
	}
	return fmt.Errorf("expected flip, set or clear, not '%s'", s)
}

// Configure implements click.Element.
func (e *RandomBitErrors) Configure(a *click.Args) {
	e.kind, e.active, e.skip = "flip", true, -1
	a.Parse(click.Must("P", click.Fraction(&e.p)), click.May("KIND", e.setKind), click.May("ACTIVE", click.Bool(&e.active)))
}

// draw decides how many bits remain as they are: the distances between changes have a geometric distribution.
func (e *RandomBitErrors) draw() {
	if e.p >= 1 {
		e.skip = 0
		return
	}
	e.skip = int(min(math.Log(1-e.Rand().Float64())/math.Log1p(-e.p), 1<<40))
}

// Act implements click.Actor.
func (e *RandomBitErrors) Act(b *packet.Batch) {
	if !e.active || e.p == 0 {
		return
	}
	if e.skip < 0 {
		e.draw()
	}
	b.Keep(func(p *packet.Packet) bool {
		n := 8 * p.Len()
		if e.skip >= n {
			e.skip -= n
			return true
		}
		if !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		d := p.Data()
		for e.skip < n {
			bit := byte(0x80) >> (e.skip % 8)
			switch at := &d[e.skip/8]; e.kind {
			case "flip":
				*at ^= bit
			case "set":
				*at |= bit
			default:
				*at &^= bit
			}
			last := e.skip
			e.draw()
			e.skip += last + 1
		}
		e.skip -= n
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *RandomBitErrors) AddHandlers(h *click.Handlers) {
	h.Value("p_bit_error", func() string { return strconv.FormatFloat(e.p, 'g', -1, 64) }, after(click.Fraction(&e.p), func() { e.skip = -1 }))
	h.Value("error_kind", func() string { return e.kind }, e.setKind)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
