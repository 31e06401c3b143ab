package decide

import (
	"math/rand/v2"
	"testing"

	"github.com/janos-os/janos/packet"
)

// eval is the naive meaning of an expression, against which programs are compared.
func eval(e Expr, d []byte) bool {
	switch e := e.(type) {
	case Test:
		w, ok := short(d, e.Off, e.Mask)
		return ok && (e.Greater && w > e.Value || !e.Greater && w == e.Value)
	case And:
		for _, x := range e {
			if !eval(x, d) {
				return false
			}
		}
		return true
	case Or:
		for _, x := range e {
			if eval(x, d) {
				return true
			}
		}
		return false
	case Not:
		return !eval(e.X, d)
	case Const:
		return bool(e)
	}
	panic("unknown expression")
}

func random(r *rand.Rand, depth int) Expr {
	if depth == 0 || r.IntN(3) == 0 {
		if r.IntN(12) == 0 {
			return Const(r.IntN(2) == 0)
		}
		masks := []uint32{0xff000000, 0xffff0000, 0x0000ffff, 0xffffffff, 0x00030000}
		m := masks[r.IntN(len(masks))]
		return Test{Off: 4 * r.IntN(2), Mask: m, Value: r.Uint32() & 0x01010101 & m, Greater: r.IntN(4) == 0}
	}
	var parts []Expr
	for range 1 + r.IntN(3) {
		parts = append(parts, random(r, depth-1))
	}
	switch r.IntN(3) {
	case 0:
		return And(parts)
	case 1:
		return Or(parts)
	}
	return Not{parts[0]}
}

func TestProgramsMeanTheirExpressions(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	r := rand.New(rand.NewPCG(1, 2))
	hits := map[int]int{}
	for range 3000 {
		var rules []Rule
		for i := range 1 + r.IntN(5) {
			rules = append(rules, Rule{random(r, 3), i})
		}
		prog, err := Compile(rules, 9)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			d := make([]byte, r.IntN(9))
			for i := range d {
				d[i] = byte(r.IntN(2))
			}
			want := 9
			for _, k := range rules {
				if eval(k.If, d) {
					want = k.Then
					break
				}
			}
			p := c.AllocFrom(packet.Node, d)
			if got := prog.Match(p); got != want {
				t.Fatalf("%x: got %d, want %d\n%s%#v", d, got, want, prog, rules)
			}
			hits[want]++
			c.Free(p)
		}
	}
	if len(hits) < 6 {
		t.Fatalf("only results %v occurred", hits)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	p := pool.Cache(0).AllocFrom(packet.Node, make([]byte, 64))
	prog, _ := Compile([]Rule{{And{Test{Off: 0, Mask: 0xff, Value: 1}, Test{Base: Network, Off: 4, Mask: 0xff}}, 0}}, 1)
	if n := testing.AllocsPerRun(100, func() { prog.Match(p) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
