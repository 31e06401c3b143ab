package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/janos-os/janos/clock"
)

// Event is something that happened to a laboratory network, as a line of its event log. What happens inside the
// nodes is in their own logs.
type Event struct {
	Time   clock.Time `json:"t_ns"` // since Up was called, or of the virtual clock
	What   string     `json:"event"`
	Node   string     `json:"node,omitempty"`
	Link   string     `json:"link,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

// String returns the event as a line for people.
func (e Event) String() string {
	s := fmt.Sprintf("%9.3fs %s", e.Time.Seconds(), e.What)
	for _, w := range []string{e.Node, e.Link, e.Detail} {
		if w != "" {
			s += " " + w
		}
	}
	return s
}

// eventLog writes events as JSON lines. It is safe for concurrent use.
type eventLog struct {
	mu    sync.Mutex
	clk   clock.Clock
	out   io.Writer
	list  []Event
	hook  func(Event)
	more  chan struct{} // closed and replaced when list grows; nil while nobody waits
	ended bool          // nothing follows
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Time = l.clk.Now()
	l.list = append(l.list, e)
	if b, err := json.Marshal(e); err == nil && l.out != nil {
		_, _ = l.out.Write(append(b, '\n')) // a full disk must not stop the network
	}
	if l.hook != nil {
		l.hook(e)
	}
	l.tell()
}

// end says that nothing follows.
func (l *eventLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.tell()
}

func (l *eventLog) tell() {
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// from returns the events from number n on. more is closed when there are others; it is nil when there will be none.
func (l *eventLog) from(n int) (list []Event, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && l.more == nil {
		l.more = make(chan struct{})
	}
	if !l.ended {
		more = l.more
	}
	return append([]Event(nil), l.list[min(n, len(l.list)):]...), more
}

// grace is how long processes may take to end when they are asked to.
const grace = 2 * time.Second
