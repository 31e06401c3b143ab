package xdp

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
)

// Link is an interface of the host; it implements nodeos.Link, and nodeos.Shared with a port for each of its workers.
type Link struct {
	info       nodeos.LinkInfo
	device     string
	mode       string // native or generic
	shift      uint   // of a frame number to its address
	limit      int    // longest frame that is sent
	unfinished bool   // checksums may be unfinished
	ports      []*port
	*port      // the first

	mu       sync.Mutex
	mem      memory
	programs *programs
	chans    *chans      // of the node
	out      uint32      // place in the devmap, if entered
	entered  bool        // in it
	ifindex  int         // of the interface
	netdev   *sys.Netdev // nil on kernels without
	closed   bool
	promisc  int // socket that keeps the interface promiscuous, or -1
	channels int // queues of the interface when it was opened
	ctl      int // socket to ask for them
	fault    atomic.Pointer[error]
}

// Ports implements nodeos.Shared.
func (l *Link) Ports() (ports []nodeos.Port) {
	for _, p := range l.ports {
		ports = append(ports, p)
	}
	return ports
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

// Mode returns how the kernel runs the program: native, in the interface's driver, or generic.
func (l *Link) Mode() string { return l.mode }

// ZeroCopy reports whether the interface itself reads and writes the node's packet memory.
func (l *Link) ZeroCopy() bool { return l.mem.zeroCopy }

// Err returns why the interface does not carry everything that it should, such as that it is down or gone, or has other queues
// now; nil if it does. It follows the last attempt to send, and Stats.
func (l *Link) Err() error {
	if e := l.fault.Load(); e != nil {
		return *e
	}
	return nil
}

func (l *Link) setFault(err error) {
	if err != nil {
		e := err // so that err need not be on the heap when it is nil
		l.fault.Store(&e)
	} else if l.fault.Load() != nil {
		l.fault.Store(nil)
	}
}

func (l *Link) gone(err error) error {
	return errs.New(errs.Unreachable, "link %s: interface is down or gone: %w", l.info.Name, err)
}

// Claim implements nodeos.Link: it makes a program of the rules and puts it in the place of the one before.
func (l *Link) Claim(c nodeos.Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errs.New(errs.Dead, "link %s is closed", l.info.Name)
	}
	if err := l.programs.decide(c.Program); err != nil {
		return fmt.Errorf("link %s: %w", l.info.Name, err)
	}
	return nil
}

// Stats implements nodeos.Link. RxDrops has what the program dropped because a worker was behind, and what the kernel could not
// deliver. What it dropped for want of a channel's credit or for its rate is in that channel's.
func (l *Link) Stats() (st nodeos.LinkStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := false
	for _, p := range l.ports {
		if !p.detached {
			open = true
			p.unseen = p.kernelDrops()
		}
		p.counts.AddTo(&st)
		st.RxDrops += p.unseen
	}
	if open {
		l.look()
	}
	return st
}

// look sees to what may have happened to the interface. l.mu is held and some socket is open.
func (l *Link) look() {
	for _, p := range l.ports {
		for _, q := range p.queues {
			if p.detached {
				continue
			}
			if err := q.sock.Error(); err != nil {
				l.setFault(l.gone(err))
				return
			}
		}
	}
	if n, err := sys.RxQueues(l.ctl, l.device); err == nil && n != l.channels {
		l.setFault(errs.New(errs.Invalid, "link %s: interface %s had %d receive queues when it was opened and has %d now: claimed packets of others go to the host; close the link and open it again",
			l.info.Name, l.device, l.channels, n))
	}
}

// Close implements nodeos.Link.
func (l *Link) Close() error {
	l.mu.Lock()
	done := l.closed
	l.closed = true
	var err error
	if !done {
		err = l.close()
	}
	l.mu.Unlock()
	if !done && l.chans != nil { // this takes the node's locks, under which the node calls Claim
		l.closeCuts()
		l.chans.release()
	}
	return err
}

// close is called with l.mu held.
func (l *Link) close() error {
	var first error
	for _, p := range l.ports {
		if err := p.closeSockets(); err != nil && first == nil {
			first = err
		}
		if p.reserved > 0 {
			p.lender.release(p.reserved)
		}
	}
	if l.programs != nil {
		if err := l.programs.close(); err != nil && first == nil {
			first = err
		}
	}
	for _, fd := range [...]int{l.promisc, l.ctl} {
		if fd >= 0 {
			if err := sys.CloseFD(fd); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
