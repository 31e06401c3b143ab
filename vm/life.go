package vm

import (
	"fmt"
	"sync"

	"github.com/janos-os/janos/errs"
)

// State is where in its life an isolate is.
type State uint8

// The states, in their order.
const (
	New        State = iota // nothing has been instantiated or started
	Started                 // things may run
	Exiting                 // on its way out; a process may still be saying goodbye
	Terminated              // nothing runs, nothing is held
)

var stateNames = [...]string{"new", "started", "exiting", "terminated"}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Cause says why an isolate ends. The numbers are stable. Of several the last valid one counts: to be asked to exit is valid until
// the isolate is on its way out, to be halted until it has been halted.
type Cause uint8

// The causes, as those of JSR-121.
const (
	ImplicitExit Cause = 1 // its process returned
	UncaughtTrap Cause = 2 // its process ended with a Fault
	SelfExit     Cause = 3 // it asked to be ended
	SelfHalt     Cause = 4 // it ended itself at once
	OtherExit    Cause = 5 // somebody called Exit
	OtherHalt    Cause = 6 // somebody called Halt
	ByKill       Cause = 7 // Kill: the node ended it for a reason of its own
	ByClose      Cause = 8 // Close, while nothing ran
)

var causeNames = [...]string{ImplicitExit: "returned", UncaughtTrap: "fault", SelfExit: "exit", SelfHalt: "halt", OtherExit: "exit by another",
	OtherHalt: "halt by another", ByKill: "killed", ByClose: "closed"}

// String returns the cause in words.
func (c Cause) String() string {
	if int(c) < len(causeNames) && causeNames[c] != "" {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Event is a step in the life of an isolate. Each occurs at most once, in the order of the numbers, which are stable.
type Event uint8

// The events.
const (
	EventStarted    Event = 1
	EventExiting    Event = 2 // not if it never started
	EventTerminated Event = 3
)

var eventNames = [...]string{EventStarted: "started", EventExiting: "exiting", EventTerminated: "terminated"}

// String returns the event's name.
func (e Event) String() string {
	if int(e) < len(eventNames) && eventNames[e] != "" {
		return eventNames[e]
	}
	return fmt.Sprintf("event %d", uint8(e))
}

// Status is how an isolate is. What is not known yet is zero.
type Status struct {
	State     State
	Suspended bool
	Cause     Cause // once it is exiting; it may still change
	Code      int32 // of exit and halt, or what its process returned
	Err       error // the *Fault of UncaughtTrap, the reason of ByKill
}

// life is the part of an isolate that says where in its life it is. What is in it is guarded by mu.
type life struct {
	mu     sync.Mutex
	status Status
	users  int // that keep it from being torn down: its process, the caller's instances
	proc   *process
	done   chan struct{}
	begun  bool // EventStarted occurred
	torn   bool
	told   bool // done is closed

	watchers   []watcher
	delivering bool
}

// watcher gets the events that it has not had.
type watcher struct {
	fn  func(Event, Status)
	had Event
}

// Status returns how the isolate is.
func (i *Isolate) Status() Status {
	l := &i.life
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Suspended = i.flags.Load()&flagSuspended != 0
	return s
}

// Done returns a channel that is closed when the isolate is terminated and its watchers know.
func (i *Isolate) Done() <-chan struct{} {
	l := &i.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		l.deliver()
	}
	return l.done
}

// Watch has fn called for each event: for those that have occurred already before Watch returns, unless another goroutine is delivering events at
// that moment, and for others when they occur. fn is called on the goroutine that caused the event, for one event at a
// time and in order, with no lock held; it must not block.
func (i *Isolate) Watch(fn func(Event, Status)) {
	l := &i.life
	l.mu.Lock()
	w := watcher{fn: fn}
	if l.torn && !l.begun {
		w.had = EventExiting // it never started: only its end is told
	}
	l.watchers = append(l.watchers, w)
	l.deliver()
	l.mu.Unlock()
}

// deliver calls watchers with the events that they have not had. The lock is held, and given up for each call.
func (l *life) deliver() {
	if l.delivering {
		return // whoever delivers looks again
	}
	l.delivering = true
	for n := 0; n < len(l.watchers); n++ {
		w := &l.watchers[n]
		if w.had >= Event(l.status.State) {
			continue
		}
		w.had++
		e, s, fn := w.had, l.status, w.fn
		l.mu.Unlock()
		fn(e, s)
		l.mu.Lock()
		n = -1 // from the beginning: there may be news for all of them
	}
	l.delivering = false
	if l.status.State == Terminated && l.done != nil && !l.told {
		l.told = true
		close(l.done)
	}
}

// enter counts somebody in who keeps the isolate from being torn down, and runs something in it if begin is true. It is refused while the isolate ends.
func (i *Isolate) enter(begin bool) error {
	l := &i.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.flags.Load()&(flagExit|flagHalt) != 0 {
		return errs.New(errs.Dead, "vm: isolate %s is closed or killed", i.spec.Name)
	}
	l.users++
	if begin && l.status.State == New {
		l.status.State, l.begun = Started, true
		l.deliver()
	}
	return nil
}

// leave counts out. The last one to leave an isolate that ends tears it down.
func (i *Isolate) leave() {
	l := &i.life
	l.mu.Lock()
	l.users--
	i.finish()
}

// Suspend stops the isolate: its process at the end of its quantum or of its kernel call, evaluations before they begin, which are then refused
// with errs.WouldBlock. It does not wait.
func (i *Isolate) Suspend() { i.setFlag(flagSuspended, true) }

// Resume undoes Suspend.
func (i *Isolate) Resume() { i.setFlag(flagSuspended, false) }

func (i *Isolate) setFlag(f uint32, on bool) {
	l := &i.life
	l.mu.Lock()
	if on {
		i.flags.Or(f)
	} else {
		i.flags.And(^f)
	}
	p := l.proc
	l.mu.Unlock()
	if p != nil {
		p.poke()
	}
}

// Exit asks the isolate to end. Its process leaves what it does at the end of its quantum or kernel call and gets a chance to say goodbye, see
// ExportExiting. It has no effect on one that is on its way out, which it reports by false. It does not wait.
func (i *Isolate) Exit(code int32) bool {
	return i.die(flagExit, OtherExit, code, nil)
}

// Halt ends the isolate as Exit does, but without goodbye; a suspended one ends without being resumed. It has no effect, which it
// reports by false, on one that has been halted, killed or closed before.
func (i *Isolate) Halt(code int32) bool {
	return i.die(flagHalt, OtherHalt, code, nil)
}

// die begins the end. how is flagExit or flagHalt.
func (i *Isolate) die(how uint32, cause Cause, code int32, err error) bool {
	l := &i.life
	l.mu.Lock()
	f := i.flags.Load()
	if l.torn || f&flagHalt != 0 || how == flagExit && f&flagExit != 0 {
		l.mu.Unlock()
		return false
	}
	l.status.Cause, l.status.Code, l.status.Err = cause, code, err
	reason := err
	if reason == nil {
		reason = errs.New(errs.Dead, "vm: isolate %s: %v with code %d", i.spec.Name, cause, code)
	}
	i.killed.Store(&killed{reason})
	i.flags.Or(how)
	if l.status.State == Started {
		l.status.State = Exiting
		l.deliver()
	}
	p := l.proc
	if p != nil {
		p.poke()
	}
	if how == flagHalt || p == nil { // otherwise its process ends them after its goodbye
		l.mu.Unlock()
		i.endChildren()
		l.mu.Lock()
	}
	i.finish()
	return true
}

// finish tears the isolate down if it is to end and nobody is inside. It gives up the lock.
func (i *Isolate) finish() {
	l := &i.life
	if l.torn || l.users > 0 || i.flags.Load()&(flagExit|flagHalt) == 0 {
		l.mu.Unlock()
		return
	}
	l.torn = true
	l.mu.Unlock()
	i.tearDown()
	if p := i.parent; p != nil {
		p.mu.Lock()
		delete(p.children, i)
		p.mu.Unlock()
	}
	l.mu.Lock()
	if !l.begun {
		for n := range l.watchers {
			l.watchers[n].had = EventExiting
		}
	}
	l.status.State = Terminated
	l.deliver()
	l.mu.Unlock()
	if p := i.parent; p != nil {
		p.leave()
	}
}

// tearDown gives everything back.
func (i *Isolate) tearDown() {
	for {
		i.mu.Lock()
		if len(i.instances) == 0 {
			i.mu.Unlock()
			break
		}
		in := i.instances[0]
		i.mu.Unlock()
		in.discard()
	}
	i.endHandles()
	i.mu.Lock()
	i.ended = true
	var links []*Link
	for l := range i.links {
		links = append(links, l)
	}
	i.mu.Unlock()
	for _, l := range links {
		l.Close()
	}
	for _, c := range i.codes {
		c.Release()
	}
	if a := i.ownAccount; a != nil {
		// It refuses if somebody else charged it, who then closes it.
		_ = a.Close()
	}
	i.e.mu.Lock()
	i.e.isolates--
	i.e.mu.Unlock()
}
