package nodeosabi

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

// Spec says what a Binding should be. The zero value, with an engine, is good.
type Spec struct {
	Engine *vm.Engine
	Seed   uint64      // of what guests get as random
	Limits gate.Limits // of code; zero: gate.HandlerLimits()
}

// Binding joins an engine and the calls. It is safe for concurrent use.
type Binding struct {
	engine  *vm.Engine
	clk     clock.Clock
	process *vm.Class
	handler *vm.Class

	mu      sync.Mutex
	rand    *clock.Rand
	endings map[*vm.Isolate]*ending // of isolates that somebody waits for
}

// New makes a binding.
func New(spec Spec) (*Binding, error) {
	if spec.Engine == nil {
		return nil, errs.New(errs.Invalid, "nodeosabi: no engine")
	}
	b := &Binding{engine: spec.Engine, clk: spec.Engine.Clock(), rand: clock.NewRand(spec.Seed, 0x6e6f64656f73), endings: make(map[*vm.Isolate]*ending)}
	imports := append(vm.Calls(), vm.Imports(abi.NOModule, abi.NOCalls, calls)...)
	var err error
	if b.process, err = spec.Engine.NewClass(vm.ClassSpec{Name: "guest", Limits: spec.Limits, Imports: imports, Process: true}); err != nil {
		return nil, err
	}
	slow := make(map[string]bool)
	for _, c := range append(slices.Clone(abi.VMCalls), abi.NOCalls...) {
		slow[c.Name] = slow[c.Name] || c.Process
	}
	imports = slices.DeleteFunc(imports, func(f vm.HostFunc) bool { return slow[f.Name] })
	b.handler, err = spec.Engine.NewClass(vm.ClassSpec{Name: "guest handler", Limits: spec.Limits, Imports: imports})
	return b, err
}

// Process returns the class of processes.
func (b *Binding) Process() *vm.Class { return b.process }

// GuestSpec says what a guest should be.
type GuestSpec struct {
	Name    string // of its isolate
	Code    []byte // a module that exports run
	Ports   []*Port
	Args    []byte // behind the numbers of its handles: of the domain, and of each port
	Memory  int64  // most bytes of its own isolate; 0: what the domain's account allows
	Handles int    // 0: vm.DefaultHandles
	Fuel    uint64 // most in its life; 0: what the account gives
	Log     func(line string)
}

// Guest is a process that was given a domain. Its methods may be called from any goroutine.
type Guest struct {
	iso  *vm.Isolate
	done chan struct{}
}

// self is what a binding knows of an isolate: the data of isolates of guests. Isolates that a guest makes by janos_vm share it.
type self struct {
	b   *Binding
	log func(string)

	mu    sync.Mutex
	ended bool
	made  map[closer]bool // what the guest has made, which ends with it
	lines int             // of the log, in this second
	since clock.Time
}

// closer is something that ends with who made it.
type closer interface{ end(reason error) }

// own makes c end with the isolate, or refuses because that has ended.
func (s *self) own(c closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errs.New(errs.Dead, "nodeosabi: the isolate ends")
	}
	if s.made == nil {
		s.made = make(map[closer]bool)
	}
	s.made[c] = true
	return nil
}

func (s *self) disown(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.made, c)
}

// finish ends everything that the isolate has made.
func (s *self) finish() {
	s.mu.Lock()
	s.ended = true
	made := s.made
	s.made = nil
	s.mu.Unlock()
	for c := range made {
		c.end(errs.New(errs.Dead, "the isolate that made it has ended"))
	}
}

// Start makes an isolate on account of the domain, loads the code and starts it. Errors are those of package vm; what goes wrong afterwards is in Status.
func (b *Binding) Start(d Domain, spec GuestSpec) (*Guest, error) {
	me := &self{b: b, log: spec.Log}
	iso, err := b.engine.NewIsolate(vm.IsolateSpec{Name: spec.Name, Account: d.Account(), Memory: spec.Memory, Handles: spec.Handles, Data: me})
	if err != nil {
		return nil, err
	}
	release, err := d.Host(func(reason error) { iso.Kill(reason) })
	if err != nil {
		iso.Kill(err)
		return nil, err
	}
	g := &Guest{iso: iso, done: make(chan struct{})}
	iso.Watch(func(e vm.Event, _ vm.Status) {
		if e == vm.EventTerminated {
			me.finish()
			release()
			close(g.done)
		}
	})
	err = b.begin(g, d, me, &spec)
	if err != nil {
		iso.Kill(err)
		<-g.done
		return nil, err
	}
	return g, nil
}

func (b *Binding) begin(g *Guest, d Domain, me *self, spec *GuestSpec) error {
	code, err := g.iso.Load(spec.Code, b.process)
	if err != nil {
		return err
	}
	h, err := g.iso.Put(vm.OpaqueHandle, &domain{Domain: d}, vm.MayUse|vm.MaySee|vm.MayGrant)
	if err != nil {
		return err
	}
	args := binary.LittleEndian.AppendUint32(nil, uint32(h))
	for _, p := range spec.Ports {
		if h, err = g.iso.Put(vm.OpaqueHandle, p, vm.AllRights); err != nil {
			return err
		}
		args = binary.LittleEndian.AppendUint32(args, uint32(h))
	}
	return g.iso.Start(code, vm.StartSpec{Args: append(args, spec.Args...), Fuel: spec.Fuel})
}

// Isolate returns the guest's isolate.
func (g *Guest) Isolate() *vm.Isolate { return g.iso }

// Done is closed when the guest is terminated and nothing of it is left but what its domain still takes back.
func (g *Guest) Done() <-chan struct{} { return g.done }

// Status returns how the guest is, and how it ended.
func (g *Guest) Status() vm.Status { return g.iso.Status() }

// Kill ends the guest and does not wait.
func (g *Guest) Kill(reason error) { g.iso.Kill(reason) }

// Wait waits for the guest's end.
func (g *Guest) Wait(ctx context.Context) (vm.Status, error) {
	select {
	case <-g.done:
		return g.Status(), nil
	case <-ctx.Done():
		return vm.Status{}, errs.New(errs.Timeout, "guest %s: %w", g.iso.Name(), ctx.Err())
	}
}

// ending is what those wait at who wait for an isolate's end.
type ending struct {
	bell bell
	over bool // under Binding.mu
}

// endingOf returns the ending of an isolate, or nil if that has terminated.
func (b *Binding) endingOf(iso *vm.Isolate) *ending {
	b.mu.Lock()
	e := b.endings[iso]
	if e == nil {
		e = new(ending)
		b.endings[iso] = e
		b.mu.Unlock()
		iso.Watch(func(ev vm.Event, _ vm.Status) {
			if ev == vm.EventTerminated {
				b.mu.Lock()
				e.over = true
				delete(b.endings, iso)
				b.mu.Unlock()
				e.bell.ring()
			}
		})
		b.mu.Lock()
	}
	over := e.over
	b.mu.Unlock()
	if over {
		return nil
	}
	return e
}

// write takes a line of the guest's log.
func (s *self) write(line string) {
	if s.log == nil {
		return
	}
	s.mu.Lock()
	if now := s.b.clk.Now(); now.Sub(s.since) >= time.Second {
		s.since, s.lines = now, 0
	}
	s.lines++
	ok := s.lines <= maxLines
	s.mu.Unlock()
	if ok {
		s.log(line)
	}
}

// maxLines is how many lines of a log are taken in a second.
const maxLines = 10
