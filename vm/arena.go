package vm

import "sync"

// Arena is where linear memories come from. Its methods are called from any goroutine.
type Arena interface {
	// Reserve returns a zeroed buffer of exactly size bytes, or nil if there is none. size is a multiple of 64 KiB.
	Reserve(size int) []byte
	// Release takes back a buffer from Reserve. Only its first used bytes may have been written to.
	Release(buf []byte, used int)
}

// heapArena keeps buffers of the Go heap for reuse.
type heapArena struct {
	mu   sync.Mutex
	free map[int][][]byte
	held int
}

// arenaKeeps bounds the bytes that wait for reuse.
const arenaKeeps = 16 << 20

// NewHeapArena returns an arena on the Go heap, which keeps some MiB for reuse.
func NewHeapArena() Arena { return &heapArena{free: map[int][][]byte{}} }

// Reserve implements Arena.
func (a *heapArena) Reserve(size int) []byte {
	a.mu.Lock()
	list := a.free[size]
	if n := len(list); n > 0 {
		b := list[n-1]
		list[n-1] = nil
		a.free[size] = list[:n-1]
		a.held -= size
		a.mu.Unlock()
		return b
	}
	a.mu.Unlock()
	return make([]byte, size)
}

// Release implements Arena.
func (a *heapArena) Release(b []byte, used int) {
	clear(b[:used])
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held+len(b) <= arenaKeeps {
		a.held += len(b)
		a.free[len(b)] = append(a.free[len(b)], b)
	}
}

// linear is the memory of one instance. All of it is reserved at the beginning, so that
// growing moves nothing; what is in use is debited before it is.
type linear struct {
	in  *Instance
	buf []byte // reserved
	n   int    // in use
}

// Allocate implements experimental.MemoryAllocator. What was reserved is the maximum that the guest declared.
func (l *linear) Allocate(_, _ uint64) linearMemory { return l }

// Reallocate implements experimental.LinearMemory.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.buf)) {
		l.in.refused = true
		return nil
	}
	if more := int64(size) - int64(l.n); more > 0 {
		if err := l.in.iso.take(useLinear, more); err != nil {
			l.in.refused = true
			return nil
		}
		l.in.charged += more
		l.n = int(size)
	}
	return l.buf[:size:size]
}

// Free implements experimental.LinearMemory. The instance gives the memory back itself.
func (l *linear) Free() {}
