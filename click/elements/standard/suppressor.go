package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Suppressor", Ports: "1-/=", Processing: "a/a", Flow: "#/#", New: func() click.Element { return &Suppressor{} },
		Doc: click.Doc{
			Group: "standard", Title: "passes packets from each input to the output of the same number, or not",
			Text:     "Packets that are pushed to an input that is not active are dropped; from its output nothing can be pulled.",
			Handlers: []string{"active0 (rw): Whether the first pair of ports is active; there is one handler for each pair.", "reset (w): Makes all active.", "drops (r): Packets pushed to inputs that were not active."},
			Example:  "a, b => s :: Suppressor => c, d;", See: []string{"Switch"},
		},
	})
}

// Suppressor closes ports.
type Suppressor struct {
	click.Base
	closed []bool
}

// Configure implements click.Element.
func (e *Suppressor) Configure(a *click.Args) {
	a.Parse()
	e.closed = make([]bool, e.Inputs())
}

// Push implements click.Pusher.
func (e *Suppressor) Push(port int, b *packet.Batch) {
	if e.closed[port] {
		e.Drop(b)
		return
	}
	e.Forward(port, b)
}

// Pull implements click.Puller.
func (e *Suppressor) Pull(port int, b *packet.Batch, n int) {
	if !e.closed[port] {
		e.In(port).Pull(b, n)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Suppressor) AddHandlers(h *click.Handlers) {
	for i := range e.closed {
		h.Value("active"+strconv.Itoa(i), func() string { return strconv.FormatBool(!e.closed[i]) }, func(s string, a *click.Args) error {
			on := false
			if err := click.Bool(&on)(s, a); err != nil {
				return err
			}
			e.closed[i] = !on
			return nil
		})
	}
	h.Write("reset", func(string) error { clear(e.closed); return nil })
}
