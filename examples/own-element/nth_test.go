package nth

import (
	"testing"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
)

func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{})
}

func TestDoesNotAllocate(t *testing.T) {
	config := `InfiniteSource(DATA \<000102030405060708090a0b0c0d>, BURST 32) -> s :: Nth(3) -> Discard; s[1] -> Discard;`
	if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
		t.Errorf("%v allocations in a turn", n)
	}
}

func TestReplacementGoesOn(t *testing.T) {
	s, err := elementtest.New(t, "in :: ScriptIn -> s :: Nth(2) -> Discard; s[1] -> Discard", elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send("in", "hex 00; hex 01; hex 02"); err != nil {
		t.Fatal(err)
	}
	spec, err := click.Parse("new", "in :: ScriptIn -> s :: Nth(5) -> Discard; s[1] -> Discard", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Router, err = s.Router.Replace(spec); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Router.Read("s.count", ""); err != nil || got != "3" {
		t.Errorf("count is %s (%v), want 3", got, err)
	}
}

func BenchmarkNth(b *testing.B) {
	config := `InfiniteSource(DATA \<000102030405060708090a0b0c0d>, BURST 32) -> s :: Nth(3) -> c :: Counter -> Discard; s[1] -> c;`
	elementtest.Bench(b, config, "c.count", elementtest.Options{})
}
