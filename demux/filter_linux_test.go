package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/errs"
)

// backs are the sorts of programs that rules become: with all keys in the instructions, with all in maps, with all in tables that do not change, and as they are otherwise.
var backs = []struct {
	name        string
	typ         ebpf.ProgramType
	most, least int // of Tables; most -2: without
	few         int
}{
	{"tc", ebpf.SchedCLS, -2, 0, 0},
	{"tc tables", ebpf.SchedCLS, -1, -1, 0},
	{"tc both", ebpf.SchedCLS, inlineMost, inlineLeast, fixedLeast},
	{"tc fixed", ebpf.SchedCLS, 1 << 20, 1 << 20, 1},
	{"xdp fixed", ebpf.XDP, 1 << 20, 1 << 20, 1},
	{"xdp", ebpf.XDP, -2, 0, 0},
	{"xdp tables", ebpf.XDP, -1, -1, 0},
	{"xdp both", ebpf.XDP, inlineMost, inlineLeast, fixedLeast},
}

// inInstructions has all keys of a program in its instructions.
func inInstructions(*group) (*bpfTable, *fixed) { return nil, nil }

// verdict is what a program says of a packet.
type verdict struct {
	match    bool
	id       uint32
	pay, end int
}

// kernel runs rules as programs of one sort.
type kernel struct {
	t    testing.TB
	back int
	tabs *Tables // nil: without
	out  *ebpf.Map
	prog *ebpf.Program
}

// newKernel makes the place for programs of sort b, or skips the test where that is not allowed.
func newKernel(t testing.TB, b int) *kernel {
	t.Helper()
	k := &kernel{t: t, back: b}
	var err error
	k.out, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 32, MaxEntries: 1})
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		t.Skip("BPF needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if backs[b].most > -2 {
		k.tabs = NewTables(backs[b].typ == ebpf.XDP)
		k.tabs.most, k.tabs.least, k.tabs.few = backs[b].most, backs[b].least, backs[b].few
	}
	t.Cleanup(func() {
		k.out.Close()
		if k.prog != nil {
			k.prog.Close()
		}
		if k.tabs != nil {
			k.tabs.Close()
		}
	})
	return k
}

// follow makes p what the next packets are judged by. It reports whether that took another program.
func (k *kernel) follow(p *Program) (replaced bool) {
	k.t.Helper()
	match := asm.Instructions{
		asm.LoadMapValue(asm.R1, k.out.FD(), 0),
		asm.StoreMem(asm.R1, 0, asm.R7, asm.DWord),
		asm.StoreMem(asm.R1, 8, asm.R8, asm.DWord),
		asm.StoreMem(asm.R1, 16, asm.R9, asm.DWord),
		asm.Mov.Imm(asm.R0, 7), asm.Return(),
	}
	miss := asm.Instructions{asm.LoadMem(asm.R1, asm.R6, 0, asm.Word), asm.Mov.Imm(asm.R0, 3), asm.Return()}
	var ins asm.Instructions
	var err error
	switch {
	case k.tabs != nil:
		var replace bool
		if replace, err = k.tabs.Follow(p); err != nil {
			k.t.Fatalf("%d rules: %+v", p.Rules(), err)
		}
		if !replace {
			return false
		}
		ins, err = k.tabs.Code(match, miss)
	default:
		ins, err = p.filter(backs[k.back].typ == ebpf.XDP, match, miss, inInstructions)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: backs[k.back].typ, License: "GPL", Instructions: ins})
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			k.t.Fatalf("%d rules in %d shapes, %d instructions: %v\n%v", p.Rules(), p.Shapes(), len(ins), err, v.Log[max(0, len(v.Log)-12):])
		}
		k.t.Fatalf("%d rules: %+v", p.Rules(), err)
	}
	if k.prog != nil {
		k.prog.Close()
	}
	k.prog = prog
	if k.tabs != nil {
		k.tabs.Installed()
	}
	return true
}

// takes reports whether a test run takes frames of this length.
func (k *kernel) takes(f []byte) bool {
	if backs[k.back].typ == ebpf.XDP {
		return len(f) >= 14
	}
	return len(f) >= 54 // it refuses those that end within their network header
}

func (k *kernel) judge(f []byte) verdict {
	k.t.Helper()
	got, err := k.prog.Run(&ebpf.RunOptions{Data: f, DataOut: make([]byte, len(f)+64)})
	if err != nil {
		k.t.Fatalf("%d bytes %x: %v", len(f), f, err)
	}
	if got != 7 {
		return verdict{}
	}
	var v [32]byte
	if err := k.out.Lookup(uint32(0), &v); err != nil {
		k.t.Fatal(err)
	}
	u := func(at int) int { return int(binary.NativeEndian.Uint64(v[at:])) }
	return verdict{true, uint32(u(0)), u(8), u(16)}
}

func reference(rules []Rule, f []byte) verdict {
	h, ok := (&naive{Ether, "eth0", rules}).match(f)
	if !ok {
		return verdict{}
	}
	return verdict{true, h.id, h.pay, h.end}
}

// TestFilterAgainstNaive runs random rules over random packets through the kernel and through the reference.
func TestFilterAgainstNaive(t *testing.T) {
	for b := range backs {
		t.Run(backs[b].name, func(t *testing.T) {
			matched, missed := 0, 0
			for seed := range uint64(40) {
				r := rand.New(rand.NewPCG(seed, 9))
				rules := randomRules(t, r, "eth0", 1+r.IntN(30))
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
				k := newKernel(t, b)
				k.follow(pr)
				for range 60 {
					f := randomFrame(r)
					if !k.takes(f) {
						continue
					}
					want := reference(rules, f)
					if got := k.judge(f); got != want {
						t.Fatalf("seed %d: kernel says %+v, reference %+v\nrules %v\nframe %x", seed, got, want, ruleStrings(rules), f)
					}
					if want.match {
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
		})
	}
}

func ruleStrings(rules []Rule) (s []string) {
	for i := range rules {
		s = append(s, fmt.Sprintf("%d@%d %s", rules[i].ID, rules[i].Age, rules[i].String()))
	}
	return s
}

// TestTablesFollow changes rules step by step and compares what the kernel says with the reference.
func TestTablesFollow(t *testing.T) {
	for b := range backs {
		if backs[b].most == -2 {
			continue
		}
		t.Run(backs[b].name, func(t *testing.T) {
			inPlace, replaced, fixed := 0, 0, 0
			for seed := range uint64(3) {
				r := rand.New(rand.NewPCG(seed, 31))
				k := newKernel(t, b)
				step := 0
				history(t, r, 60, func(_, pr *Program, rules []Rule) {
					if k.follow(pr) {
						replaced++
					} else {
						inPlace++
					}
					fixed += len(k.tabs.fixed)
					if step++; step%10 == 0 && k.tabs.prog.Shapes() > 0 { // as if another program had failed meanwhile
						if _, err := k.tabs.Follow(pr.Without(rules[0].ID)); err != nil {
							t.Fatal(err)
						}
						k.follow(pr)
					}
					for range 12 {
						f := randomFrame(r)
						if !k.takes(f) {
							continue
						}
						if got, want := k.judge(f), reference(rules, f); got != want {
							t.Fatalf("seed %d: kernel says %+v, reference %+v\nrules %v\nframe %x", seed, got, want, ruleStrings(rules), f)
						}
					}
				})
			}
			t.Logf("%d changes in place, %d programs replaced, %d tables that do not change", inPlace, replaced, fixed)
			if backs[b].few == 1 && fixed < 1000 {
				t.Error("tables that do not change are not tested")
			}
			if backs[b].most < 0 && (inPlace < 20 || replaced < 20) {
				t.Error("one of the two is not tested")
			}
		})
	}
}

// TestTablesGrow adds keys of one shape one by one and takes them away again: programs are replaced a few times only.
func TestTablesGrow(t *testing.T) {
	pr, err := Compile(Ether, "e", nil)
	if err != nil {
		t.Fatal(err)
	}
	k := newKernel(t, len(backs)-1)
	k.follow(pr)
	const keys = 1000
	rules := scaleRules(keys, 1)
	check := func(i int, want bool) {
		t.Helper()
		f := build(hdr{dst: ip("10.0.0.1"), proto: 17, payload: []byte{8: byte(i >> 8), 9: byte(i)}})
		if got := k.judge(f); got.match != want || want && got.id != uint32(i) {
			t.Fatalf("key %d: %+v", i, got)
		}
	}
	replaced := 0
	for i := range keys {
		if pr, err = pr.With(rules[i]); err != nil {
			t.Fatal(err)
		}
		if k.follow(pr) {
			replaced++
		}
		check(i, true)
		check(i/2, true)
		check(i+1, false)
	}
	if len(k.tabs.tabs) != 1 || replaced > inlineMost+8 {
		t.Errorf("%d maps, %d programs for %d keys", len(k.tabs.tabs), replaced, keys)
	}
	replaced = 0
	for i := range keys {
		pr = pr.Without(uint32(i))
		if k.follow(pr) {
			replaced++
		}
		check(i, false)
		if i < keys-1 {
			check(i+1, true)
			check(keys-1, true)
		}
	}
	if len(k.tabs.tabs) != 0 || replaced > inlineLeast+1 {
		t.Errorf("%d maps, %d programs when they go", len(k.tabs.tabs), replaced)
	}
}

// FuzzFilter compares the kernel with the reference.
func FuzzFilter(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 12 {
		f.Add(uint64(i), randomFrame(r))
	}
	f.Fuzz(func(t *testing.T, seed uint64, frame []byte) {
		rules := randomRules(t, rand.New(rand.NewPCG(seed, 0)), "eth0", 20)
		pr, err := Compile(Ether, "eth0", rules)
		if err != nil {
			t.Fatal(err)
		}
		for b := range backs {
			k := newKernel(t, b)
			if len(frame) > 1900 || !k.takes(frame) {
				continue
			}
			k.follow(pr)
			if got, want := k.judge(frame), reference(rules, frame); got != want {
				t.Fatalf("%s says %+v, reference %+v", backs[b].name, got, want)
			}
		}
	})
}

// shapes returns n rules of different masks of so many words on a chain.
func shapes(first uint32, n, words int, layers ...Layer) (rs []Rule) {
	for i := range n {
		var k Key
		for w := range words {
			k = append(k, Tuple{Offset: 100*w + 1, Value: []byte{byte(i), 0, 0, 0, 0, 0, 0, byte(w)}, Mask: []byte{0xff, byte(i + 1), 0xff, 0, 0, 0, 1, 3}})
		}
		rs = append(rs, Rule{ID: first + uint32(i), Protocol: Protocol{"e", layers}, Key: k})
	}
	return rs
}

// chains returns rules for as many of the longest chains of IP in IP as a link may have.
func chains() (rs []Rule) {
	for i := range MaxFilterShapes {
		layers := []Layer{Ether}
		for b := range 6 {
			layers = append(layers, [...]Layer{IPv4, IPv6}[i>>b&1])
		}
		rs = append(rs, Rule{ID: uint32(i), Protocol: Protocol{"e", append(layers, UDP)}, Local: Address{Top: UDP, Port: 7}, Key: Key{{Offset: 3, Value: []byte{1, 2, 3}}}})
	}
	return rs
}

// TestFilterWorstCase loads the longest programs that there may be.
func TestFilterWorstCase(t *testing.T) {
	load := func(name string, back int, rules []Rule) {
		t.Helper()
		pr, err := Compile(Ether, "e", rules)
		if err != nil {
			t.Fatal(err)
		}
		k := newKernel(t, back)
		k.follow(pr)
		info, err := k.prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := info.VerifiedInstructions()
		t.Logf("%s as %s: verifier took %d instructions", name, backs[back].name, n)
	}
	var many []Rule
	for i := range 512 {
		many = append(many, Rule{ID: uint32(i), Protocol: Protocol{"e", []Layer{Ether, IPv4, UDP}},
			Key: Key{{Offset: 0, Value: []byte{byte(i), byte(i >> 8), 3, 4, 5, 6, 7, 8}}, {Offset: 20, Value: []byte{byte(i)}}}})
	}
	many[0].Protocol.Layers = []Layer{Ether, IPv6, IPv6, IPv6, IPv4, IPv6, UDP, ANEP}
	var wide, ties []Rule
	for i, top := range [][]Layer{{Ether, IPv6, IPv6, UDP, ANEP}, {Ether, IPv4, IPv6, UDP}, {Ether, IPv4, TCP}} {
		wide = append(wide, shapes(uint32(100*i), MaxChainShapes, maxWords, top...)...)
		ties = append(ties, shapes(uint32(100*i), MaxChainShapes, 1, top...)...)
	}
	for i := range ties { // all with equally many bits, 16 keys each
		ties[i].Key[0].Mask = []byte{0xff >> (i % 8), 0xff << (i % 8), 3, byte(3 << (i / 8 % 2)), 0, 0, 0, 0}
		ties[i].Key[0].Value = make([]byte, 8)
	}
	full := append([]Rule(nil), wide[:MaxChainShapes]...) // as many keys of most words as are written out
	for n := range inlineMost - 1 {
		for _, r := range full[:MaxChainShapes] {
			r.ID += uint32(1000 * (n + 1))
			r.Key = append(Key(nil), r.Key...)
			for i, tu := range r.Key {
				r.Key[i].Value = append([]byte(nil), tu.Value...)
				r.Key[i].Value[2] = byte(n + 1)
			}
			full = append(full, r)
		}
	}
	one := append([]Rule(nil), ties...)
	for n := range inlineMost - 1 {
		for i, r := range one {
			r.ID += uint32(1000 * (n + 1))
			r.Key = Key{{Offset: 1, Value: []byte{0xff, 0xff, byte(n), byte(n >> 2)}, Mask: one[i].Key[0].Mask[:4]}}
			ties = append(ties, r)
		}
	}
	for b := range backs {
		switch backs[b].most {
		case -2:
			load("many keys", b, many)
		default:
			load("wide keys", b, wide)
			load("many wide keys", b, full)
			load("ties", b, ties)
			load("long chains", b, chains())
		}
	}
}

// TestFilterLimits goes beyond each bound, of rules by one.
func TestFilterLimits(t *testing.T) {
	ret := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	pr, err := Compile(Ether, "e", scaleRules(maxFilterIns, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pr.filter(true, ret, ret, inInstructions); errs.KindOf(err) != errs.Limit {
		t.Errorf("more instructions than a program may have: %v", err)
	}
	for name, rules := range map[string][]Rule{
		"chain": shapes(0, MaxChainShapes+1, 1, Ether, IPv4),
		"link":  append(chains(), Rule{ID: 1 << 20, Protocol: Protocol{Link: "e"}}),
	} {
		newest := rules[len(rules)-1]
		old, err := Compile(Ether, "e", rules[:len(rules)-1])
		if err != nil {
			t.Fatal(err)
		}
		tabs := NewTables(true)
		defer tabs.Close()
		if _, err := tabs.Follow(old); err != nil {
			t.Fatal(err)
		}
		tabs.Installed()
		if pr, err = old.With(newest); err != nil {
			t.Fatal(err)
		}
		_, err = tabs.Follow(pr)
		if want := fmt.Sprintf("rule %d ", newest.ID); errs.KindOf(err) != errs.Limit || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("%s: %v", name, err)
		}
		if replace, err := tabs.Follow(old); err != nil || replace {
			t.Errorf("%s, back again: %v %v", name, replace, err)
		}
	}
	if pr, err = Compile(UDP, "e", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := NewTables(true).Follow(pr); errs.KindOf(err) != errs.NotSupported {
		t.Errorf("a link of sockets: %v", err)
	}
}
