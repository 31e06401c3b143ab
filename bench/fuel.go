package bench

import (
	"context"
	"embed"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

//go:embed capsules/checksum.wasm capsules/lookup.wasm capsules/sort.wasm capsules/recursion.wasm
var kernelCode embed.FS

// kernels are what metering is measured with: size is the argument of one run, want the result.
var kernels = []struct {
	name       string
	size, want uint32
}{
	{"checksum", 100, 0},
	{"lookup", 10_000, 0},
	{"sort", 4096, 0},
	{"recursion", 22, 17711},
}

func init() {
	register(Scenario{Name: "vm-fuel", Tier: "memory", Title: "what metering adds to the time of guest code",
		Text: "Four kernels of bench/capsules: the Internet checksum of 1,500 bytes, lookups in a hash table of 128 KiB, quicksort of 4,096 numbers, Fibonacci numbers by " +
			"recursion. Each runs as it was compiled from C, and as the gate rewrote it, with more fuel than it needs, in the same engine by the same calls; " +
			"both must have the same result. The two are run in turn, eight times in a round, and the quotient is that of the least processor times of either.",
		Open: openFuel})
}

// kernel is a kernel in one engine, with and without metering.
type kernel struct {
	name       string
	size, want uint32
	window     uint32
	call       [2]api.Function // plain, metered
	memory     [2]api.Memory
	fuel       api.MutableGlobal
	runs       int
	best       [2]time.Duration
	ctx        context.Context
	stack      [4]uint64
}

func (k *kernel) run(which, n int) error {
	for range n {
		w, ok := k.memory[which].Read(k.window, 8)
		if !ok {
			return errs.New(errs.Internal, "%s: no window", k.name)
		}
		binary.BigEndian.PutUint32(w, k.size)
		if which == 1 {
			k.fuel.Set(1 << 40)
		}
		if err := k.call[which].CallWithStack(k.ctx, k.stack[:]); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		got := binary.BigEndian.Uint32(w[4:])
		if k.want == 0 {
			k.want = got // the first run is that of the plain code
		}
		if got != k.want || abi.Verdict(uint32(k.stack[0])) != abi.Forward {
			return errs.New(errs.Internal, "%s: result %d, verdict %d, want %d", k.name, got, k.stack[0], k.want)
		}
	}
	return nil
}

type fuelTrial struct {
	runtimes []wazero.Runtime
	engines  []string
	kernels  [][]*kernel
	time     time.Duration
}

func openFuel(e *Env) (Trial, error) {
	ctx := context.Background()
	t := &fuelTrial{time: e.Time, engines: []string{"compiled", "interpreter"}}
	for _, cfg := range []wazero.RuntimeConfig{wazero.NewRuntimeConfigCompiler(), wazero.NewRuntimeConfigInterpreter()} {
		rt := wazero.NewRuntimeWithConfig(ctx, cfg)
		t.runtimes = append(t.runtimes, rt)
		_, err := rt.NewHostModuleBuilder(gate.OutModule).NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), []api.ValueType{api.ValueTypeI32}, nil).
			Export(gate.OutName).Instantiate(ctx)
		var all []*kernel
		for i := 0; i < len(kernels) && err == nil; i++ {
			k := &kernel{name: kernels[i].name, size: kernels[i].size, want: kernels[i].want, ctx: ctx}
			all = append(all, k)
			err = k.load(rt)
		}
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.kernels = append(t.kernels, all)
	}
	return t, nil
}

// load makes both instances.
func (k *kernel) load(rt wazero.Runtime) error {
	raw, err := kernelCode.ReadFile("capsules/" + k.name + ".wasm")
	if err != nil {
		return err
	}
	m, err := gate.Check(raw, &gate.Config{Limits: gate.HandlerLimits(), Exports: []gate.Export{{Name: abi.ExportEvaluate, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}})
	if err != nil {
		return err
	}
	window, ok := m.Constant(abi.ExportWindow)
	if !ok {
		return errs.New(errs.Internal, "%s exports no window", k.name)
	}
	k.window = window
	for i, code := range [][]byte{raw, m.Wasm} {
		mod, err := rt.InstantiateWithConfig(k.ctx, code, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		k.call[i], k.memory[i] = mod.ExportedFunction(abi.ExportEvaluate), mod.Memory()
		if i == 1 {
			k.fuel = mod.ExportedGlobal(gate.ExportFuel).(api.MutableGlobal)
		}
	}
	return nil
}

// Measure implements Trial.
func (t *fuelTrial) Measure(r *Round) error {
	for i, engine := range t.engines {
		var ratios []float64
		for _, k := range t.kernels[i] {
			x, err := t.ratio(k)
			if err != nil {
				return err
			}
			r.Add(k.name+", "+engine, "x", x)
			ratios = append(ratios, x)
		}
		s := summarize(ratios)
		r.Add("median, "+engine, "x", s.Median)
		r.Add("worst, "+engine, "x", s.Max)
	}
	return nil
}

const fuelSlices = 8

// ratio is metered over plain.
func (t *fuelTrial) ratio(k *kernel) (float64, error) {
	slice := t.time / (2 * fuelSlices)
	if k.runs == 0 { // the first round: how many runs fill a slice
		for k.runs = 1; ; k.runs *= 2 {
			cost, _, err := measure(k.runs, func(n int) error { return k.run(0, n) })
			if err != nil {
				return 0, err
			}
			if cost >= slice || k.runs > 1<<20 {
				break
			}
		}
	}
	var least [2][]time.Duration
	for i := range 2 * fuelSlices {
		which := i & 1
		cost, _, err := measure(k.runs, func(n int) error { return k.run(which, n) })
		if err != nil {
			return 0, err
		}
		least[which] = append(least[which], cost)
	}
	a, b := slices.Min(least[0]), slices.Min(least[1])
	if a <= 0 {
		return 0, errs.New(errs.Internal, "%s took no processor time", k.name)
	}
	return float64(b) / float64(a), nil
}

// Close implements Trial.
func (t *fuelTrial) Close() error {
	var first error
	for _, rt := range t.runtimes {
		first = firstError(first, rt.Close(context.Background()))
	}
	return first
}
