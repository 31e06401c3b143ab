package bench

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// sections makes modules of raw sections.
type sections struct{ b []byte }

func newWasm() *sections { return &sections{b: []byte("\x00asm\x01\x00\x00\x00")} }

func (w *sections) section(id byte, parts ...[]byte) *sections {
	content := slices.Concat(parts...)
	w.b = append(binary.AppendUvarint(append(w.b, id), uint64(len(content))), content...)
	return w
}

func uv(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// body makes a module with one function of type () -> () whose code is given, with its locals in one group.
func body(locals uint64, code []byte) []byte {
	f := slices.Concat([]byte{1}, uv(locals), []byte{0x7f}, code, []byte{0x0b})
	return newWasm().section(1, []byte{1, 0x60, 0, 0}).section(3, []byte{1, 0}).section(10, []byte{1}, uv(uint64(len(f))), f).b
}

// bombs are the modules that made an engine without a gate take all memory, run for a minute, or end the process. Small ones are written out in loadBombs; these are
// larger: they are what makes a compiler slow.
func bombs() [][]byte {
	rep := func(n int, b ...byte) []byte { return slices.Repeat(b, n) }
	var list [][]byte
	for _, b := range loadBombs {
		list = append(list, []byte(b))
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	one := []byte{1, 0x60, 0, 0}
	return append(list,
		newWasm().section(1, one).section(3, huge).b,                                                              // functions
		newWasm().section(1, one).section(3, []byte{1, 0}).section(10, []byte{1}, huge).b,                         // length of a body
		newWasm().section(1, one).section(2, []byte{1}, huge, []byte("name")).b,                                   // length of a name
		newWasm().section(0, huge).b,                                                                              // of a custom section's
		body(50_000_000, nil),                                                                                     // locals
		body(500, slices.Concat(rep(500, 0x03, 0x40), rep(500, 0x0b))),                                            // loops in loops, and locals
		body(1, rep(10_000, 0x03, 0x40, 0x0b)),                                                                    // loops
		body(10_000, rep(5000, 0x41, 0, 0x04, 0x40, 0x0b)),                                                        // locals and ifs
		body(1, slices.Concat([]byte{0x02, 0x40, 0x41, 0, 0x0e}, uv(50_000), make([]byte, 50_001), []byte{0x0b})), // a branch table
		newWasm().section(1, one).section(3, uv(20_000), make([]byte, 20_000)).section(10, uv(20_000), rep(20_000, 2, 0, 0x0b)).b,
		newWasm().section(1, one).section(4, []byte{1, 0x70, 0, 1}).section(3, []byte{1, 0}).b,                        // out of order
		body(1, []byte{0xd0, 0x70, 0x41, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0xfc, 15, 0, 0x1a}),                            // table.grow of 10^9
		newWasm().section(1, one).section(3, []byte{1, 0}).section(8, []byte{0}).section(10, []byte{1, 2, 0, 0x0b}).b, // a start function
		newWasm().section(5, []byte{1, 1, 1, 0x80, 0x80, 0x04}).b,                                                     // all of memory
	)
}

// storm does everything that an isolate may ask the kernel for, until it is refused, and evaluates with budgets that end at each of the first
// charges: what is made ends with the isolate.
func (t *attackTrial) storm(iso *vm.Isolate, in *vm.Instance, meter *resctl.Meter) error {
	refused := func(what string, most int, do func() error) error {
		for range most {
			if err := do(); err != nil {
				if k := errs.KindOf(err); k != errs.Limit && k != errs.WouldBlock && k != errs.Depth {
					return errs.New(errs.Internal, "%s: %w", what, err)
				}
				return nil
			}
		}
		return errs.New(errs.Internal, "%s: %d were not refused", what, most)
	}
	link, err := t.guest.engine.NewLink(iso, vm.LinkSpec{Queue: 16, Bytes: 64})
	if err != nil {
		return err
	}
	defer link.Close()
	msg := make([]byte, 64)
	deepest := iso
	for _, s := range []struct {
		what string
		most int
		do   func() error
	}{
		{"messages", 17, func() error { return link.TrySend(msg) }},
		{"handles", vm.DefaultHandles + 1, func() error { _, err := iso.NewSegment(msg, vm.AllRights); return err }},
		{"children of children", 64, func() error {
			c, err := deepest.NewChild(vm.ChildSpec{Name: "c"})
			if err == nil {
				deepest = c
			}
			return err
		}},
	} {
		if err := refused(s.what, s.most, s.do); err != nil {
			return err
		}
	}
	for budget := range uint64(48) {
		c := flowCall(8)
		c.Window, c.Budget = make([]byte, 8), budget+1
		if _, err := in.Evaluate(meter, c); !errors.Is(err, errs.OutOfFuel) {
			return errs.New(errs.Internal, "a loop with a budget of %d ended: %w", budget+1, err)
		}
	}
	return nil
}

// kills measures how long it takes until a process that was killed is gone: one that computes, beside another that does, and one that waits in a kernel call.
func (k *talkers) kills(r *Round) error {
	if err := k.start(3, nil, nil, nil, nil); err != nil {
		return err
	}
	beside := k.isos[len(k.isos)-1]
	wait, err := k.link(1)
	if err != nil {
		return err
	}
	for _, what := range []struct {
		name string
		do   uint32
		told *vm.Link
	}{{"killed", 3, nil}, {"killed in a call", 1, wait}} {
		if err := k.killsOf(r, what.name, what.do, what.told); err != nil {
			return err
		}
	}
	beside.Kill(nil)
	<-beside.Done()
	return nil
}

func (k *talkers) killsOf(r *Round, name string, what uint32, told *vm.Link) error {
	const kills = 200
	var took, ran []time.Duration
	for range kills {
		if err := k.start(what, told, nil, nil, nil); err != nil {
			return err
		}
		iso := k.isos[len(k.isos)-1]
		k.isos = k.isos[:len(k.isos)-1]
		for iso.Account().Use(resctl.Fuel) == 0 { // until it runs
			runtime.Gosched()
		}
		before, known := queued()
		begin := k.e.Clock.Now()
		iso.Kill(nil)
		<-iso.Done()
		d := k.e.Clock.Now().Sub(begin)
		took = append(took, d)
		if after, ok := queued(); ok && known && after-before < 100*time.Microsecond {
			ran = append(ran, d)
		}
		if err := iso.Account().Close(); err != nil {
			return err
		}
	}
	slices.Sort(took)
	slices.Sort(ran)
	r.Add(name+" after, p50", "us", float64(took[kills/2].Nanoseconds())/1000)
	r.Add(name+" after, p99", "us", float64(took[kills*99/100].Nanoseconds())/1000)
	if n := len(ran); n >= kills/4 {
		r.Add(name+" after, p99, where no thread of ours waited for a processor", "us", float64(ran[n*99/100].Nanoseconds())/1000)
	}
	return nil
}

// queued is how long threads of this process have been ready and had no processor, all together: what the kernel's scheduler gave to others.
func queued() (time.Duration, bool) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	var sum int64
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if w := strings.Fields(string(text)); len(w) == 3 {
			n, _ := strconv.ParseInt(w[1], 10, 64)
			sum += n
		}
	}
	return time.Duration(sum), len(files) > 0
}
