package bench

import (
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/netns"
)

// tester sends stamped frames by a generator and checks at a sink what arrives.
type tester struct {
	clock  clock.Clock
	out    outPort
	in     inPort
	ledger ledger
	run    uint16
	sent   uint64
	missed int // deadlines of the last paced run
	// stall is how long the closed loop waits for frames until it takes them as lost. It is long, since the machine may be busy; without
	// losses nobody waits.
	stall time.Duration
}

// newTester opens an AF_PACKET generator and sink, which work on every interface; a namespace that is nil is the present one. The frames are those of traffic, in turn.
func newTester(c clock.Clock, src *netns.Namespace, out string, dst *netns.Namespace, in string, traffic [][]byte) (*tester, error) {
	t := &tester{clock: c, stall: stall}
	err := within(src, func() error {
		o, err := openPacketOut(out, traffic)
		if err == nil {
			t.out = o
		}
		return err
	})
	if err == nil {
		err = within(dst, func() error {
			i, err := openPacketIn(in)
			if err == nil {
				t.in = i
			}
			return err
		})
	}
	if err != nil {
		_ = t.close()
		return nil, err
	}
	return t, nil
}

// runs counts them in the whole process: sinks that see the same frames know theirs.
var runs atomic.Uint32

// stall is that of a tester.
const stall = 2 * time.Second

// close closes both ends.
func (t *tester) close() error {
	var first error
	if t.out != nil {
		first = t.out.close()
	}
	if t.in != nil {
		first = firstError(first, t.in.close())
	}
	return first
}

// send sends n frames, at most a burst.
func (t *tester) send(n int) error {
	if err := t.out.send(t.run, t.sent, n); err != nil {
		return err
	}
	t.sent += uint64(n)
	return nil
}

func (t *tester) drain() bool { return t.in.drain(&t.ledger) }

// patience is how long after the last arrival of a paced run frames may still be on their way; later ones count as lost.
const patience = 50 * time.Millisecond

// settle waits for what is still on its way, until nothing has come for a time.
func (t *tester) settle(patience time.Duration) {
	for last := t.clock.Now(); ; {
		if t.drain() {
			last = t.clock.Now()
		}
		if t.ledger.received >= t.sent || t.clock.Now().Sub(last) > patience {
			return
		}
		t.in.wait(time.Millisecond)
	}
}

func (t *tester) begin(frames int) {
	t.run = uint16(runs.Add(1))
	t.in.begin(t.run)
	t.sent, t.missed = 0, 0
	t.ledger.begin(t.run, frames)
}

// closed sends n frames, never more than window ahead of what arrived, so that nothing is lost for want of buffers. What is
// missing after a time is taken as lost and reported by the ledger.
func (t *tester) closed(n, window int) error {
	t.begin(n)
	lost, burst := uint64(0), min(t.out.burst(), window)
	for last := t.clock.Now(); t.sent < uint64(n); {
		if t.sent-t.ledger.received-lost+uint64(burst) <= uint64(window) {
			if err := t.send(min(burst, n-int(t.sent))); err != nil {
				return err
			}
			if t.drain() {
				last = t.clock.Now()
			}
			continue
		}
		if t.drain() {
			last = t.clock.Now()
			continue
		}
		t.in.wait(10 * time.Millisecond)
		if t.drain() {
			last = t.clock.Now()
		} else if t.clock.Now().Sub(last) > t.stall {
			lost = t.sent - t.ledger.received
			last = t.clock.Now()
		}
	}
	t.settle(t.stall)
	return nil
}

// paced sends at rate frames per second for a time, whatever arrives, and returns the rate that it reached. Frames go when they are due, at most a burst at a
// time; a schedule that could not be kept is moved, and counted in missed.
func (t *tester) paced(rate float64, d time.Duration) (reached float64, err error) {
	n := max(int(rate*d.Seconds()), 2)
	t.begin(n)
	if p, ok := t.out.(pacer); ok {
		reached, t.missed, err = p.paced(t.run, n, rate)
		t.sent = uint64(n)
		t.settle(patience)
		return reached, err
	}
	burst := t.out.burst()
	start := t.clock.Now()
	first, end, paused := start, start, time.Duration(0)
	for t.sent < uint64(n) {
		now := t.clock.Now()
		if now.Sub(first) > 4*d {
			break
		}
		due := min(int(rate*now.Sub(start).Seconds())+1, n) - int(t.sent)
		if due <= 0 {
			t.drain()
			continue
		}
		if late := now.Sub(start) - time.Duration(float64(t.sent)/rate*1e9); late > max(lateness, time.Duration(float64(burst)/rate*1e9)) {
			t.missed++
			start = start.Add(late)
			due = 1
			if late > holdup {
				paused += late
			}
		}
		if err := t.send(min(due, burst)); err != nil {
			return 0, err
		}
		end = now
		t.drain()
	}
	t.settle(patience)
	return offered(int(t.sent)-1, end.Sub(first), paused), nil
}

// flood sends n frames as fast as the generator can, whatever arrives.
func (t *tester) flood(n int) error {
	t.begin(n)
	for t.sent < uint64(n) {
		if err := t.send(min(n-int(t.sent), t.out.burst())); err != nil {
			return err
		}
		t.drain()
	}
	t.settle(patience)
	return nil
}
