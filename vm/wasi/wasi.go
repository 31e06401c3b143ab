package wasi

import (
	"crypto/rand"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

// Module is the module under which programs import the calls.
const Module = "wasi_snapshot_preview1"

// Bounds of a program that its Spec does not change.
const (
	MaxArgs    = 64 << 10 // bytes of arguments, and as many of environment
	MaxPath    = 4096     // bytes of a name
	MaxIovecs  = 1024     // of one call
	MaxEvents  = 1024     // subscriptions of one poll_oneoff
	DefaultOut = 1 << 20  // bytes that it may print
	DefaultFDs = 64       // open at a time
	DefaultNew = 4096     // names that it may make
)

// Limits is the table for programs: they are larger than code from packets, come from whoever runs the node, and are compiled once, at their own cost.
// Memory without a declared maximum gets 16 MiB; a program may declare up to 64.
func Limits() gate.Limits {
	return gate.Limits{
		Module: 4 << 20, Types: 1024, Params: 32, Imports: 64, Functions: 16 << 10, Body: 64 << 10, Locals: 2048,
		Nesting: 256, Blocks: 8192, Operands: 4096, BranchTargets: 16 << 10, Globals: 512, Exports: 256, Table: 16 << 10,
		MemoryPages: 1024, MemoryDefault: 256, Segments: 4096, Stack: gate.HandlerLimits().Stack, Floats: true,
	}
}

// Runner joins an engine and the calls of preview 1. It is safe for concurrent use.
type Runner struct {
	engine *vm.Engine
	clk    clock.Clock
	class  *vm.Class
}

// New makes a runner. A zero limit is that of Limits.
func New(e *vm.Engine, limits gate.Limits) (*Runner, error) {
	if e == nil {
		return nil, errs.New(errs.Invalid, "wasi: no engine")
	}
	if limits == (gate.Limits{}) {
		limits = Limits()
	}
	r := &Runner{engine: e, clk: e.Clock()}
	var err error
	r.class, err = e.NewClass(vm.ClassSpec{Name: "wasi", Limits: limits, Imports: imports(), Process: true, Begin: "_start"})
	return r, err
}

// Class returns the class of programs.
func (r *Runner) Class() *vm.Class { return r.class }

// Spec says how a program begins and what it has beside the files of its domain.
type Spec struct {
	Name    string    // of its isolate
	Code    []byte    // a module that exports _start
	Args    []string  // the first is its name
	Env     []string  // name=value
	Stdin   []byte    // all there is on its standard input
	Stdout  io.Writer // must not block for long; nil: what is printed is counted and dropped
	Stderr  io.Writer
	MaxOut  int64     // bytes that it may print in its life, of both; 0: DefaultOut; resctl.Nothing: none. What is beyond is dropped
	MaxOpen int       // descriptors at a time; 0: DefaultFDs
	MaxNew  int       // files and directories that it may make in its life; 0: DefaultNew
	Random  io.Reader // nil: crypto/rand
	Memory  int64     // most bytes of its isolate; 0: what the domain's account allows
	Fuel    uint64    // most in its life; 0: what the account gives
	Time    time.Duration
}

// Program is a program that runs. Its methods may be called from any goroutine.
type Program struct {
	iso  *vm.Isolate
	done chan struct{}
	p    *process
}

// process is what a program has; the calls run on its goroutine. The table is its own, and needs no lock but where it is ended.
type process struct {
	r     *Runner
	spec  Spec
	d     *nodeos.Domain
	fds   []*fd // by number; nil: free
	stdin []byte

	listed  *fd // whose listing is kept
	entries []fs.DirEntry

	mu      sync.Mutex
	printed int64
	dropped int64
	made    int
	closed  bool
}

// Start makes an isolate on account of the domain and starts the program in it. Errors are those of the gate and of package vm. What it does afterwards is in
// Status. A program that is an ordinary one ends with cause "returned" or "exit" and its exit code.
func (r *Runner) Start(d *nodeos.Domain, spec Spec) (*Program, error) {
	if size(spec.Args) > MaxArgs || size(spec.Env) > MaxArgs || slices.ContainsFunc(append(slices.Clone(spec.Args), spec.Env...), func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
		return nil, errs.New(errs.TooBig, "wasi: arguments of %d and environment of %d bytes: want at most %d, without zero bytes", size(spec.Args), size(spec.Env), MaxArgs)
	}
	if spec.MaxOpen == 0 {
		spec.MaxOpen = DefaultFDs
	}
	if spec.MaxNew == 0 {
		spec.MaxNew = DefaultNew
	}
	if spec.MaxOut == 0 {
		spec.MaxOut = DefaultOut
	}
	if spec.Random == nil {
		spec.Random = rand.Reader
	}
	if spec.MaxOpen < 4 || spec.MaxOpen > 1<<16 || spec.MaxNew < 0 || spec.MaxOut < resctl.Nothing {
		return nil, errs.New(errs.Invalid, "wasi: %d open files, %d names, %d bytes of output: want 4 to 65536 files, and no negative bounds", spec.MaxOpen, spec.MaxNew, spec.MaxOut)
	}
	p := &process{r: r, spec: spec, d: d, stdin: spec.Stdin}
	p.fds = []*fd{{kind: input}, {kind: output, out: spec.Stdout}, {kind: output, out: spec.Stderr}}
	if _, err := d.StatFile("."); err == nil {
		p.fds = append(p.fds, &fd{kind: directory, name: ".", root: true})
	}
	iso, err := r.engine.NewIsolate(vm.IsolateSpec{Name: spec.Name, Account: d.Account(), Memory: spec.Memory, Handles: 1, Data: p})
	if err != nil {
		return nil, err
	}
	release, err := d.Host(func(reason error) { iso.Kill(reason) })
	if err != nil {
		iso.Kill(err)
		return nil, err
	}
	g := &Program{iso: iso, done: make(chan struct{}), p: p}
	iso.Watch(func(e vm.Event, _ vm.Status) {
		if e == vm.EventTerminated {
			p.end()
			release()
			close(g.done)
		}
	})
	code, err := iso.Load(spec.Code, r.class)
	if err == nil {
		err = iso.Start(code, vm.StartSpec{Fuel: spec.Fuel, Time: spec.Time})
	}
	if err != nil {
		iso.Kill(err)
		<-g.done
		return nil, err
	}
	return g, nil
}

func size(list []string) (n int) {
	for _, s := range list {
		n += len(s) + 1
	}
	return n
}

// Isolate returns the program's isolate.
func (g *Program) Isolate() *vm.Isolate { return g.iso }

// Done is closed when the program is terminated and its files are closed.
func (g *Program) Done() <-chan struct{} { return g.done }

// Status returns how it is, and how it ended.
func (g *Program) Status() vm.Status { return g.iso.Status() }

// Kill ends it and does not wait.
func (g *Program) Kill(reason error) { g.iso.Kill(reason) }

// Output returns how many bytes it has printed, and how many more were dropped because of MaxOut.
func (g *Program) Output() (printed, dropped int64) {
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	return g.p.printed, g.p.dropped
}

// end closes what is open.
func (p *process) end() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, f := range p.fds { // nobody is inside any more
		if f != nil && f.file != nil {
			_ = f.file.Close() // its domain may have done it
		}
	}
	p.fds = nil
}

// print gives bytes to an output, as many as may be.
func (p *process) print(w io.Writer, b []byte) {
	p.mu.Lock()
	n := min(int64(len(b)), max(0, p.spec.MaxOut-p.printed))
	p.printed += n
	p.dropped += int64(len(b)) - n
	p.mu.Unlock()
	if w != nil && n > 0 {
		_, _ = w.Write(b[:n]) // a log that is full is no error of the program's
	}
}

// name makes room for a new name, or refuses.
func (p *process) name() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made >= p.spec.MaxNew {
		return false
	}
	p.made++
	return true
}

// LineLog is a writer for Stdout and Stderr that calls fn for every line, cut to 512 bytes and without what is not printable, and at most most times a second. What is
// more is dropped, and how much that was is a line of the next second. It may be used by one program at a time.
func LineLog(clk clock.Clock, most int, fn func(line string)) io.Writer {
	return &lineLog{clk: clk, most: most, fn: fn}
}

type lineLog struct {
	clk     clock.Clock
	most    int
	fn      func(string)
	part    []byte
	since   clock.Time
	n, lost int
}

// Write implements io.Writer.
func (l *lineLog) Write(b []byte) (int, error) {
	for _, c := range b {
		if c != '\n' {
			if len(l.part) < 512 {
				if c < ' ' || c == 0x7f {
					c = '.'
				}
				l.part = append(l.part, c)
			}
			continue
		}
		if now := l.clk.Now(); now.Sub(l.since) >= time.Second {
			l.since, l.n = now, 0
			if l.lost > 0 {
				l.fn("(" + itoa(l.lost) + " lines were dropped)")
				l.lost = 0
			}
		}
		if l.n++; l.n <= l.most {
			l.fn(strings.ToValidUTF8(string(l.part), "."))
		} else {
			l.lost++
		}
		l.part = l.part[:0]
	}
	return len(b), nil
}

// openFlags are what path_open asks for in terms of package os.
func openFlags(oflags, fdflags uint32, read, write bool) int {
	flags := os.O_RDONLY
	switch {
	case read && write:
		flags = os.O_RDWR
	case write:
		flags = os.O_WRONLY
	}
	if oflags&oCreate != 0 {
		flags |= os.O_CREATE
	}
	if oflags&oExcl != 0 {
		flags |= os.O_EXCL
	}
	if oflags&oTrunc != 0 {
		flags |= os.O_TRUNC
	}
	if fdflags&fdAppend != 0 {
		flags |= os.O_APPEND
	}
	return flags
}
