package nodeos

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func (r *rig) put(d *Domain, obj any, rights DescRights) Descriptor {
	r.Helper()
	id, err := d.Put(obj, rights)
	if err != nil {
		r.Fatal(err)
	}
	return id
}

func (r *rig) grant(d *Domain, id Descriptor, to *Domain, rights DescRights) Descriptor {
	r.Helper()
	g, err := d.Grant(id, to, rights)
	if err != nil {
		r.Fatal(err)
	}
	return g
}

// lookup demands that id of d is found, or refused with a kind of error.
func (r *rig) lookup(d *Domain, id Descriptor, need DescRights, want errs.Kind) {
	r.Helper()
	if _, err := d.Get(id, AnyKind, need); errs.KindOf(err) != want {
		r.Errorf("descriptor %d of %s: %v, want %v", id, d.Path(), err, want)
	}
}

// objects makes one of each kind, all of domain d, and closes of those that can be closed.
func objects(r *rig, d *Domain) (objs map[DescKind]any, closes map[DescKind]func()) {
	r.Helper()
	fail := func(err error) {
		if err != nil {
			r.Helper()
			r.Fatal(err)
		}
	}
	r.link("eth0")
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { return Used{} })})
	fail(err)
	in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether", Address: "0x88b5"})
	fail(err)
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0"})
	fail(err)
	cut, err := d.NewCutChan(InChanSpec{Protocol: "eth0/ether", Address: "0x88b6"}, OutChanSpec{Protocol: "eth0"})
	fail(err)
	pool := r.pool(d, MemPoolSpec{Name: "pool"})
	heap := r.heap(d, HeapSpec{Name: "heap"})
	region, err := d.NewRegion(RegionSpec{Name: "region", Size: 1})
	fail(err)
	file, err := d.OpenFile("f", Writing)
	fail(err)
	return map[DescKind]any{
			DomainDesc: d, TaskDesc: task, InChanDesc: in, OutChanDesc: out, CutChanDesc: cut, MemPoolDesc: pool, HeapDesc: heap, RegionDesc: region,
			TimerDesc: d.NewTimer(-1, func(clock.Time) {}), CondDesc: d.NewCond(), FileDesc: file, CredDesc: NewCred("c", 0),
		}, map[DescKind]func(){
			TaskDesc: task.Close, InChanDesc: in.Close, OutChanDesc: out.Close, CutChanDesc: cut.Close, MemPoolDesc: func() { fail(pool.Close()) }, HeapDesc: heap.Close,
			RegionDesc: region.Close, FileDesc: func() { fail(file.Close()) },
		}
}

// Every kind of object can have a descriptor, is found as what it is, and by its end all its descriptors are dead.
func TestDescriptorsOfEachKind(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Files: FilesSpec{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	holder := r.domain(r.node.Root(), resctl.Spec{Name: "holder"})
	objs, closes := objects(r, d)
	ids := make(map[DescKind]Descriptor)
	for k := AnyKind + 1; k < numDescKinds; k++ {
		if objs[k] == nil || k.String() == "" {
			t.Fatalf("kind %d (%s) has no object in this test", k, k)
		}
		ids[k] = r.put(holder, objs[k], AllDescRights)
		if o, err := holder.Get(ids[k], k, AllDescRights); err != nil || o != objs[k] {
			t.Errorf("%s: %v, %v", k, o, err)
		}
		other := k%(numDescKinds-1) + 1
		if _, err := holder.Get(ids[k], other, 0); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), k.String()) {
			t.Errorf("%s as %s: %v", k, other, err)
		}
	}
	if in, err := Object[*InChan](holder, ids[InChanDesc], MayUse); err != nil || in != objs[InChanDesc] {
		t.Errorf("%v, %v", in, err)
	}
	if _, err := Object[*OutChan](holder, ids[InChanDesc], MayUse); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if _, err := holder.Put("a string", AllDescRights); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if DescKind(99).String() != "kind(99)" {
		t.Error(DescKind(99))
	}
	for k, end := range closes {
		end()
		r.settle()
		r.lookup(holder, ids[k], 0, errs.Dead)
	}
	d.Terminate(nil)
	r.settle()
	for k, id := range ids {
		want := errs.Dead
		if k == CredDesc { // ends with nobody
			want = errs.OK
		}
		r.lookup(holder, id, 0, want)
		if err := holder.CloseDescriptor(id); err != nil {
			t.Errorf("%s: %v", k, err)
		}
		r.lookup(holder, id, 0, errs.NotFound)
		if err := holder.CloseDescriptor(id); !errors.Is(err, errs.NotFound) {
			t.Errorf("%s closed twice: %v", k, err)
		}
	}
	if n := r.node.descs.filled.Load(); n != 0 || len(r.node.descs.of) != 0 {
		t.Errorf("%d descriptors are left, of %d objects", n, len(r.node.descs.of))
	}
}

func TestDescriptorRights(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	a, b := r.domain(r.node.Root(), resctl.Spec{Name: "a"}), r.domain(r.node.Root(), resctl.Spec{Name: "b"})
	c := a.NewCond()
	id := r.put(a, c, MayUse|MaySee|MayGrant)
	r.lookup(a, id, MayUse|MaySee, errs.OK)
	r.lookup(a, id, MayUse|MayEnd, errs.Permission)
	g := r.grant(a, id, b, MayUse|MayEnd) // what a does not have it cannot give
	r.lookup(b, g, MayUse, errs.OK)
	for _, right := range []DescRights{MaySee, MaySet, MayEnd, MayGrant} {
		r.lookup(b, g, right, errs.Permission)
	}
	if _, err := b.Grant(g, a, MayUse); !errors.Is(err, errs.Permission) {
		t.Errorf("granted without the right: %v", err)
	}
	for _, bad := range []Descriptor{0, -1, 5, id | 1<<16, MaxDescriptors, 1<<31 - 1} {
		r.lookup(a, bad, 0, errs.NotFound)
	}
	other := stepped(t, resctl.Spec{})
	if _, err := a.Grant(id, other.node.Root(), MayUse); !errors.Is(err, errs.Invalid) {
		t.Errorf("to another node: %v", err)
	}
}

// Who granted takes back, from all that came of it; who was granted by somebody that is gone belongs to whom that was granted by.
func TestDescriptorsAreRevoked(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	root := r.node.Root()
	a, b, c, d := r.domain(root, resctl.Spec{Name: "a"}), r.domain(root, resctl.Spec{Name: "b"}), r.domain(root, resctl.Spec{Name: "c"}), r.domain(root, resctl.Spec{Name: "d"})
	obj := root.NewCond()
	ia := r.put(a, obj, AllDescRights)
	ib := r.grant(a, ia, b, AllDescRights)
	ic := r.grant(b, ib, c, AllDescRights)
	id := r.grant(c, ic, d, MayUse)
	own := r.put(d, obj, MayUse) // of the same object, by nobody's grant
	if n, err := b.Revoke(ib); n != 2 || err != nil {
		t.Fatalf("%d revoked, %v", n, err)
	}
	r.lookup(b, ib, 0, errs.OK)
	r.lookup(c, ic, 0, errs.Dead)
	r.lookup(d, id, 0, errs.Dead)
	r.lookup(d, own, 0, errs.OK)
	if _, err := c.Grant(ic, d, MayUse); !errors.Is(err, errs.Dead) {
		t.Errorf("a revoked descriptor was granted: %v", err)
	}
	if all := c.Descriptors(); len(all) != 1 || !all[0].Revoked || all[0].ID != ic || all[0].Kind != "condition" || all[0].Rights != AllDescRights {
		t.Errorf("%+v", all)
	}
	// b goes; what it granted a can revoke now.
	ic2 := r.grant(b, ib, c, MayUse)
	b.Terminate(nil)
	r.settle()
	r.lookup(c, ic2, 0, errs.OK)
	if all := a.Descriptors(); len(all) != 1 || all[0].Grants != 1 {
		t.Errorf("%+v", all)
	}
	if n, err := a.Revoke(ia); n != 1 || err != nil {
		t.Errorf("%d revoked, %v", n, err)
	}
	r.lookup(c, ic2, 0, errs.Dead)
	if n := r.node.RevokeObject(obj); n != 2 {
		t.Errorf("%d revoked", n)
	}
	r.lookup(a, ia, 0, errs.Dead)
	r.lookup(d, own, 0, errs.Dead)
	if n := r.node.RevokeObject(obj); n != 0 {
		t.Errorf("%d revoked again", n)
	}
	if _, err := b.Put(obj, 0); !errors.Is(err, errs.Dead) {
		t.Errorf("a dead domain got a descriptor: %v", err)
	}
	if _, err := a.Revoke(99); !errors.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

// A domain has as many as its Spec says, pays for them, and gets all back.
func TestDescriptorLimit(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	const most = 20
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Descriptors: most})
	if err != nil {
		t.Fatal(err)
	}
	obj := d.NewCond()
	var ids []Descriptor
	for i := range most {
		ids = append(ids, r.put(d, obj, MayUse))
		if ids[i] != Descriptor(i+1) {
			t.Fatalf("descriptor %d is %d", i, ids[i])
		}
		if use := d.Account().Use(resctl.Memory); use != int64(i+1)*(DescriptorBytes+slotBytes) {
			t.Fatalf("%d descriptors cost %d", i+1, use)
		}
	}
	if _, err := d.Put(obj, MayUse); !errors.Is(err, errs.Limit) {
		t.Errorf("one more: %v", err)
	}
	if _, err := r.node.Root().Grant(r.put(r.node.Root(), obj, AllDescRights), d, MayUse); !errors.Is(err, errs.Limit) {
		t.Errorf("one more by a grant: %v", err)
	}
	for _, id := range ids[5:10] {
		if err := d.CloseDescriptor(id); err != nil {
			t.Fatal(err)
		}
	}
	if use := d.Account().Use(resctl.Memory); use != 15*DescriptorBytes+most*slotBytes {
		t.Errorf("15 descriptors cost %d", use)
	}
	if err := d.SetLimit(resctl.Memory, d.Account().Use(resctl.Memory)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(obj, MayUse); !errors.Is(err, errs.Limit) || len(d.Descriptors()) != 15 {
		t.Errorf("without memory: %v, %d", err, len(d.Descriptors()))
	}
	none, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "none"}, Descriptors: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Put(obj, MayUse); !errors.Is(err, errs.Limit) {
		t.Errorf("where there are none: %v", err)
	}
	for _, n := range []int{-2, MaxDescriptors + 1} {
		if _, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}, Descriptors: n}); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d descriptors: %v", n, err)
		}
	}
	d.Terminate(nil)
	r.settle()
	if d.Reason() != nil || d.State() != Dead {
		t.Errorf("%v", d.Reason())
	}
	r.lookup(d, ids[0], 0, errs.NotFound)
}

// A stale descriptor names nothing until its slot's generations are through, and slots are used in turn.
func TestStaleDescriptors(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	const most = 4
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Descriptors: most})
	if err != nil {
		t.Fatal(err)
	}
	obj := d.NewCond()
	first := r.put(d, obj, MayUse)
	if err := d.CloseDescriptor(first); err != nil {
		t.Fatal(err)
	}
	const all = most << genBits
	for i := 1; i < all; i++ {
		id := r.put(d, obj, MayUse)
		if id == first || id <= 0 {
			t.Fatalf("descriptor %d again after %d", id, i)
		}
		if i < 100 {
			r.lookup(d, first, 0, errs.NotFound)
		}
		if err := d.CloseDescriptor(id); err != nil {
			t.Fatal(err)
		}
	}
	if id := r.put(d, obj, MayUse); id != first {
		t.Errorf("after all %d others came %d, not %d", all, id, first)
	}
	if use := d.Account().Use(resctl.Memory); use != DescriptorBytes+most*slotBytes || cap(d.descs.unused) > 4*most {
		t.Errorf("%d bytes, room for %d unused slots", use, cap(d.descs.unused))
	}
}

// Lookups go on while the table grows, shrinks and is revoked: they find the right object or say that there is none.
func TestDescriptorsUnderChurn(t *testing.T) {
	n := live(t, 2)
	a, b := domain(t, n.Root(), "a", 0), domain(t, n.Root(), "b", 1)
	keep := a.NewCond()
	kept, err := b.Put(keep, MayUse)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if o, err := Object[*Cond](b, kept, MayUse); err != nil || o != keep {
					t.Errorf("%v, %v", o, err)
					return
				}
				for id := Descriptor(2); id < 100; id++ {
					if o, err := b.Get(id, CondDesc, 0); err == nil && o.(*Cond) == keep {
						t.Error("found somebody else's")
						return
					}
				}
			}
		}()
	}
	for range 50 {
		obj := a.NewCond()
		var ids []Descriptor
		root, err := a.Put(obj, AllDescRights)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			id, err := a.Grant(root, b, MayUse)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		for _, id := range ids[:50] {
			if err := b.CloseDescriptor(id); err != nil {
				t.Error(err)
			}
		}
		if n, err := a.Revoke(root); n != 50 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		for _, id := range ids[50:] {
			if err := b.CloseDescriptor(id); err != nil {
				t.Error(err)
			}
		}
		if err := a.CloseDescriptor(root); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	b.Terminate(nil)
	<-b.Done()
	if n := n.descs.filled.Load(); n != 0 || b.Reason() != nil {
		t.Errorf("%d descriptors, %v", n, b.Reason())
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	in, err := d.NewInChan(InChanSpec{HandOffOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	id := r.put(d, in, MayUse)
	w := r.node.Worker(0)
	var b packet.Batch
	if n := testing.AllocsPerRun(1000, func() {
		c, err := Object[*InChan](d, id, MayUse)
		if err != nil {
			t.Fatal(err)
		}
		c.HandOff(w, &b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewReal(), Stepped: true})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	d := domain(b, n.Root(), "d", 0)
	var ids [100]Descriptor
	for i := range ids {
		if ids[i], err = d.Put(d.NewCond(), MayUse); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := range b.N {
		if _, err := Object[*Cond](d, ids[i%len(ids)], MayUse); err != nil {
			b.Fatal(err)
		}
	}
}
