package vm

import (
	"sync"

	"github.com/janos-os/janos/errs"
)

// MaxSegment bounds the bytes of a segment.
const MaxSegment = 16 << 20

// segmentBytes is charged for a segment besides its bytes.
const segmentBytes = 128

// Segment is bytes that several isolates share. They never change. Every isolate that has a handle of it is charged for all of it, as in KaffeOS: so
// that nobody can be made to pay for what another gives up, and its own charge does not depend on what others do.
type Segment struct {
	e    *Engine
	data []byte

	mu      sync.Mutex // no lock is taken with it
	sharers map[*Isolate]int
}

// NewSegment makes a segment of a copy of data and gives the isolate a handle of it. The isolate is charged before.
func (i *Isolate) NewSegment(data []byte, rights Rights) (Handle, error) {
	if len(data) > MaxSegment {
		return 0, errs.New(errs.TooBig, "vm: isolate %s: a segment of %d bytes, at most %d", i.spec.Name, len(data), MaxSegment)
	}
	s := &Segment{e: i.e, sharers: map[*Isolate]int{}}
	cost := segmentBytes + int64(len(data))
	if err := i.take(useSegments, cost); err != nil {
		return 0, err
	}
	s.data = append([]byte(nil), data...)
	h, err := i.Put(SegmentHandle, s, rights) // which charges it
	i.giveBack(useSegments, cost)
	return h, err
}

// Bytes returns the bytes. They must not be written to.
func (s *Segment) Bytes() []byte { return s.data }

func (s *Segment) cost() int64 { return segmentBytes + int64(len(s.data)) }

// hold implements held. The first handle of an isolate charges it.
func (s *Segment) hold(_ HandleKind, i *Isolate) error {
	if i == nil {
		return nil // whoever sent it pays as long as it has its own
	}
	return s.move(i)
}

// move implements held.
func (s *Segment) move(i *Isolate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sharers[i] == 0 {
		if err := i.take(useSegments, s.cost()); err != nil {
			return err
		}
	}
	s.sharers[i]++
	return nil
}

// drop implements held.
func (s *Segment) drop(_ HandleKind, i *Isolate) {
	if i == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sharers[i]--; s.sharers[i] == 0 {
		delete(s.sharers, i)
		i.giveBack(useSegments, s.cost())
	}
}
