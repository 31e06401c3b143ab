package bench

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
)

// tester sends stamped frames by one interface and checks what arrives at another: an AF_PACKET socket past the
// queueing discipline with up to 64 frames a system call, and a mapped receive ring.
type tester struct {
	clock  clock.Clock
	fd     int
	ring   *sys.PacketRing
	queue  *sys.MsgQueue
	frames [][]byte
	ledger ledger
	run    uint32
	sent   uint64
	// stall is how long the closed loop waits for frames until it takes them as lost. It is long, since the machine may be busy; without
	// losses nobody waits.
	stall time.Duration
}

// burst is how many frames a system call sends at most.
const burst = sys.MaxMsgs

// sinkFrames is the sink's receive ring.
const sinkFrames = 16384

// newTester opens both ends; a namespace that is nil is the present one. The frames are those of traffic, in turn.
func newTester(c clock.Clock, src *netns.Namespace, out string, dst *netns.Namespace, in string, traffic [][]byte) (*tester, error) {
	t := &tester{clock: c, fd: -1, queue: sys.NewMsgQueue(), stall: 2 * time.Second}
	inside := func(ns *netns.Namespace, fn func() error) error {
		if ns == nil {
			return fn()
		}
		return ns.Do(fn)
	}
	err := inside(src, func() error {
		i, err := net.InterfaceByName(out)
		if err != nil {
			return errs.New(errs.NotFound, "interface %s: %w", out, err)
		}
		t.fd, err = sys.OpenPacketSender(i.Index, true)
		return err
	})
	if err == nil {
		err = inside(dst, func() error {
			i, err := net.InterfaceByName(in)
			if err != nil {
				return errs.New(errs.NotFound, "interface %s: %w", in, err)
			}
			if t.ring, err = sys.OpenPacketRing(sys.RingSpec{Ifindex: i.Index, Frames: sinkFrames, MaxLen: 128, Blocks: true, RetireMS: 1, Promisc: true}); err != nil {
				return err
			}
			return t.ring.Bind()
		})
	}
	if err != nil {
		_ = t.close()
		return nil, err
	}
	for i := range max(len(traffic), burst) { // those of one system call must be different memory
		t.frames = append(t.frames, append([]byte(nil), traffic[i%len(traffic)]...))
	}
	return t, nil
}

func (t *tester) close() error {
	var first error
	if t.fd >= 0 {
		first = sys.CloseFD(t.fd)
	}
	if t.ring != nil {
		first = firstError(first, t.ring.Close())
	}
	return first
}

// send sends n frames, at most a burst.
func (t *tester) send(n int) error {
	for i := range n {
		f := t.frames[int(t.sent+uint64(i))%len(t.frames)]
		stamp(f, t.run, t.sent+uint64(i))
		t.queue.Set(i, f)
	}
	for from := 0; from < n; {
		k, err := t.queue.Send(t.fd, from, n)
		from += k
		t.sent += uint64(k)
		if err != nil && err != unix.EAGAIN && err != unix.ENOBUFS {
			return fmt.Errorf("generator: %w", err)
		}
	}
	return nil
}

// drain enters what has arrived, and reports whether something had.
func (t *tester) drain() bool {
	var f sys.RxFrame
	some := false
	for t.ring.Next(&f) {
		t.ledger.arrived(f.Data)
		some = true
	}
	t.ring.Release()
	return some
}

// wait sleeps until frames arrive or d has passed.
func (t *tester) wait(d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(t.ring.FD()), Events: unix.POLLIN}}
	ts := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(fds, &ts, nil)
}

// patience is how long after the last arrival of a paced run frames may still be on their way; later ones count as lost.
const patience = 200 * time.Millisecond

// settle waits for what is still on its way, until nothing has come for a time.
func (t *tester) settle(patience time.Duration) {
	for last := t.clock.Now(); t.ledger.received < t.sent; {
		if t.drain() {
			last = t.clock.Now()
		} else if t.clock.Now().Sub(last) > patience {
			return
		}
		t.wait(time.Millisecond)
	}
}

func (t *tester) begin(frames int) {
	for t.drain() { // what a former run left
	}
	_, _ = t.ring.Drops()
	t.run++
	t.sent = 0
	t.ledger.begin(t.run, frames)
}

// closed sends n frames, never more than window ahead of what arrived, so that nothing is lost for want of buffers. What is
// missing after a time is taken as lost and reported by the ledger.
func (t *tester) closed(n, window int) error {
	t.begin(n)
	lost := uint64(0)
	for last := t.clock.Now(); t.sent < uint64(n); {
		if t.sent-t.ledger.received-lost+burst <= uint64(window) {
			if err := t.send(min(burst, n-int(t.sent))); err != nil {
				return err
			}
			if t.drain() {
				last = t.clock.Now()
			}
			continue
		}
		t.wait(10 * time.Millisecond)
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

// paced sends at rate frames per second for a time, whatever arrives, and returns the rate that it reached.
func (t *tester) paced(rate float64, d time.Duration) (float64, error) {
	n := int(rate * d.Seconds())
	t.begin(n)
	start := t.clock.Now()
	end := start
	for t.sent < uint64(n) {
		now := t.clock.Now()
		due := min(int(rate*now.Sub(start).Seconds())+1, n) - int(t.sent)
		if due > 0 {
			if err := t.send(min(due, burst)); err != nil {
				return 0, err
			}
			end = t.clock.Now()
			t.drain()
			continue
		}
		if !t.drain() {
			t.wait(20 * time.Microsecond)
		}
		if now.Sub(start) > 4*d {
			break
		}
	}
	t.settle(patience)
	if span := end.Sub(start); span > 0 {
		return float64(t.sent) / span.Seconds(), nil
	}
	return 0, nil
}

// pinned runs fn on a thread that is bound to a processor, and undoes it afterwards.
func pinned(cpu int, fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return err
	}
	if err := bindTo(cpu); err != nil {
		return err
	}
	return firstError(fn(), unix.SchedSetaffinity(0, &old))
}

// bindTo binds the calling thread to a processor.
func bindTo(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// processors returns those that this process may use, lowest first.
func processors() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// softirqThread returns the id of the kernel thread that handles a processor's deferred network work; 0 if it is not seen here.
func softirqThread(cpu int) int {
	want := "ksoftirqd/" + strconv.Itoa(cpu)
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile("/proc/" + d.Name() + "/comm"); err == nil && strings.TrimSpace(string(b)) == want {
			return pid
		}
	}
	return 0
}

// allow binds the calling thread to a set of processors.
func allow(cpus []int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	return unix.SchedSetaffinity(0, &set)
}
