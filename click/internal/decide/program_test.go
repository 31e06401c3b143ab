package decide

import (
	"math/rand/v2"
	"testing"

	"github.com/janos-os/janos/packet"
)

// eval is the naive meaning of an expression, against which programs are compared. missing is what a test yields that lacks bytes.
func eval(e Expr, d []byte, missing bool) bool {
	switch e := e.(type) {
	case Test:
		w, ok := short(d, e.Off, e.Mask)
		if !ok {
			return missing
		}
		return w == e.Value
	case And:
		for _, x := range e {
			if !eval(x, d, missing) {
				return false
			}
		}
		return true
	case Or:
		for _, x := range e {
			if eval(x, d, missing) {
				return true
			}
		}
		return false
	case If:
		if eval(e.Cond, d, missing) {
			return eval(e.Then, d, missing)
		}
		return eval(e.Else, d, missing)
	case Not:
		return !eval(e.X, d, missing)
	case Opposite:
		return !eval(e.X, d, !missing)
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
		masks := []uint32{0xff000000, 0xffff0000, 0x0000ffff, 0xffffffff, 0x00030000, 0x00010000, 0x00000100, 0x01000000}
		m := masks[r.IntN(len(masks))]
		t := Test{Base: Base(r.IntN(2) * int(Transport)), Off: 4 * r.IntN(2), Mask: m, Value: r.Uint32() & 0x01010101 & m}
		if r.IntN(4) == 0 {
			return Greater(t)
		}
		return t
	}
	var parts []Expr
	for range 1 + r.IntN(3) {
		parts = append(parts, random(r, depth-1))
	}
	switch r.IntN(5) {
	case 0:
		return And(parts)
	case 1:
		return Or(parts)
	case 2:
		return If{parts[0], parts[len(parts)/2], parts[len(parts)-1]}
	case 3:
		return Opposite{parts[0]}
	}
	return Not{parts[0]}
}

func TestGreater(t *testing.T) {
	for _, mask := range []uint32{0xff, 0x0f, 0x3c, 0xff0000} {
		low := mask & -mask
		for v := uint32(0); v <= mask; v += low {
			e := Greater(Test{Mask: mask, Value: v})
			for w := uint32(0); w <= mask; w += low {
				d := []byte{byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)}
				if got := eval(e, d, false); got != (w > v) {
					t.Fatalf("%x > %x under %x: %v", w, v, mask, got)
				}
			}
			if eval(e, []byte{0xff}, false) {
				t.Fatalf("a packet without the bytes is greater than %x under %x", v, mask)
			}
		}
	}
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
	for range 6000 {
		var rules []Rule
		for i := range 1 + r.IntN(5) {
			rules = append(rules, Rule{If: random(r, 3), Then: i})
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
				if eval(k.If, d, false) {
					want = k.Then
					break
				}
			}
			p := c.AllocFrom(packet.Node, d)
			p.SetTransport(0)
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

// Lists of many rules, which become tables, mean their expressions wherever packets end.
func TestTablesMeanTheirRules(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	r := rand.New(rand.NewPCG(3, 4))
	masks := []uint32{0xff, 0xff00, 0xf0f, 0xffff0000, 0xffffffff}
	tables, rests := 0, 0
	for range 16 {
		var rules []Rule
		var forms []Test
		for range 1 + r.IntN(3) {
			forms = append(forms, Test{Base: Base(r.IntN(2)) * Transport, Off: 2 * r.IntN(4), Mask: masks[r.IntN(len(masks))]})
		}
		some := func() Test {
			x := forms[r.IntN(len(forms))]
			x.Value = r.Uint32() & x.Mask & 0x07070707
			return x
		}
		odd := r.IntN(3)
		for i := range 60 + r.IntN(200) {
			x := Expr(some())
			switch r.IntN(8) {
			case 0:
				x = And{x, some()}
			case 1:
				x = Or{x, And{some(), Or{some(), some()}}}
			case 2:
				if odd > 0 {
					x = And{x, Not{some()}}
				}
			case 3:
				if odd > 1 {
					x = Opposite{x}
				}
			case 4:
				x = Const(r.IntN(800) == 0)
			}
			rules = append(rules, Rule{If: x, Then: i})
		}
		prog, err := Compile(rules, 999)
		if err != nil {
			t.Fatal(err)
		}
		if prog.table != nil {
			tables++
			if prog.table.rest != nil {
				rests++
			}
		}
		for range 400 {
			d := make([]byte, 4+r.IntN(12))
			for i := range d {
				d[i] = byte(r.IntN(8))
			}
			want := 999
			for _, k := range rules {
				if eval(k.If, d, false) {
					want = k.Then
					break
				}
			}
			p := c.AllocFrom(packet.Node, d)
			p.SetTransport(0)
			if got := prog.Match(p); got != want {
				t.Fatalf("%x: got %d, want %d\n%s%#v", d, got, want, prog, rules)
			}
			c.Free(p)
		}
	}
	if tables < 8 || rests < 2 || tables-rests < 2 {
		t.Fatalf("%d tables, %d with a rest: the test says little", tables, rests)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	p := pool.Cache(0).AllocFrom(packet.Node, make([]byte, 64))
	prog, _ := Compile([]Rule{{If: And{Test{Off: 0, Mask: 0xff, Value: 1}, Test{Base: Network, Off: 4, Mask: 0xff}}, Then: 0}}, 1)
	if n := testing.AllocsPerRun(100, func() { prog.Match(p) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
