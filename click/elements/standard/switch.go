package standard

import (
	"fmt"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Switch", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Switch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to the output that is chosen at run time",
			Args:     []string{"OUTPUT: Number of the output; negative drops; default 0."},
			Handlers: []string{"switch (rw): The OUTPUT argument."},
			Example:  "... -> s :: Switch(1); s[0] -> ...; s[1] -> ...;", See: []string{"StaticSwitch", "RoundRobinSwitch", "PaintSwitch", "StrideSwitch", "HashSwitch", "RandomSwitch", "PullSwitch"},
		},
	})
	click.Register(click.Class{
		Name: "StaticSwitch", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Switch{fixed: true} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to one of its outputs",
			Args: []string{"OUTPUT: Number of the output; negative drops."}, Example: "... -> s :: StaticSwitch(1); s[0] -> ...; s[1] -> ...;", See: []string{"Switch"},
		},
	})
	click.Register(click.Class{
		Name: "InputSwitch", Ports: "-/1", Processing: "h", New: func() click.Element { return &InputSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "lets packets of one input pass and drops those of the others",
			Args:     []string{"INPUT: Number of the input; negative drops everything; default 0."},
			Handlers: []string{"switch (rw): The INPUT argument.", "drops (r): Packets of other inputs."},
			Example:  "a, b => s :: InputSwitch(1) -> ...;", See: []string{"Switch", "PullSwitch"},
		},
	})
}

// Numbers of Click's llrpc.h in their network form.
const (
	llrpcGetSwitch = 0x4004c005
	llrpcSetSwitch = 0x80044006
)

// portNumber parses the number of one of so many ports; all negative numbers are -1, no port.
func portNumber(p *int, ports int) click.Value {
	return func(s string, a *click.Args) error {
		n := 0
		if err := click.Int(&n)(s, a); err != nil {
			return err
		}
		if n >= ports {
			return fmt.Errorf("%d is out of range, must be -1 to %d", n, ports-1)
		}
		*p = max(n, -1)
		return nil
	}
}

// Switch sends packets to one output.
type Switch struct {
	click.Base
	output int
	fixed  bool
}

func (e *Switch) value() click.Value { return portNumber(&e.output, e.Outputs()) }

// Configure implements click.Element.
func (e *Switch) Configure(a *click.Args) {
	if e.fixed {
		a.Parse(click.Must("OUTPUT", e.value()))
		return
	}
	a.Parse(click.May("OUTPUT", e.value()))
}

// Reconfigure implements click.Reconfigurer.
func (e *Switch) Reconfigure(from click.Element) error {
	e.output = from.(*Switch).output
	return nil
}

// Push implements click.Pusher.
func (e *Switch) Push(_ int, b *packet.Batch) {
	if e.output < 0 {
		e.Drop(b)
		return
	}
	e.Forward(e.output, b)
}

// LLRPC implements control.LLRPC: it reads and sets the output.
func (e *Switch) LLRPC(n uint32, data []byte) ([]byte, error) {
	if e.fixed {
		n = 0
	}
	return switchCall(n, data, e.output, e.value())
}

// AddHandlers implements click.HandlerAdder.
func (e *Switch) AddHandlers(h *click.Handlers) {
	if !e.fixed {
		h.Value("switch", func() string { return strconv.Itoa(e.output) }, e.value())
	}
}

// InputSwitch lets packets of one input pass.
type InputSwitch struct {
	click.Base
	input int
}

func (e *InputSwitch) value() click.Value { return portNumber(&e.input, e.Inputs()) }

// Configure implements click.Element.
func (e *InputSwitch) Configure(a *click.Args) { a.Parse(click.May("INPUT", e.value())) }

// Reconfigure implements click.Reconfigurer.
func (e *InputSwitch) Reconfigure(from click.Element) error {
	e.input = from.(*InputSwitch).input
	return nil
}

// Push implements click.Pusher.
func (e *InputSwitch) Push(port int, b *packet.Batch) {
	if port != e.input {
		e.Drop(b)
		return
	}
	e.Forward(0, b)
}

// LLRPC implements control.LLRPC: it reads and sets the input.
func (e *InputSwitch) LLRPC(n uint32, data []byte) ([]byte, error) {
	return switchCall(n, data, e.input, e.value())
}

// AddHandlers implements click.HandlerAdder.
func (e *InputSwitch) AddHandlers(h *click.Handlers) {
	h.Value("switch", func() string { return strconv.Itoa(e.input) }, e.value())
}
