package wasm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/resctl"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{Host: true})
}

const module = "../../../vm/testdata/element_acts.wasm"

// TestHostIsAsked: a graph without rights on the host reads no module.
func TestHostIsAsked(t *testing.T) {
	if _, err := elementtest.New(t, "Idle -> Wasm("+module+") -> Discard", elementtest.Options{}); err == nil || !strings.Contains(err.Error(), "no rights") {
		t.Error(err)
	}
}

func TestDoesNotAllocate(t *testing.T) {
	config := "InfiniteSource(DATA \\<0000" + strings.Repeat("00", 62) + ">, BURST 32) -> Wasm(" + module + ") -> c :: Counter -> Discard"
	if n := elementtest.Allocs(t, config, elementtest.Options{Host: true}); n != 0 {
		t.Errorf("%v allocations in a turn", n)
	}
}

func BenchmarkWasm(b *testing.B) {
	config := "InfiniteSource(DATA \\<0000" + strings.Repeat("00", 62) + ">, BURST 32) -> Wasm(" + module + ") -> c :: Counter -> Discard"
	elementtest.Bench(b, config, "c.count", elementtest.Options{Host: true})
}

// TestVictim: whatever a module does in one element, the packets of the one beside it all pass, and nothing is left afterwards.
func TestVictim(t *testing.T) {
	s, err := elementtest.New(t, "in :: ScriptIn -> x :: Wasm("+module+", BUDGET 50000, FAULTS 0) -> Discard; x[1] -> Discard; x[2] -> Discard;"+
		"in2 :: ScriptIn -> v :: Wasm("+module+") -> good :: Counter -> Discard", elementtest.Options{Host: true})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for round := range 20 {
		for act := range 14 {
			if err := s.Send("in", fmt.Sprintf("hex %02x%02x; hex %02xff", act, round, act)); err != nil {
				t.Fatal(err)
			}
			if err := s.Send("in2", "hex 0000; hex 0000"); err != nil {
				t.Fatal(err)
			}
			sent += 2
		}
	}
	if got, err := s.Router.Read("good.count", ""); err != nil || got != fmt.Sprint(sent) {
		t.Errorf("%s of %d packets passed (%v)", got, sent, err)
	}
	if got, err := s.Router.Read("x.faults", ""); err != nil || got == "0" {
		t.Errorf("faults %s, %v", got, err)
	}
	account := s.Router.Domain().Account()
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are left", n)
	}
	if n := account.Use(resctl.Memory); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestReplacement: counts stay, memory only if asked and if module and arguments are the same.
func TestReplacement(t *testing.T) {
	text := func(more string) string { return "in :: ScriptIn -> w :: Wasm(" + module + more + ") -> Discard" }
	for _, c := range []struct {
		before, after string
		kept          bool
	}{
		{"", "", false}, {"", ", KEEP true", true}, {", s1", ", s1, KEEP true, BUDGET 30000", true}, {", s1", ", s2, KEEP true", false},
	} {
		s, err := elementtest.New(t, text(c.before), elementtest.Options{Host: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send("in", "hex 0000; hex 0000; hex 00"); err != nil {
			t.Fatal(err)
		}
		g, err := click.Parse("new", text(c.after), click.ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Router, err = s.Router.Replace(g); err != nil {
			t.Fatal(err)
		}
		if err := s.Send("in", "hex 0000"); err != nil {
			t.Fatal(err)
		}
		want := "1"
		if c.kept {
			want = "3"
		}
		if got, err := s.Router.Read("w.counters", "packets"); err != nil || got != want {
			t.Errorf("%q, then %q: the module counted %s packets (%v), want %s", c.before, c.after, got, err, want)
		}
		if got, err := s.Router.Read("w.too_short", ""); err != nil || got != "1" {
			t.Errorf("too_short is %s (%v)", got, err)
		}
		if n := s.Close(); n != 0 {
			t.Errorf("%d frames are left", n)
		}
	}
}
