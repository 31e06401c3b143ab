package gate_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/step"
	"github.com/tetratelabs/wazero"
)

// stepped runs a program by steps.
func stepped(t testing.TB, raw []byte, budget uint64) (o gate.Outcome) {
	p, err := gate.Decode(raw, gate.HandlerConfig())
	if err != nil {
		t.Fatal(err)
	}
	m := step.New(p, 1<<16, nil)
	m.Fuel = int64(budget)
	if err = m.Enter(p.Exports["evaluate"]); err == nil {
		err = m.Run()
	}
	var trap *step.Trap
	switch {
	case err == nil:
		o.Result = m.Results[0]
	case !errors.As(err, &trap):
		t.Fatal(err)
	case trap.Reason == step.OutOfFuel:
		o.Out = "false"
	case trap.Reason == step.OutOfStack:
		o.Out = "true"
	default:
		o.Out = "trap"
	}
	o.Fuel, o.Memory, o.Globals = m.Fuel, m.Memory, [2]uint64(m.Globals[:2])
	return o
}

func compareStepped(t testing.TB, rt wazero.Runtime, seed, budget uint64) {
	raw := gate.RandomModule(seed)
	m, err := gate.Check(raw, gate.HandlerConfig())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	a, b := gate.RunRandom(t, rt, m, budget), stepped(t, raw, budget)
	if !strings.HasPrefix(a.Out, b.Out) || b.Out == "" && a.Out != "" || a.Result != b.Result || a.Fuel != b.Fuel || a.Globals != b.Globals || !bytes.Equal(a.Memory, b.Memory) {
		t.Errorf("seed %d: %d %q fuel %d globals %v; stepped %d %q fuel %d globals %v, memory equal: %v", seed,
			a.Result, a.Out, a.Fuel, a.Globals, b.Result, b.Out, b.Fuel, b.Globals, bytes.Equal(a.Memory, b.Memory))
	}
}

// TestStepped: an engine that follows docs/metering.md, on the module as it came, does what the metered module does, and uses its fuel.
func TestStepped(t *testing.T) {
	rt := gate.Interpreter(t)
	for seed := range uint64(300) {
		compareStepped(t, rt, seed, 20_000)
	}
}

// FuzzStepped is TestStepped without an end.
func FuzzStepped(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint64(5000))
	}
	rt := gate.Interpreter(f)
	f.Fuzz(func(t *testing.T, seed, budget uint64) { compareStepped(t, rt, seed, budget%50_000) })
}
