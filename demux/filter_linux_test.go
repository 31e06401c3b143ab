package demux

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// backs are the two sorts of programs that rules become.
var backs = []struct {
	name   string
	typ    ebpf.ProgramType
	filter func(p *Program, match, miss asm.Instructions) (asm.Instructions, error)
}{
	{"tc", ebpf.SchedCLS, (*Program).Filter},
	{"xdp", ebpf.XDP, (*Program).FilterXDP},
}

// loadFilter loads p as a program of sort b that returns 7 for a match, or skips the test where that is not allowed.
func loadFilter(t testing.TB, b int, p *Program) *ebpf.Program {
	t.Helper()
	ret := func(v int32) asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()} }
	ins, err := backs[b].filter(p, ret(7), ret(3))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: backs[b].typ, License: "GPL", Instructions: ins})
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root: ", err)
	}
	if err != nil {
		t.Fatalf("%d rules: %+v", p.Rules(), err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

// TestFilterAgainstMatch runs random rules over random packets through the kernel and through Match.
func TestFilterAgainstMatch(t *testing.T) {
	for b := range backs {
		t.Run(backs[b].name, func(t *testing.T) { filterAgainstMatch(t, b) })
	}
}

func filterAgainstMatch(t *testing.T, b int) {
	_, c := newPool(t)
	matched, missed := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		rules := randomRules(t, r, "eth0", 1+r.IntN(8))
		if r.IntN(2) == 0 { // rules that match everything hide the others
			kept := rules[:0]
			for _, ru := range rules {
				if len(ru.Key) > 0 || !ru.Local.IsAny() || len(ru.Protocol.Layers) > 2 {
					kept = append(kept, ru)
				}
			}
			rules = kept
		}
		pr, err := Compile(Ether, "eth0", rules)
		if err != nil {
			t.Fatal(err)
		}
		prog := loadFilter(t, b, pr)
		for range 60 {
			f := randomFrame(r)
			if len(f) < 54 {
				continue // a test run refuses frames that end within their network header
			}
			p := c.AllocFrom(0, f)
			_, want := pr.Match(p)
			c.Free(p)
			got, err := prog.Run(&ebpf.RunOptions{Data: f, DataOut: make([]byte, len(f)+64)})
			if err != nil {
				t.Fatalf("%d bytes %x: %v", len(f), f, err)
			}
			if (got == 7) != want {
				t.Fatalf("seed %d: kernel says %d, Match %v\nrules %v\nframe %x", seed, got, want, ruleStrings(rules), f)
			}
			if want {
				matched++
			} else {
				missed++
			}
		}
	}
	t.Logf("%d matched, %d missed", matched, missed)
	if matched < 300 || missed < 300 {
		t.Error("the world is too one-sided to prove anything")
	}
}

func ruleStrings(rules []Rule) (s []string) {
	for i := range rules {
		s = append(s, rules[i].String())
	}
	return s
}

// TestFilterWorstCase loads the longest programs that Filter may write.
func TestFilterWorstCase(t *testing.T) {
	var rules []Rule
	for i := range MaxFilterKeys {
		rules = append(rules, Rule{ID: uint32(i), Protocol: Protocol{"e", []Layer{Ether, IPv4, UDP}},
			Key: Key{{Offset: 0, Value: []byte{byte(i), byte(i >> 8), 3, 4, 5, 6, 7, 8}}, {Offset: 20, Value: []byte{byte(i)}}}})
	}
	deep := []Layer{Ether, IPv6, IPv6, IPv6, IPv4, IPv6, UDP, ANEP}
	rules[0].Protocol.Layers = deep
	pr, err := Compile(Ether, "e", rules)
	if err != nil {
		t.Fatal(err)
	}
	for b := range backs {
		loadFilter(t, b, pr)
	}
	if pr, err = Compile(Ether, "e", append(rules, Rule{ID: 1 << 30, Protocol: Protocol{Link: "e"}})); err != nil {
		t.Fatal(err)
	}
	if _, err := pr.Filter(asm.Instructions{asm.Return()}, asm.Instructions{asm.Return()}); err == nil {
		t.Error("a filter beyond the limit was written")
	}
}
