package click

import (
	"fmt"
	"strings"
	"time"

	"github.com/janos-os/janos/packet"
)

// Notifier tells tasks whether it is worth trying: a queue's empty notifier is awake while it
// holds packets, its full notifier while it has room. The zero value is asleep.
type Notifier struct {
	awake     bool
	listeners []*Task
	watchers  []func()
	full      bool   // tells of room, not of packets
	number    uint32 // among those of its kind in the router, from 1
}

// Wake says that it is worth trying, and schedules those that wait.
func (n *Notifier) Wake() {
	if n.awake {
		return
	}
	n.awake = true
	for _, t := range n.listeners {
		t.Schedule()
	}
	for _, fn := range n.watchers {
		fn()
	}
}

// Sleep says that it is not worth trying.
func (n *Notifier) Sleep() { n.awake = false }

// Set is Wake or Sleep.
func (n *Notifier) Set(awake bool) {
	if awake {
		n.Wake()
	} else {
		n.awake = false
	}
}

// String shows the notifier as empty.GROUP/BIT:VALUE or full.GROUP/BIT:VALUE, with a star if it is awake.
func (n *Notifier) String() string {
	kind, value := "empty", uint32(0)
	if n.full {
		kind = "full"
	}
	i := n.number - 1
	if n.awake {
		value = 1 << (i % 32)
	}
	s := fmt.Sprintf("%s.%d/%x:%x", kind, i/32, uint32(1)<<(i%32), value)
	if n.awake {
		s += "*"
	}
	return s
}

// Awake reports what was said last.
func (n *Notifier) Awake() bool { return n.awake }

// EmptyNotifying is an element whose pull outputs can tell that a pull would yield nothing. A nil
// notifier says that packets may come at any time.
type EmptyNotifying interface{ EmptyNotifier(port int) *Notifier }

// FullNotifying is an element whose push inputs can tell that pushed packets would be dropped.
type FullNotifying interface{ FullNotifier(port int) *Notifier }

// Signal is the disjunction of the notifiers that an element depends on.
type Signal struct {
	always bool // something on the way has no notifier
	of     []*Notifier
}

// Active reports whether it is worth trying.
func (s *Signal) Active() bool {
	if s.always {
		return true
	}
	for _, n := range s.of {
		if n.awake {
			return true
		}
	}
	return false
}

// Known reports whether the signal ever sleeps; if not, trying in vain tells nothing.
func (s *Signal) Known() bool { return !s.always }

// String shows the signal's notifiers, for looking at.
func (s *Signal) String() string {
	if s.always {
		return "always*"
	}
	if len(s.of) == 0 {
		return "never"
	}
	var list []string
	for _, n := range s.of {
		list = append(list, n.String())
	}
	return strings.Join(list, " ")
}

// name gives a notifier its number.
func (r *Router) name(n *Notifier, full bool) *Notifier {
	if n.number == 0 {
		k := 0
		if full {
			k = 1
		}
		r.notes[k]++
		n.full, n.number = full, r.notes[k]
	}
	return n
}

// WatchEmpty is UpstreamEmpty for elements that have no task of their own to be scheduled: fn is called when one of the notifiers wakes, within the
// run of another element, and must neither push nor pull. In Initialize.
func (e *Base) WatchEmpty(port int, fn func()) *Signal {
	s := e.UpstreamEmpty(port, nil)
	for _, n := range s.of {
		n.watchers = append(n.watchers, fn)
	}
	return s
}

func (s *Signal) add(n *Notifier, t *Task) {
	for _, m := range s.of {
		if m == n {
			return
		}
	}
	s.of = append(s.of, n)
	if t != nil {
		n.listeners = append(n.listeners, t)
	}
}

// UpstreamEmpty returns the signal of the empty notifiers from which input port can get packets. The task, if there
// is one, is scheduled when the signal wakes. In Initialize.
func (e *Base) UpstreamEmpty(port int, t *Task) *Signal {
	s := &Signal{}
	seen := map[[2]int]bool{}
	e.router.searchUp(e.index, port, s, t, seen)
	return s
}

func (r *Router) searchUp(el, in int, s *Signal, t *Task, seen map[[2]int]bool) {
	for _, e := range r.into[el] {
		if e.ToPort != in || seen[[2]int{e.From, e.FromPort}] {
			continue
		}
		seen[[2]int{e.From, e.FromPort}] = true
		from := r.elements[e.From]
		if en, ok := from.(EmptyNotifying); ok {
			if n := en.EmptyNotifier(e.FromPort); n != nil {
				s.add(r.name(n, false), t)
			} else {
				s.always = true
			}
			continue
		}
		b := from.base()
		f, _ := parseFlow(b.class.Flow)
		for i, k := range b.inKinds {
			if k == PullKind && f.linked(i, e.FromPort) {
				r.searchUp(e.From, i, s, t, seen)
			}
		}
		if b.nin == 0 || kindAt(b.inKinds, 0) != PullKind {
			s.always = true
		}
	}
}

// DownstreamFull returns the signal of the full notifiers that packets pushed to output port can reach. In Initialize.
func (e *Base) DownstreamFull(port int, t *Task) *Signal {
	s := &Signal{}
	seen := map[[2]int]bool{}
	e.router.searchDown(e.index, port, s, t, seen)
	if t != nil {
		t.heeds = !s.always
	}
	return s
}

func (r *Router) searchDown(el, out int, s *Signal, t *Task, seen map[[2]int]bool) {
	for _, e := range r.from[el] {
		if e.FromPort != out || seen[[2]int{e.To, e.ToPort}] {
			continue
		}
		seen[[2]int{e.To, e.ToPort}] = true
		to := r.elements[e.To]
		if fn, ok := to.(FullNotifying); ok {
			if n := fn.FullNotifier(e.ToPort); n != nil {
				s.add(r.name(n, true), t)
			} else {
				s.always = true
			}
			continue
		}
		b := to.base()
		f, _ := parseFlow(b.class.Flow)
		any := false
		for o, k := range b.outKinds {
			if k == PushKind && f.linked(e.ToPort, o) {
				any = true
				r.searchDown(e.To, o, s, t, seen)
			}
		}
		if !any {
			s.always = true
		}
	}
}

// pollPause is how long an Intake waits after it found nothing and no notifier will wake it: there is none, or one is awake all the time for
// packets that do not come this way.
const pollPause = time.Millisecond

// inVain is how many pulls must find nothing while the signal is active before the Intake waits.
const inVain = 1024

// Intake is what an element with a task and a pull input needs: it pulls, and knows when the task may sleep.
type Intake struct {
	in     *In
	signal *Signal
	timer  *Timer
	vain   int
}

// NewIntake prepares pulling from an input by a task. In Initialize.
func (e *Base) NewIntake(port int, t *Task) *Intake {
	return &Intake{in: e.In(port), signal: e.UpstreamEmpty(port, t), timer: e.NewTimer(t.Schedule)}
}

// Pull appends up to n packets to b and returns how many, and whether the task should go on. If not,
// it is scheduled when packets may be there.
func (k *Intake) Pull(b *packet.Batch, n int) (got int, more bool) {
	got = k.in.Pull(b, n)
	if got > 0 {
		k.vain = 0
		return got, true
	}
	if !k.signal.Active() {
		k.vain = 0
		return 0, false
	}
	if k.vain++; k.signal.Known() && k.vain < inVain {
		return 0, true
	}
	k.vain = 0
	k.timer.SetAfter(pollPause)
	return 0, false
}

// Signal returns the signal of the input.
func (k *Intake) Signal() *Signal { return k.signal }
