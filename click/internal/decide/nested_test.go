package decide

import (
	"math/rand/v2"
	"testing"

	"github.com/janos-os/janos/packet"
)

// TestNested compares rules within rules with programs that follow each other.
func TestNested(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	r := rand.New(rand.NewPCG(3, 4))
	const none, behind = 99, 1
	reached := 0
	for range 3000 {
		var outer, inner, both []Rule
		for i := range 3 {
			inner = append(inner, Rule{If: random(r, 2), Then: 10 + i})
			outer = append(outer, Rule{If: random(r, 2), Then: i})
		}
		both = append(both, outer...)
		both[behind].Sub = inner
		var prog [3]*Program
		for i, rules := range [][]Rule{outer, inner, both} {
			if prog[i], err = Compile(rules, none); err != nil {
				t.Fatal(err)
			}
		}
		for range 8 {
			d := make([]byte, r.IntN(9))
			for i := range d {
				d[i] = byte(r.IntN(2))
			}
			p := c.AllocFrom(packet.Node, d)
			p.SetTransport(0)
			want := prog[0].Match(p)
			if want == behind {
				want = prog[1].Match(p)
				reached++
			}
			if got := prog[2].Match(p); got != want {
				t.Fatalf("%x: got %d, want %d\n%s%#v", d, got, want, prog[2], both)
			}
			c.Free(p)
		}
	}
	if reached < 1000 {
		t.Errorf("only %d packets came to the inner rules", reached)
	}
}
