package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Bypass", Ports: "1-2/1-2", Processing: "a/a", New: func() click.Element { return &Bypass{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets a second way while it is active",
			Text: "While active, it pushes packets of input 0 to output 1 instead of output 0, or pulls from input 1 instead of input 0 for output 0. " +
				"The other pair of ports leads back: packets pushed to input 1 go to output 0, and what is pulled from output 1 comes from input 0. An active Bypass without the second port works as an inactive one.\n\n" +
				"A batch costs one call, active or not.",
			Args:     []string{"ACTIVE: Default false.", "INLINE: Whether packets go through the element even if a connection could be moved past it. They do in any case; accepted for configurations written for Click."},
			Handlers: []string{"active (rw): The ACTIVE argument."},
			Example:  "a -> b :: Bypass -> Discard; b[1] -> Print -> [1]b;", See: []string{"Switch", "PullSwitch", "Null"},
		},
	})
}

// Bypass is a switch for a detour.
type Bypass struct {
	click.Base
	active bool
}

// Configure implements click.Element.
func (e *Bypass) Configure(a *click.Args) {
	var inline bool
	a.Parse(click.May("ACTIVE", click.Bool(&e.active)), click.Key("INLINE", click.Bool(&inline)))
}

// Reconfigure implements click.Reconfigurer.
func (e *Bypass) Reconfigure(from click.Element) error {
	e.active = from.(*Bypass).active
	return nil
}

// Push implements click.Pusher.
func (e *Bypass) Push(port int, b *packet.Batch) {
	if port == 0 && e.active && e.Outputs() > 1 {
		e.Forward(1, b)
		return
	}
	e.Forward(0, b)
}

// Pull implements click.Puller.
func (e *Bypass) Pull(port int, b *packet.Batch, n int) {
	if port == 0 && e.active && e.Inputs() > 1 {
		e.In(1).Pull(b, n)
		return
	}
	e.In(0).Pull(b, n)
}

// AddHandlers implements click.HandlerAdder.
func (e *Bypass) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
