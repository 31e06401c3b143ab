package step

import (
	"errors"
	"os"
	"testing"

	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
)

func TestMain(m *testing.M) { leak.Main(m) }

// The machine's arithmetic, traps and fuel are compared with two other engines in package vm/gate. Here is what only a machine that stops has.

func program(t *testing.T) *gate.Program {
	t.Helper()
	raw, err := os.ReadFile("../symbol/testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	p, err := gate.Decode(raw, &gate.Config{Limits: gate.HandlerLimits(), Exports: []gate.Export{{Name: abi.ExportEvaluate, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFramesAndOperands(t *testing.T) {
	p := program(t)
	m := New(p, 1, nil)
	m.Fuel = 1 << 20
	if err := m.Enter(p.Exports[abi.ExportEvaluate]); err != nil {
		t.Fatal(err)
	}
	deepest, before := 0, m.Fuel
	for !m.Done() {
		in := m.Next()
		f := m.Top()
		if in.At < f.Body.Start || in.At >= f.Body.Start+f.Body.Size || in.Mnemonic == "" || in.String() == "" {
			t.Fatalf("instruction %+v outside of function %d", in, f.Body.Index)
		}
		depth, operands := len(m.Frames), len(m.Operands())
		if err := m.Step(); err != nil {
			t.Fatal(err)
		}
		if len(m.Frames) > depth && (in.Mnemonic != "call" || len(m.Operands()) != 0) {
			t.Fatalf("%s made a frame with %d operands", in, len(m.Operands()))
		}
		if len(m.Frames) == depth && in.Mnemonic == "i32.const" && len(m.Operands()) != operands+1 {
			t.Fatalf("%s: %d operands, %d before", in, len(m.Operands()), operands)
		}
		if m.Fuel < before && in.Mnemonic != "call" && in.Mnemonic != "loop" && in.Mnemonic != "br_if" {
			t.Fatalf("%s was charged", in)
		}
		before, deepest = m.Fuel, max(deepest, len(m.Frames))
	}
	if deepest != 2 || len(m.Results) != 1 || m.Steps < 10_000 || m.Top() != nil || m.Next() != nil || m.Operands() != nil {
		t.Errorf("%d frames, results %v, %d steps", deepest, m.Results, m.Steps)
	}
	if err := m.Step(); err == nil {
		t.Error("a step after the end")
	}
	// The call can be entered again, and uses what it used.
	used := 1<<20 - m.Fuel
	m.Fuel = used - 1
	err := m.Enter(p.Exports[abi.ExportEvaluate])
	if err == nil {
		err = m.Run()
	}
	var trap *Trap
	if !errors.As(err, &trap) || trap.Reason != OutOfFuel || m.Fuel >= 0 {
		t.Errorf("with one unit less than %d: %v", used, err)
	}
}

func TestEnterRefuses(t *testing.T) {
	p := program(t)
	m := New(p, 1, nil)
	for _, i := range []int{-1, 2, 1 << 30} {
		if err := m.Enter(i); err == nil {
			t.Errorf("function %d was entered", i)
		}
	}
	if err := m.Enter(p.Exports[abi.ExportEvaluate], 1); err == nil {
		t.Error("an argument too many")
	}
	if err := m.Enter(1, 0); err == nil || m.Fuel >= 0 { // without fuel
		t.Errorf("entered with no fuel: %v", err)
	}
}
