package standard

import (
	"encoding/binary"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	for _, c := range []struct {
		name, title, text string
		fixed             bool
		make              func() click.Element
	}{
		{"PullSwitch", "pulls from the input that is chosen at run time", "Its empty notifier is that of the chosen input, so that those that pull sleep while there is nothing to come.", false, func() click.Element { return &PullSwitch{} }},
		{"SimplePullSwitch", "pulls from the input that is chosen at run time", "It has no notifier of its own: those that pull wake when any of its inputs has packets.", false, func() click.Element { return &SimplePullSwitch{} }},
		{"StaticPullSwitch", "pulls from one of its inputs", "Which one is fixed; the others are never pulled from.", true, func() click.Element { return &PullSwitch{fixed: true} }},
	} {
		doc := click.Doc{
			Group: "standard", Title: c.title, Text: c.text, Args: []string{"INPUT: Number of the input; negative yields nothing; default 0."},
			Handlers: []string{"switch (rw): The INPUT argument."}, Example: "a, b => s :: " + c.name + "(1) -> ToDevice(eth0);", See: []string{"Switch"},
		}
		if c.fixed {
			doc.Args, doc.Handlers = []string{"INPUT: Number of the input; negative yields nothing."}, nil
		}
		click.Register(click.Class{Name: c.name, Ports: "1-/1", Processing: "l", New: c.make, Doc: doc})
	}
}

// PullSwitch pulls from one input.
type PullSwitch struct {
	click.Base
	fixed   bool
	input   int
	note    click.Notifier
	signals []*click.Signal
}

func (e *PullSwitch) value() click.Value { return portNumber(&e.input, e.Inputs()) }

// Configure implements click.Element.
func (e *PullSwitch) Configure(a *click.Args) {
	if e.fixed {
		a.Parse(click.Must("INPUT", e.value()))
		return
	}
	a.Parse(click.May("INPUT", e.value()))
}

// Initialize implements click.Initializer.
func (e *PullSwitch) Initialize() error {
	for i := range e.Inputs() {
		e.signals = append(e.signals, e.WatchEmpty(i, e.update))
	}
	e.update()
	return nil
}

// update makes the notifier what that of the chosen input is.
func (e *PullSwitch) update() { e.note.Set(e.input >= 0 && e.signals[e.input].Active()) }

// Reconfigure implements click.Reconfigurer.
func (e *PullSwitch) Reconfigure(from click.Element) error {
	e.input = from.(*PullSwitch).input
	e.update()
	return nil
}

// Pull implements click.Puller.
func (e *PullSwitch) Pull(_ int, b *packet.Batch, n int) {
	if e.input < 0 {
		e.note.Sleep()
		return
	}
	if e.In(e.input).Pull(b, n) == 0 {
		e.update()
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *PullSwitch) EmptyNotifier(int) *click.Notifier { return &e.note }

// LLRPC implements control.LLRPC: it reads and sets the input.
func (e *PullSwitch) LLRPC(n uint32, data []byte) ([]byte, error) {
	if e.fixed {
		return nil, errs.New(errs.NotFound, "unknown LLRPC %#x", n)
	}
	return switchCall(n, data, e.input, after(e.value(), e.update))
}

// switchCall is LLRPC of elements with a number that says where packets go or come from.
func switchCall(n uint32, data []byte, value int, set click.Value) ([]byte, error) {
	switch {
	case n == llrpcGetSwitch && len(data) == 0:
		return binary.LittleEndian.AppendUint32(nil, uint32(int32(value))), nil
	case n == llrpcSetSwitch && len(data) == 4:
		return nil, set(strconv.Itoa(int(int32(binary.LittleEndian.Uint32(data)))), nil)
	}
	return nil, errs.New(errs.NotFound, "unknown LLRPC %#x with %d bytes", n, len(data))
}

// AddHandlers implements click.HandlerAdder.
func (e *PullSwitch) AddHandlers(h *click.Handlers) {
	if !e.fixed {
		h.Value("switch", func() string { return strconv.Itoa(e.input) }, after(e.value(), e.update))
	}
}

// SimplePullSwitch pulls from one input and has no notifier.
type SimplePullSwitch struct {
	click.Base
	input int
}

func (e *SimplePullSwitch) value() click.Value { return portNumber(&e.input, e.Inputs()) }

// Configure implements click.Element.
func (e *SimplePullSwitch) Configure(a *click.Args) { a.Parse(click.May("INPUT", e.value())) }

// Reconfigure implements click.Reconfigurer.
func (e *SimplePullSwitch) Reconfigure(from click.Element) error {
	e.input = from.(*SimplePullSwitch).input
	return nil
}

// Pull implements click.Puller.
func (e *SimplePullSwitch) Pull(_ int, b *packet.Batch, n int) {
	if e.input >= 0 {
		e.In(e.input).Pull(b, n)
	}
}

// LLRPC implements control.LLRPC: it reads and sets the input.
func (e *SimplePullSwitch) LLRPC(n uint32, data []byte) ([]byte, error) {
	return switchCall(n, data, e.input, e.value())
}

// AddHandlers implements click.HandlerAdder.
func (e *SimplePullSwitch) AddHandlers(h *click.Handlers) {
	h.Value("switch", func() string { return strconv.Itoa(e.input) }, e.value())
}
