package nodeos

import (
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

const unitCost = HeapUnit + HeapRecord

func (r *rig) heap(d *Domain, spec HeapSpec) *Heap {
	r.Helper()
	h, err := d.NewHeap(spec)
	if err != nil {
		r.Fatal(err)
	}
	return h
}

func (r *rig) alloc(h *Heap, n int) []byte {
	r.Helper()
	b, err := h.Alloc(n)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

func TestHeapClasses(t *testing.T) {
	last := 0
	for n := 1; n <= heapMaxBlock; n++ {
		c := classOf(n)
		if c < 0 || c >= heapClasses || sizeOf(c) < n || c > 0 && sizeOf(c-1) >= n || sizeOf(c)%heapMinBlock != 0 {
			t.Fatalf("%d bytes: class %d of %d bytes", n, c, sizeOf(c))
		}
		if waste := sizeOf(c) - n; waste > 15 && waste*4 > n {
			t.Fatalf("%d bytes in a block of %d", n, sizeOf(c))
		}
		last = c
	}
	if last != heapClasses-1 || reflect.TypeFor[heapUnit]().Size() > HeapRecord {
		t.Errorf("%d classes, a unit's record is %d bytes", last+1, reflect.TypeFor[heapUnit]().Size())
	}
}

// Blocks do not overlap, begin zeroed, keep what is written, and the account says at each moment what is held.
func TestHeapAgainstModel(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d", Limit: resctl.Amounts{resctl.Memory: 100 * unitCost}})
	h := r.heap(d, HeapSpec{Name: "h"})
	rnd := rand.New(rand.NewPCG(1, 2))
	var live [][]byte
	refused := 0
	for step := range 40000 {
		if rnd.IntN(100) < 51 || len(live) == 0 {
			n := 1 + rnd.IntN(200)
			switch rnd.IntN(20) {
			case 0:
				n = 1 + rnd.IntN(heapMaxBlock)
			case 1:
				n = 1 + rnd.IntN(5*HeapUnit)
			}
			b, err := h.Alloc(n)
			if err != nil {
				if refused++; !errors.Is(err, errs.Limit) {
					t.Fatal(err)
				}
				continue
			}
			if len(b) != n || cap(b) != n {
				t.Fatalf("asked for %d, got %d with room for %d", n, len(b), cap(b))
			}
			for i, x := range b {
				if x != 0 {
					t.Fatalf("step %d: byte %d of %d is %d", step, i, n, x)
				}
				b[i] = byte(n)
			}
			live = append(live, b)
		} else {
			i := rnd.IntN(len(live))
			b := live[i]
			for j, x := range b {
				if x != byte(len(b)) {
					t.Fatalf("step %d: byte %d of a block of %d is %d", step, j, len(b), x)
				}
			}
			if err := h.Free(b); err != nil {
				t.Fatal(err)
			}
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		if use := d.Account().Use(resctl.Memory); use != h.Stats().Held || use > 100*unitCost {
			t.Fatalf("the account says %d, the heap %d", use, h.Stats().Held)
		}
	}
	s := h.Stats()
	if refused == 0 || s.Refused != uint64(refused) || s.Blocks != int64(len(live)) || s.Held < s.Bytes {
		t.Errorf("%d refused, %d live, %+v", refused, len(live), s)
	}
	for _, b := range live {
		if err := h.Free(b); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.Stats(); s.Blocks != 0 || s.Bytes != 0 || s.Held > unitCost {
		t.Errorf("all freed: %+v", s)
	}
	h.Trim()
	if s := h.Stats(); s.Held != 0 || d.Account().Use(resctl.Memory) != 0 {
		t.Errorf("trimmed: %+v", s)
	}
}

// A limit refuses before anything is held, and a heap takes nothing else from it.
func TestHeapLimits(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d", Limit: resctl.Amounts{resctl.Memory: 2*unitCost - 1}})
	h := r.heap(d, HeapSpec{Name: "h", Size: 3 * HeapUnit})
	if use := d.Account().Use(resctl.Memory); use != 0 {
		t.Fatalf("an empty heap holds %d", use)
	}
	a := r.alloc(h, 1)
	for _, n := range []int{heapMaxBlock + 1, HeapUnit, 1 << 30} {
		if _, err := h.Alloc(n); !errors.Is(err, errs.Limit) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if s := h.Stats(); s.Held != unitCost || s.Refused != 3 || s.Blocks != 1 || len(h.units) != 1 {
		t.Errorf("%+v, %d units", s, len(h.units))
	}
	// The spare unit does not stand in the way.
	if err := h.Free(a); err != nil {
		t.Fatal(err)
	}
	if err := d.Account().SetLimit(resctl.Memory, 2*unitCost); err != nil {
		t.Fatal(err)
	}
	big := r.alloc(h, 2*HeapUnit)
	if s := h.Stats(); s.Held != 2*unitCost || s.Bytes != 2*HeapUnit {
		t.Errorf("%+v", s)
	}
	// The size of the heap is a limit of its own.
	if err := d.Account().SetLimit(resctl.Memory, resctl.Unlimited); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Alloc(2 * HeapUnit); !errors.Is(err, errs.Limit) {
		t.Errorf("more than the heap's size: %v", err)
	}
	if err := h.Free(big); err != nil || h.Stats().Held != 0 {
		t.Errorf("%v, %+v", err, h.Stats())
	}
	for _, s := range []HeapSpec{{Size: -1}, {Size: MaxHeapSize + 1}} {
		if _, err := d.NewHeap(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := h.Alloc(-1); !errors.Is(err, errs.Invalid) || h.Stats().Name != "h" || !strings.Contains(err.Error(), "node/d/h") {
		t.Errorf("%v, %+v", err, h.Stats())
	}
	if _, err := h.Alloc(0); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

// What cannot be freed is an error, and damages nothing.
func TestHeapBadFree(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	h, other := r.heap(d, HeapSpec{Name: "h", Size: 8 * HeapUnit}), r.heap(d, HeapSpec{Name: "other", Size: 8 * HeapUnit})
	small, keep, big := r.alloc(h, 100), r.alloc(h, 100), r.alloc(h, 2*HeapUnit)
	foreign := r.alloc(other, 100)
	if err := h.Free(small); err != nil {
		t.Fatal(err)
	}
	before := h.Stats()
	for name, c := range map[string]struct {
		b    []byte
		kind errs.Kind
	}{
		"twice":          {small, errs.Dead},
		"inside":         {keep[1:], errs.Invalid},
		"inside large":   {big[HeapUnit:], errs.Invalid},
		"inside large 2": {big[16:], errs.Invalid},
		"foreign":        {foreign, errs.NotFound},
		"of Go":          {make([]byte, 100), errs.NotFound},
		"nothing":        {nil, errs.NotFound},
	} {
		if err := h.Free(c.b); errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	if after := h.Stats(); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	if err := h.Free(append(keep[:50:50], 1)); !errors.Is(err, errs.NotFound) { // what append moved is not the heap's
		t.Errorf("grown: %v", err)
	}
	if err := h.Free(keep[:1]); err != nil { // its length does not count
		t.Error(err)
	}
	if err := h.Free(big); err != nil {
		t.Error(err)
	}
	if err := h.Free(big); !errors.Is(err, errs.Dead) {
		t.Errorf("large twice: %v", err)
	}
}

// All of it goes back when the domain ends, and what is left of heap and region says so.
func TestHeapAndRegionEndWithTheDomain(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	h := r.heap(d, HeapSpec{Name: "h"})
	g, err := d.NewRegion(RegionSpec{Name: "g", Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	closed := r.heap(d, HeapSpec{Name: "closed"})
	var bs [][]byte
	for i := range 3000 {
		bs = append(bs, r.alloc(h, i+1))
	}
	r.alloc(closed, 100)
	closed.Close()
	closed.Close()
	if err := g.Map(0, 1<<20, ReadWrite); err != nil {
		t.Fatal(err)
	}
	inHook := false
	d.OnDestroy(func() { // may still use it
		bs[7][0] = 1
		inHook = h.Free(bs[7]) == nil
	})
	if n := r.node.mappings.n.Load(); n != 2+1 {
		t.Errorf("%d mappings", n)
	}
	d.Terminate(nil)
	r.settle()
	if d.State() != Dead || d.Reason() != nil || !inHook {
		t.Fatalf("%v, %v, hook %v", d.State(), d.Reason(), inHook)
	}
	if use := r.node.Root().Account().Use(resctl.Memory); use != 0 || r.node.mappings.n.Load() != 0 {
		t.Errorf("%d bytes and %d mappings are left", use, r.node.mappings.n.Load())
	}
	if _, err := h.Alloc(1); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if err := h.Free(bs[0]); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if err := g.Map(0, int64(g.page), ReadWrite); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if _, err := d.NewHeap(HeapSpec{Name: "late"}); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if _, err := d.NewRegion(RegionSpec{Name: "late", Size: 1}); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if use := r.node.Root().Account().Use(resctl.Memory); use != 0 || r.node.mappings.n.Load() != 0 {
		t.Errorf("after refusals %d bytes and %d mappings are left", use, r.node.mappings.n.Load())
	}
	h.Trim()
	if s := h.Stats(); s.Blocks != 0 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
}

// A heap's requests go the way of a pool's pressure: the owner is asked, and what it does not free in time costs the domains their lives.
func TestHeapPressesItsPool(t *testing.T) {
	for _, gives := range []bool{true, false} {
		r := stepped(t, resctl.Spec{})
		var needs []int64
		var h *Heap
		var cache [][]byte
		p := r.pool(r.node.Root(), MemPoolSpec{Name: "p", Limit: 10 * unitCost, Deadline: time.Millisecond, OnPressure: func(need int64) {
			needs = append(needs, need)
			for gives && len(cache) > 0 && need > 0 {
				if err := h.Free(cache[0]); err != nil {
					t.Error(err)
				}
				cache, need = cache[1:], need-unitCost
			}
		}})
		d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Pool: p})
		if err != nil {
			t.Fatal(err)
		}
		h = r.heap(d, HeapSpec{Name: "h"})
		for range 9 {
			cache = append(cache, r.alloc(h, HeapUnit))
		}
		if _, err := h.Alloc(3 * HeapUnit); !errors.Is(err, errs.Limit) {
			t.Fatal(err)
		}
		r.until(clock.Time(time.Second))
		if !slices.Equal(needs, []int64{2 * unitCost}) {
			t.Errorf("asked for %v", needs)
		}
		if !gives {
			var over *PoolOverrun
			if d.State() != Dead || !errors.As(d.Reason(), &over) || r.node.Root().Account().Use(resctl.Memory) != 0 {
				t.Errorf("%v, %v", d.State(), d.Reason())
			}
			continue
		}
		if d.State() != Active {
			t.Fatal(d.Reason())
		}
		r.alloc(h, 3*HeapUnit)
		if use := p.Account().Use(resctl.Memory); use != 10*unitCost {
			t.Errorf("%d in use", use)
		}
	}
}

func TestHeapFromManyGoroutines(t *testing.T) {
	n := live(t, 2)
	d := domain(t, n.Root(), "d", 0)
	h, err := d.NewHeap(HeapSpec{Name: "h", Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var mine [][]byte
			for i := range 3000 {
				if len(mine) > 20 {
					if err := h.Free(mine[0]); err != nil {
						t.Error(err)
					}
					mine = mine[1:]
				}
				b, err := h.Alloc(1 + i*7%6000)
				if errors.Is(err, errs.Limit) {
					continue
				}
				if err != nil {
					if errors.Is(err, errs.Dead) {
						return
					}
					t.Error(err)
				}
				b[0], b[len(b)-1] = byte(g), byte(g)
				mine = append(mine, b)
			}
			for _, b := range mine {
				if b[0] != byte(g) || h.Free(b) != nil {
					t.Error("a block is somebody else's")
				}
			}
		}()
	}
	wg.Wait()
	h.Trim()
	if s := h.Stats(); s.Blocks != 0 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHeapAllocatesNothingElsewhere(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	h := r.heap(r.domain(r.node.Root(), resctl.Spec{Name: "d"}), HeapSpec{Name: "h"})
	if n := testing.AllocsPerRun(1000, func() {
		for _, size := range []int{64, 5000} {
			b, err := h.Alloc(size)
			if err != nil || h.Free(b) != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRegion(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	page := int64(os.Getpagesize())
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	g, err := d.NewRegion(RegionSpec{Name: "g", Size: 15*page + 1})
	if err != nil || g.Size() != 16*page || g.page != page {
		t.Fatalf("%v, %d bytes", err, g.Size())
	}
	limit := func(n int64) {
		if err := d.Account().SetLimit(resctl.Memory, n); err != nil {
			t.Fatal(err)
		}
	}
	use := func(pages int64, where string) {
		t.Helper()
		if u := d.Account().Use(resctl.Memory); u != pages*page+16 || g.Stats().Mapped != pages*page {
			t.Errorf("%s: the account says %d, the region %+v", where, u, g.Stats())
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	use(0, "empty")
	limit(4*page + 16)
	if err := g.Map(0, 5*page, ReadWrite); !errors.Is(err, errs.Limit) || !strings.Contains(err.Error(), "/d/g: ") || g.Stats().Name != "g" {
		t.Fatalf("above the limit: %v, of %q", err, g.Stats().Name)
	}
	use(0, "refused")
	do(g.Map(0, 4*page, ReadWrite))
	use(4, "mapped")
	b, err := g.Bytes(page-1, 10, ReadWrite)
	do(err)
	copy(b, "across two")
	do(g.Map(0, 4*page, ReadOnly)) // is there already: keeps what it holds and costs nothing
	use(4, "mapped again")
	if b, err := g.Bytes(page-1, 10, ReadOnly); err != nil || string(b) != "across two" {
		t.Errorf("%q, %v", b, err)
	}
	do(g.Protect(page, page, ReadWrite))
	do(g.Protect(3*page, page, NoAccess))
	do(g.Unmap(2*page, page))
	use(3, "unmapped")
	do(g.Unmap(2*page, 5*page)) // what is not mapped stays so
	use(2, "unmapped twice")
	do(g.Map(3*page, page, NoAccess))
	for _, c := range []struct {
		name string
		err  error
		kind errs.Kind
	}{
		{"write to read-only", second(g.Bytes(0, 1, ReadWrite)), errs.Permission},
		{"no access", second(g.Bytes(3*page, 1, ReadOnly)), errs.Permission},
		{"any access is reading at least", second(g.Bytes(3*page, 1, NoAccess)), errs.Permission},
		{"not mapped", second(g.Bytes(2*page, 1, ReadOnly)), errs.NotFound},
		{"behind the end", second(g.Bytes(16*page-1, 2, ReadOnly)), errs.Invalid},
		{"nothing", second(g.Bytes(0, 0, ReadOnly)), errs.Invalid},
		{"overflow", second(g.Bytes(1, 1<<63-1, ReadOnly)), errs.Invalid},
		{"protect what is not mapped", g.Protect(page, 2*page, ReadOnly), errs.NotFound},
		{"half a page", g.Map(page/2, page, ReadOnly), errs.Invalid},
		{"negative", g.Unmap(-page, page), errs.Invalid},
		{"access", g.Map(0, page, 3), errs.Invalid},
	} {
		if errs.KindOf(c.err) != c.kind {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.kind)
		}
	}
	use(3, "after refusals")
	// Given back and mapped again it is zero.
	do(g.Unmap(0, 16*page))
	do(g.Map(0, 4*page, ReadWrite))
	if b, err := g.Bytes(0, 4*page, ReadWrite); err != nil || slices.Max(b) != 0 {
		t.Errorf("%v: something is left", err)
	}
	g.Close()
	g.Close()
	if u := d.Account().Use(resctl.Memory); u != 0 {
		t.Errorf("%d bytes are left", u)
	}
	for _, s := range []int64{0, -1, MaxRegionSize + 1} {
		if _, err := d.NewRegion(RegionSpec{Size: s}); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d bytes: %v", s, err)
		}
	}
	limit(1)
	if _, err := d.NewRegion(RegionSpec{Size: 2 * page}); !errors.Is(err, errs.Limit) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// The kernel's mappings are counted as they are, and bounded.
func TestRegionMappings(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	const pages = 64
	page := int64(os.Getpagesize())
	g, err := d.NewRegion(RegionSpec{Name: "g", Size: pages * page})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		first := rnd.Int64N(pages)
		n := 1 + rnd.Int64N(min(pages-first, 6))
		off, size, a := first*page, n*page, Access(rnd.IntN(3))
		switch rnd.IntN(3) {
		case 0:
			err = g.Map(off, size, a)
		case 1:
			err = g.Unmap(off, size)
		case 2:
			if err = g.Protect(off, size, a); errors.Is(err, errs.NotFound) {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		want := int64(1)
		for i := int64(1); i < pages; i++ {
			if max(g.pages[i], 1) != max(g.pages[i-1], 1) {
				want++
			}
		}
		if g.maps != want || r.node.mappings.n.Load() != want {
			t.Fatalf("%d mappings, want %d", g.maps, want)
		}
	}
	r.node.mappings.n.Add(MaxMappings)
	defer r.node.mappings.n.Add(-MaxMappings)
	if err := g.Unmap(0, g.Size()); err != nil { // fewer are always possible
		t.Error(err)
	}
	if err := g.Map(page, page, ReadWrite); !errors.Is(err, errs.NoMemory) || g.Stats().Mapped != 0 {
		t.Errorf("too many mappings: %v, %+v", err, g.Stats())
	}
	if _, err := d.NewHeap(HeapSpec{}); !errors.Is(err, errs.NoMemory) {
		t.Error(err)
	}
}

func BenchmarkHeap(b *testing.B) {
	n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewReal(), Stepped: true})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	h, err := domain(b, n.Root(), "d", 0).NewHeap(HeapSpec{Name: "h"})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		size int
	}{{"64", 64}, {"1500", 1500}, {"64KiB", 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				x, err := h.Alloc(c.size)
				if err != nil {
					b.Fatal(err)
				}
				if err := h.Free(x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
