package packet

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// Link is an interface of the host; it implements nodeos.Shared. The methods of its Port are those of its first port.
//
// The workers have the ports, see port_linux.go. The mutex guards what the control side does: claims, statistics, closing.
type Link struct {
	*port
	ports []*port

	info    nodeos.LinkInfo
	promisc bool
	chans   *cells.Cells // of the node; nil: filters check no rates
	room    int          // bytes of a frame that a packet of the pool can hold

	mu     sync.Mutex
	claims *claims // nil: the host sees claimed packets too
	closed bool
	fault  atomic.Pointer[error] // why nothing goes, nil while all is well
}

// Ports implements nodeos.Shared.
func (l *Link) Ports() []nodeos.Port {
	ps := make([]nodeos.Port, len(l.ports))
	for i, p := range l.ports {
		ps[i] = p
	}
	return ps
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

// Err returns why the interface does not carry anything, such as that it is down or gone; nil if it does.
// It follows the last attempt to send, and Stats.
func (l *Link) Err() error {
	if e := l.fault.Load(); e != nil {
		return *e
	}
	return nil
}

func (l *Link) setFault(err error) {
	if err == nil {
		if l.fault.Load() != nil {
			l.fault.Store(nil)
		}
		return
	}
	e := error(errs.New(errs.Unreachable, "link %s: interface is down or gone: %w", l.info.Name, err))
	l.fault.Store(&e)
}

// Claim implements nodeos.Link: the filters of all rings follow the rules. Each packet is judged once, by the
// filter of the ring that its flow goes to.
func (l *Link) Claim(c nodeos.Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errs.New(errs.Dead, "link %s is closed", l.info.Name)
	}
	if l.claims == nil {
		return nil // no BPF here: the ring takes everything, as the notes say
	}
	if err := l.claims.follow(c.Program, l.promisc, l.ports); err != nil {
		return fmt.Errorf("link %s: %w", l.info.Name, err)
	}
	return nil
}

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum nodeos.LinkStats
	for _, p := range l.ports {
		if !l.closed {
			if n, err := p.ring.Drops(); err == nil {
				p.counts.RxDrops.Add(n)
			}
			if err := p.ring.SocketError(); err != nil {
				l.setFault(err)
			}
		}
		p.counts.AddTo(&sum)
	}
	return sum
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
		l.chans.Release()
	}
	return err
}

// close is called with l.mu held.
func (l *Link) close() error {
	var first error
	if l.claims != nil {
		first = l.claims.close()
	}
	for _, p := range l.ports {
		if err := p.close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
