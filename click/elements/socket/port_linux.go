package socket

// The way of a packet, in the order of this file:
//
//  1. a poll event of the descriptor (or the timer of a worker without a poll set) wakes the task
//  2. the task sends what is held, receives a burst and pushes it, and pulls from the input what the socket takes
//  3. packets that are pushed to the input go out at once, behind what is held
//
// All of it runs on the worker, but the opening of the descriptor, which may wait.

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

const (
	defaultSnap = 2048
	burst       = 32
	lookPause   = 10 * time.Millisecond // between looks at a descriptor without a poll set
)

var (
	errNoHost = errors.New("this graph has no rights on sockets of the host")

	commonArgs = []string{
		"SNAPLEN: Most bytes of a packet that is received; what is longer is cut; default 2048, or what a packet has room for.", "SNDBUF: Size of the socket's send buffer in bytes; default the system's.",
		"RCVBUF: Size of the socket's receive buffer in bytes; default the system's.", "TIMESTAMP: Whether received packets have their time annotation set; default true.",
		"HEADROOM: Bytes that received packets have free before their data, at least; default 28.",
	}
	commonHandlers = []string{"received (r): Packets received.", "sent (r): Packets sent.", "length (r): Packets held until the socket takes them.", "address (r): The socket's own address, or nothing.", "drops (r): Packets that were refused or too many, and those received that could not be kept."}
)

// carrier is a kind of socket.
type carrier interface {
	// recv appends up to n packets to b and reports whether there may be more.
	recv(b *packet.Batch, n int) (more bool)
	// send hands packets over from the front and returns how many are done with, sent or refused. It frees none.
	send(list []*packet.Packet) int
}

// port is what the elements have in common.
type port struct {
	click.Base
	kind     carrier
	snap     int
	sndbuf   int
	rcvbuf   int
	stamp    bool
	headroom int
	drain    bool // without an output: read nevertheless

	fd       int // -1: none
	watch    *nodeos.FD
	waker    *nodeos.Task
	look     *click.Timer // without a poll set
	later    *click.Timer // for lack of memory
	task     *click.Task
	intake   *click.Intake
	held     packet.Batch
	received uint64
	sent     uint64
}

// params returns the arguments that all have.
func (p *port) params() []click.Param {
	p.fd, p.snap, p.stamp, p.headroom = -1, defaultSnap, true, 28
	return []click.Param{
		click.Key("SNAPLEN", click.IntRange(&p.snap, 1, 1<<16)), click.Key("SNDBUF", click.IntRange(&p.sndbuf, 0, 1<<30)), click.Key("RCVBUF", click.IntRange(&p.rcvbuf, 0, 1<<30)),
		click.Key("TIMESTAMP", click.Bool(&p.stamp)), click.Key("HEADROOM", click.IntRange(&p.headroom, 0, 1<<12)),
	}
}

// prepare makes what waits for the descriptor. In Initialize, before it is opened.
func (p *port) prepare(kind carrier) error {
	if !p.Router().Host() {
		return errNoHost
	}
	q := p.Cache().Pool().Spec().Headroom
	if p.headroom > q {
		return errs.New(errs.Invalid, "HEADROOM: %d bytes, packets of this node have %d", p.headroom, q)
	}
	p.kind = kind
	p.task = p.NewTask(p.run)
	if p.Inputs() > 0 && p.InputKind(0) == click.PullKind {
		p.intake = p.NewIntake(0, p.task)
		p.task.Schedule()
	}
	return nil
}

// attach gives the port its descriptor, which must not block and is its own from now on, with an error too.
func (p *port) attach(fd int) error {
	p.fd = fd
	if p.sndbuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, p.sndbuf)
	}
	if p.rcvbuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, p.rcvbuf)
	}
	return p.wait()
}

// wait makes events of the descriptor run the task.
func (p *port) wait() error {
	p.task.Schedule()
	if p.Thread().Worker().Poll() == nil {
		if p.look == nil {
			p.look = p.NewTimer(func() {
				p.task.Schedule()
				p.look.SetAfter(lookPause)
			})
		}
		p.look.SetAfter(lookPause)
		return nil
	}
	if p.waker == nil {
		t, err := p.Router().Domain().NewTask(nodeos.TaskSpec{Name: "socket", Worker: p.Thread().Worker().ID(), Run: nodeos.RunFunc(func(nodeos.Budget) nodeos.Used {
			p.task.Schedule()
			return nodeos.Used{}
		})})
		if err != nil {
			return err
		}
		p.waker = t
	}
	w, err := p.waker.NewFD(p.fd, true)
	p.watch = w
	return err
}

// detach stops waiting and returns the descriptor, or -1.
func (p *port) detach() int {
	if p.watch != nil {
		p.watch.Close()
		p.watch = nil
	}
	if p.look != nil {
		p.look.Stop()
	}
	fd := p.fd
	p.fd = -1
	return fd
}

// shut closes the descriptor.
func (p *port) shut() {
	if fd := p.detach(); fd >= 0 {
		unix.Close(fd)
	}
}

// Cleanup implements click.Cleaner.
func (p *port) Cleanup() {
	p.shut()
	if p.waker != nil {
		p.waker.Close()
		p.waker = nil
	}
	p.Cache().FreeBatch(&p.held)
}

// inherit takes over counts, what is held, and with fd also the descriptor.
func (p *port) inherit(o *port, fd bool) error {
	p.received, p.sent = o.received, o.sent
	p.CountDrops(int(o.Drops()))
	o.held.MoveTo(&p.held)
	if !fd || o.fd < 0 {
		return nil
	}
	p.fd = o.detach()
	return p.wait()
}

// run sends, receives and pulls.
func (p *port) run() (int, bool) {
	if p.fd < 0 {
		return 0, false
	}
	n, more := p.flush(), false
	if p.Outputs() > 0 {
		b := p.Thread().Scratch()
		more = p.kind.recv(b, burst)
		n += b.Len()
		p.received += uint64(b.Len())
		if p.stamp {
			for _, k := range b.Packets() {
				k.Anno.Time = p.Now()
			}
		}
		p.Out(0).Push(b)
		p.Thread().Release(b)
	} else if p.drain {
		more = p.discard()
	}
	if p.intake != nil && p.held.Len() == 0 && p.fd >= 0 {
		b := p.Thread().Scratch()
		got, again := p.intake.Pull(b, burst)
		p.Push(0, b)
		p.Thread().Release(b)
		n, more = n+got, more || again && p.held.Len() == 0
	}
	return n, more
}

// discard reads what nobody wants, so that the end of a connection and the sender of a datagram are seen.
func (p *port) discard() bool {
	b := p.Thread().Scratch()
	more := p.kind.recv(b, burst)
	p.Cache().FreeBatch(b)
	p.Thread().Release(b)
	return more
}

// flush sends what is held.
func (p *port) flush() int {
	if p.held.Len() == 0 || p.fd < 0 {
		return 0
	}
	n := p.kind.send(p.held.Packets())
	p.Cache().FreeAll(p.held.Packets()[:n])
	p.held.Drop1st(n)
	return n
}

// Push implements click.Pusher.
func (p *port) Push(_ int, b *packet.Batch) {
	p.flush()
	n := 0
	if p.held.Len() == 0 && p.fd >= 0 && b.Len() > 0 {
		n = p.kind.send(b.Packets())
		p.Cache().FreeAll(b.Packets()[:n])
	}
	for _, k := range b.Packets()[n:] {
		if !p.held.Append(k) {
			p.DropOne(k)
		}
	}
	b.Reset()
}

// alloc makes a packet to be received into.
func (p *port) alloc() *packet.Packet {
	k := p.Cache().Alloc(p.Owner())
	if k == nil {
		return nil
	}
	if k.Put(min(p.snap, k.Tailroom())) == nil {
		p.Cache().Free(k)
		return nil
	}
	return k
}

// AddHandlers implements click.HandlerAdder.
func (p *port) AddHandlers(h *click.Handlers) {
	h.Count("received", &p.received)
	h.Count("sent", &p.sent)
	h.Read("length", func() string { return strconv.Itoa(p.held.Len()) })
	h.Read("address", func() string { return localName(p.fd) })
}

// retry runs the task again soon, where it has no packet to receive into.
func (p *port) retry() {
	if p.later == nil {
		p.later = p.NewTimer(p.task.Schedule)
	}
	p.later.SetAfter(lookPause)
}

// localName returns the address of a socket as text.
func localName(fd int) string {
	if fd < 0 {
		return ""
	}
	name, _ := unix.Getsockname(fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		return strings.TrimSuffix(a.Name, "@") // which is how one without a name is shown
	}
	return ""
}
