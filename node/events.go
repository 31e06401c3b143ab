package node

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
)

// KeptEvents is how many events an EventLog remembers.
const KeptEvents = 16384

// queuedEvents is how many may wait to be written; more are dropped and counted.
const queuedEvents = 4096

// EventLog gathers the events of a node's layers: each is marshalled to one line of JSON, remembered, and written to a
// file if there is one. Add waits neither for the file nor for readers: a goroutine writes. On a stepped node there
// is no goroutine and Add does all itself, so that a log is complete whenever the clock stands.
type EventLog struct {
	queue   chan any // nil on a stepped node
	stop    chan struct{}
	done    chan struct{}
	closed  atomic.Bool
	dropped atomic.Uint64

	mu      sync.Mutex    // what readers see
	lines   [][]byte      // a ring of KeptEvents
	first   uint64        // number of the oldest line kept
	next    uint64        // number that the next line will have
	changed chan struct{} // closed and replaced when a line is added

	io   sync.Mutex // the file; the goroutine's but for Close and stepped nodes
	out  *bufio.Writer
	file io.Closer
}

// NewEventLog opens a log that writes to path (appending), or only remembers if path is empty.
func NewEventLog(path string, stepped bool) (*EventLog, error) {
	l := &EventLog{changed: make(chan struct{})}
	if path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, errs.New(errs.Invalid, "event log: %w", err)
		}
		l.file, l.out = f, bufio.NewWriter(f)
	}
	if !stepped {
		l.queue, l.stop, l.done = make(chan any, queuedEvents), make(chan struct{}), make(chan struct{})
		go l.run()
	}
	return l, nil
}

// Add records an event, any value that marshals to a JSON object. It is safe for concurrent use.
func (l *EventLog) Add(event any) {
	switch {
	case l.closed.Load():
	case l.queue == nil:
		l.write(event)
		l.flush()
	default:
		select {
		case l.queue <- event:
		default:
			l.dropped.Add(1)
		}
	}
}

func (l *EventLog) run() {
	defer close(l.done)
	for {
		select {
		case e := <-l.queue:
			l.write(e)
			if len(l.queue) == 0 {
				l.flush()
			}
		case <-l.stop:
			for len(l.queue) > 0 { // nothing else takes from it
				l.write(<-l.queue)
			}
			return
		}
	}
}

func (l *EventLog) write(event any) {
	b, err := json.Marshal(event)
	if err != nil {
		b = []byte(`{"kind":"internal","reason":"an event could not be marshalled"}`)
	}
	l.io.Lock()
	if l.out != nil {
		l.out.Write(b)
		l.out.WriteByte('\n')
	}
	l.io.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < KeptEvents {
		l.lines = append(l.lines, b)
	} else {
		l.lines[l.next%KeptEvents] = b
		l.first++
	}
	l.next++
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *EventLog) flush() {
	l.io.Lock()
	defer l.io.Unlock()
	if l.out != nil {
		_ = l.out.Flush() // a full disk must not stop the node; Close reports it
	}
}

// Since returns the lines from number from on that are still remembered, the number after the last, and a channel that
// is closed when there are more. The lines must not be written to.
func (l *EventLog) Since(from uint64) (lines [][]byte, next uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := max(from, l.first); n < l.next; n++ {
		lines = append(lines, l.lines[n%KeptEvents])
	}
	return lines, l.next, l.changed
}

// Dropped returns how many events were lost because they came faster than they could be written.
func (l *EventLog) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is queued and closes the file. Later events are ignored.
func (l *EventLog) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	if l.queue != nil {
		close(l.stop)
		<-l.done
	}
	l.io.Lock()
	defer l.io.Unlock()
	if l.out == nil {
		return nil
	}
	err := l.out.Flush()
	if e := l.file.Close(); err == nil {
		err = e
	}
	return err
}
