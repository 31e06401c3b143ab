package packet

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// A link's worker frees what a dying owner sent while another worker sweeps: every frame comes back once, is paid back
// once, and no frame that was given to somebody else meanwhile is touched.
func TestSweepBesideSending(t *testing.T) {
	const frames, rounds = 256, 300
	p := newPool(t, PoolSpec{Frames: frames, Workers: 2})
	bystander, bp := owner(t, p, frames)
	for round := range rounds {
		o, pu := owner(t, p, frames)
		home, link := p.Cache(0), p.Cache(1)
		var sending []*Packet
		for i := range 60 {
			a := home.Alloc(o)
			switch i % 3 {
			case 0:
				home.SetState(a, Sending)
				sending = append(sending, a)
			case 1:
				home.Clone(a) // both lost
			}
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for _, a := range sending {
				link.Free(a)
				if q := link.Alloc(bystander); q != nil {
					if link.Owner(q) != bystander {
						t.Errorf("round %d: a fresh frame belongs to %d", round, link.Owner(q))
					}
					link.Free(q)
				}
			}
			link.Flush()
		}()
		n := p.Sweep(o, home)
		wg.Wait()
		p.Forget(o)
		if n < 40 || n > 60 || pu.held != 0 || bp.held != 0 {
			t.Fatalf("round %d: swept %d, owner pays for %d, bystander for %d", round, n, pu.held, bp.held)
		}
		home.Flush()
		if st := p.Stats(); st.ByState[Free] != frames || len(st.Charged) != 0 {
			t.Fatalf("round %d: %v, charged %v", round, st.ByState, st.Charged)
		}
	}
}

func TestDeadOwnerPaysForNothing(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 4})
	c := p.Cache(0)
	a, _ := owner(t, p, 4)
	b, _ := owner(t, p, 4)
	x := c.Alloc(b)
	p.Sweep(a, c)
	p.Forget(a)
	if c.Alloc(a) != nil || c.Charge(x, a) || c.AllocBatch(a, new(Batch), 2) != 0 {
		t.Error("an owner that is no more paid")
	}
	c.Free(x)
	p.Forget(b)
	p.Forget(Node)
	if c.Alloc(b) != nil {
		t.Error("a forgotten owner paid")
	}
	if n := c.Alloc(Node); n == nil {
		t.Error("the node was forgotten")
	} else {
		c.Free(n)
	}
	for _, want := range []Owner{a, b} {
		if o, _ := owner(t, p, 1); o != want {
			t.Errorf("number %d was given out, want %d again", o, want)
		}
	}
}

// Random operations of one worker against a table of what every packet should contain and who should pay.
func TestCacheAgainstPlainModel(t *testing.T) {
	const frames = 48
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := newPool(t, PoolSpec{Frames: frames, Packets: 80})
		c := p.Cache(0)
		o1, p1 := owner(t, p, 20)
		o2, p2 := owner(t, p, 20)
		type model struct {
			p     *Packet
			data  byte
			group int // packets of one group share a frame
			owner Owner
		}
		var live []*model
		groups := 0
		size := func(g int) (n int) {
			for _, m := range live {
				if m.group == g {
					n++
				}
			}
			return n
		}
		paid := func(o Owner) int {
			seen := make(map[int]bool)
			for _, m := range live {
				if m.owner == o {
					seen[m.group] = true
				}
			}
			return len(seen)
		}
		used := func() int {
			seen := make(map[int]bool)
			for _, m := range live {
				seen[m.group] = true
			}
			return len(seen)
		}
		can := func(o Owner) bool { // a new frame
			return used() < frames && len(live) < 80 && (o == Node || paid(o) < 20)
		}
		fresh := func() int { groups++; return groups }
		for step := range 4000 {
			op := r.IntN(6)
			if len(live) == 0 || op == 0 {
				o := []Owner{Node, o1, o2}[r.IntN(3)]
				want := can(o)
				v := byte(r.IntN(256))
				q := c.AllocFrom(o, []byte{v})
				if (q != nil) != want {
					t.Fatalf("seed %d step %d: alloc for %d gave %v, want %v", seed, step, o, q != nil, want)
				}
				if q != nil {
					live = append(live, &model{q, v, fresh(), o})
				}
				continue
			}
			i := r.IntN(len(live))
			m := live[i]
			switch op {
			case 1, 2:
				c.Free(m.p)
				live = append(live[:i], live[i+1:]...)
			case 3:
				q := c.Clone(m.p)
				if (q != nil) != (len(live) < 80) {
					t.Fatalf("seed %d step %d: clone with %d packets: %v", seed, step, len(live), q != nil)
				}
				if q != nil {
					live = append(live, &model{q, m.data, m.group, m.owner})
				}
			case 4:
				want := size(m.group) == 1 || can(m.owner)
				if got := c.Unshare(m.p); got != want {
					t.Fatalf("seed %d step %d: unshare %v, want %v", seed, step, got, want)
				}
				if want {
					if size(m.group) > 1 {
						m.group = fresh()
					}
					m.data = byte(r.IntN(256))
					m.p.Data()[0] = m.data
				}
			case 5:
				o := []Owner{Node, o1, o2}[r.IntN(3)]
				want := o == m.owner
				switch {
				case want:
				case size(m.group) > 1:
					want = can(o)
				default:
					want = o == Node || paid(o) < 20
				}
				if got := c.Charge(m.p, o); got != want {
					t.Fatalf("seed %d step %d: charge %d to %d: %v, want %v", seed, step, m.owner, o, got, want)
				}
				if want && o != m.owner {
					if size(m.group) > 1 {
						m.group = fresh()
					}
					m.owner = o
				}
			}
			for _, m := range live {
				if m.p.Len() != 1 || m.p.Data()[0] != m.data || c.Owner(m.p) != m.owner || c.Shared(m.p) != (size(m.group) > 1) {
					t.Fatalf("seed %d step %d: packet %x owner %d shared %v, want %x %d %v", seed, step, m.p.Data(), c.Owner(m.p), c.Shared(m.p),
						m.data, m.owner, size(m.group) > 1)
				}
			}
			if p1.held != paid(o1) || p2.held != paid(o2) {
				t.Fatalf("seed %d step %d: paid %d and %d, want %d and %d", seed, step, p1.held, p2.held, paid(o1), paid(o2))
			}
		}
		p.Sweep(o1, c)
		p.Sweep(o2, c)
		for _, m := range live {
			if m.owner == Node {
				c.Free(m.p)
			}
		}
		if st := p.Stats(); st.ByState[Free] != frames || p1.held+p2.held != 0 {
			t.Fatalf("seed %d: at the end %v, paid %d and %d", seed, st.ByState, p1.held, p2.held)
		}
	}
}

func BenchmarkSweep(b *testing.B) {
	p := newPool(b, PoolSpec{})
	c := p.Cache(0)
	for range b.N {
		b.StopTimer()
		o, _ := owner(b, p, 64)
		for range 32 {
			c.Alloc(o)
		}
		b.StartTimer()
		p.Sweep(o, c)
		p.Forget(o)
	}
}

// A packet in a frame that the kernel has filled is found like any other.
func TestSweepFindsAdopted(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 4})
	c := p.Cache(0)
	o, pu := owner(t, p, 4)
	c.Free(c.Alloc(Node)) // what is lent has been another packet's
	var ids [2]FrameID
	if n := c.Lend(ids[:]); n != 2 {
		t.Fatalf("lent %d", n)
	}
	for _, id := range ids {
		if a := c.Adopt(id, 100, 20); a == nil || !c.Charge(a, o) {
			t.Fatal("not adopted, or not charged")
		}
	}
	if n := p.Sweep(o, c); n != 2 || pu.held != 0 {
		t.Errorf("swept %d, the owner pays for %d", n, pu.held)
	}
	if st := p.Stats(); st.ByState[Free] != 4 {
		t.Errorf("%v", st.ByState)
	}
}

// Packets are made of free frames and free packets, whichever way they have become free, until there are none.
func TestPairsComeApart(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 8, Packets: 8})
	c := p.Cache(0)
	fill := func() (all []*Packet) {
		for a := c.Alloc(Node); a != nil; a = c.Alloc(Node) {
			all = append(all, a)
		}
		return all
	}
	for round := range 20 {
		all := fill()
		if len(all) != 8 {
			t.Fatalf("round %d: %d packets", round, len(all))
		}
		for _, a := range all[round%4:] {
			c.Free(a)
		}
		if round%4 != 0 { // a clone takes a packet out of a pair
			b := c.Clone(all[0])
			if b == nil {
				t.Fatalf("round %d: no packet for a clone", round)
			}
			c.Free(b)
		}
		var ids [8]FrameID
		n := c.Lend(ids[:])
		if n != 8-round%4 {
			t.Fatalf("round %d: lent %d", round, n)
		}
		for i, id := range ids[:n] {
			if i%2 == 0 {
				c.Free(c.Adopt(id, 0, 10))
			} else {
				c.Reclaim(id)
			}
		}
		for _, a := range all[:round%4] {
			c.Free(a)
		}
	}
	if st := p.Stats(); st.ByState[Free] != 8 {
		t.Errorf("%v", st.ByState)
	}
}
