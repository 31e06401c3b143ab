package sys

import (
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller is a worker's poll set: an epoll instance with an eventfd in it by which others
// wake the worker. Add and Remove are safe for concurrent use, Wake too; Wait belongs to the worker.
// Descriptors are edge-triggered: after an event the caller reads until there is nothing left.
type Poller struct {
	ep, ev   int
	buf      []unix.EpollEvent
	noPwait2 bool

	mu  sync.RWMutex
	fns map[int32]func()
}

// NewPoller makes a poll set.
func NewPoller() (*Poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Poller{ep: ep, ev: ev, buf: make([]unix.EpollEvent, 64), fns: make(map[int32]func())}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, ev, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(ev)}); err != nil {
		p.Close()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return p, nil
}

// Add makes fn be called, on the worker, when fd becomes readable, and also writable if write is set.
func (p *Poller) Add(fd int, write bool, fn func()) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLET, Fd: int32(fd)}
	if write {
		e.Events |= unix.EPOLLOUT
	}
	p.mu.Lock()
	p.fns[int32(fd)] = fn
	p.mu.Unlock()
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		p.mu.Lock()
		delete(p.fns, int32(fd))
		p.mu.Unlock()
		return fmt.Errorf("adding descriptor %d to the poll set: %w", fd, err)
	}
	return nil
}

// Remove ends what Add began. It must come before fd is closed.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	delete(p.fns, int32(fd))
	p.mu.Unlock()
	// The descriptor may be gone already, with its interface or namespace.
	_ = unix.EpollCtl(p.ep, unix.EPOLL_CTL_DEL, fd, nil)
}

// Wake ends a Wait that is under way, or the next one. After Close it does nothing.
func (p *Poller) Wake() {
	var one = [8]byte{1}
	p.mu.RLock() // against Close, after which the number may be another descriptor's
	defer p.mu.RUnlock()
	if p.ev >= 0 {
		_, _ = unix.Write(p.ev, one[:])
	}
}

// Dispatch calls the functions of the n descriptors that Wait found.
func (p *Poller) Dispatch(n int) {
	for i := range n {
		e := &p.buf[i]
		if int(e.Fd) == p.ev {
			var b [8]byte
			_, _ = unix.Read(p.ev, b[:])
			continue
		}
		p.mu.RLock()
		fn := p.fns[e.Fd]
		p.mu.RUnlock()
		if fn != nil {
			fn()
		}
	}
}

// Wait waits for at most d until a descriptor is ready and returns how many are, for Dispatch; d = 0
// looks only, a negative d waits without end. Its resolution is the kernel's high-resolution timer
// (epoll_pwait2, Linux 5.11; milliseconds, rounded up, before that).
func (p *Poller) Wait(d time.Duration) int {
	if d == 0 {
		// A look takes the kernel no time in which the scheduler would have to give the worker's place to others, from whom it might get
		// it back late.
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), 0, 0, 0)
		if e != 0 {
			return 0
		}
		return int(n)
	}
	if d > 0 && !p.noPwait2 {
		ts := unix.NsecToTimespec(int64(d))
		n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.ep), uintptr(unsafe.Pointer(&p.buf[0])),
			uintptr(len(p.buf)), uintptr(unsafe.Pointer(&ts)), 0, 0)
		if e == 0 {
			return int(n)
		}
		if e == unix.EINTR {
			return 0
		}
		// ENOSYS, or what a sandbox makes of calls that it does not know.
		p.noPwait2 = true
	}
	ms := -1
	if d >= 0 {
		ms = int((d + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(p.ep, p.buf, ms)
	if err != nil {
		return 0
	}
	return n
}

// Close releases the poll set's own descriptors.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ev < 0 {
		return nil
	}
	unix.Close(p.ev)
	p.ev = -1
	return unix.Close(p.ep)
}
