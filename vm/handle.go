package vm

// Handles are what a guest has of objects outside. The table of an isolate is an array of slots, found by the lower half of a
// handle; the upper half says how often the slot has been used before:
//
//	 31 30            16 15             0
//	| 0 |  generation   |      slot      |
//
// Lookups read the array without a lock. Everything else takes the lock of the engine's handles. What a handle was made from can be revoked
// with it: handles form a tree of grants, of which those that travel in messages are part.

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
)

// Handle names an object in the table of an isolate. It is never negative, and zero is never a handle.
type Handle int32

// Bounds of tables.
const (
	DefaultHandles = 64 // of an isolate whose spec does not say
	MaxHandles     = 1<<16 - 1
	HandleBytes    = 192 // charged to the isolate for each, with 16 for each slot that was ever used
	handleSlot     = 16
	handleGens     = 1<<15 - 1
)

// HandleKind says what a handle names. The numbers are part of what guests see: append only.
type HandleKind uint8

// The kinds.
const (
	AnyHandle     HandleKind = iota // in Get: whatever it is
	SendHandle                      // *Link: its sending end
	ReceiveHandle                   // *Link: its receiving end
	SegmentHandle                   // *Segment
	ServiceHandle                   // *Service
	IsolateHandle                   // *Isolate: a child
	CodeHandle                      // *Code
	OpaqueHandle                    // an object of the caller's host functions
	numHandleKinds
)

var handleKinds = [numHandleKinds]string{"any", "sending end", "receiving end", "segment", "service", "isolate", "code", "object"}

// String returns the kind's name.
func (k HandleKind) String() string {
	if k < numHandleKinds {
		return handleKinds[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Rights is what a handle is good for.
type Rights uint8

// The rights.
const (
	MayUse    Rights = 1 << iota // send, receive, read, visit, start
	MaySee                       // status and use
	MayEnd                       // exit, halt, suspend and resume
	MayGrant                     // pass it on in a message
	AllRights = MayUse | MaySee | MayEnd | MayGrant
)

// held is an object that wants to know how many handles name it. hold may refuse; i is nil for a handle in a message. drop is called
// without the handles' lock.
type held interface {
	hold(k HandleKind, i *Isolate) error
	move(i *Isolate) error // what held a handle in a message holds one of i; called with the lock
	drop(k HandleKind, i *Isolate)
}

// handle is an entry of a table, or on its way in a message. Nothing but gone changes while lookups may see it.
type handle struct {
	id     Handle
	kind   HandleKind
	rights Rights
	gone   atomic.Bool // revoked
	object any

	// Guarded by handles.mu:
	table   *handleTable // nil in a message
	from    *handle      // whose grant it is
	granted map[*handle]bool
}

// handleTable is the table of an isolate.
type handleTable struct {
	slots atomic.Pointer[[]atomic.Pointer[handle]]

	// Guarded by handles.mu:
	gens   []uint16
	unused []uint16 // slots, in the order in which they became so, from next
	next   int
	used   int
	ended  bool
	iso    *Isolate
}

// handles is what an engine knows of all tables.
type handles struct{ mu sync.Mutex }

// Put gives the isolate a handle of an object: for OpaqueHandle whatever the caller's host functions understand, otherwise what the kind
// names. Errors are errs.Limit where the isolate has as many as it may, or no memory for another, and errs.Invalid.
func (i *Isolate) Put(kind HandleKind, obj any, rights Rights) (Handle, error) {
	ok := kind == OpaqueHandle && obj != nil
	switch o := obj.(type) {
	case *Link:
		ok = ok || (kind == SendHandle || kind == ReceiveHandle) && o.e == i.e
	case *Segment:
		ok = ok || kind == SegmentHandle && o.e == i.e
	case *Service:
		ok = ok || kind == ServiceHandle && o.iso.e == i.e
	case *Isolate:
		ok = ok || kind == IsolateHandle && o.e == i.e
	case *Code:
		ok = ok || kind == CodeHandle && o.e == i.e
	}
	if !ok {
		return 0, errs.New(errs.Invalid, "vm: isolate %s: a %T is no %v of its engine", i.spec.Name, obj, kind)
	}
	h := &handle{kind: kind, rights: rights & AllRights, object: obj}
	if err := hold(h, i); err != nil {
		return 0, err
	}
	err := i.e.handles.add(i, h)
	if err != nil {
		drop(h, i)
		return 0, err
	}
	return h.id, nil
}

func hold(h *handle, i *Isolate) error {
	if o, ok := h.object.(held); ok {
		return o.hold(h.kind, i)
	}
	return nil
}

func drop(h *handle, i *Isolate) {
	if o, ok := h.object.(held); ok {
		o.drop(h.kind, i)
	}
}

// Get finds what a handle names. It demands a kind, unless that is AnyHandle, and rights. Errors are errs.NotFound where there is no such
// handle, errs.Dead where it was revoked, errs.Invalid where it is of another kind, errs.Permission where it lacks a right. It may be called from any
// goroutine, takes no lock, and allocates nothing where it succeeds.
func (i *Isolate) Get(id Handle, kind HandleKind, need Rights) (any, error) {
	h, err := i.handle(id, kind, need)
	if err != nil {
		return nil, err
	}
	return h.object, nil
}

func (i *Isolate) handle(id Handle, kind HandleKind, need Rights) (*handle, error) {
	slots := i.handles.slots.Load()
	slot := int(id & MaxHandles)
	if id <= 0 || slots == nil || slot >= len(*slots) {
		return nil, errs.New(errs.NotFound, "vm: isolate %s has no handle %d", i.spec.Name, id)
	}
	h := (*slots)[slot].Load()
	switch {
	case h == nil || h.id != id:
		return nil, errs.New(errs.NotFound, "vm: isolate %s has no handle %d", i.spec.Name, id)
	case h.gone.Load():
		return nil, errs.New(errs.Dead, "vm: isolate %s: handle %d of a %v was revoked: close it", i.spec.Name, id, h.kind)
	case kind != AnyHandle && h.kind != kind:
		return nil, errs.New(errs.Invalid, "vm: isolate %s: handle %d names a %v, not a %v", i.spec.Name, id, h.kind, kind)
	case h.rights&need != need:
		return nil, errs.New(errs.Permission, "vm: isolate %s: handle %d of a %v has rights %04b, not %04b", i.spec.Name, id, h.kind, h.rights, need)
	}
	return h, nil
}

// Narrow makes another handle, in the same table, of what id names, with those of the given rights that id has. It takes MayGrant, and is revoked
// with what id is revoked with, and by Revoke of id.
func (i *Isolate) Narrow(id Handle, rights Rights) (Handle, error) {
	s := &i.e.handles
	g, err := s.grant(i, id)
	if err != nil {
		return 0, err
	}
	g.rights &= rights
	n, err := s.land(i, g)
	if err != nil {
		s.lose(g)
		return 0, err
	}
	if n == 0 {
		return 0, errs.New(errs.Dead, "vm: isolate %s: handle %d was revoked", i.spec.Name, id)
	}
	return n, nil
}

// Give gives another isolate of the engine a handle of what id names, made from id. It takes MayGrant. Errors are those of Get, and errs.Limit where the other
// isolate has no room.
func (i *Isolate) Give(id Handle, to *Isolate) (Handle, error) {
	if to.e != i.e {
		return 0, errs.New(errs.Invalid, "vm: isolate %s: %s is of another engine", i.spec.Name, to.spec.Name)
	}
	s := &i.e.handles
	g, err := s.grant(i, id)
	if err != nil {
		return 0, err
	}
	n, err := s.land(to, g)
	if err != nil {
		s.lose(g)
		return 0, err
	}
	if n == 0 {
		return 0, errs.New(errs.Dead, "vm: isolate %s: handle %d was revoked", i.spec.Name, id)
	}
	return n, nil
}

// Revoke ends all handles that were made from one, in whatever isolates and messages they are; the handle itself stays. Lookups that begin later find
// them revoked; kernel calls that have found an object before go on. It returns how many it ended.
func (i *Isolate) Revoke(id Handle) (int, error) {
	s := &i.e.handles
	s.mu.Lock()
	h, err := i.handle(id, AnyHandle, 0)
	if err != nil {
		s.mu.Unlock()
		return 0, err
	}
	var ends []ended
	for list := []*handle{h}; len(list) > 0; {
		last := list[len(list)-1]
		list = list[:len(list)-1]
		for g := range last.granted {
			list = append(list, g)
			if !g.gone.Swap(true) {
				ends = append(ends, ended{g, g.table.isolate()})
			}
			g.from = nil
		}
		last.granted = nil
	}
	s.mu.Unlock()
	for _, e := range ends {
		drop(e.h, e.i)
	}
	return len(ends), nil
}

// ended is a handle that names nothing any more, and whose it was.
type ended struct {
	h *handle
	i *Isolate
}

// CloseHandle gives a handle up, a revoked one too. What was made from it stays, granted by whom it had itself been granted by.
func (i *Isolate) CloseHandle(id Handle) error {
	s := &i.e.handles
	s.mu.Lock()
	h, err := i.handle(id, AnyHandle, 0)
	if err != nil && errs.KindOf(err) != errs.Dead {
		s.mu.Unlock()
		return err
	}
	h = (*i.handles.slots.Load())[id&MaxHandles].Load()
	live := s.remove(i, h)
	s.mu.Unlock()
	if live {
		drop(h, i)
	}
	return nil
}

// Handles returns how many handles the isolate has.
func (i *Isolate) Handles() int {
	i.e.handles.mu.Lock()
	defer i.e.handles.mu.Unlock()
	return i.handles.used
}

// add puts h, which is in no table, into that of i.
func (s *handles) add(i *Isolate, h *handle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.insert(i, h)
}

// insert is add with the lock held.
func (s *handles) insert(i *Isolate, h *handle) error {
	t := &i.handles
	limit := i.spec.Handles
	switch {
	case t.ended:
		return errs.New(errs.Dead, "vm: isolate %s has ended", i.spec.Name)
	case t.used >= limit:
		return errs.New(errs.Limit, "vm: isolate %s has %d handles, as many as it may: close some", i.spec.Name, t.used)
	}
	cost := int64(HandleBytes)
	if len(t.gens) < limit {
		cost += handleSlot
	}
	if err := i.take(useHandles, cost); err != nil {
		return err
	}
	slot := 0
	// A new slot as long as there are some: the longer a slot is not used again, the longer a handle that named it is known to be stale.
	if n := len(t.gens); n < limit {
		slot = n + 1
		if old := t.slots.Load(); old == nil || slot >= len(*old) {
			more := make([]atomic.Pointer[handle], min(max(2*slot, 8), limit+1))
			if old != nil {
				for k := range *old {
					more[k].Store((*old)[k].Load())
				}
			}
			t.slots.Store(&more)
		}
		t.gens = append(t.gens, 0)
	} else {
		slot = int(t.unused[t.next])
		if t.next++; t.next > len(t.unused)/2 {
			t.unused = append(t.unused[:0], t.unused[t.next:]...)
			t.next = 0
		}
	}
	gen := t.gens[slot-1]
	t.gens[slot-1] = (gen + 1) & handleGens
	h.id, h.table = Handle(gen)<<16|Handle(slot), t
	t.iso = i
	(*t.slots.Load())[slot].Store(h)
	t.used++
	return nil
}

// remove empties the slot of h and reports whether h still named its object. The lock is held.
func (s *handles) remove(i *Isolate, h *handle) (live bool) {
	t := &i.handles
	live = !h.gone.Swap(true)
	s.unlink(h)
	slot := h.id & MaxHandles
	(*t.slots.Load())[slot].Store(nil)
	t.unused = append(t.unused, uint16(slot))
	t.used--
	i.giveBack(useHandles, HandleBytes)
	return live
}

// unlink takes h out of the tree of grants. The lock is held.
func (s *handles) unlink(h *handle) {
	if h.from != nil {
		delete(h.from.granted, h)
	}
	for g := range h.granted { // whose they are from now on
		if g.from = h.from; g.from != nil {
			g.from.granted[g] = true
		}
	}
	h.from, h.granted = nil, nil
}

// grant makes a handle to travel in a message, from one of i's.
func (s *handles) grant(i *Isolate, id Handle) (*handle, error) {
	h, err := i.handle(id, AnyHandle, MayGrant)
	if err != nil {
		return nil, err
	}
	g := &handle{kind: h.kind, rights: h.rights, object: h.object}
	if err := hold(g, nil); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if h.gone.Load() {
		s.mu.Unlock()
		drop(g, nil)
		return nil, errs.New(errs.Dead, "vm: isolate %s: handle %d was revoked", i.spec.Name, id)
	}
	if h.granted == nil {
		h.granted = make(map[*handle]bool)
	}
	h.granted[g], g.from = true, h
	s.mu.Unlock()
	return g, nil
}

// land puts a handle that travelled in a message into the table of i and returns its number: 0 if it has been revoked meanwhile. After an error it
// still travels.
func (s *handles) land(i *Isolate, g *handle) (Handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.gone.Load() {
		return 0, nil
	}
	n := &handle{kind: g.kind, rights: g.rights, object: g.object}
	if err := s.insert(i, n); err != nil {
		return 0, err
	}
	if o, ok := g.object.(held); ok {
		if err := o.move(i); err != nil {
			s.remove(i, n)
			return 0, err
		}
	}
	if n.from = g.from; n.from != nil {
		n.from.granted[n] = true
	}
	g.gone.Store(true)
	s.unlink(g)
	return n.id, nil
}

// lose ends a handle that will not arrive.
func (s *handles) lose(g *handle) {
	s.mu.Lock()
	live := !g.gone.Swap(true)
	s.unlink(g)
	s.mu.Unlock()
	if live {
		drop(g, nil)
	}
}

// endHandles gives all handles of the isolate up. What was granted from them stays, as with CloseHandle.
func (i *Isolate) endHandles() {
	s := &i.e.handles
	s.mu.Lock()
	t := &i.handles
	t.ended = true
	var ends []*handle
	if slots := t.slots.Load(); slots != nil {
		for k := range *slots {
			if h := (*slots)[k].Load(); h != nil && s.remove(i, h) {
				ends = append(ends, h)
			}
		}
	}
	i.giveBack(useHandles, handleSlot*int64(len(t.gens)))
	t.gens, t.unused = nil, nil
	s.mu.Unlock()
	for _, h := range ends {
		drop(h, i)
	}
}

func (t *handleTable) isolate() *Isolate {
	if t == nil {
		return nil
	}
	return t.iso
}
