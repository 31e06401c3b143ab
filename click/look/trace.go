package look

import (
	"sync"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

// Step is a packet on its way from one element to the next.
type Step struct {
	Packet   int           `json:"packet"` // from 1
	Copy     int           `json:"copy"`   // 0: the packet itself; others are copies that elements made of it
	After    time.Duration `json:"after_ns"`
	From     string        `json:"from"`
	FromPort int           `json:"from_port"`
	To       string        `json:"to"`
	ToPort   int           `json:"to_port"`
	Length   int           `json:"length"`
	Paint    uint8         `json:"paint,omitempty"`
	Headers  string        `json:"headers,omitempty"`
}

const (
	// MaxTraced is how many packets one trace follows at most.
	MaxTraced = 10_000
	maxSteps  = 1 << 16 // that wait to be fetched
)

// Trace follows packets through a graph.
type Trace struct {
	probe *click.Probe
	spec  *click.GraphSpec
	start *Place // nil: where packets come into being
	made  []bool // elements without inputs

	mu     sync.Mutex
	begin  time.Time
	left   int // packets to begin with
	begun  int
	at     map[*packet.Packet]*way
	frames map[packet.FrameID]*journey
	steps  []Step
	lost   int
	seen   time.Time // when the last step was
	wake   chan struct{}
}

// way is what is known of one packet that is followed.
type way struct {
	j    *journey
	copy int
	at   int // the element that has it
}

// journey is a packet with its copies.
type journey struct {
	number int
	copies int
	been   map[int]bool // elements that got one
}

// NewTrace follows the next n packets, from where they come into being or, with a place, from there. n is 1 to MaxTraced.
func NewTrace(r *click.Router, n int, place *Place) (*Trace, error) {
	t := &Trace{spec: r.Spec(), start: place, left: min(max(n, 1), MaxTraced), begin: time.Now(),
		at: map[*packet.Packet]*way{}, frames: map[packet.FrameID]*journey{}, wake: make(chan struct{}, 1)}
	t.made = make([]bool, len(t.spec.Elements))
	for i := range t.made {
		t.made[i] = true
	}
	for _, e := range t.spec.Edges {
		t.made[e.To] = false
	}
	var err error
	t.probe, err = r.NewProbe(t.see)
	return t, err
}

// see runs on the workers.
func (t *Trace) see(e lang.Edge, ps []*packet.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == 0 && len(t.at) == 0 {
		return
	}
	for _, p := range ps {
		t.follow(e, p)
	}
}

func (t *Trace) follow(e lang.Edge, p *packet.Packet) {
	w := t.at[p]
	if w != nil && w.at != e.From || t.made[e.From] { // the memory of a packet that was freed
		delete(t.at, p)
		w = nil
	}
	if t.made[e.From] {
		delete(t.frames, p.Frame())
	}
	if w == nil {
		if j := t.frames[p.Frame()]; j != nil && j.been[e.From] {
			j.copies++
			w = &way{j: j, copy: j.copies}
			t.at[p] = w
		}
	}
	if w == nil {
		if t.left == 0 || t.start == nil && !t.made[e.From] || t.start != nil && !t.start.on(e) {
			return
		}
		t.left--
		t.begun++
		w = &way{j: &journey{number: t.begun, been: map[int]bool{}}}
		t.at[p] = w
	}
	t.frames[p.Frame()] = w.j
	w.at = e.To
	w.j.been[e.To] = true
	t.seen = time.Now()
	if len(t.steps) >= maxSteps {
		t.lost++
		return
	}
	t.steps = append(t.steps, Step{Packet: w.j.number, Copy: w.copy, After: t.seen.Sub(t.begin),
		From: t.spec.Elements[e.From].Name, FromPort: e.FromPort, To: t.spec.Elements[e.To].Name, ToPort: e.ToPort,
		Length: p.Len(), Paint: p.Anno.Paint, Headers: Headers(p)})
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Steps returns the steps since the last call, whether the trace has all packets that it is to follow and when the last step was, and how
// many steps were lost.
func (t *Trace) Steps() (steps []Step, all bool, last time.Time, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps, t.steps = t.steps, nil
	return steps, t.left == 0, t.seen, t.lost
}

// More receives after there were new steps.
func (t *Trace) More() <-chan struct{} { return t.wake }

// Close ends the trace.
func (t *Trace) Close() { t.probe.Close() }
