package demux

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/janos-os/janos/errs"
)

// history changes a program at random n times and calls check with each and the rules that it is to have.
func history(t testing.TB, r *rand.Rand, n int, check func(old, pr *Program, rules []Rule)) {
	world := randomRules(t, r, "eth0", 60)
	for i := range world { // a few keys twice, with other ages
		if i%3 == 0 {
			world[i].Protocol, world[i].Local, world[i].Key = world[i/2].Protocol, world[i/2].Local, world[i/2].Key
		}
	}
	pr, err := Compile(Ether, "eth0", nil)
	if err != nil {
		t.Fatal(err)
	}
	var in []Rule
	for range n {
		old := pr
		if r.IntN(9) < 5 && len(in) < len(world) {
			var more []Rule
			for range 1 + r.IntN(3) {
				if k := len(in) + len(more); k < len(world) {
					more = append(more, world[k])
				}
			}
			if pr, err = pr.With(more...); err != nil {
				t.Fatal(err)
			}
			in = append(in, more...)
		} else {
			var ids []uint32
			for range 1 + r.IntN(3) {
				if len(in) > 0 {
					k := r.IntN(len(in))
					ids = append(ids, in[k].ID)
					gone := in[k]
					in = append(in[:k:k], in[k+1:]...)
					world = append(append(append([]Rule(nil), in...), world[len(in)+1:]...), gone)
				}
			}
			pr = pr.Without(append(ids, 1<<31)...)
		}
		check(old, pr, in)
	}
}

// TestEdits changes programs step by step and compares each with the one that Compile makes of the same rules, and with the reference.
func TestEdits(t *testing.T) {
	_, c := newPool(t)
	matched := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 21))
		type state struct {
			pr    *Program
			rules []Rule
		}
		var first *state // must stay as it is whatever is made of it
		verify := func(s state) {
			t.Helper()
			whole, err := Compile(Ether, "eth0", s.rules)
			if err != nil {
				t.Fatal(err)
			}
			if whole.Rules() != s.pr.Rules() || whole.Shapes() != s.pr.Shapes() {
				t.Fatalf("seed %d: %d rules in %d shapes, compiled %d in %d", seed, s.pr.Rules(), s.pr.Shapes(), whole.Rules(), whole.Shapes())
			}
			ref := &naive{Ether, "eth0", s.rules}
			for range 8 {
				f := randomFrame(r)
				want, wok := ref.match(f)
				for _, pr := range [...]*Program{s.pr, whole} {
					p := c.AllocFrom(0, f)
					id, ok := pr.Match(p)
					c.Free(p)
					if ok != wok || ok && id != want.id {
						t.Fatalf("seed %d: got %d %v, reference %d %v", seed, id, ok, want.id, wok)
					}
				}
				if wok {
					matched++
				}
			}
		}
		history(t, r, 80, func(_, pr *Program, rules []Rule) {
			s := state{pr, append([]Rule(nil), rules...)}
			if first == nil && len(rules) > 20 {
				first = &s
			}
			verify(s)
		})
		if first != nil {
			verify(*first)
		}
	}
	if matched < 5000 {
		t.Errorf("only %d matches", matched)
	}
}

// TestEditsShare finds untouched groups again in the next program, and the changes in the touched ones.
func TestEditsShare(t *testing.T) {
	var rules []Rule
	for i := range 40 {
		rules = append(rules, rule(t, uint32(i), "e/ether/ip/udp", fmt.Sprintf(":%d", 1000+i), ""),
			rule(t, uint32(100+i), "e/ether/ip/udp", "", fmt.Sprintf("4/%02x", i)))
	}
	old, err := Compile(Ether, "e", rules)
	if err != nil {
		t.Fatal(err)
	}
	groups := func(p *Program) map[string]*group {
		m := map[string]*group{}
		p.root.each(func(_ *node, g *group) { m[g.name] = g })
		return m
	}
	diff := func(a, b *Program) (same, other []*group) {
		ga := groups(a)
		for name, g := range groups(b) {
			if ga[name] == g {
				same = append(same, g)
			} else {
				other = append(other, g)
			}
		}
		return same, other
	}
	pr, err := old.With(rule(t, 500, "e/ether/ip/udp", ":7", ""))
	if err != nil {
		t.Fatal(err)
	}
	same, other := diff(old, pr)
	if len(same) != 1 || len(other) != 1 || other[0].from == 0 || len(other[0].changes) != 1 || other[0].changes[0].id != 500 || other[0].changes[0].gone {
		t.Errorf("with one more rule: %d groups shared, %d new", len(same), len(other))
	}
	next := pr.Without(500)
	same, other = diff(pr, next)
	if len(same) != 1 || len(other) != 1 || len(other[0].changes) != 1 || !other[0].changes[0].gone {
		t.Errorf("without it: %d groups shared, %d new", len(same), len(other))
	}
	if same, other = diff(next, next.Without(77)); len(same) != 2 || len(other) != 0 {
		t.Errorf("without a rule that is not there: %d groups shared, %d new", len(same), len(other))
	}
	for _, r := range []Rule{rule(t, 3, "e/ether", "", ""), rule(t, 600, "e/ether", "0x0800", "0/01 0/02")} {
		if _, err := old.With(r); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", &r, err)
		}
	}
	if _, err := old.With(rule(t, 7000, "e", "", ""), rule(t, 7000, "e/ether", "", "")); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a number twice: %v", err)
	}
}

// BenchmarkWith adds a rule to a program of 4,096 and takes it away again.
func BenchmarkWith(b *testing.B) {
	pr, err := Compile(Ether, "e", scaleRules(4096, 8))
	if err != nil {
		b.Fatal(err)
	}
	more := scaleRules(4097, 8)[4096]
	b.ReportAllocs()
	for b.Loop() {
		next, err := pr.With(more)
		if err != nil {
			b.Fatal(err)
		}
		pr = next.Without(more.ID)
	}
}
