package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RandomSample", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &RandomSample{} },
		Doc: click.Doc{
			Group: "standard", Title: "lets a random part of the packets pass",
			Text:     "The others go to output 1 if that is connected. The random numbers come from the router's seed.",
			Args:     []string{"P: Probability that a packet passes.", "SAMPLE: The same as P.", "DROP: Probability that it does not.", "ACTIVE: If false, all packets pass; default true."},
			Handlers: []string{"sampling_prob (rw): P.", "drop_prob (rw): 1 - P.", "active (rw): The ACTIVE argument.", "drops (r): Packets that did not pass and had nowhere to go."},
			Example:  "... -> RandomSample(DROP 1%) -> ...;", See: []string{"Link"},
		},
	})
}

// RandomSample drops at random.
type RandomSample struct {
	click.Base
	pass   float64
	active bool
}

func (e *RandomSample) drop(s string, a *click.Args) error {
	var d float64
	if err := click.Fraction(&d)(s, a); err != nil {
		return err
	}
	e.pass = 1 - d
	return nil
}

// Configure implements click.Element.
func (e *RandomSample) Configure(a *click.Args) {
	e.active = true
	var p, s, d bool
	a.Parse(click.May("P", click.Fraction(&e.pass)).Given(&p), click.Key("SAMPLE", click.Fraction(&e.pass)).Given(&s),
		click.Key("DROP", e.drop).Given(&d), click.Key("ACTIVE", click.Bool(&e.active)))
	if n := map[bool]int{true: 1}; n[p]+n[s]+n[d] != 1 {
		a.Errorf("exactly one of P, SAMPLE and DROP is needed")
	}
}

// Act implements click.Actor.
func (e *RandomSample) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	r := e.Rand()
	b.Keep(func(p *packet.Packet) bool {
		if r.Float64() >= e.pass {
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *RandomSample) AddHandlers(h *click.Handlers) {
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	h.Value("sampling_prob", func() string { return f(e.pass) }, click.Fraction(&e.pass))
	h.Value("drop_prob", func() string { return f(1 - e.pass) }, e.drop)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
