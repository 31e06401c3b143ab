package nodeos

import (
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/janos-os/janos/packet"
)

// The ring keeps the order of each producer and neither loses nor doubles anything.
func TestRingUnderRace(t *testing.T) {
	const producers, consumers, each, limit = 3, 2, 20000, 50
	r := newRing(limit)
	pkts := make([]packet.Packet, producers*each)
	for i := range pkts {
		pkts[i].Anno.Flow = uint64(i)
	}
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(producers * each)
	got := make([][]uint64, consumers)
	for g := range producers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if g == 0 { // in batches of any length
				ps := make([]*packet.Packet, 0, 2*limit)
				for i := 0; i < each; {
					for n := i % cap(ps); i+len(ps) < each && len(ps) <= n; {
						ps = append(ps, &pkts[i+len(ps)])
					}
					n := r.putAll(ps)
					i, ps = i+n, ps[:0]
					runtime.Gosched()
				}
				return
			}
			for i := range each {
				for !r.put(&pkts[g*each+i]) {
					runtime.Gosched()
				}
			}
		}()
	}
	for c := range consumers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var b packet.Batch
			for left.Load() > 0 {
				if c == 0 {
					n := r.takeAll(&b)
					for _, p := range b.Packets() {
						got[c] = append(got[c], p.Anno.Flow)
					}
					if left.Add(int64(-n)); n != b.Len() {
						t.Errorf("took %d, says %d", b.Len(), n)
					}
					b.Reset()
				} else if p := r.take(); p != nil {
					got[c] = append(got[c], p.Anno.Flow)
					left.Add(-1)
				}
				if n := r.len(); n < 0 || n > limit {
					t.Errorf("%d packets in a ring of %d", n, limit)
				}
				runtime.Gosched()
			}
		}()
	}
	wg.Wait()
	var all []uint64
	for c := range got {
		last := [producers]int64{-1, -1, -1}
		for _, f := range got[c] {
			g := f / each
			if int64(f) <= last[g] {
				t.Fatalf("consumer %d got %d of producer %d after %d", c, f, g, last[g])
			}
			last[g] = int64(f)
		}
		all = append(all, got[c]...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	for i, f := range all {
		if f != uint64(i) {
			t.Fatalf("packet %d is missing or there twice", i)
		}
	}
	if r.len() != 0 || r.take() != nil {
		t.Fatal("something is left")
	}
}

func TestRingHoldsItsSize(t *testing.T) {
	for _, n := range []int{1, 2, 3, 64, 100} {
		r := newRing(n)
		had := 0
		for r.put(new(packet.Packet)) {
			had++
		}
		if had != n || had != r.len() {
			t.Errorf("a ring of %d took %d, says %d", n, had, r.len())
		}
		for range had {
			if r.take() == nil {
				t.Fatal("lost one")
			}
		}
	}
}
