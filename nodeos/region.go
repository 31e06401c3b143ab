package nodeos

import (
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/resctl"
)

// MaxRegionSize is the most address space that a region may have, in bytes.
const MaxRegionSize = 1 << 34

// MaxMappings bounds the mappings that the regions and heaps of a node make of the kernel's, of which a process has 65,530 (Linux,
// vm.max_map_count) and the Go runtime needs its part.
const MaxMappings = 16384

// mappings counts the kernel's mappings of a node.
type mappings struct{ n atomic.Int64 }

// take counts n more, of which there may be none or fewer than none.
func (m *mappings) take(n int64, d *Domain, name string) error {
	if m.n.Add(n) > MaxMappings && n > 0 {
		m.n.Add(-n)
		return errs.New(errs.NoMemory, "%s/%s: the node would have more than %d mappings of memory: use fewer heaps and regions, or give neighbouring pages the same access", d.Path(), name, MaxMappings)
	}
	return nil
}

func (m *mappings) give(n int64) { m.n.Add(-n) }

// Access is what may be done with pages.
type Access uint8

// The kinds of access. The fault that any other access is ends the process: Go code asks with Region.Bytes.
const (
	NoAccess Access = iota
	ReadOnly
	ReadWrite
)

var accessOf = [...]sys.Access{sys.NoAccess, sys.ReadOnly, sys.ReadWrite}

// RegionSpec says what a region should be.
type RegionSpec struct {
	Name string // in errors and statistics
	Size int64  // address space in bytes, rounded up to whole pages
}

// Region is a range of addresses of a domain, in pages, which the domain pays for as long as there is memory behind them: a linear memory
// that grows without moving, a buffer with a guard page. Pages that are mapped anew are zero. As with heaps, the addresses are gone when the
// domain has ended.
//
// All methods may be called from any goroutine. They make system calls: they are not for the packet path, but what Bytes returned is.
type Region struct {
	domain *Domain
	spec   RegionSpec
	page   int64

	mu     sync.Mutex
	mem    []byte  // nil when the region has ended
	pages  []uint8 // 0: not mapped; else one more than its Access
	maps   int64   // the kernel's mappings
	mapped int64   // pages
}

// RegionStats describe a region.
type RegionStats struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes of address space
	Mapped int64  `json:"mapped"` // bytes with memory behind them
}

// NewRegion reserves addresses; no page of them is mapped. The domain is charged a byte for each page. It is refused with errs.Dead if d is
// ending, errs.Limit if it cannot pay, and errs.NoMemory if the machine has no address space for it.
func (d *Domain) NewRegion(spec RegionSpec) (*Region, error) {
	if err := d.may(OpNewRegion, spec.Name, true); err != nil {
		return nil, err
	}
	page := int64(sys.PageSize())
	if spec.Size < 1 || spec.Size > MaxRegionSize {
		return nil, errs.New(errs.Invalid, "region %s/%s: %d bytes, want 1 to %d", d.Path(), spec.Name, spec.Size, int64(MaxRegionSize))
	}
	spec.Size = (spec.Size + page - 1) / page * page
	count := spec.Size / page
	if err := d.account.Take(resctl.Memory, count); err != nil {
		return nil, errs.New(errs.KindOf(err), "region %s/%s: %w", d.Path(), spec.Name, err)
	}
	if err := d.node.mappings.take(1, d, spec.Name); err != nil {
		d.account.Return(resctl.Memory, count)
		return nil, err
	}
	mem, err := sys.Reserve(int(spec.Size))
	if err != nil {
		d.account.Return(resctl.Memory, count)
		d.node.mappings.give(1)
		return nil, errs.New(errs.NoMemory, "region %s/%s: no address space for %d bytes: %w", d.Path(), spec.Name, spec.Size, err)
	}
	r := &Region{domain: d, spec: spec, page: page, mem: mem, pages: make([]uint8, count), maps: 1}
	if err := d.hold(r); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

// Domain returns the domain that pays for the region.
func (r *Region) Domain() *Domain { return r.domain }

// Size returns the bytes of address space.
func (r *Region) Size() int64 { return r.spec.Size }

// Map puts memory behind n bytes at off, whole pages, and sets what may be done with them. Those that have memory keep it. What the domain may
// not have is refused with errs.Limit before anything is changed.
func (r *Region) Map(off, n int64, a Access) error {
	return r.change("map", off, n, a, func(old uint8) (uint8, bool) { return uint8(a) + 1, true })
}

// Protect sets what may be done with n bytes at off, whole pages. Pages that are not mapped are errs.NotFound.
func (r *Region) Protect(off, n int64, a Access) error {
	return r.change("protect", off, n, a, func(old uint8) (uint8, bool) { return uint8(a) + 1, old != 0 })
}

// Unmap gives the memory behind n bytes at off, whole pages, back, and with it what they held. Pages without memory stay so.
func (r *Region) Unmap(off, n int64) error {
	return r.change("unmap", off, n, NoAccess, func(uint8) (uint8, bool) { return 0, true })
}

// change gives pages a new state, if each may have it.
func (r *Region) change(what string, off, n int64, a Access, next func(old uint8) (uint8, bool)) error {
	if a > ReadWrite {
		return errs.New(errs.Invalid, "region %s: %s: access %d, want 0 to %d", r.name(), what, a, ReadWrite)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first, count, err := r.span(what, off, n, true)
	if err != nil {
		return err
	}
	pages := r.pages[first : first+count]
	more := int64(0) // pages with memory
	state := uint8(0)
	for i, old := range pages {
		var ok bool
		if state, ok = next(old); !ok {
			return errs.New(errs.NotFound, "region %s: %s: page at %d has no memory: map it first", r.name(), what, (first+int64(i))*r.page)
		}
		if state != 0 && old == 0 {
			more++
		} else if state == 0 && old != 0 {
			more--
		}
	}
	maps := r.borders(first, count, a) - r.borders(first, count, noChange)
	if err := r.domain.node.mappings.take(maps, r.domain, r.spec.Name); err != nil {
		return err
	}
	if more > 0 {
		if err := r.domain.account.Take(resctl.Memory, more*r.page); err != nil {
			r.domain.node.mappings.give(maps)
			return errs.New(errs.KindOf(err), "region %s: %s: %w", r.name(), what, err)
		}
	}
	mem := r.mem[first*r.page : (first+count)*r.page]
	err = nil
	if state == 0 {
		if err = sys.SetAccess(mem, sys.ReadWrite); err == nil {
			err = sys.Discard(mem)
		}
	}
	if err == nil {
		err = sys.SetAccess(mem, accessOf[a])
	}
	if err != nil {
		if more > 0 {
			r.domain.account.Return(resctl.Memory, more*r.page)
		}
		r.domain.node.mappings.give(maps)
		return errs.New(errs.NoMemory, "region %s: %s: %w", r.name(), what, err)
	}
	for i := range pages {
		pages[i] = state
	}
	r.maps += maps
	r.mapped += more
	if more < 0 {
		r.domain.account.Return(resctl.Memory, -more*r.page)
	}
	return nil
}

// noChange as an access leaves pages as they are.
const noChange Access = 255

// borders counts where the kind of access changes, from the page before the range to that behind it, if the range had access a.
func (r *Region) borders(first, count int64, a Access) (n int64) {
	at := func(i int64) Access {
		switch {
		case i >= first && i < first+count && a != noChange:
			return a
		case r.pages[i] == 0:
			return NoAccess
		}
		return Access(r.pages[i] - 1)
	}
	for i := max(first-1, 0); i < min(first+count, int64(len(r.pages))-1); i++ {
		if at(i) != at(i+1) {
			n++
		}
	}
	return n
}

// span checks n bytes at off and returns their pages.
func (r *Region) span(what string, off, n int64, whole bool) (first, count int64, err error) {
	if r.mem == nil {
		return 0, 0, errs.New(errs.Dead, "region %s has ended", r.name())
	}
	if off < 0 || n < 1 || off > int64(len(r.mem)) || n > int64(len(r.mem))-off {
		return 0, 0, errs.New(errs.Invalid, "region %s: %s: %d bytes at %d are not in its %d", r.name(), what, n, off, len(r.mem))
	}
	if whole && (off%r.page != 0 || n%r.page != 0) {
		return 0, 0, errs.New(errs.Invalid, "region %s: %s: %d bytes at %d are not whole pages of %d", r.name(), what, n, off, r.page)
	}
	first = off / r.page
	return first, (off+n-1)/r.page - first + 1, nil
}

// Bytes returns n bytes at off if all of them have the access that is asked for, and errs.Permission or errs.NotFound if not. The slice is good
// until the access is changed or the region ends.
func (r *Region) Bytes(off, n int64, a Access) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, count, err := r.span("bytes", off, n, false)
	if err != nil {
		return nil, err
	}
	for i, p := range r.pages[first : first+count] {
		switch {
		case p == 0:
			return nil, errs.New(errs.NotFound, "region %s: page at %d has no memory: map it first", r.name(), (first+int64(i))*r.page)
		case Access(p-1) < max(a, ReadOnly):
			return nil, errs.New(errs.Permission, "region %s: page at %d may not be accessed so: Protect it otherwise", r.name(), (first+int64(i))*r.page)
		}
	}
	return r.mem[off : off+n : off+n], nil
}

// Close ends the region before its domain ends. Closing twice is fine.
func (r *Region) Close() {
	r.domain.letGo(r)
	r.domain.node.RevokeObject(r)
	r.end()
}

// end implements holding.
func (r *Region) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mem == nil {
		return
	}
	_ = sys.Unmap(r.mem) // of what Reserve returned: it cannot fail
	r.domain.account.Return(resctl.Memory, r.mapped*r.page+int64(len(r.pages)))
	r.domain.node.mappings.give(r.maps)
	r.mem, r.pages, r.mapped, r.maps = nil, nil, 0, 0
}

// Stats describes the region now.
func (r *Region) Stats() RegionStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return RegionStats{Name: r.spec.Name, Size: int64(len(r.mem)), Mapped: r.mapped * r.page}
}

func (r *Region) name() string { return r.domain.Path() + "/" + r.spec.Name }
