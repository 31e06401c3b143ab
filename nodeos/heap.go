package nodeos

// A heap is a range of reserved addresses in units of heapUnit bytes. A unit is free, a slab of blocks of one size class, or part of
// a large block:
//
//	| slab 64 | slab 16 | large block ........ | free | slab 64 |   reserved, never touched ...
//	0                                                           top                            len(mem)
//
// What is not free is charged to the domain before it is touched. Units up to top may be accessed, so that a heap is two
// mappings of the kernel's whatever is freed in which order; the memory of free units is given back to the system all the same.
// Nothing of the bookkeeping is in the units, and what the owner writes there cannot damage it.

import (
	"math/bits"
	"sync"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/resctl"
)

// Sizes of heaps in bytes.
const (
	DefaultHeapSize = 64 << 20
	MaxHeapSize     = 1 << 40
	HeapUnit        = 16 << 10 // what a heap takes from the system at a time
	HeapRecord      = 192      // bookkeeping of a unit, charged with it
	heapMaxBlock    = 4096     // larger blocks are whole units
	heapMinBlock    = 16
	heapClasses     = 28
)

// HeapSpec says what a heap should be.
type HeapSpec struct {
	Name string // in errors and statistics
	Size int64  // the most that it can hold, bytes; 0: DefaultHeapSize. Address space only: memory is charged as it is used
}

// Heap gives out blocks of memory that its domain pays for: from the domain's account, and so from its memory pool. The memory is outside the
// Go heap: it must hold no Go pointers, and it is gone when the domain has ended, whatever slices of it are left. What uses them has to run
// in the domain's tasks, timers and OnDestroy hooks, which are over by then; others would fault.
//
// All methods may be called from any goroutine. They take a lock for some ten nanoseconds, and for microseconds where memory is got from
// the system or given back; domains that use heaps on several workers have one for each.
type Heap struct {
	domain *Domain
	spec   HeapSpec

	mu      sync.Mutex
	mem     []byte // reserved; nil when the heap has ended
	units   []heapUnit
	classes [heapClasses]int32 // first slab with a free block; -1: none
	free    int32              // first free unit; -1: none
	frees   int                // free units
	spare   int32              // an empty unit that is still charged; -1: none
	stats   HeapStats
}

// HeapStats are the counters of a heap.
type HeapStats struct {
	Name    string `json:"name"`
	Blocks  int64  `json:"blocks"`  // given out now
	Bytes   int64  `json:"bytes"`   // of these, rounded up to the sizes that blocks have
	Held    int64  `json:"held"`    // charged to the domain now
	Allocs  uint64 `json:"allocs"`  // ever
	Refused uint64 `json:"refused"` // by a limit, or because the heap's size was used up
}

type unitKind uint8

const (
	unitFree unitKind = iota
	unitSlab
	unitLarge // the first of a large block
	unitRest  // the others
)

// heapUnit describes a unit; it is at most HeapRecord bytes.
type heapUnit struct {
	kind       unitKind
	class      uint8
	hint       uint8 // no word of used before it has room
	live       int16 // blocks
	count      int32 // units of a large block
	next, prev int32 // in the list of free units, or of slabs of a class with room; -1: end
	used       [HeapUnit / heapMinBlock / 64]uint64
}

// classOf returns the size class of a block of n bytes: in steps of 16 up to 128, then of a quarter of the power of two below.
func classOf(n int) int {
	if n <= 128 {
		return (n - 1) / 16
	}
	e := bits.Len(uint(n-1)) - 1 // 2^e < n <= 2^(e+1)
	return 8 + (e-7)*4 + (n-1)>>(e-2)&3
}

// sizeOf is the size of the blocks of a class.
func sizeOf(class int) int {
	if class < 8 {
		return 16 * (class + 1)
	}
	e := (class-8)/4 + 7
	return 1<<e + ((class-8)%4+1)<<(e-2)
}

// NewHeap makes a heap, empty. It is refused with errs.Dead if d is ending and with errs.NoMemory if the machine has no
// address space for it.
func (d *Domain) NewHeap(spec HeapSpec) (*Heap, error) {
	if err := d.may(OpNewHeap, spec.Name, true); err != nil {
		return nil, err
	}
	if spec.Size == 0 {
		spec.Size = DefaultHeapSize
	}
	if spec.Size < 1 || spec.Size > MaxHeapSize {
		return nil, errs.New(errs.Invalid, "heap %s/%s: %d bytes, want 1 to %d", d.Path(), spec.Name, spec.Size, int64(MaxHeapSize))
	}
	if err := d.node.mappings.take(2, d, spec.Name); err != nil {
		return nil, err
	}
	mem, err := sys.Reserve(int((spec.Size + HeapUnit - 1) / HeapUnit * HeapUnit))
	if err != nil {
		d.node.mappings.give(2)
		return nil, errs.New(errs.NoMemory, "heap %s/%s: no address space for %d bytes: %w", d.Path(), spec.Name, spec.Size, err)
	}
	h := &Heap{domain: d, spec: spec, mem: mem, free: -1, spare: -1}
	for i := range h.classes {
		h.classes[i] = -1
	}
	if err := d.hold(h); err != nil {
		h.end()
		return nil, err
	}
	return h, nil
}

// Domain returns the domain that pays for the heap.
func (h *Heap) Domain() *Domain { return h.domain }

// Alloc returns n zeroed bytes. What the domain or one of its pools may not have is refused with errs.Limit and costs
// nothing; the pool is asked for pressure as by any other request for memory. A heap whose size is used up is errs.Limit too.
func (h *Heap) Alloc(n int) ([]byte, error) {
	if n < 1 || n > MaxHeapSize {
		return nil, errs.New(errs.Invalid, "heap %s: %d bytes, want at least 1", h.name(), n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mem == nil {
		return nil, errs.New(errs.Dead, "heap %s has ended", h.name())
	}
	if n > heapMaxBlock {
		return h.allocLarge(n)
	}
	class := classOf(n)
	size := sizeOf(class)
	at := h.classes[class]
	if at < 0 {
		var err error
		if at, err = h.takeUnits(1); err != nil {
			return nil, err
		}
		u := &h.units[at]
		u.kind, u.class, u.live, u.hint = unitSlab, uint8(class), 0, 0
		clear(u.used[:])
		h.push(&h.classes[class], at)
	}
	u := &h.units[at]
	w := int(u.hint)
	for u.used[w] == ^uint64(0) { // there is room: the slab is in its list
		w++
	}
	u.hint = uint8(w)
	block := w*64 + bits.TrailingZeros64(^u.used[w])
	u.used[w] |= 1 << (block % 64)
	if u.live++; int(u.live) == HeapUnit/size {
		h.drop(&h.classes[class], at)
	}
	off := int(at)*HeapUnit + block*size
	b := h.mem[off : off+n : off+n]
	clear(h.mem[off : off+size])
	h.stats.Blocks++
	h.stats.Allocs++
	h.stats.Bytes += int64(size)
	return b, nil
}

func (h *Heap) allocLarge(n int) ([]byte, error) {
	count := (n + HeapUnit - 1) / HeapUnit
	at, err := h.takeUnits(count)
	if err != nil {
		return nil, err
	}
	for i := range count {
		h.units[int(at)+i].kind = unitRest
	}
	u := &h.units[at]
	u.kind, u.count = unitLarge, int32(count)
	off := int(at) * HeapUnit
	if count == 1 { // it may have been the spare one, which was written to
		clear(h.mem[off : off+HeapUnit])
	}
	h.stats.Blocks++
	h.stats.Allocs++
	h.stats.Bytes += int64(count) * HeapUnit
	return h.mem[off : off+n : off+n], nil
}

// Free takes back a block that Alloc returned; only where b begins counts, its length does not. What the heap did not give out is
// errs.NotFound, what lies inside a block errs.Invalid, and what was freed already errs.Dead; nothing is changed then. A
// block that was freed and given out again is its new owner's: freeing it for the old one cannot be told from that.
func (h *Heap) Free(b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mem == nil {
		return errs.New(errs.Dead, "heap %s has ended", h.name())
	}
	off, ok := sys.Offset(h.mem, b)
	at := int32(off / HeapUnit)
	if !ok || int(at) >= len(h.units) {
		return errs.New(errs.NotFound, "heap %s: what is freed was not allocated here", h.name())
	}
	u := &h.units[at]
	in := off % HeapUnit
	switch u.kind {
	case unitFree:
		return errs.New(errs.Dead, "heap %s: the block at %d was freed before, or never given out", h.name(), off)
	case unitRest:
		return errs.New(errs.Invalid, "heap %s: what is freed lies inside a block: free it as Alloc returned it", h.name())
	case unitLarge:
		if in != 0 {
			return errs.New(errs.Invalid, "heap %s: what is freed lies inside a block: free it as Alloc returned it", h.name())
		}
		h.stats.Blocks--
		h.stats.Bytes -= int64(u.count) * HeapUnit
		h.giveUnits(at, int(u.count))
		return nil
	}
	class := int(u.class)
	size := sizeOf(class)
	block := in / size
	switch {
	case in%size != 0 || block >= HeapUnit/size:
		return errs.New(errs.Invalid, "heap %s: what is freed lies inside a block: free it as Alloc returned it", h.name())
	case u.used[block/64]&(1<<(block%64)) == 0:
		return errs.New(errs.Dead, "heap %s: the block at %d was freed before, or never given out", h.name(), off)
	}
	u.used[block/64] &^= 1 << (block % 64)
	u.hint = min(u.hint, uint8(block/64))
	if int(u.live) == HeapUnit/size {
		h.push(&h.classes[class], at)
	}
	u.live--
	h.stats.Blocks--
	h.stats.Bytes -= int64(size)
	if u.live == 0 {
		h.drop(&h.classes[class], at)
		if h.spare < 0 { // kept, so that a block that comes and goes does not cost two system calls each time
			h.spare = at
			return nil
		}
		h.giveUnits(at, 1)
	}
	return nil
}

// Trim gives back what the heap holds for reuse, at most a unit.
func (h *Heap) Trim() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mem != nil && h.spare >= 0 {
		at := h.spare
		h.spare = -1
		h.giveUnits(at, 1)
	}
}

// takeUnits finds, charges and makes usable count units in a row. Their memory is zero, but for the spare one's.
func (h *Heap) takeUnits(count int) (int32, error) {
	if count == 1 && h.spare >= 0 {
		at := h.spare
		h.spare = -1
		return at, nil
	}
	cost := int64(count) * (HeapUnit + HeapRecord)
	err := h.domain.account.Take(resctl.Memory, cost)
	if err != nil && h.spare >= 0 {
		at := h.spare
		h.spare = -1
		h.giveUnits(at, 1)
		err = h.domain.account.Take(resctl.Memory, cost)
	}
	if err != nil {
		h.stats.Refused++
		return 0, errs.New(errs.KindOf(err), "heap %s: %w", h.name(), err)
	}
	at := h.findRow(count)
	if at < 0 {
		at = int32(len(h.units))
		end := (int(at) + count) * HeapUnit
		if end > len(h.mem) {
			h.domain.account.Return(resctl.Memory, cost)
			h.stats.Refused++
			return 0, errs.New(errs.Limit, "heap %s: its %d bytes have no room for %d more in a row: free some, or give it more in HeapSpec.Size", h.name(), len(h.mem), count*HeapUnit)
		}
		if err := sys.SetAccess(h.mem[int(at)*HeapUnit:end], sys.ReadWrite); err != nil {
			h.domain.account.Return(resctl.Memory, cost)
			h.stats.Refused++
			return 0, errs.New(errs.NoMemory, "heap %s: the system has no memory: %w", h.name(), err)
		}
		for range count {
			h.units = append(h.units, heapUnit{next: -1, prev: -1})
		}
	} else {
		for i := range count {
			h.drop(&h.free, at+int32(i))
		}
		h.frees -= count
	}
	h.stats.Held += cost
	return at, nil
}

// findRow returns the first of count free units in a row, or -1.
func (h *Heap) findRow(count int) int32 {
	if h.frees < count {
		return -1
	}
	if count == 1 {
		return h.free
	}
	row := 0
	for i := range h.units {
		if h.units[i].kind != unitFree {
			row = 0
			continue
		}
		if row++; row == count {
			return int32(i - count + 1)
		}
	}
	return -1
}

// giveUnits gives units back to the system and to the account.
func (h *Heap) giveUnits(at int32, count int) {
	// An error leaves the memory where it is; it is still the heap's, and zeroed here instead.
	if b := h.mem[int(at)*HeapUnit : (int(at)+count)*HeapUnit]; sys.Discard(b) != nil {
		clear(b)
	}
	for i := range count {
		h.units[int(at)+i].kind = unitFree
		h.push(&h.free, at+int32(i))
	}
	h.frees += count
	cost := int64(count) * (HeapUnit + HeapRecord)
	h.stats.Held -= cost
	h.domain.account.Return(resctl.Memory, cost)
}

// push and drop put a unit into a list and take it out.
func (h *Heap) push(list *int32, at int32) {
	u := &h.units[at]
	u.prev, u.next = -1, *list
	if *list >= 0 {
		h.units[*list].prev = at
	}
	*list = at
}

func (h *Heap) drop(list *int32, at int32) {
	u := &h.units[at]
	if u.prev >= 0 {
		h.units[u.prev].next = u.next
	} else {
		*list = u.next
	}
	if u.next >= 0 {
		h.units[u.next].prev = u.prev
	}
	u.prev, u.next = -1, -1
}

// Close ends the heap before its domain ends: all its blocks are gone. Closing twice is fine.
func (h *Heap) Close() {
	h.domain.letGo(h)
	h.domain.node.RevokeObject(h)
	h.end()
}

// end implements holding.
func (h *Heap) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mem == nil {
		return
	}
	_ = sys.Unmap(h.mem) // of what Reserve returned: it cannot fail
	h.domain.account.Return(resctl.Memory, h.stats.Held)
	h.domain.node.mappings.give(2)
	h.mem, h.units = nil, nil
	h.stats.Blocks, h.stats.Bytes, h.stats.Held = 0, 0, 0
}

// Stats reads the counters.
func (h *Heap) Stats() HeapStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Name = h.spec.Name
	return s
}

func (h *Heap) name() string { return h.domain.Path() + "/" + h.spec.Name }
