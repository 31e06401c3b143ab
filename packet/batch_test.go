package packet

import (
	"reflect"
	"testing"
)

func TestAllocBatchPaysOnceAndFreeBatchRefunds(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 64})
	c := p.Cache(0)
	a, pa := owner(t, p, 20)
	o, po := owner(t, p, 100)
	var b Batch
	if n := c.AllocBatch(a, &b, 16); n != 16 || pa.held != 16 {
		t.Fatalf("got %d, held %d", n, pa.held)
	}
	if n := c.AllocBatch(a, &b, 16); n != 4 || pa.held != 20 {
		t.Fatalf("beyond the limit: got %d, held %d", n, pa.held)
	}
	if n := c.AllocBatch(o, &b, 100); n != 44 || po.held != 44 {
		t.Fatalf("beyond the pool: got %d, held %d", n, po.held)
	}
	if n := c.AllocBatch(o, &b, 1); n != 0 || po.held != 44 {
		t.Fatalf("from an empty pool: got %d, held %d", n, po.held)
	}
	// Owners alternate, one frame is shared, one packet is the node's.
	first, last := b.At(0), b.At(63)
	b.Set(0, last)
	b.Set(63, first)
	clone := c.Clone(b.At(30))
	if !c.Charge(b.At(40), Node) {
		t.Fatal("the node can always pay")
	}
	c.FreeBatch(&b)
	if b.Len() != 0 || pa.held != 0 || po.held != 1 {
		t.Fatalf("%d packets left, held %d and %d", b.Len(), pa.held, po.held)
	}
	c.Free(clone)
	if po.held != 0 {
		t.Fatalf("the clone's frame is still charged: %d", po.held)
	}
	if n := c.AllocBatch(Node, &b, 64); n != 64 {
		t.Fatalf("only %d of 64 frames came back", n)
	}
	c.FreeBatch(&b)
}

func BenchmarkAllocFreeBatch(b *testing.B) {
	p := newPool(b, PoolSpec{Frames: 1024})
	c := p.Cache(0)
	o, _ := owner(b, p, 1<<30)
	var batch Batch
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		c.AllocBatch(o, &batch, 32)
		c.FreeBatch(&batch)
	}
}

// A packet is as many cache lines as its comment says, and Anno begins the second one.
func TestPacketFillsCacheLines(t *testing.T) {
	p := reflect.TypeFor[Packet]()
	if f, _ := p.FieldByName("Anno"); p.Size() != 3*64 || f.Offset != 64 {
		t.Errorf("%d bytes, Anno at %d", p.Size(), f.Offset)
	}
}
