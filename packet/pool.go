package packet

import (
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// Sizes of the region. A frame has room for an Ethernet frame of the usual MTU and for headers in
// front of it.
const (
	DefaultFrames    = 16384
	DefaultFrameSize = 2048
	DefaultHeadroom  = 128
	MaxFrames        = 1 << 24
)

// PoolSpec says how large the node's packet memory is. The zero value is useful.
type PoolSpec struct {
	Frames    int // 0: DefaultFrames
	FrameSize int // bytes, 2048 or 4096; 0: DefaultFrameSize
	Headroom  int // bytes in front of a fresh packet's data; 0: DefaultHeadroom
	Packets   int // views, at least Frames; 0: twice Frames
	Workers   int // caches; 0: one
}

// FrameID is the number of a frame: its offset in the region divided by the frame size.
type FrameID uint32

// NoFrame is the id of no frame.
const NoFrame FrameID = 1<<32 - 1

// State says where a frame is.
type State uint8

// The states of a frame.
const (
	Free     State = iota // in a cache of the pool
	Fill                  // with the kernel, to be written to
	Received              // in a receive ring
	Held                  // with an owner's packets
	Sending               // with the kernel, to be read from
)

var stateNames = [...]string{"free", "fill", "received", "held", "sending"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// Owner is the number of somebody who is charged for frames. Zero is the node itself,
// which has no account and no limit.
type Owner uint32

// Node is the owner of frames that no domain is charged for.
const Node Owner = 0

// Payer is one owner's account as one worker reaches it; *resctl.Meter is one.
type Payer interface {
	// TakeFrames debits n frames, or returns false and debits nothing.
	TakeFrames(n int) bool
	// ReturnFrames gives n frames back.
	ReturnFrames(n int)
}

// frame is an entry of the table by frame number. Its word holds the owner (32 bits), the
// state (8) and how many packets view the frame (24). One party at a time may change it, except
// that views of a shared frame may be made and dropped by several; Sweep reads all words at any time.
//
// Sweep has to find the views of a frame. The table names the first one, which is the only one of nearly all frames;
// clones name their frame themselves. So a packet that is not cloned costs the sweep's bookkeeping nothing but
// a plain store, and a sweep need look at the packets only when it has found a frame with clones.
type frame struct {
	word atomic.Uint64
	next uint32 // link in a chain of frames going home; index+1
	view uint32 // number plus one of the packet that is the first view, whose holder writes this; 0: it has gone
	home uint16 // worker whose cache the frame belongs to
}

const (
	refMask    = 1<<24 - 1
	stateShift = 24
	ownerShift = 32
)

func (f *frame) set(o Owner, s State, refs uint64) {
	f.put(uint64(o)<<ownerShift | uint64(s)<<stateShift | refs)
}

func (f *frame) owner() Owner { return Owner(f.word.Load() >> ownerShift) }
func (f *frame) refs() uint64 { return f.word.Load() & refMask }
func (f *frame) state() State { return State(f.word.Load() >> stateShift) }

// change replaces owner and state, whatever becomes of the references meanwhile.
func (f *frame) change(o Owner, s State) {
	for {
		w := f.word.Load()
		if f.word.CompareAndSwap(w, uint64(o)<<ownerShift|uint64(s)<<stateShift|w&refMask) {
			return
		}
	}
}

// disown makes the node the owner if it was o, whatever else becomes of the frame meanwhile, and reports whether it was.
func (f *frame) disown(o Owner) bool {
	for {
		w := f.word.Load()
		if Owner(w>>ownerShift) != o {
			return false
		}
		if f.word.CompareAndSwap(w, w&(1<<ownerShift-1)) {
			return true
		}
	}
}

// Pool is the packet memory of one node. It is safe for concurrent use; its caches are not.
type Pool struct {
	spec    PoolSpec
	region  []byte
	frames  []frame
	packets []Packet
	caches  []*Cache
	broke   []Payer // of owners that are no more, by worker

	mu     sync.Mutex // owners only
	owners atomic.Pointer[[]ownerEntry]
	closed bool
}

type ownerEntry struct {
	payers []Payer // by worker
	free   bool    // the number may be given out
}

// NewPool maps the region and fills the caches.
func NewPool(spec PoolSpec) (*Pool, error) {
	if spec.Frames == 0 {
		spec.Frames = DefaultFrames
	}
	if spec.FrameSize == 0 {
		spec.FrameSize = DefaultFrameSize
	}
	if spec.Headroom == 0 {
		spec.Headroom = DefaultHeadroom
	}
	if spec.Workers == 0 {
		spec.Workers = 1
	}
	if spec.Packets == 0 {
		spec.Packets = 2 * spec.Frames
	}
	switch {
	case spec.Frames < 1 || spec.Frames > MaxFrames:
		return nil, errs.New(errs.Invalid, "packet pool: %d frames, want 1 to %d", spec.Frames, MaxFrames)
	case spec.FrameSize != 2048 && spec.FrameSize != 4096:
		return nil, errs.New(errs.Invalid, "packet pool: frame size %d, want 2048 or 4096", spec.FrameSize)
	case spec.Headroom < 0 || spec.Headroom > spec.FrameSize/2:
		return nil, errs.New(errs.Invalid, "packet pool: headroom %d, want at most half a frame (%d)", spec.Headroom, spec.FrameSize/2)
	case spec.Packets < spec.Frames || spec.Packets > 4*MaxFrames:
		return nil, errs.New(errs.Invalid, "packet pool: %d packets for %d frames, want at least as many", spec.Packets, spec.Frames)
	case spec.Workers < 1 || spec.Workers > min(spec.Frames, 1<<16):
		return nil, errs.New(errs.Invalid, "packet pool: %d workers for %d frames", spec.Workers, spec.Frames)
	}
	region, err := sys.MapAnon(spec.Frames * spec.FrameSize)
	if err != nil {
		return nil, errs.New(errs.NoMemory, "packet pool: mapping %d frames of %d bytes: %w", spec.Frames, spec.FrameSize, err)
	}
	p := &Pool{spec: spec, region: region, frames: make([]frame, spec.Frames), packets: make([]Packet, spec.Packets)}
	p.owners.Store(&[]ownerEntry{{}})
	for w := range spec.Workers {
		p.caches = append(p.caches, newCache(p, w))
		p.broke = append(p.broke, broke{})
	}
	for i := range p.frames {
		home := share(i, spec.Frames, spec.Workers)
		p.frames[i].home = home
		c := p.caches[home]
		c.ownFrames.add(i)
		c.freeFrames = append(c.freeFrames, uint32(i))
	}
	for i := range p.packets {
		home := share(i, spec.Packets, spec.Workers)
		p.packets[i].id, p.packets[i].home = uint32(i), home
		c := p.caches[home]
		c.ownPackets.add(i)
		c.freePackets = append(c.freePackets, uint32(i))
	}
	return p, nil
}

// add makes i one of s, which is the next after those that it has.
func (s *span) add(i int) {
	if s.n == 0 {
		s.first = uint32(i)
	}
	s.n++
}

// share divides n things evenly and returns whose the i-th is; those of one lie together.
func share(i, n, workers int) uint16 { return uint16(uint64(i) * uint64(workers) / uint64(n)) }

// Close unmaps the region. No packet of the pool may be used afterwards.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return sys.Unmap(p.region)
}

// Region returns the mapped memory, for drivers that register it with the kernel.
func (p *Pool) Region() []byte { return p.region }

// Spec returns the pool's sizes with defaults filled in.
func (p *Pool) Spec() PoolSpec { return p.spec }

// Cache returns the cache of a worker.
func (p *Pool) Cache(worker int) *Cache { return p.caches[worker] }

// NewOwner registers somebody to charge; payers holds one Payer for each worker.
func (p *Pool) NewOwner(payers []Payer) (Owner, error) {
	if len(payers) != p.spec.Workers {
		return 0, errs.New(errs.Internal, "packet owner: %d payers for %d workers", len(payers), p.spec.Workers)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.owners.Load()
	next := append([]ownerEntry(nil), old...)
	for i := 1; i < len(next); i++ {
		if next[i].free {
			next[i] = ownerEntry{payers: payers}
			p.owners.Store(&next)
			return Owner(i), nil
		}
	}
	next = append(next, ownerEntry{payers: payers})
	p.owners.Store(&next)
	return Owner(len(next) - 1), nil
}

// Sweep frees every packet whose frame is charged to o, refunds the charges and returns how many frames it
// found. Frames that are with a link or with the kernel (Sending) become
// the node's and are freed by who sends them. c is the calling worker's cache.
//
// No worker may hold a packet of o any more, but for those that are Sending, which may be freed at the same time: the
// caller waits for a quiescent point of each. It reads the whole table of frames, and of packets where o had clones.
func (p *Pool) Sweep(o Owner, c *Cache) int {
	if o == Node {
		return 0
	}
	n := 0
	payer, clones := p.payer(o, c.worker), false
	for i := range p.frames {
		f := &p.frames[i]
		w := f.word.Load() // once: a frame that is sending may become somebody else's at any time
		if Owner(w>>ownerShift) != o {
			continue
		}
		if State(w>>stateShift) == Sending {
			if f.disown(o) {
				payer.ReturnFrames(1)
				n++
			}
			continue
		}
		n++
		clones = clones || w&refMask > 1 || f.view == 0
		if f.view != 0 {
			c.Free(&p.packets[f.view-1])
		}
	}
	if !clones {
		return n
	}
	for i := range p.packets {
		if f := p.packets[i].clone.Load(); f != 0 && p.frames[f-1].owner() == o {
			c.Free(&p.packets[i])
		}
	}
	return n
}

// Forget ends an owner who is charged for no frame: its number pays for nothing until NewOwner gives it to
// somebody else. It comes after Sweep, when no worker can be freeing a frame of o any more.
func (p *Pool) Forget(o Owner) {
	if o == Node {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := append([]ownerEntry(nil), *p.owners.Load()...)
	next[o] = ownerEntry{payers: p.broke, free: true}
	p.owners.Store(&next)
}

// broke pays for nothing, and gets nothing back.
type broke struct{}

func (broke) TakeFrames(int) bool { return false }
func (broke) ReturnFrames(int)    {}

func (p *Pool) payer(o Owner, worker int) Payer {
	return (*p.owners.Load())[o].payers[worker]
}

// Stats counts the frames of the table by state, and those that owner is charged for.
type Stats struct {
	ByState [Sending + 1]int
	Charged map[Owner]int
}

// Stats reads the whole table; it is for tests and reports, and racy while workers run.
func (p *Pool) Stats() Stats {
	s := Stats{Charged: make(map[Owner]int)}
	for i := range p.frames {
		f := &p.frames[i]
		s.ByState[f.state()]++
		if o := f.owner(); o != Node {
			s.Charged[o]++
		}
	}
	return s
}
