package node

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"sync"

	"github.com/janos-os/janos/errs"
)

// KeptEvents is how many events an EventLog remembers.
const KeptEvents = 16384

// queuedEvents is how many may wait to be written; more are dropped and counted.
const queuedEvents = 4096

// EventLog gathers the events of a node's layers: each is marshalled to one line of JSON, remembered, and written to a
// file if there is one. Add never blocks on the file: a goroutine writes. On a stepped node there
// is no goroutine and Add does all itself, so that a log is complete whenever the clock stands.
type EventLog struct {
	queue chan any
	done  chan struct{}

	mu      sync.Mutex
	lines   [][]byte // a ring of KeptEvents
	first   uint64   // number of the oldest line kept
	next    uint64   // number that the next line will have
	dropped uint64
	out     *bufio.Writer
	file    io.Closer
	changed chan struct{} // closed and replaced when a line is added
	closed  bool
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
		l.queue, l.done = make(chan any, queuedEvents), make(chan struct{})
		go l.run()
	}
	return l, nil
}

// Add records an event, any value that marshals to a JSON object. It is safe for concurrent use.
func (l *EventLog) Add(event any) {
	if l.queue == nil {
		l.write(event)
		l.flush()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	select {
	case l.queue <- event:
	default:
		l.dropped++
	}
}

func (l *EventLog) run() {
	defer close(l.done)
	for e := range l.queue {
		l.write(e)
		if len(l.queue) == 0 {
			l.flush()
		}
	}
}

func (l *EventLog) write(event any) {
	b, err := json.Marshal(event)
	if err != nil {
		b = []byte(`{"kind":"internal","reason":"an event could not be marshalled"}`)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < KeptEvents {
		l.lines = append(l.lines, b)
	} else {
		l.lines[l.next%KeptEvents] = b
		l.first++
	}
	l.next++
	if l.out != nil {
		l.out.Write(b)
		l.out.WriteByte('\n')
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *EventLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
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
func (l *EventLog) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Close writes what is queued and closes the file. Later events are ignored.
func (l *EventLog) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.queue != nil {
		close(l.queue)
		<-l.done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	err := l.out.Flush()
	if e := l.file.Close(); err == nil {
		err = e
	}
	return err
}
