package ants

import (
	"time"

	"github.com/janos-os/janos/clock"
)

// EventKind says what an Event reports.
type EventKind string

// The kinds of events.
const (
	LoadRequested EventKind = "load-requested" // this node asked Peer for the code of Method
	LoadServed    EventKind = "load-served"    // this node sent Bytes of code to Peer
	LoadCompleted EventKind = "load-completed" // the code is here, checked, and runs
	LoadFailed    EventKind = "load-failed"
	DomainStarted EventKind = "domain-started" // a protocol's domain was made
	DomainEnded   EventKind = "domain-ended"   // it is dead, and its account is closed
	CapsuleKilled EventKind = "capsule-killed" // an evaluation ended in a fault
	ErrorReceived EventKind = "error-received" // another node refused a capsule of ours
	GuestLog      EventKind = "guest-log"
)

// Event is something that happened in an EE. Fields that do not belong to its kind are zero. It holds
// nothing that differs between two runs under the same virtual clock and seed.
type Event struct {
	Time     clock.Time    `json:"time_ns"` // of the node's clock
	Kind     EventKind     `json:"kind"`
	Node     NodeAddr      `json:"node"`
	Name     string        `json:"name,omitempty"`     // of the node
	Domain   string        `json:"domain,omitempty"`   // path
	Protocol string        `json:"protocol,omitempty"` // name
	Class    string        `json:"class,omitempty"`
	Method   string        `json:"method,omitempty"` // id
	Peer     NodeAddr      `json:"peer,omitempty"`
	Bytes    int           `json:"bytes,omitempty"`
	Chunks   int           `json:"chunks,omitempty"`
	Took     time.Duration `json:"took_ns,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Fuel     uint64        `json:"fuel,omitempty"`
	Func     int           `json:"func,omitempty"`    // of a kill: function index in the module
	Offset   int           `json:"offset,omitempty"`  // of a kill: byte offset in the module, -1 if unknown
	Frames   int           `json:"frames,omitempty"`  // domain-ended: frames that were taken back
	Dropped  uint64        `json:"dropped,omitempty"` // load-failed: waiting capsules that were dropped
	Skipped  uint64        `json:"skipped,omitempty"` // events of this kind left out before this one, by the rate limit
	Text     string        `json:"text,omitempty"`    // guest-log
}

// EventSink takes events. Event is called on the EE's worker, must not wait, and must not call the EE.
type EventSink interface {
	Event(Event)
}

// EventFunc makes a function an EventSink.
type EventFunc func(Event)

// Event implements EventSink.
func (f EventFunc) Event(ev Event) { f(ev) }

// emit completes an event and hands it out.
func (e *EE) emit(ev Event) {
	if e.spec.Events == nil {
		return
	}
	ev.Time, ev.Node, ev.Name = e.home.Now(), e.spec.Addr, e.spec.Name
	e.spec.Events.Event(ev)
}

// bucket is a token bucket on the node's clock.
type bucket struct {
	rate  float64 // tokens a second
	burst float64
	level float64
	last  clock.Time
}

func newBucket(rate int, burst float64) bucket {
	return bucket{rate: float64(rate), burst: burst, level: burst}
}

// take takes n tokens, or none and false.
func (b *bucket) take(n float64, now clock.Time) bool {
	b.level = min(b.burst, b.level+b.rate*now.Sub(b.last).Seconds())
	b.last = now
	if b.level < n {
		return false
	}
	b.level -= n
	return true
}
