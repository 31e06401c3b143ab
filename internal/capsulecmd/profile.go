package capsulecmd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pprofile"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	stepper "github.com/janos-os/janos/vm/step"
)

func profileCommand() *cobra.Command {
	var (
		recordings []string
		out        string
		length     time.Duration
	)
	c := &cobra.Command{
		Use: "profile FILE", Short: "Show where evaluations spend fuel and time", Args: cobra.ExactArgs(1),
		Long: `Evaluates recordings of a module (FILE.wasm; see janos capsule debug for recordings) again and again, and shows which functions use
the fuel and the time.

fuel   of one evaluation of each recording, exactly, with the functions that called; it is what a node charges
cpu    processor time of --time, in compiled code as on a node: functions of Go as the Go profiler sees them, which sees guest code as one;
       that part is divided among the guest's functions as a clock finds them at every 2,003rd unit of fuel, in a second run of half the
       length

--out writes both for "go tool pprof", guest functions beside those of Go; -sample_index=fuel there chooses fuel. Functions have their names,
and lines, in modules that were built with --debug, or with a source map beside them.`,
		Example: `  janos capsule run ping --record rec --quiet
  janos capsule profile ping/ping.wasm --recording rec/1.json --out ping.pprof && go tool pprof -top ping.pprof`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if length < 0 || length > time.Hour {
				return errs.New(errs.Invalid, "--time %s: want 0 to 1h", length)
			}
			code, err := os.ReadFile(args[0])
			if err != nil {
				return errs.New(errs.NotFound, "%w", err)
			}
			if len(recordings) == 0 {
				return errs.New(errs.Invalid, "--recording: say which evaluations; janos capsule run --record DIR makes recordings")
			}
			p := &profiler{ctx: cmd.Context(), w: cmd.OutOrStdout(), code: code, length: length}
			id := sha256.Sum256(code)
			for _, file := range recordings {
				text, err := readBounded(file, vm.MaxRecording)
				if err != nil {
					return err
				}
				r, err := vm.ParseRecording(text)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				if !bytes.Equal(id[:], r.Code) {
					return errs.New(errs.Corrupt, "%s is of other code than %s: name the module that was evaluated", file, args[0])
				}
				d, err := newDebugger(cmd.Context(), io.Discard, args[0], code, r)
				if err != nil {
					return err
				}
				p.replays = append(p.replays, d)
			}
			return p.run(out)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&recordings, "recording", nil, "file with a recording; may be repeated")
	f.StringVar(&out, "out", "", "write the profile to this file, for go tool pprof")
	f.DurationVar(&length, "time", 3*time.Second, "how long to measure time; 0: fuel only")
	return c
}

// profiler makes one profile.
type profiler struct {
	ctx     context.Context
	w       io.Writer
	code    []byte
	length  time.Duration
	replays []*debugger // one for each recording

	fuel  map[string]*guestStack
	total uint64
	time  map[int]float64 // of functions, their shares of guest time
	guest int64           // nanoseconds in guest code
	host  []pprofile.Sample
	spent int64 // nanoseconds in all
}

// guestStack is a stack of guest functions, the innermost first, and the fuel that was charged there.
type guestStack struct {
	leaf   int
	frames []pprofile.Frame
	fuel   uint64
}

func (p *profiler) run(out string) error {
	p.fuel, p.time = map[string]*guestStack{}, map[int]float64{}
	for _, d := range p.replays {
		if err := p.charge(d); err != nil {
			return err
		}
	}
	if p.length > 0 {
		if err := p.measure(); err != nil {
			return err
		}
		if err := p.sample(); err != nil {
			return err
		}
	}
	p.print()
	if out == "" {
		return nil
	}
	var b bytes.Buffer
	if err := p.profile().Write(&b); err != nil {
		return err
	}
	if err := os.WriteFile(out, b.Bytes(), 0o666); err != nil {
		return errs.New(errs.Permission, "--out: %w", err)
	}
	return nil
}

// charge adds the fuel of one evaluation, each charge at the place that it is for.
func (p *profiler) charge(d *debugger) error {
	left := int64(d.rec.In.Fuel)
	note := func() {
		now := max(d.m.Fuel, 0)
		n := left - now
		if left = now; n <= 0 || len(d.m.Frames) == 0 {
			return
		}
		var key strings.Builder
		g := &guestStack{leaf: d.m.Top().Body.Index}
		for i := len(d.m.Frames) - 1; i >= 0; i-- {
			f := &d.m.Frames[i]
			pc := f.PC
			if pc > 0 {
				pc-- // the loop that was charged, or the call
			}
			frame := pprofile.Frame{Func: d.funcName(f.Body.Index)}
			if file, line, ok := d.symbols.Line(f.Body.Code[pc].At); ok {
				frame.File, frame.Line = file, int64(line)
			}
			fmt.Fprintf(&key, "%d %d %s;", f.Body.Index, frame.Line, frame.File)
			if len(g.frames) < 64 {
				g.frames = append(g.frames, frame)
			}
		}
		if old := p.fuel[key.String()]; old != nil {
			g = old
		} else {
			p.fuel[key.String()] = g
		}
		g.fuel += uint64(n)
		p.total += uint64(n)
	}
	note()
	for n := 0; !d.ended; n++ {
		d.step()
		note()
		if n == maxSteps || n&0xffff == 0 && p.ctx.Err() != nil {
			return errs.New(errs.Limit, "the evaluation is longer than %d instructions", maxSteps)
		}
	}
	var trap *stepper.Trap
	if d.end != nil && !errors.As(d.end, &trap) {
		return d.end
	}
	return d.restart()
}

// guestRun is the module in an engine, and what evaluates its recordings.
type guestRun struct {
	engine *vm.Engine
	code   *vm.Code
	iso    *vm.Isolate
	in     *vm.Instance
	now    *vm.Recording
	calls  int
}

func (p *profiler) open(s *vm.Sampler) (*guestRun, error) {
	g := &guestRun{}
	var err error
	if g.engine, err = vm.NewEngine(vm.EngineSpec{Mode: vm.ModeCompiled, Clock: new(clock.Virtual)}); err != nil {
		if g.engine, err = vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: new(clock.Virtual)}); err != nil {
			return nil, err
		}
	}
	var fs []vm.HostFunc
	for _, c := range abi.Calls {
		fs = append(fs, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Call: func(in *vm.Instance, stack []uint64) {
			n := g.calls
			g.calls++
			if n >= len(g.now.Calls) {
				stack[0] = refusal32(errs.NotFound)
				return
			}
			for _, c := range g.now.Calls[n].Wrote {
				if b, ok := in.Memory(c.Addr, uint32(len(c.Bytes))); ok {
					copy(b, c.Bytes)
				}
			}
			stack[0] = uint64(g.now.Calls[n].Result)
		}})
	}
	class, err := g.engine.NewClass(vm.ClassSpec{Name: "capsule", Imports: fs, Sampler: s})
	if err == nil {
		g.code, err = g.engine.Load(p.code, class, nil)
	}
	if err == nil {
		g.iso, err = g.engine.NewIsolate(vm.IsolateSpec{Name: "profile"})
	}
	if err == nil {
		g.in, err = g.iso.Instantiate(g.code)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *guestRun) close() {
	if g.iso != nil {
		g.iso.Close()
	}
	if g.code != nil {
		g.code.Release()
	}
	g.engine.Close()
}

// rounds evaluates all recordings in turn for so long, around each of them what around does.
func (p *profiler) rounds(g *guestRun, length time.Duration, around func(evaluate func())) error {
	var failed error
	calls := make([]vm.Call, len(p.replays))
	for i, d := range p.replays {
		calls[i] = vm.Call{In: d.rec.In, Window: d.rec.Window, State: d.rec.State, Budget: d.rec.In.Fuel}
	}
	for end := time.Now().Add(length); time.Now().Before(end) && p.ctx.Err() == nil && failed == nil; {
		for range 64 {
			for i, d := range p.replays {
				g.now, g.calls = d.rec, 0
				around(func() {
					var fault *vm.Fault
					if _, err := g.in.Evaluate(nil, &calls[i]); err != nil && !errors.As(err, &fault) {
						failed = err
					}
				})
			}
		}
	}
	return failed
}

// measure makes the profile of Go.
func (p *profiler) measure() error {
	g, err := p.open(nil)
	if err != nil {
		return err
	}
	defer g.close()
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return errs.New(errs.Exists, "%w", err)
	}
	err = p.rounds(g, p.length, func(evaluate func()) { evaluate() })
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	prof, err := pprofile.Parse(b.Bytes())
	if err != nil {
		return err
	}
	at := slices.IndexFunc(prof.Types, func(t pprofile.ValueType) bool { return t.Type == "cpu" })
	if at < 0 {
		return errs.New(errs.Internal, "the profile of Go has no processor time")
	}
	for _, s := range prof.Samples {
		p.spent += s.Values[at]
		if slices.ContainsFunc(s.Stack, func(f pprofile.Frame) bool { return f.Func == "runtime._ExternalCode" }) {
			p.guest += s.Values[at]
			continue
		}
		p.host = append(p.host, pprofile.Sample{Stack: s.Stack, Values: []int64{0, s.Values[at]}})
	}
	return nil
}

// sampleEvery is prime, so that it keeps no step with a loop.
const sampleEvery = 2003

// sample finds how the time in guest code divides among its functions.
func (p *profiler) sample() error {
	var since time.Time
	var held time.Duration // not yet anybody's
	prog := p.replays[0].prog
	g, err := p.open(&vm.Sampler{Every: sampleEvery, Look: func(_ *vm.Instance, at int) {
		now := time.Now()
		held += now.Sub(since)
		for i := range prog.Funcs {
			if f := &prog.Funcs[i]; at >= f.Start && at < f.Start+f.Size {
				p.time[f.Index] += held.Seconds()
			}
		}
		held, since = 0, time.Now()
	}})
	if err != nil {
		return err
	}
	defer g.close()
	err = p.rounds(g, p.length/2, func(evaluate func()) {
		since = time.Now()
		evaluate()
		held += time.Since(since)
	})
	sum := 0.0
	for _, t := range p.time {
		sum += t
	}
	if sum == 0 { // it was not looked at: evaluations are few and short
		for f, n := range p.perFunc() {
			p.time[f] = float64(n) / float64(p.total)
		}
		return err
	}
	for f := range p.time {
		p.time[f] /= sum
	}
	return err
}

// perFunc adds up the fuel of each function itself.
func (p *profiler) perFunc() map[int]uint64 {
	m := map[int]uint64{}
	for _, g := range p.fuel {
		m[g.leaf] += g.fuel
	}
	return m
}

// profile puts both into one.
func (p *profiler) profile() *pprofile.Profile {
	out := &pprofile.Profile{Types: []pprofile.ValueType{{Type: "fuel", Unit: "units"}, {Type: "cpu", Unit: "nanoseconds"}}, Samples: p.host, Duration: int64(p.length)}
	self := p.perFunc()
	keys := make([]string, 0, len(p.fuel))
	for k := range p.fuel {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		g := p.fuel[k]
		cpu := float64(p.guest) * p.time[g.leaf] * float64(g.fuel) / float64(self[g.leaf])
		stack := append(slices.Clone(g.frames), pprofile.Frame{Func: "guest " + p.replays[0].rec.Class}, pprofile.Frame{Func: "github.com/janos-os/janos/vm.(*Instance).Evaluate"})
		out.Samples = append(out.Samples, pprofile.Sample{Stack: stack, Values: []int64{int64(g.fuel), int64(cpu)}})
	}
	return out
}

// print writes the functions of the guest and of Go, the dearest first.
func (p *profiler) print() {
	type row struct {
		name string
		fuel uint64
		cpu  int64
	}
	var rows []row
	d := p.replays[0]
	for f, n := range p.perFunc() {
		name := d.funcName(f)
		if file, line, ok := d.symbols.Line(d.prog.Funcs[f-len(d.prog.Imports)].Code[0].At); ok {
			name += fmt.Sprintf(" %s:%d", filepath.Base(file), line)
		}
		rows = append(rows, row{name, n, int64(float64(p.guest) * p.time[f])})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.fuel, a.fuel), strings.Compare(a.name, b.name)) })
	fmt.Fprintf(p.w, "%d evaluations, %d fuel\n", len(p.replays), p.total)
	head := "        fuel       %"
	if p.spent > 0 {
		head += "     cpu ms       %"
	}
	fmt.Fprintf(p.w, "%s  guest function\n", head)
	percent := func(a, b float64) float64 { return 100 * a / max(b, 1) }
	for _, r := range rows {
		fmt.Fprintf(p.w, "%12d  %6.2f", r.fuel, percent(float64(r.fuel), float64(p.total)))
		if p.spent > 0 {
			fmt.Fprintf(p.w, " %10.1f  %6.2f", float64(r.cpu)/1e6, percent(float64(r.cpu), float64(p.spent)))
		}
		fmt.Fprintf(p.w, "  %s\n", r.name)
	}
	if p.spent == 0 {
		return
	}
	self := map[string]int64{}
	for _, s := range p.host {
		name := "?"
		if len(s.Stack) > 0 {
			name = s.Stack[0].Func
		}
		self[name] += s.Values[1]
	}
	rows = rows[:0]
	for name, cpu := range self {
		rows = append(rows, row{name: name, cpu: cpu})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.cpu, a.cpu), strings.Compare(a.name, b.name)) })
	fmt.Fprintln(p.w, "     cpu ms       %  function of Go")
	for _, r := range rows[:min(len(rows), 12)] {
		fmt.Fprintf(p.w, " %10.1f  %6.2f  %s\n", float64(r.cpu)/1e6, percent(float64(r.cpu), float64(p.spent)), r.name)
	}
}
