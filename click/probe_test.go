package click_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

const probed = `in :: ScriptIn -> t :: Tee -> s :: Strip(4) -> q :: Queue(2) -> n :: Null -> u :: Unqueue -> d :: Discard; t[1] -> [0] c :: Counter -> e :: Discard;`

func counts(t *testing.T, p *click.Probe, reset bool) string {
	t.Helper()
	els, err := p.Counts(reset)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range els {
		b.WriteString(e.Name)
		for _, c := range e.In {
			fmt.Fprintf(&b, " in %d/%d", c.Packets, c.Bytes)
		}
		for _, c := range e.Out {
			fmt.Fprintf(&b, " out %d/%d", c.Packets, c.Bytes)
		}
		if e.Drops > 0 {
			fmt.Fprintf(&b, " drops %d", e.Drops)
		}
		b.WriteString("; ")
		if e.Time < 0 {
			t.Errorf("%s took %v", e.Name, e.Time)
		}
	}
	return b.String()
}

func TestProbeCounts(t *testing.T) {
	s, err := elementtest.New(t, probed, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	send := func() { s.Do("send in hex 0102030405; hex 01020304050607; hex 01") }
	send()
	seen := 0
	p, err := s.Router.NewProbe(func(_ lang.Edge, ps []*packet.Packet) { seen += len(ps) })
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Router.NewProbe(nil)
	if err != nil {
		t.Fatal(err)
	}
	send()
	want := "in out 3/13; t in 3/13 out 3/13 out 3/13; s in 3/13 out 2/4 drops 1; q in 2/4 out 2/4; n in 2/4 out 2/4; u in 2/4 out 2/4; d in 2/4; c in 3/13 out 3/13; e in 3/13; "
	if got := counts(t, p, true); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := counts(t, q, false); got != want {
		t.Errorf("the other probe: %s", got)
	}
	// in, t, t[1], s, q, n, u, c: 3+3+3+2+2+2+2+3
	if seen != 20 {
		t.Errorf("%d packets were seen", seen)
	}
	q.Close()
	q.Close()
	if _, err := q.Counts(false); err == nil {
		t.Error("a closed probe counts")
	}
	send()
	if got := counts(t, p, false); got != want {
		t.Errorf("the second time: %s", got)
	}
	p.Close()
	send()
	if seen != 40 {
		t.Errorf("%d packets were seen in all", seen)
	}
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are held", n)
	}
	if _, err := s.Router.NewProbe(nil); err == nil {
		t.Error("a probe of a router that has ended")
	}
	p.Close()
}

// TestProbeLeavesNothing: a graph costs the same after somebody has looked as before.
func TestProbeLeavesNothing(t *testing.T) {
	_, r := live(t, `s :: InfiniteSource(BURST 8) -> q :: Queue(100) -> u :: Unqueue(8) -> c :: Counter -> Discard;`)
	before := wiring(r)
	for range 3 {
		p, err := r.NewProbe(nil)
		if err != nil {
			t.Fatal(err)
		}
		if wiring(r) == before {
			t.Fatal("a probe changes nothing")
		}
		for moved := false; !moved; {
			els, err := p.Counts(false)
			if err != nil {
				t.Fatal(err)
			}
			moved = els[3].In[0].Packets > 0 && els[3].Time > 0
		}
		p.Close()
		if wiring(r) != before {
			t.Fatal("something is left of a probe")
		}
	}
}

// wiring shows where outputs and inputs lead.
func wiring(r *click.Router) string {
	var b strings.Builder
	err := r.Do(func() {
		for _, el := range r.Elements() {
			b.WriteString(click.Wiring(el))
		}
	})
	if err != nil {
		panic(err)
	}
	return b.String()
}
