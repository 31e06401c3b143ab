package packet

import "testing"

func TestLend(t *testing.T) {
	p, err := NewPool(PoolSpec{Frames: 8, Packets: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := p.Cache(0)
	var ids [10]FrameID
	if n := c.Lend(ids[:6]); n != 6 {
		t.Fatalf("lent %d, want 6", n)
	}
	if s := p.Stats(); s.ByState[Fill] != 6 || s.ByState[Free] != 2 {
		t.Fatalf("states %v", s.ByState)
	}
	if n := c.Lend(ids[6:]); n != 2 || c.Exhausted() != 1 {
		t.Fatalf("lent %d, exhausted %d; want 2 and 1", n, c.Exhausted())
	}
	size := p.Spec().FrameSize
	copy(p.Region()[int(ids[3])*size+300:], "the kernel wrote this")
	q := c.Adopt(ids[3], 300, 10)
	if q == nil || string(q.Data()) != "the kernel" || q.Headroom() != 300 || q.Frame() != ids[3] || c.Owner(q) != Node || c.Shared(q) {
		t.Fatalf("adopted %+v", q)
	}
	if q.MAC() != nil || q.Anno != (Anno{}) {
		t.Error("the view is not fresh")
	}
	for _, bad := range []struct {
		id      FrameID
		head, n int
	}{{ids[3], 0, 1}, {8, 0, 1}, {NoFrame, 0, 1}, {ids[0], -1, 1}, {ids[0], 0, -1}, {ids[0], 2000, 49}, {ids[0], 1 << 62, 1 << 62}, {ids[0], 0, size + 1}} {
		if c.Adopt(bad.id, bad.head, bad.n) != nil {
			t.Errorf("adopted %+v", bad)
		}
	}
	whole := c.Adopt(ids[0], 0, size)
	if whole == nil || whole.Len() != size {
		t.Fatal("the whole frame was not adopted")
	}
	c.Free(q)
	c.Free(whole)
	c.Reclaim(ids[3]) // not lent any more
	c.Reclaim(99)
	for _, id := range ids[:8] {
		if id != ids[3] && id != ids[0] {
			c.Reclaim(id)
		}
	}
	if s := p.Stats(); s.ByState[Free] != 8 {
		t.Errorf("states %v, want all free", s.ByState)
	}
	if n := testing.AllocsPerRun(100, func() {
		n := c.Lend(ids[:4])
		for _, id := range ids[:n] {
			c.Free(c.Adopt(id, 256, 60))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAdoptWithoutViews keeps the frame lent when there is no packet to view it with.
func TestAdoptWithoutViews(t *testing.T) {
	p, err := NewPool(PoolSpec{Frames: 2, Packets: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := p.Cache(0)
	var id [1]FrameID
	c.Lend(id[:])
	q := c.Alloc(Node)
	r := c.Clone(q)
	if r == nil || c.Adopt(id[0], 0, 1) != nil || p.Stats().ByState[Fill] != 1 {
		t.Error("a view too many")
	}
	c.Free(r)
	s := c.Adopt(id[0], 0, 1)
	if s == nil {
		t.Fatal("not adopted")
	}
	c.Free(s)
	c.Free(q)
}
