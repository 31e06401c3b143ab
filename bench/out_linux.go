package bench

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
)

// outPort is a generator: it sends stamped frames by one interface. It belongs to one goroutine.
type outPort interface {
	// send sends frames from up to from+n, at most burst of them, and returns when the kernel has taken them.
	send(run uint16, from uint64, n int) error
	burst() int
	close() error
}

// pacer is a generator that keeps a schedule itself.
type pacer interface {
	// paced sends n frames at a rate and returns the rate that it reached, and how often it was behind its schedule by more than lateness.
	paced(run uint16, n int, rate float64) (reached float64, missed int, err error)
}

// lateness, in ns, is how far a generator may be behind its schedule. Beyond it the schedule is moved, so that a generator which was held up does
// not make up for it with a burst, and the deadline counts as missed.
const lateness = 100_000

// holdup, in ns, is how late a generator is only when its processor was taken away. It offers nothing then, which says nothing about the rate that it can offer.
const holdup = 1_000_000

// monotonic is the time in ns that eBPF programs have as well.
func monotonic() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}

// within runs fn in a namespace; nil is the present one.
func within(ns *netns.Namespace, fn func() error) error {
	if ns == nil {
		return fn()
	}
	return ns.Do(fn)
}

// packetOut sends by AF_PACKET, past the queueing discipline, with up to 64 frames a system call.
type packetOut struct {
	fd     int
	queue  *sys.MsgQueue
	frames [][]byte
}

// openPacketOut opens it on an interface of the calling thread's namespace. The frames are those of traffic, in turn.
func openPacketOut(ifname string, traffic [][]byte) (*packetOut, error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	o := &packetOut{queue: sys.NewMsgQueue()}
	if o.fd, err = sys.OpenPacketSender(i.Index, true); err != nil {
		return nil, err
	}
	for i := range max(len(traffic), sys.MaxMsgs) { // those of one system call must be different memory
		o.frames = append(o.frames, append([]byte(nil), traffic[i%len(traffic)]...))
	}
	return o, nil
}

func (o *packetOut) burst() int   { return sys.MaxMsgs }
func (o *packetOut) close() error { return sys.CloseFD(o.fd) }

func (o *packetOut) send(run uint16, from uint64, n int) error {
	now := monotonic()
	for i := range n {
		f := o.frames[(from+uint64(i))%uint64(len(o.frames))]
		stamp(f, run, uint32(from)+uint32(i), now)
		o.queue.Set(i, f)
	}
	for done := 0; done < n; {
		k, err := o.queue.Send(o.fd, done, n)
		done += k
		if err != nil && err != unix.EAGAIN && err != unix.ENOBUFS {
			return fmt.Errorf("generator: %w", err)
		}
	}
	return nil
}

// xskOut sends by an AF_XDP socket that does nothing else. It attaches no program.
type xskOut struct {
	sock   *sys.XSK
	region []byte
	size   int
	free   int // places that are in no ring
}

const (
	xskPlaces = 2048
	xskPlace  = 2048
	xskBurst  = 64
)

// openXSKOut opens it on queue 0 of an interface of the calling thread's namespace. The frames are those of traffic, in turn, and all of one length.
func openXSKOut(ifname string, traffic [][]byte) (_ *xskOut, err error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	o := &xskOut{size: len(traffic[0]), free: xskPlaces}
	if o.region, err = sys.MapAnon(xskPlaces * xskPlace); err != nil {
		return nil, err
	}
	for k := range xskPlaces {
		copy(o.region[k*xskPlace:(k+1)*xskPlace], traffic[k%len(traffic)])
	}
	o.sock, err = sys.OpenXSK(sys.XSKSpec{Ifindex: i.Index, Region: o.region, ChunkSize: xskPlace, Tx: xskPlaces, Fill: xskBurst, Completion: xskPlaces, NeedWakeup: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("generator on %s: %w", ifname, err), sys.Unmap(o.region))
	}
	return o, nil
}

func (o *xskOut) burst() int   { return xskBurst }
func (o *xskOut) close() error { return firstError(o.sock.Close(), sys.Unmap(o.region)) }

func (o *xskOut) reclaim() {
	if n := o.sock.CompReady(); n > 0 {
		o.sock.ReleaseComp(n)
		o.free += n
	}
	o.sock.TxTaken()
}

// kick makes the kernel take what the ring holds.
func (o *xskOut) kick() error {
	for o.sock.TxWaiting() > 0 {
		switch err := o.sock.KickTx(); err {
		case nil, unix.EBUSY: // the device had no room for one; that is a loss like others
		case unix.EAGAIN, unix.ENOBUFS:
			runtime.Gosched()
		default:
			return fmt.Errorf("generator: %w", err)
		}
		o.reclaim()
	}
	return nil
}

func (o *xskOut) send(run uint16, from uint64, n int) error {
	for o.reclaim(); o.free < n || o.sock.TxRoom() < n; o.reclaim() {
		if err := o.kick(); err != nil {
			return err
		}
		runtime.Gosched() // frames in the hands of the receiving side
	}
	now := monotonic()
	for i := range n {
		at := int((from + uint64(i)) % xskPlaces * xskPlace)
		stamp(o.region[at:at+o.size], run, uint32(from)+uint32(i), now)
		o.sock.PutTx(uint64(at), o.size)
	}
	o.free -= n
	o.sock.PublishTx()
	return o.kick()
}
