package vm

import (
	"os"
	"strconv"
	"testing"

	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
)

func benchEvaluate(b *testing.B, m Mode, size int) {
	r := newRig(b, m, IsolateSpec{})
	in := r.instance("echo")
	w := make([]byte, size)
	w[0] = 1
	c := call(w)
	meter := r.acct.Meter(0)
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		if v, err := in.Evaluate(meter, c); err != nil || v != abi.Forward {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(c.Used), "fuel/op")
}

func BenchmarkEvaluate64Compiled(b *testing.B)      { benchEvaluate(b, ModeCompiled, 64) }
func BenchmarkEvaluate1500Compiled(b *testing.B)    { benchEvaluate(b, ModeCompiled, 1500) }
func BenchmarkEvaluate64Interpreter(b *testing.B)   { benchEvaluate(b, ModeInterpreter, 64) }
func BenchmarkEvaluate1500Interpreter(b *testing.B) { benchEvaluate(b, ModeInterpreter, 1500) }

// A loop over the packet, one addition a byte.
func benchSum(b *testing.B, m Mode) {
	r := newRig(b, m, IsolateSpec{})
	in := r.instance("echo")
	w := make([]byte, 1500)
	w[0] = 8
	c := call(w)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := in.Evaluate(nil, c); err != nil || v != abi.Forward {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(c.Used), "fuel/op")
}

func BenchmarkSum1500Compiled(b *testing.B)    { benchSum(b, ModeCompiled) }
func BenchmarkSum1500Interpreter(b *testing.B) { benchSum(b, ModeInterpreter) }

// What a capsule that never ends costs the node: its whole budget, the kill, and the next instance's memory.
func benchKill(b *testing.B, m Mode) {
	r := newRig(b, m, IsolateSpec{})
	in := r.instance("loop")
	c := call([]byte{1})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Evaluate(nil, c); err == nil {
			b.Fatal("no fault")
		}
	}
}

func BenchmarkKillCompiled(b *testing.B)    { benchKill(b, ModeCompiled) }
func BenchmarkKillInterpreter(b *testing.B) { benchKill(b, ModeInterpreter) }

func BenchmarkGate(b *testing.B) {
	for _, name := range []string{"count", "echo"} {
		b.Run(name, func(b *testing.B) {
			mod, err := os.ReadFile("testdata/" + name + ".wasm")
			if err != nil {
				b.Fatal(err)
			}
			r := newRig(b, ModeInterpreter, IsolateSpec{})
			b.ReportAllocs()
			b.SetBytes(int64(len(mod)))
			for b.Loop() {
				if _, err := gate.Check(mod, &r.class.config); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// From known code to the end of the first evaluation in an isolate of its own.
func benchFresh(b *testing.B, m Mode) {
	r := newRig(b, m, IsolateSpec{})
	in := r.instance("count")
	c := call(make([]byte, 8))
	b.ReportAllocs()
	for b.Loop() {
		iso, err := r.e.NewIsolate(IsolateSpec{Account: r.acct})
		if err != nil {
			b.Fatal(err)
		}
		fresh, err := iso.Instantiate(in.code)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fresh.Evaluate(r.acct.Meter(0), c); err != nil {
			b.Fatal(err)
		}
		if err := iso.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFreshIsolateCompiled(b *testing.B)    { benchFresh(b, ModeCompiled) }
func BenchmarkFreshIsolateInterpreter(b *testing.B) { benchFresh(b, ModeInterpreter) }

// From bytes that the node has never seen to the end of the first evaluation.
func benchFirst(b *testing.B, m Mode) {
	r := newRig(b, m, IsolateSpec{})
	mod, err := os.ReadFile("testdata/count.wasm")
	if err != nil {
		b.Fatal(err)
	}
	c := call(make([]byte, 8))
	b.ReportAllocs()
	for b.Loop() {
		code, err := r.e.Load(mod, r.class, r.acct)
		if err != nil {
			b.Fatal(err)
		}
		in, err := r.iso.Instantiate(code)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil {
			b.Fatal(err)
		}
		if err := in.Close(); err != nil {
			b.Fatal(err)
		}
		code.Release()
	}
	if r.acct.Use(resctl.CPU) == 0 {
		b.Error("nobody paid for compilation")
	}
}

func BenchmarkFirstUseCompiled(b *testing.B)    { benchFirst(b, ModeCompiled) }
func BenchmarkFirstUseInterpreter(b *testing.B) { benchFirst(b, ModeInterpreter) }

// What the end of a quantum costs: a computation in the smallest and in the largest quanta, by its difference.
func BenchmarkQuantum(b *testing.B) {
	r := newProcRig(b, ModeCompiled, 1)
	for _, quantum := range []int64{MinQuantum, DefaultQuantum, MaxQuantum} {
		b.Run(strconv.FormatInt(quantum, 10), func(b *testing.B) {
			quanta := 0
			for b.Loop() {
				i := r.isolate(&told{what: 4<<24 | 2_000_000}, resctl.Amounts{})
				if err := i.start(r.code, StartSpec{Quantum: quantum}, func() { quanta++ }); err != nil {
					b.Fatal(err)
				}
				end(i)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(quanta), "ns/quantum")
		})
	}
}
