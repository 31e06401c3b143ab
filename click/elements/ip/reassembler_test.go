package ip_test

import (
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
)

func TestReassemblyDoesNotAllocate(t *testing.T) {
	const config = `InfiniteSource(LENGTH 1000, BURST 8) -> UDPIPEncap(10.0.0.1, 1, 10.0.0.2, 2) -> IPFragmenter(300) -> IPReassembler -> CheckIPHeader -> Discard;`
	if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
		t.Errorf("a turn allocates %v times", n)
	}
}

// TestReassemblerReplacement: a packet half of which came before a replacement is completed after it.
func TestReassemblerReplacement(t *testing.T) {
	const config = "in :: ScriptIn -> MarkIPHeader -> r :: IPReassembler -> o :: ScriptOut(raw);"
	s, err := elementtest.New(t, config, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Do("send in ip 1.0.0.1 1.0.0.2 id 1 proto 99 more text 12345678")
	spec, err := click.Parse("config", config, click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Router, err = s.Router.Replace(spec); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("send in ip 1.0.0.1 1.0.0.2 id 1 proto 99 frag 8 text 9"); got != "o 0.000000 hex 4500001d000100004063787b0100000101000002313233343536373839\n" {
		t.Errorf("got %s", got)
	}
	s.Do("send in ip 1.0.0.1 1.0.0.2 id 2 proto 99 frag 8 text 9")
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are still held", n)
	}
}
