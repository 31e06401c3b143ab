package nodeos

// Descriptors are what code outside holds of objects inside. The table of a domain is an array of slots, found by the lower half of a
// descriptor; the upper half says how often the slot has been used before:
//
//	 31 30            16 15             0
//	| 0 |  generation   |      slot      |
//
// Lookups read the array without a lock. Everything else is for the control side and takes the lock of the node's descriptors.

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// Descriptor names an object in the table of a domain. It is a small integer: below 65,536 until slots are used again, and never negative.
// Zero is never a descriptor.
type Descriptor int32

// Bounds of tables.
const (
	DefaultDescriptors = 256 // of a domain whose Spec does not say
	MaxDescriptors     = 1<<16 - 1
	DescriptorBytes    = 256 // charged to the domain for each, with 16 for each slot that was ever used
	slotBytes          = 16
	genBits            = 15
)

// DescKind says what a descriptor names. The numbers are part of what guests see: append only.
type DescKind uint8

// The kinds.
const (
	AnyKind DescKind = iota // in Get: whatever it is
	DomainDesc
	TaskDesc
	InChanDesc
	OutChanDesc
	CutChanDesc
	MemPoolDesc
	HeapDesc
	RegionDesc
	TimerDesc
	CondDesc
	FileDesc
	CredDesc
	numDescKinds
)

var descKindNames = [numDescKinds]string{"any", "domain", "task", "in-channel", "out-channel", "cut-through channel", "memory pool", "heap", "region", "timer", "condition", "file", "credential"}

// String returns the kind's name.
func (k DescKind) String() string {
	if k < numDescKinds {
		return descKindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// kindOf returns the kind of an object, or AnyKind where there is none.
func kindOf(obj any) DescKind {
	switch obj.(type) {
	case *Domain:
		return DomainDesc
	case *Task:
		return TaskDesc
	case *InChan:
		return InChanDesc
	case *OutChan:
		return OutChanDesc
	case *CutChan:
		return CutChanDesc
	case *MemPool:
		return MemPoolDesc
	case *Heap:
		return HeapDesc
	case *Region:
		return RegionDesc
	case *Timer:
		return TimerDesc
	case *Cond:
		return CondDesc
	case *File:
		return FileDesc
	case *Cred:
		return CredDesc
	}
	return AnyKind
}

// DescRights is what a descriptor is good for. What each right lets a call do is for those who look descriptors up to demand; the table itself demands
// MayGrant in Grant.
type DescRights uint8

// The rights.
const (
	MayUse        DescRights = 1 << iota // send, receive, read, wake, allocate
	MaySee                               // statistics
	MaySet                               // attributes
	MayEnd                               // close, terminate
	MayGrant                             // give others a descriptor of it
	AllDescRights = MayUse | MaySee | MaySet | MayEnd | MayGrant
)

// descriptor is a used slot. Nothing but gone changes while lookups may see it.
type descriptor struct {
	id     Descriptor
	kind   DescKind
	rights DescRights
	gone   atomic.Uint32 // descLive, ...
	object any
	table  *descTable

	// Under the lock of the node's descriptors:
	from    *descriptor          // whose grant it is; nil: Put made it
	granted map[*descriptor]bool // its own grants
}

const (
	descLive uint32 = iota
	descClosed
	descRevoked
)

// descTable is the table of a domain.
type descTable struct {
	domain *Domain
	limit  int
	slots  atomic.Pointer[[]atomic.Pointer[descriptor]] // replaced whole when it grows

	// Under the lock of the node's descriptors:
	gens   []uint16 // by slot: of the descriptor to be made there next
	unused []uint16 // slots, in the order in which they became so, from next
	next   int
	used   int
	ended  bool
}

// descs is what a node knows of all descriptors.
type descs struct {
	mu     sync.Mutex
	of     map[any]map[*descriptor]bool // by object
	filled atomic.Int64                 // descriptors; 0: nothing is to be done when an object ends
}

// Put gives d a descriptor of an object: a Domain, Task, InChan, OutChan, CutChan, MemPool, Heap, Region, Timer, Cond, File or Cred. It is refused with
// errs.Invalid for anything else, and with errs.Limit where d has as many as it may, or its account has no memory for another.
func (d *Domain) Put(obj any, rights DescRights) (Descriptor, error) {
	kind := kindOf(obj)
	if err := d.may(OpPutDescriptor, kind.String(), true); err != nil {
		return 0, err
	}
	if kind == AnyKind {
		return 0, errs.New(errs.Invalid, "domain %s: a %T cannot have a descriptor", d.Path(), obj)
	}
	s := &d.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := d.descs.add(kind, rights&AllDescRights, obj)
	if err != nil {
		return 0, err
	}
	return e.id, nil
}

// Get finds what a descriptor of d names. It demands a kind, unless that is AnyKind, and rights. Errors are errs.NotFound where there is no such descriptor,
// errs.Dead where it was revoked or what it names has ended, errs.Invalid where it is of another kind and errs.Permission where it
// lacks a right. A descriptor that was closed is errs.NotFound until its slot has been used again 32,767 times, and
// slots are used in turn; then it would name something else.
//
// It may be called from any goroutine, takes no lock and, where it succeeds, allocates nothing.
func (d *Domain) Get(id Descriptor, kind DescKind, need DescRights) (any, error) {
	slots := *d.descs.slots.Load()
	slot := int(id & MaxDescriptors)
	if id <= 0 || slot >= len(slots) {
		return nil, errs.New(errs.NotFound, "domain %s has no descriptor %d", d.Path(), id)
	}
	e := slots[slot].Load()
	switch {
	case e == nil || e.id != id || e.gone.Load() == descClosed:
		return nil, errs.New(errs.NotFound, "domain %s has no descriptor %d", d.Path(), id)
	case e.gone.Load() == descRevoked:
		return nil, errs.New(errs.Dead, "domain %s: descriptor %d was revoked, or its %s has ended: close it", d.Path(), id, e.kind)
	case kind != AnyKind && e.kind != kind:
		return nil, errs.New(errs.Invalid, "domain %s: descriptor %d names a %s, not a %s", d.Path(), id, e.kind, kind)
	case e.rights&need != need:
		return nil, errs.New(errs.Permission, "domain %s: descriptor %d of a %s has rights %05b, not %05b", d.Path(), id, e.kind, e.rights, need)
	}
	return e.object, nil
}

// Object is Get with the type of what is wanted, such as *InChan.
func Object[T any](d *Domain, id Descriptor, need DescRights) (T, error) {
	var zero T
	obj, err := d.Get(id, kindOf(any(zero)), need)
	if err != nil {
		return zero, err
	}
	o, ok := obj.(T)
	if !ok {
		return zero, errs.New(errs.Invalid, "domain %s: descriptor %d names a %T, not a %T", d.Path(), id, obj, zero)
	}
	return o, nil
}

// Grant gives domain to a descriptor of what d's descriptor id names, with those of the given rights that id has. It
// takes MayGrant. The new descriptor counts for to, which pays for it; d can revoke it as long as it has id.
func (d *Domain) Grant(id Descriptor, to *Domain, rights DescRights) (Descriptor, error) {
	if err := d.may(OpGrantDescriptor, to.Path(), false); err != nil {
		return 0, err
	}
	if to.node != d.node {
		return 0, errs.New(errs.Invalid, "domain %s: %s is of another node", d.Path(), to.Path())
	}
	s := &d.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := d.Get(id, AnyKind, MayGrant); err != nil {
		return 0, err
	}
	e := (*d.descs.slots.Load())[id&MaxDescriptors].Load()
	g, err := to.descs.add(e.kind, rights&e.rights, e.object)
	if err != nil {
		return 0, err
	}
	g.from = e
	if e.granted == nil {
		e.granted = make(map[*descriptor]bool)
	}
	e.granted[g] = true
	return g.id, nil
}

// Revoke ends all descriptors that were granted from d's descriptor id, and those granted from them; id itself stays. Lookups that begin later find them revoked
// (errs.Dead); calls that have found an object before go on. It returns how many it ended.
func (d *Domain) Revoke(id Descriptor) (int, error) {
	if err := d.may(OpRevokeDescriptor, fmt.Sprint(id), true); err != nil {
		return 0, err
	}
	s := &d.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := d.Get(id, AnyKind, 0); err != nil {
		return 0, err
	}
	return s.revokeGrants((*d.descs.slots.Load())[id&MaxDescriptors].Load()), nil
}

// RevokeObject ends all descriptors of an object in all domains and returns how many there were. It is the node's own means and asks
// nobody; what ends an object does it too.
func (n *Node) RevokeObject(obj any) int {
	s := &n.descs
	if s.filled.Load() == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.of[obj]
	delete(s.of, obj)
	for e := range all {
		s.end(e, descRevoked)
	}
	return len(all)
}

// CloseDescriptor gives a descriptor up, a revoked one too. What it names is not touched, and what was granted from it stays, granted by whom it had itself
// been granted by.
func (d *Domain) CloseDescriptor(id Descriptor) error {
	s := &d.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := d.Get(id, AnyKind, 0); err != nil && errs.KindOf(err) != errs.Dead {
		return err
	}
	d.descs.remove(id)
	return nil
}

// DescInfo describes a descriptor.
type DescInfo struct {
	ID      Descriptor `json:"id"`
	Kind    string     `json:"kind"`
	Rights  DescRights `json:"rights"`
	Revoked bool       `json:"revoked,omitempty"`
	Grants  int        `json:"grants,omitempty"` // descriptors granted from it
}

// Descriptors describes the descriptors that d has, by slot.
func (d *Domain) Descriptors() []DescInfo {
	s := &d.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []DescInfo
	slots := *d.descs.slots.Load()
	for i := range slots {
		if e := slots[i].Load(); e != nil {
			all = append(all, DescInfo{ID: e.id, Kind: e.kind.String(), Rights: e.rights, Revoked: e.gone.Load() != descLive, Grants: len(e.granted)})
		}
	}
	return all
}

// newDescTable makes the table of a domain, without slots.
func newDescTable(d *Domain, limit int) *descTable {
	t := &descTable{domain: d, limit: limit}
	t.slots.Store(&[]atomic.Pointer[descriptor]{})
	return t
}

// add makes a descriptor in t. The lock is held.
func (t *descTable) add(kind DescKind, rights DescRights, obj any) (*descriptor, error) {
	d := t.domain
	switch {
	case t.ended || d.State() != Active:
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	case t.used >= t.limit:
		return nil, errs.New(errs.Limit, "domain %s has %d descriptors, as many as it may: close some", d.Path(), t.used)
	}
	cost := int64(DescriptorBytes)
	if len(t.gens) < t.limit {
		cost += slotBytes
	}
	if err := d.account.Take(resctl.Memory, cost); err != nil {
		return nil, errs.New(errs.KindOf(err), "domain %s: a descriptor: %w", d.Path(), err)
	}
	slots := *t.slots.Load()
	slot := 0
	// A new slot as long as there are some: the longer a slot is not used again, the longer it is known that what named it is stale.
	if n := len(t.gens); n < t.limit {
		if n+1 >= len(slots) {
			more := make([]atomic.Pointer[descriptor], min(max(2*len(slots), 16), t.limit+1))
			for i := range slots {
				more[i].Store(slots[i].Load())
			}
			t.slots.Store(&more)
			slots = more
		}
		t.gens = append(t.gens, 0)
		slot = n + 1
	} else {
		slot = int(t.unused[t.next])
		if t.next++; t.next >= len(t.unused)/2+1 {
			t.unused = append(t.unused[:0], t.unused[t.next:]...)
			t.next = 0
		}
	}
	gen := t.gens[slot-1]
	t.gens[slot-1] = (gen + 1) & (1<<genBits - 1)
	e := &descriptor{id: Descriptor(gen)<<16 | Descriptor(slot), kind: kind, rights: rights, object: obj, table: t}
	slots[slot].Store(e)
	t.used++
	s := &d.node.descs
	if s.of == nil {
		s.of = make(map[any]map[*descriptor]bool)
	}
	if s.of[obj] == nil {
		s.of[obj] = make(map[*descriptor]bool)
	}
	s.of[obj][e] = true
	s.filled.Add(1)
	return e, nil
}

// remove empties the slot of a descriptor. The lock is held.
func (t *descTable) remove(id Descriptor) {
	slot := id & MaxDescriptors
	slots := *t.slots.Load()
	e := slots[slot].Load()
	t.domain.node.descs.end(e, descClosed)
	slots[slot].Store(nil)
	t.unused = append(t.unused, uint16(slot))
	t.used--
	t.domain.account.Return(resctl.Memory, DescriptorBytes)
}

// end takes e out of everything but its slot. In that there is, after a revocation, one that names nothing, until it is closed. The lock is held.
func (s *descs) end(e *descriptor, how uint32) {
	if !e.gone.CompareAndSwap(descLive, how) {
		return
	}
	s.filled.Add(-1)
	if all := s.of[e.object]; all != nil {
		if delete(all, e); len(all) == 0 {
			delete(s.of, e.object)
		}
	}
	if e.from != nil {
		delete(e.from.granted, e)
	}
	for g := range e.granted { // whose they are from now on
		if g.from = e.from; g.from != nil {
			g.from.granted[g] = true
		}
	}
	if how == descRevoked {
		stub := &descriptor{id: e.id, kind: e.kind, rights: e.rights, table: e.table}
		stub.gone.Store(descRevoked)
		(*e.table.slots.Load())[e.id&MaxDescriptors].Store(stub)
	}
	e.from, e.granted = nil, nil
}

// revokeGrants revokes what was granted from e. The lock is held.
func (s *descs) revokeGrants(e *descriptor) int {
	var all []*descriptor
	for list := []*descriptor{e}; len(list) > 0; {
		last := list[len(list)-1]
		list = list[:len(list)-1]
		for g := range last.granted {
			all = append(all, g)
			list = append(list, g)
		}
	}
	for _, g := range all {
		s.end(g, descRevoked)
	}
	return len(all)
}

// end: the domain gives all its descriptors up, and no descriptor of it is good any more.
func (t *descTable) end() {
	s := &t.domain.node.descs
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ended = true
	slots := *t.slots.Load()
	for i := range slots {
		if e := slots[i].Load(); e != nil {
			t.remove(e.id)
		}
	}
	t.domain.account.Return(resctl.Memory, int64(len(t.gens))*slotBytes)
	t.gens, t.unused = nil, nil
	var gone []*descriptor
	for obj, all := range s.of {
		if domainOf(obj) == t.domain {
			for e := range all {
				gone = append(gone, e)
			}
		}
	}
	for _, e := range gone {
		s.end(e, descRevoked)
	}
}

// domainOf returns the domain that an object ends with, or nil where it ends with none.
func domainOf(obj any) *Domain {
	switch o := obj.(type) {
	case *Domain:
		return o
	case *Timer:
		return o.task.domain
	case *CutChan:
		return o.in.domain
	case *File:
		return o.files.domain
	case interface{ Domain() *Domain }:
		return o.Domain()
	}
	return nil
}
