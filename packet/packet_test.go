package packet

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// purse is a Payer with a fixed sum.
type purse struct {
	mu         sync.Mutex
	left, held int
}

func (p *purse) TakeFrames(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > p.left {
		return false
	}
	p.left -= n
	p.held += n
	return true
}

func (p *purse) ReturnFrames(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left += n
	p.held -= n
}

func newPool(t testing.TB, spec PoolSpec) *Pool {
	t.Helper()
	p, err := NewPool(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func owner(t testing.TB, p *Pool, sum int) (Owner, *purse) {
	t.Helper()
	pu := &purse{left: sum}
	payers := make([]Payer, p.spec.Workers)
	for i := range payers {
		payers[i] = pu
	}
	o, err := p.NewOwner(payers)
	if err != nil {
		t.Fatal(err)
	}
	return o, pu
}

func TestSpecIsChecked(t *testing.T) {
	for _, s := range []PoolSpec{
		{Frames: -1}, {Frames: MaxFrames + 1}, {FrameSize: 100}, {Headroom: 2000}, {Frames: 10, Packets: 5}, {Frames: 2, Workers: 3},
	} {
		if p, err := NewPool(s); err == nil {
			p.Close()
			t.Errorf("%+v was accepted", s)
		}
	}
}

func TestViews(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 4})
	c := p.Cache(0)
	a := c.AllocFrom(Node, []byte("payload"))
	if string(a.Data()) != "payload" || a.Headroom() != DefaultHeadroom {
		t.Fatalf("fresh packet %q, headroom %d", a.Data(), a.Headroom())
	}
	copy(a.Push(3), "abc")
	a.SetNetwork(0)
	a.SetTransport(3)
	if !a.Pull(3) || string(a.Network()) != "abcpayload" || string(a.Transport()) != "payload" {
		t.Fatalf("network %q transport %q", a.Network(), a.Transport())
	}
	if off, ok := a.NetworkOffset(); off != -3 || !ok {
		t.Fatalf("network offset %d %v", off, ok)
	}
	for name, ok := range map[string]bool{
		"pull beyond": a.Pull(8), "take beyond": a.Take(8), "negative pull": a.Pull(-1), "negative take": a.Take(-1),
		"push beyond": a.Push(DefaultHeadroom+1) != nil, "put beyond": a.Put(DefaultFrameSize) != nil, "negative put": a.Put(-1) != nil,
	} {
		if ok {
			t.Errorf("%s was allowed", name)
		}
	}
	if string(a.Data()) != "payload" {
		t.Fatalf("refused calls changed the packet to %q", a.Data())
	}
	if c.AllocFrom(Node, make([]byte, DefaultFrameSize)) != nil {
		t.Fatal("a frame took more than fits behind the headroom")
	}
	c.Free(a)
}

func TestCloneAndUnshare(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 4})
	o, pu := owner(t, p, 2)
	c := p.Cache(0)
	a := c.AllocFrom(o, []byte("shared"))
	a.SetMAC(0)
	a.Pull(1)
	b := c.Clone(a)
	if !c.Shared(a) || pu.held != 1 {
		t.Fatalf("shared %v, frames paid %d, want one", c.Shared(a), pu.held)
	}
	if !c.Unshare(b) || c.Shared(a) || c.Shared(b) || pu.held != 2 {
		t.Fatalf("after unshare: shared %v %v, paid %d", c.Shared(a), c.Shared(b), pu.held)
	}
	b.Data()[0] = 'X'
	if string(a.Data()) != "hared" || string(b.Data()) != "Xared" || string(b.MAC()) != "sXared" {
		t.Fatalf("a %q b %q, b's link header %q", a.Data(), b.Data(), b.MAC())
	}
	d := c.Clone(b)
	if c.Unshare(d) {
		t.Fatal("unshare went beyond what the owner can pay")
	}
	if string(d.Data()) != "Xared" || !c.Shared(d) {
		t.Fatal("a refused unshare changed the packet")
	}
	c.Free(a)
	c.Free(b)
	c.Free(d)
	if pu.held != 0 || p.Stats().ByState[Free] != 4 {
		t.Fatalf("paid %d, states %v", pu.held, p.Stats().ByState)
	}
}

func TestChargeMovesAndCopiesAtBorders(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 8})
	o1, p1 := owner(t, p, 8)
	o2, p2 := owner(t, p, 1)
	c := p.Cache(0)
	a := c.AllocFrom(o1, []byte("one"))
	if !c.Charge(a, o2) || p1.held != 0 || p2.held != 1 || c.Owner(a) != o2 {
		t.Fatalf("move: paid %d and %d", p1.held, p2.held)
	}
	b := c.AllocFrom(o1, []byte("two"))
	if c.Charge(b, o2) || p1.held != 1 || c.Owner(b) != o1 {
		t.Fatal("a charge beyond the limit was allowed or changed the owner")
	}
	c.Free(a)
	twin := c.Clone(b)
	if !c.Charge(b, o2) || c.Shared(b) || c.Shared(twin) || c.Owner(b) != o2 || c.Owner(twin) != o1 {
		t.Fatal("a shared frame crossed owners")
	}
	if string(b.Data()) != "two" || string(twin.Data()) != "two" {
		t.Fatalf("b %q twin %q", b.Data(), twin.Data())
	}
	c.Free(b)
	c.Free(twin)
	if p1.held+p2.held != 0 {
		t.Fatalf("paid %d and %d at the end", p1.held, p2.held)
	}
}

func TestExhaustion(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 2, Packets: 3})
	c := p.Cache(0)
	a, b := c.Alloc(Node), c.Alloc(Node)
	if c.Alloc(Node) != nil || c.Exhausted() != 1 {
		t.Fatalf("third frame of two; exhausted %d", c.Exhausted())
	}
	d := c.Clone(a)
	if c.Clone(a) != nil || c.Exhausted() != 2 {
		t.Fatal("fourth view of three")
	}
	for _, x := range []*Packet{a, b, d} {
		c.Free(x)
	}
	if e := c.Alloc(Node); e == nil {
		t.Fatal("nothing came back")
	} else {
		c.Free(e)
	}
}

func TestSweepTakesEverythingBack(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 64})
	o, pu := owner(t, p, 64)
	keep, _ := owner(t, p, 64)
	c := p.Cache(0)
	other := c.Alloc(keep)
	var sending *Packet
	for i := range 20 {
		a := c.Alloc(o)
		if i%3 == 0 {
			c.Clone(a) // lost on purpose
		}
		if i == 7 {
			sending = a
			c.SetState(a, Sending)
		}
	}
	if n := p.Sweep(o, c); n != 20 {
		t.Fatalf("sweep found %d frames, want 20", n)
	}
	if pu.held != 0 {
		t.Fatalf("owner still pays for %d", pu.held)
	}
	st := p.Stats()
	if st.ByState[Free] != 62 || st.ByState[Sending] != 1 || st.Charged[keep] != 1 {
		t.Fatalf("states %v, charged %v", st.ByState, st.Charged)
	}
	c.Free(sending) // the driver, on completion
	c.Free(other)
	p.Forget(o)
	if again, _ := owner(t, p, 1); again != o {
		t.Errorf("owner number %d was not given out again, got %d", o, again)
	}
}

// Frames that wander between workers all come home, and no two holders ever have the same one.
func TestWorkersExchangeFrames(t *testing.T) {
	const frames = 512
	p := newPool(t, PoolSpec{Frames: frames, Workers: 2})
	o, pu := owner(t, p, frames)
	pipe := [2]chan *Packet{make(chan *Packet, 100), make(chan *Packet, 100)}
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, r := p.Cache(w), rand.New(rand.NewPCG(1, uint64(w)))
			sent, got := 0, 0
			for sent < 20000 {
				if a := c.Alloc(o); a != nil {
					a.Put(8)
					a.Data()[0] = byte(w)
					if r.IntN(4) == 0 {
						b := c.Clone(a)
						if b != nil && !c.Unshare(b) {
							c.Free(b)
						} else if b != nil {
							b.Data()[0] = 9
							c.Free(b)
						}
					}
					select {
					case pipe[1-w] <- a:
						sent++
					default:
						c.Free(a)
					}
				}
				select {
				case b, ok := <-pipe[w]:
					if ok {
						if b.Data()[0] != byte(1-w) {
							t.Errorf("worker %d received byte %d", w, b.Data()[0])
						}
						c.Free(b)
						got++
					}
				default:
				}
				if r.IntN(100) == 0 {
					c.Flush()
				}
			}
			// The other may have much left to send, and needs a receiver and its frames for that.
			c.Flush()
			close(pipe[1-w])
			for b := range pipe[w] {
				c.Free(b)
				c.Flush()
			}
		}()
	}
	wg.Wait()
	for w := range 2 {
		p.Cache(w).Flush()
	}
	if st := p.Stats(); st.ByState[Free] != frames || pu.held != 0 {
		t.Fatalf("states %v, still paid %d", st.ByState, pu.held)
	}
}

func TestBatch(t *testing.T) {
	var a, b Batch
	pk := make([]Packet, 2*MaxBatch)
	for i := range MaxBatch {
		a.Append(&pk[i])
	}
	if a.Append(&pk[0]) || a.Room() != 0 {
		t.Fatal("a full batch took one more")
	}
	for i := range 200 {
		b.Append(&pk[MaxBatch+i])
	}
	if n := a.MoveTo(&b); n != 56 || b.Len() != 256 || a.Len() != 200 || a.At(0) != &pk[56] {
		t.Fatalf("moved %d, lengths %d %d", n, a.Len(), b.Len())
	}
}

func TestPathDoesNotAllocate(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 64})
	o, _ := owner(t, p, 64)
	c := p.Cache(0)
	var b Batch
	data := bytes.Repeat([]byte{7}, 64)
	if n := testing.AllocsPerRun(100, func() {
		for range 32 {
			a := c.AllocFrom(o, data)
			d := c.Clone(a)
			c.Unshare(d)
			d.Push(8)
			c.Charge(a, Node)
			b.Append(a)
			b.Append(d)
			if b.Len() > 20 {
				c.FreeBatch(&b)
			}
		}
		c.FreeBatch(&b)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAllocFree(b *testing.B) {
	p := newPool(b, PoolSpec{})
	c := p.Cache(0)
	b.ReportAllocs()
	for range b.N {
		c.Free(c.Alloc(Node))
	}
}

func BenchmarkPushPull(b *testing.B) {
	p := newPool(b, PoolSpec{})
	c := p.Cache(0)
	a := c.AllocFrom(Node, make([]byte, 64))
	b.ReportAllocs()
	for range b.N {
		a.Push(14)
		a.Pull(14)
	}
}

// ChargeAll moves all charges or none, and leaves to Charge what has to be copied.
func TestChargeAll(t *testing.T) {
	p := newPool(t, PoolSpec{Frames: 16})
	o1, p1 := owner(t, p, 8)
	o2, p2 := owner(t, p, 4)
	o3, p3 := owner(t, p, 3)
	c := p.Cache(0)
	var b Batch
	for _, o := range []Owner{o1, Node, o3, o2, o1} {
		b.Append(c.AllocFrom(o, []byte{byte(o)}))
	}
	ps := b.Packets()
	check := func(what string, ok, want bool, held1, held2, held3 int) {
		t.Helper()
		if ok != want || p1.held != held1 || p2.held != held2 || p3.held != held3 {
			t.Fatalf("%s: %v, paid %d, %d and %d", what, ok, p1.held, p2.held, p3.held)
		}
	}
	check("beyond the limit", c.ChargeAll(ps, o3), false, 2, 1, 1)
	twin := c.Clone(ps[2])
	check("a shared frame", c.ChargeAll(ps, o1), false, 2, 1, 1)
	c.Free(twin)
	check("less than all", c.ChargeAll(ps[:4], o2), true, 1, 4, 0)
	check("all", c.ChargeAll(ps, o1), true, 5, 0, 0)
	check("nothing to do", c.ChargeAll(ps, o1), true, 5, 0, 0)
	for i, pk := range ps {
		if c.Owner(pk) != o1 || pk.Len() != 1 {
			t.Errorf("packet %d is of %d", i, c.Owner(pk))
		}
	}
	check("to nobody", c.ChargeAll(ps[:2], Node), true, 3, 0, 0)
	c.FreeBatch(&b)
	if s := p.Stats(); p1.held != 0 || s.ByState[Free] != 16 {
		t.Errorf("paid %d, %+v at the end", p1.held, s)
	}
}
