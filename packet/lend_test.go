package packet

import (
	"testing"

	"github.com/janos-os/janos/internal/sys"
)

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

// TestLendAll lends frames and adopts them many at a time, among them places that are none.
func TestLendAll(t *testing.T) {
	p, err := NewPool(PoolSpec{Frames: 8, Packets: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, size := p.Cache(0), uint64(p.Spec().FrameSize)
	var addrs [10]uint64
	if n := c.LendAll(addrs[:]); n != 8 || c.Exhausted() != 1 || p.Stats().ByState[Fill] != 8 {
		t.Fatalf("lent %d, exhausted %d, states %v", n, c.Exhausted(), p.Stats().ByState)
	}
	var b Batch
	for _, bad := range []sys.Place{{Addr: 8 * size, Len: 1}, {Addr: 1<<64 - 1, Len: 1}, {Addr: addrs[0] + 2000, Len: 49}, {Addr: addrs[0], Len: 1<<32 - 1}} {
		if n := c.AdoptAll([]sys.Place{bad}, &b); n != 0 || b.Len() != 0 {
			t.Errorf("adopted %+v", bad)
		}
	}
	places := []sys.Place{{Addr: addrs[2] + 300, Len: 10}, {Addr: addrs[5], Len: uint32(size)}, {Addr: addrs[2], Len: 1}, {Addr: addrs[6], Len: 60}}
	copy(p.Region()[places[0].Addr:], "the kernel wrote this")
	if n := c.AdoptAll(places, &b); n != 2 || b.Len() != 2 {
		t.Fatalf("adopted %d, want the two before the frame that is not lent any more", n)
	}
	q := b.At(0)
	if string(q.Data()) != "the kernel" || q.Headroom() != 300 || uint64(q.Frame())*size != addrs[2] || c.Owner(q) != Node || c.Shared(q) || q.MAC() != nil || q.Anno != (Anno{}) {
		t.Errorf("adopted %+v", q)
	}
	if k := b.At(1); k.Len() != int(size) || k.Headroom() != 0 {
		t.Errorf("the whole frame: %d bytes behind %d", k.Len(), k.Headroom())
	}
	// Frames of packets that were freed together are lent in that order.
	want := [2]uint64{uint64(b.At(0).Frame()) * size, uint64(b.At(1).Frame()) * size}
	q.Anno.Paint, q.Anno.Flow = 7, 8
	q.SetMAC(0)
	c.FreeBatch(&b)
	var again [2]uint64
	if n := c.LendAll(again[:]); n != 2 || again != want {
		t.Errorf("lent %d, %v, want %v", n, again, want)
	}
	if c.AdoptAll([]sys.Place{{Addr: again[0], Len: 1}, {Addr: again[1], Len: 1}}, &b) != 2 || b.At(0).Anno != (Anno{}) || b.At(1).Anno != (Anno{}) || b.At(0).MAC() != nil {
		t.Error("a view is not fresh")
	}
	for b.Append(nil) {
	}
	if c.AdoptAll(places[3:], &b) != 0 {
		t.Error("adopted to a full batch")
	}
	b.Truncate(2)
	c.FreeBatch(&b)
	for _, a := range addrs[:8] {
		c.Reclaim(FrameID(a / size))
	}
	if s := p.Stats(); s.ByState[Free] != 8 {
		t.Errorf("states %v, want all free", s.ByState)
	}
	if n := testing.AllocsPerRun(100, func() {
		n := c.LendAll(addrs[:4])
		for i := range n {
			places[i] = sys.Place{Addr: addrs[i], Len: 60}
		}
		c.AdoptAll(places[:n], &b)
		var ids [4]FrameID
		for i, k := range b.Packets() {
			c.Sendable(k)
			ids[i] = k.Frame()
		}
		b.Reset()
		c.FreeSent(ids[:n])
	}); n != 0 || p.Stats().ByState[Free] != 8 {
		t.Errorf("%v allocations, states %v", n, p.Stats().ByState)
	}
}

// TestSendable makes packets ready to be sent from where they lie, and frees them by their frames.
func TestSendable(t *testing.T) {
	p, err := NewPool(PoolSpec{Frames: 3, Packets: 6})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, m := p.Cache(0), &purse{left: 3}
	o, err := p.NewOwner([]Payer{m})
	if err != nil {
		t.Fatal(err)
	}
	one := c.AllocFrom(o, []byte("one"))
	if !c.Sendable(one) || !c.Sendable(one) || p.Stats().ByState[Sending] != 1 {
		t.Fatalf("states %v", p.Stats().ByState)
	}
	shared := c.AllocFrom(o, []byte("two"))
	clone := c.Clone(shared)
	if !c.Sendable(clone) || c.Shared(shared) || clone.Frame() == shared.Frame() || string(clone.Data()) != "two" {
		t.Fatal("a shared frame is sent")
	}
	more := c.Clone(shared)
	if c.Sendable(more) {
		t.Fatal("copied to a frame that there is not")
	}
	c.Free(shared) // the first view: the clone is the only one now
	if !c.Sendable(more) || c.Shared(more) {
		t.Fatal("the only view of a frame cannot be sent")
	}
	c.FreeSent([]FrameID{99, NoFrame, one.Frame(), one.Frame(), more.Frame(), clone.Frame()})
	if s := p.Stats(); s.ByState[Free] != 3 || m.left != 3 || len(s.Charged) != 0 {
		t.Errorf("states %v, %d of 3 paid back", s.ByState, m.left)
	}
	held := c.AllocFrom(o, []byte("held"))
	c.FreeSent([]FrameID{held.Frame()})
	if p.Stats().ByState[Held] != 1 {
		t.Error("freed what was not being sent")
	}
	// What is being sent outlives its owner's sweep and becomes the node's.
	c.Sendable(held)
	if c.Pool().Sweep(o, c) != 1 || m.left != 3 {
		t.Error("not swept")
	}
	c.FreeSent([]FrameID{held.Frame()})
	for range 3 {
		if c.Alloc(Node) == nil {
			t.Fatal("a frame is lost")
		}
	}
	for range 3 { // and no view is
		if c.takePacket() == nil {
			t.Fatal("a view is lost")
		}
	}
}
