package standard

import (
	"encoding/binary"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Switch", Ports: "1/-", Processing: "h", New: func() click.Element { return &Switch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to the output that is chosen at run time",
			Args:     []string{"OUTPUT: Number of the output; -1 drops; default 0."},
			Handlers: []string{"switch (rw): The OUTPUT argument."},
			Example:  "... -> s :: Switch(1); s[0] -> ...; s[1] -> ...;", See: []string{"RoundRobinSwitch", "PaintSwitch"},
		},
	})
}

// Switch sends packets to one output.
type Switch struct {
	click.Base
	output int
}

func (e *Switch) value() click.Value { return click.IntRange(&e.output, -1, e.Outputs()-1) }

// Configure implements click.Element.
func (e *Switch) Configure(a *click.Args) { a.Parse(click.May("OUTPUT", e.value())) }

// Push implements click.Pusher.
func (e *Switch) Push(_ int, b *packet.Batch) {
	if e.output < 0 {
		e.Drop(b)
		return
	}
	e.Forward(e.output, b)
}

// Numbers of Click's llrpc.h in their network form.
const (
	llrpcGetSwitch = 0x4004c005
	llrpcSetSwitch = 0x80044006
)

// LLRPC implements control.LLRPC: it reads and sets the output.
func (e *Switch) LLRPC(n uint32, data []byte) ([]byte, error) {
	switch {
	case n == llrpcGetSwitch && len(data) == 0:
		return binary.LittleEndian.AppendUint32(nil, uint32(int32(e.output))), nil
	case n == llrpcSetSwitch && len(data) == 4:
		return nil, e.value()(strconv.Itoa(int(int32(binary.LittleEndian.Uint32(data)))), nil)
	}
	return nil, errs.New(errs.NotFound, "unknown LLRPC %#x with %d bytes", n, len(data))
}

// AddHandlers implements click.HandlerAdder.
func (e *Switch) AddHandlers(h *click.Handlers) {
	h.Value("switch", func() string { return strconv.Itoa(e.output) }, e.value())
}
