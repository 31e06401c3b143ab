package xdp

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// memory is how a node's packet memory is registered with the kernel: once for all its sockets that work in the same
// way, for a shared registration has one way of working.
type memory struct {
	pool             *packet.Pool
	zeroCopy, wakeup bool
}

// registered are the open sockets of the process by the memory that they use. Any of them can be shared with; the first of a memory
// registers it, and the registration lasts as long as one of them does.
var registered = struct {
	mu    sync.Mutex
	socks map[memory][]*sys.XSK
	lent  map[lender]int
}{socks: make(map[memory][]*sys.XSK), lent: make(map[lender]int)}

// lender is a worker of a node, whose frames its links lend to the kernel: three quarters of them at most, for the rest is what the
// node works with.
type lender struct {
	pool   *packet.Pool
	worker int
}

// reserve asks for so many frames for each of some queues, or any number from least on; it returns how many each may have, and how many
// there are for a queue at most.
func (l lender) reserve(queues, least, want int) (each, most int) {
	spec := l.pool.Spec()
	registered.mu.Lock()
	defer registered.mu.Unlock()
	most = (spec.Frames/spec.Workers*3/4 - registered.lent[l]) / queues
	if most < least {
		return 0, most
	}
	each = min(want, most)
	registered.lent[l] += each * queues
	return each, most
}

// release gives back what reserve gave.
func (l lender) release(frames int) {
	registered.mu.Lock()
	defer registered.mu.Unlock()
	if registered.lent[l] -= frames; registered.lent[l] == 0 {
		delete(registered.lent, l)
	}
}

// open opens a socket that uses m.
func (m memory) open(spec sys.XSKSpec) (*sys.XSK, error) {
	registered.mu.Lock()
	defer registered.mu.Unlock()
	spec.Region = m.pool.Region()
	spec.ChunkSize = m.pool.Spec().FrameSize
	spec.Headroom = extraHeadroom(m.pool)
	spec.ZeroCopy, spec.NeedWakeup = m.zeroCopy, m.wakeup
	for _, spec.Share = range registered.socks[m] {
		x, err := sys.OpenXSK(spec)
		if errors.Is(err, unix.EBADF) { // not bound any more: its interface is gone
			continue
		}
		return m.keep(x, err)
	}
	spec.Share = nil
	// The headers of packets lie in a page each, and a processor knows the addresses of some thousand pages only. The kernel refuses, or has
	// none left: then pages stay small.
	_ = sys.LargePages(spec.Region)
	return m.keep(sys.OpenXSK(spec))
}

func (m memory) keep(x *sys.XSK, err error) (*sys.XSK, error) {
	if err != nil {
		return nil, err
	}
	registered.socks[m] = append(registered.socks[m], x)
	return x, nil
}

// close closes a socket that open returned.
func (m memory) close(x *sys.XSK) error {
	registered.mu.Lock()
	defer registered.mu.Unlock()
	left := slices.DeleteFunc(registered.socks[m], func(y *sys.XSK) bool { return x == y })
	if len(left) == 0 {
		delete(registered.socks, m)
	} else {
		registered.socks[m] = left
	}
	return x.Close()
}

// extraHeadroom is how many bytes of headroom a node wants beyond what the kernel always leaves.
func extraHeadroom(p *packet.Pool) int { return max(p.Spec().Headroom-sys.XDPHeadroom, 0) }

// room is how many bytes of a received packet a frame of the pool has room for.
func room(p *packet.Pool) int { return p.Spec().FrameSize - sys.XDPHeadroom - extraHeadroom(p) }
