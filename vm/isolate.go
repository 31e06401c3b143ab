package vm

import (
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// IsolateSpec says what an isolate should be.
type IsolateSpec struct {
	Name    string
	Account *resctl.Account // pays; nil: nobody counts
	Memory  int64           // most bytes of everything it holds together; 0: what the account allows
	Handles int             // most handles; 0: DefaultHandles
	Data    any             // for the caller's host functions, see Isolate.Data
	// Fresh makes every evaluation begin in fresh memory. A guest that then behaves differently
	// relies on memory between evaluations, which the ABI leaves open. For tests of guests.
	Fresh bool
}

// Isolate is a place where the guests of one principal run: an account, a memory limit, and a life (see State). What runs in
// it are instances that the caller evaluates, and at most one process. One goroutine may be inside an instance at a time; it need not be
// always the same. Start, Suspend, Resume, Exit, Halt, Kill and what reads are safe for concurrent use.
type Isolate struct {
	e    *Engine
	spec IsolateSpec

	flags   atomic.Uint32 // flagSuspended, ...: what is looked at when a kernel call ends, or fuel
	killed  atomic.Pointer[killed]
	held    [numUses]atomic.Int64
	total   atomic.Int64 // bytes held
	life    life
	handles handleTable

	parent     *Isolate
	depth      int
	ownAccount *resctl.Account     // made for it, closed with it
	imports    map[string]bindings // nil: those of the class

	mu        sync.Mutex
	children  map[*Isolate]bool
	instances []*Instance
	links     map[*Link]bool // that it pays for
	ended     bool           // it owns nothing any more
	codes     []*Code        // that it loaded
	born      uint64         // children made by its guest
}

// What an isolate has been told to do.
const (
	flagSuspended = 1 << iota
	flagExit      // leave, and say goodbye
	flagHalt      // leave
)

type killed struct{ reason error }

// use is a kind of what is held.
type use uint8

const (
	useLinear use = iota // linear memory
	useStack             // call stacks, processes
	useTable             // tables of functions
	useEngine            // what the engine keeps for an instance
	useHandles
	useLinks    // links with their queues
	useSegments // shared segments, in full
	useCode
	numUses
)

// NewIsolate makes an isolate. It costs nothing until something is instantiated in it.
func (e *Engine) NewIsolate(spec IsolateSpec) (*Isolate, error) {
	if spec.Handles == 0 {
		spec.Handles = DefaultHandles
	}
	if spec.Handles < 0 || spec.Handles > MaxHandles {
		return nil, errs.New(errs.Invalid, "vm: isolate %s: %d handles, want at most %d", spec.Name, spec.Handles, MaxHandles)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errs.New(errs.Dead, "vm: isolate %s: the engine is closed", spec.Name)
	}
	e.isolates++
	return &Isolate{e: e, spec: spec}, nil
}

// Name returns the name.
func (i *Isolate) Name() string { return i.spec.Name }

// Account returns who pays, or nil.
func (i *Isolate) Account() *resctl.Account { return i.spec.Account }

// Data returns what the spec had.
func (i *Isolate) Data() any { return i.spec.Data }

// Memory returns the bytes that it holds, as they are charged.
func (i *Isolate) Memory() int64 { return i.total.Load() }

// Usage is what an isolate holds, in bytes as they are charged, without its children.
type Usage struct {
	Linear   int64 `json:"linear"`   // linear memory
	Stacks   int64 `json:"stacks"`   // call stacks, and the goroutine of a process
	Tables   int64 `json:"tables"`   // of functions
	Engine   int64 `json:"engine"`   // what the engine keeps for instances
	Handles  int64 `json:"handles"`  // and the slots of their table
	Links    int64 `json:"links"`    // that it made, with their queues
	Segments int64 `json:"segments"` // that it has handles of, in full
	Code     int64 `json:"code"`     // that it loaded itself
}

// Usage returns what the isolate holds. Fuel and time are in its account only. While the isolate runs the numbers are of slightly different moments.
func (i *Isolate) Usage() Usage {
	n := func(u use) int64 { return i.held[u].Load() }
	return Usage{n(useLinear), n(useStack), n(useTable), n(useEngine), n(useHandles), n(useLinks), n(useSegments), n(useCode)}
}

// Kill ends the isolate without asking it: every further evaluation ends with a Fault, and the present one when it
// next leaves a host function; a process ends within a quantum, or when its kernel call is done. It does not wait, and may be called from any
// goroutine, more than once; the first reason counts. What an instance has that the caller made is freed by Close, by the goroutine that
// was inside.
func (i *Isolate) Kill(reason error) {
	if reason == nil {
		reason = errs.Dead
	}
	i.die(flagHalt, ByKill, 0, reason)
}

// Killed returns why the isolate ends or has ended, or nil.
func (i *Isolate) Killed() error {
	if k := i.killed.Load(); k != nil {
		return k.reason
	}
	return nil
}

// Close closes all instances that were made by Instantiate and ends the isolate, returning everything to the account. It refuses with
// errs.WouldBlock when called from inside an evaluation, and while a process is in the isolate: kill it, and wait for Done. Closing
// twice is fine.
func (i *Isolate) Close() error {
	i.mu.Lock()
	for _, in := range i.instances {
		if in.owned && in.running {
			i.mu.Unlock()
			return errs.New(errs.WouldBlock, "vm: isolate %s: closed from inside an evaluation: kill it, and close it afterwards", i.spec.Name)
		}
	}
	i.mu.Unlock()
	if i.inProcess() {
		return errs.New(errs.WouldBlock, "vm: isolate %s has a process: kill it, and close it when it is done", i.spec.Name)
	}
	i.die(flagHalt, ByClose, 0, errs.Dead)
	for {
		in := i.ownedInstance()
		if in == nil {
			break
		}
		if err := in.Close(); err != nil {
			return err
		}
	}
	if i.Status().State != Terminated {
		return errs.New(errs.WouldBlock, "vm: isolate %s: somebody is still inside: close it when it is done", i.spec.Name)
	}
	return nil
}

func (i *Isolate) ownedInstance() *Instance {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, in := range i.instances {
		if in.owned {
			return in
		}
	}
	return nil
}

// take debits n bytes of memory before they are used.
func (i *Isolate) take(u use, n int64) error {
	total := i.total.Add(n)
	if i.spec.Memory > 0 && total > i.spec.Memory {
		i.total.Add(-n)
		return errs.New(errs.Limit, "vm: isolate %s: %d bytes more would exceed its memory limit, %d of %d are in use", i.spec.Name, n, total-n, i.spec.Memory)
	}
	if i.spec.Account != nil {
		if err := i.spec.Account.Take(resctl.Memory, n); err != nil {
			i.total.Add(-n)
			return err
		}
	}
	i.held[u].Add(n)
	return nil
}

func (i *Isolate) giveBack(u use, n int64) {
	if n == 0 {
		return
	}
	i.held[u].Add(-n)
	i.total.Add(-n)
	if i.spec.Account != nil {
		i.spec.Account.Return(resctl.Memory, n)
	}
}

// own makes a link end with the isolate.
func (i *Isolate) own(l *Link) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return errs.New(errs.Dead, "vm: isolate %s has ended", i.spec.Name)
	}
	if i.links == nil {
		i.links = make(map[*Link]bool)
	}
	i.links[l] = true
	return nil
}

func (i *Isolate) disown(l *Link) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.links, l)
}
