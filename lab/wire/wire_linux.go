package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/linkmodel"
)

// The way of a frame, in the order of this file:
//  1. epoll says that a port is readable; receive takes a batch from its socket.
//  2. the lane of that direction decides about each frame: dropped and counted, or when it arrives.
//  3. a frame that is carried waits in its lane's fifo; arrivals within a lane are ascending.
//  4. deliver sends what is due, in batches, from the other port of the link; a timer wakes the loop for the next.
//
// One thread does all of it; nothing on the way is locked. Commands come in through the mutex-protected list below,
// announced by an eventfd, and are carried out between turns.

const (
	batch     = 64     // frames per system call
	maxHeld   = 65_536 // frames under way at a time, in all lanes together
	chunkSize = 64     // frames whose memory is allocated at once
)

// Wire carries frames between pairs of interfaces. Run is called once; Impair, Stats and Stop may be called concurrently with it.
type Wire struct {
	clk   clock.Clock
	epoll int
	timer int
	wake  int
	links []LinkConfig
	ports []*port // two per link, in order
	free  [][]byte
	held  int
	size  int // of a frame's memory
	armed clock.Time
	io    *sys.FrameBatch

	mu       sync.Mutex
	commands []func()
	stopped  bool          // Stop was called
	done     chan struct{} // closed when Run has returned
}

// port is an interface, and the direction of the link that starts there.
type port struct {
	fd    int
	peer  *port
	lane  *linkmodel.Lane
	queue linkmodel.Fifo[flight] // under way to peer, earliest first
	stats Stats
}

type flight struct {
	arrival clock.Time
	frame   []byte // headroom not included
	memory  []byte // what goes back to the pool
}

// Open opens a socket on every interface of cfg. It needs CAP_NET_RAW. The caller calls Run, and Close in any case.
func Open(cfg Config, clk clock.Clock) (*Wire, error) {
	w := &Wire{clk: clk, epoll: -1, timer: -1, wake: -1, armed: clock.Never, links: cfg.Links, done: make(chan struct{})}
	if err := w.open(cfg); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Wire) open(cfg Config) (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for tag, fd := range map[int32]int{tagTimer: w.timer, tagWake: w.wake} {
		if err := w.watch(fd, tag); err != nil {
			return err
		}
	}
	mtu := 0
	for i, l := range cfg.Links {
		if err := l.Impair.Check(); err != nil {
			return errs.New(errs.Invalid, "link %s: %w", l.Name, err)
		}
		for d, name := range l.Ports {
			p := &port{fd: -1, lane: linkmodel.NewLane(l.Impair, clock.NewRand(cfg.Seed, uint64(2*i+d)))}
			w.ports = append(w.ports, p)
			ifc, err := net.InterfaceByName(name)
			if err != nil {
				return errs.New(errs.NotFound, "link %s: interface %s: %w", l.Name, name, err)
			}
			mtu = max(mtu, ifc.MTU)
			if p.fd, err = openPort(ifc.Index); err != nil {
				return errs.New(errs.NotSupported, "link %s: packet socket on %s: %w; this needs CAP_NET_RAW", l.Name, name, err)
			}
			if err := w.watch(p.fd, int32(2*i+d)); err != nil {
				return err
			}
		}
		a, b := w.ports[2*i], w.ports[2*i+1]
		a.peer, b.peer = b, a
	}
	w.size = sys.FrameHeadroom + mtu + 14 + 4
	w.io = sys.NewFrameBatch(batch)
	return nil
}

// Tags of epoll events that are not ports.
const (
	tagTimer int32 = -1
	tagWake  int32 = -2
)

func (w *Wire) watch(fd int, tag int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: tag}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// openPort returns a socket that reads every frame that arrives at the interface and sends without a queue.
func openPort(ifindex int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	fail := func(err error) (int, error) { unix.Close(fd); return -1, err }
	for _, opt := range []int{unix.PACKET_IGNORE_OUTGOING, unix.PACKET_QDISC_BYPASS, unix.PACKET_AUXDATA} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, opt, 1); err != nil {
			return fail(err)
		}
	}
	// A burst must survive until the loop's turn. In a user namespace the limit of the machine cannot be exceeded.
	const room = 8 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // network byte order on the little-endian machines we build for
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return fail(err)
	}
	return fd, nil
}

// Close gives the sockets up. Not while Run is running.
func (w *Wire) Close() {
	for _, p := range w.ports {
		if p.fd >= 0 {
			unix.Close(p.fd)
			p.fd = -1
		}
	}
	for _, fd := range []*int{&w.epoll, &w.timer, &w.wake} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Run carries frames until Stop. It locks the calling goroutine to its thread meanwhile.
func (w *Wire) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		now := w.clk.Now()
		for _, ev := range events[:n] {
			switch ev.Fd {
			case tagTimer:
				drain(w.timer)
				w.armed = clock.Never
			case tagWake:
				drain(w.wake)
				if w.obey() {
					return nil
				}
			default:
				w.receive(w.ports[ev.Fd], now)
			}
		}
		w.deliver(now)
	}
}

func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:]) // nothing to read is fine: somebody was faster
}

// receive reads one batch, and leaves the rest for the next turn so that no port starves another.
func (w *Wire) receive(p *port, now clock.Time) {
	for i := range batch {
		if w.io.Memory[i] == nil {
			w.io.Memory[i] = w.take()
		}
	}
	n, err := w.io.Receive(p.fd)
	if err != nil {
		return // would block, or the interface went down: epoll calls again when there is something
	}
	p.stats.Received += uint64(n)
	for i := range n {
		frame := w.io.Frame(i)
		arrival, v := p.lane.Offer(now, len(frame))
		switch {
		case v == linkmodel.Lost:
			p.stats.Lost++
			continue
		case v == linkmodel.QueueFull:
			p.stats.QueueFull++
			continue
		case w.held == maxHeld:
			p.stats.Overflow++
			continue
		}
		p.queue.Push(flight{arrival, frame, w.io.Memory[i]})
		w.io.Memory[i] = nil
		w.held++
	}
}

// take returns memory for a frame.
func (w *Wire) take() []byte {
	if len(w.free) == 0 {
		chunk := make([]byte, chunkSize*w.size)
		for i := range chunkSize {
			w.free = append(w.free, chunk[i*w.size:(i+1)*w.size:(i+1)*w.size])
		}
	}
	m := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	return m
}

// deliver sends what is due and arms the timer for what is not.
func (w *Wire) deliver(now clock.Time) {
	next := clock.Never
	for _, p := range w.ports {
		for p.queue.Len() > 0 && p.queue.At(0).arrival <= now {
			k := 0
			for k < min(p.queue.Len(), batch) && p.queue.At(k).arrival <= now {
				w.io.Set(k, p.queue.At(k).frame)
				k++
			}
			sent := w.io.Send(p.peer.fd, k)
			p.stats.Delivered += uint64(sent)
			if sent == 0 {
				// The first one cannot be sent: the other end is down. The cable does not keep it.
				p.stats.Undelivered++
				sent = 1
			}
			for range sent {
				w.free = append(w.free, p.queue.Pop().memory)
			}
			w.held -= sent
		}
		if p.queue.Len() > 0 {
			next = min(next, p.queue.At(0).arrival)
		}
	}
	if next == w.armed || next == clock.Never {
		return // a timer that is armed too early only costs a turn
	}
	w.armed = next
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(next.Sub(now), 1)))}
	if err := unix.TimerfdSettime(w.timer, 0, &spec, nil); err != nil {
		w.armed = clock.Never // cannot happen with a valid descriptor and time; the next event tries again
	}
}

// do has the loop run fn between two turns, and waits for it.
func (w *Wire) do(fn func()) error {
	ran := make(chan struct{})
	w.mu.Lock()
	w.commands = append(w.commands, func() { fn(); close(ran) })
	var one = [8]byte{1}
	_, err := unix.Write(w.wake, one[:])
	w.mu.Unlock()
	if err != nil {
		return errs.New(errs.Dead, "wire: %w", err)
	}
	select {
	case <-ran:
		return nil
	case <-w.done:
		return errs.New(errs.Dead, "the wire has stopped")
	}
}

// obey carries out commands and reports whether one of them was to stop.
func (w *Wire) obey() bool {
	w.mu.Lock()
	list := w.commands
	w.commands = nil
	w.mu.Unlock()
	for _, fn := range list {
		fn()
	}
	return w.stopped
}

// Stop makes Run return. It does not wait for it.
func (w *Wire) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commands = append(w.commands, func() { w.stopped = true })
	var one = [8]byte{1}
	_, _ = unix.Write(w.wake, one[:]) // fails only after Close, when there is nothing to stop
}

// Impair gives both directions of a link another impairment.
func (w *Wire) Impair(link string, im linkmodel.Impairment) error {
	if err := im.Check(); err != nil {
		return errs.New(errs.Invalid, "link %s: %w", link, err)
	}
	found := false
	err := w.do(func() {
		for i := range w.links {
			if w.links[i].Name == link {
				found = true
				w.ports[2*i].lane.Set(im)
				w.ports[2*i+1].lane.Set(im)
			}
		}
	})
	if err == nil && !found {
		return errs.New(errs.NotFound, "no link %q on this wire", link)
	}
	return err
}

// Stats returns the counts of all links, taken between two turns.
func (w *Wire) Stats() ([]LinkStats, error) {
	out := make([]LinkStats, len(w.links))
	err := w.do(func() {
		for i, l := range w.links {
			out[i].Name = l.Name
			for d := range 2 {
				p := w.ports[2*i+d]
				// Reading the socket's statistics resets them.
				if s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
					p.stats.Overrun += uint64(s.Drops)
				}
				out[i].Directions[d] = p.stats
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Command is a line of a wire process's standard input: {"op":"impair","link":"a-b","impairment":{"loss":0.5}} or
// {"op":"stats"}. Each is answered by one Reply line.
type Command struct {
	Op     string               `json:"op"`
	Link   string               `json:"link,omitempty"`
	Impair linkmodel.Impairment `json:"impairment,omitzero"`
}

// Reply is a line of a wire process's standard output. The first one, without being asked for, says that the wire is ready or
// why not.
type Reply struct {
	Error string      `json:"error,omitempty"`
	Stats []LinkStats `json:"stats,omitempty"`
}

// obeyLine carries out one line of input.
func (w *Wire) obeyLine(line []byte) Reply {
	var c Command
	if err := json.Unmarshal(line, &c); err != nil {
		return Reply{Error: "not a command: " + err.Error()}
	}
	var r Reply
	var err error
	switch c.Op {
	case "impair":
		err = w.Impair(c.Link, c.Impair)
	case "stats":
		r.Stats, err = w.Stats()
	default:
		err = errors.New("unknown op; use impair or stats")
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
