package demux

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// churn changes rules one at a time: key 1 always has rule 1; key 2 always has rule 2 or 3 or both; others of the same shape and of others come and go, so that
// the shape changes its form, its map grows, memory of the map's entries is used again, and programs are replaced.
func churn(t *testing.T, steps int, step func(*Program)) {
	r := rand.New(rand.NewPCG(5, 6))
	key := func(id uint32, age uint64, number int) Rule {
		k := scaleRules(number+1, 1)[number]
		k.ID, k.Age = id, age
		return k
	}
	pr, err := Compile(Ether, "e", []Rule{key(1, 0, 1), key(2, 7, 2)})
	if err != nil {
		t.Fatal(err)
	}
	step(pr)
	with := func(rule Rule) {
		t.Helper()
		if pr, err = pr.With(rule); err != nil {
			t.Fatal(err)
		}
		step(pr)
	}
	without := func(id uint32) {
		pr = pr.Without(id)
		step(pr)
	}
	in := map[int]bool{}
	for i := range steps {
		switch r.IntN(8) {
		case 0: // key 2 goes over to the other rule, and then that is alone
			if pr.root.has(2) {
				with(key(3, uint64(r.IntN(14)), 2))
				without(2)
			} else {
				with(key(2, 7, 2))
				without(3)
			}
		case 1: // another shape
			if pr.root.has(9) {
				without(9)
			} else {
				with(Rule{ID: 9, Protocol: Protocol{"e", []Layer{Ether, IPv4, UDP}}, Key: Key{{Offset: 9, Value: []byte{255}}}})
			}
		default:
			n := 10 + r.IntN(10)
			if i > steps/4 && i < steps*3/4 {
				n = 10 + r.IntN(200)
			}
			if in[n] = !in[n]; in[n] {
				with(key(uint32(n), uint64(r.IntN(9)), n))
			} else {
				without(uint32(n))
			}
		}
	}
}

func keyFrame(n int) []byte {
	return build(hdr{dst: ip("10.0.0.1"), proto: 17, payload: []byte{8: byte(n >> 8), 9: byte(n), 21: 0}})
}

// TestMatchUnderChange matches packets while rules come and go.
func TestMatchUnderChange(t *testing.T) {
	_, c := newPool(t)
	var now atomic.Pointer[Program]
	var stop atomic.Bool
	var wg sync.WaitGroup
	started := make(chan bool)
	run := func() {
		defer wg.Done()
		for n := 0; n == 0 || !stop.Load(); n++ {
			for key := range 2 {
				p := c.AllocFrom(0, keyFrame(key+1))
				id, ok := now.Load().Match(p)
				c.Free(p)
				if !ok || key == 0 && id != 1 || key == 1 && id != 2 && id != 3 {
					t.Errorf("key %d: rule %d %v", key+1, id, ok)
					stop.Store(true)
				}
			}
			if n == 0 {
				close(started)
			}
		}
	}
	first := true
	churn(t, 400, func(p *Program) {
		now.Store(p)
		if first {
			first = false
			wg.Add(1)
			go run()
			<-started
		}
	})
	stop.Store(true)
	wg.Wait()
}

// TestTablesUnderChange runs packets through the kernel while rules come and go: none is lost, and none is another rule's.
func TestTablesUnderChange(t *testing.T) {
	k := newKernel(t, len(backs)-1) // skips without rights
	slots, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer slots.Close()
	// Words of out: packets of a rule that is right, of another, of none, and without a program.
	count := func(word int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMapValue(asm.R1, k.out.FD(), 0),
			asm.LoadMem(asm.R2, asm.R1, 8*word, asm.DWord), asm.Add.Imm(asm.R2, 1), asm.StoreMem(asm.R1, 8*word, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R0, 2), asm.Return(),
		}
	}
	match := append(asm.Instructions{asm.JEq.Imm(asm.R7, 0, "other"), asm.JGT.Imm(asm.R7, 3, "other")}, count(0)...)
	other := count(1)
	other[0] = other[0].WithSymbol("other")
	match = append(match, other...)
	entry, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: append(asm.Instructions{
		asm.LoadMapPtr(asm.R2, slots.FD()), asm.Mov.Imm(asm.R3, 0), asm.FnTailCall.Call()}, count(3)...)})
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()

	replaced, steps := 0, 0
	apply := func(p *Program) {
		t.Helper()
		steps++
		replace, err := k.tabs.Follow(p)
		if err != nil {
			t.Fatal(err)
		}
		if !replace {
			return
		}
		replaced++
		ins, err := k.tabs.Code(match, count(2))
		if err != nil {
			t.Fatal(err)
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: ins})
		if err != nil {
			t.Fatal(err)
		}
		defer prog.Close()
		if err := slots.Put(uint32(0), prog); err != nil {
			t.Fatal(err)
		}
		k.tabs.Installed()
	}

	var stop atomic.Bool
	var wg sync.WaitGroup
	started := make(chan bool)
	run := func() {
		defer wg.Done()
		for n := 0; n == 0 || !stop.Load(); n++ {
			for key := range 2 {
				if _, err := entry.Run(&ebpf.RunOptions{Data: keyFrame(key + 1), Repeat: 5000}); err != nil {
					t.Errorf("test run: %v", err)
					stop.Store(true)
				}
			}
			if n == 0 {
				close(started)
			}
		}
	}
	first := true
	churn(t, 2000, func(p *Program) {
		apply(p)
		if first {
			first = false
			wg.Add(1)
			go run()
			<-started
		}
	})
	stop.Store(true)
	wg.Wait()
	var got [4]uint64
	if err := k.out.Lookup(uint32(0), &got); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes, %d by another program, during %d packets", steps, replaced, got[0])
	if got[0] < 10000 || got[1] != 0 || got[2] != 0 || got[3] != 0 {
		t.Errorf("%d packets of the right rule, %d of another, %d of none, %d without a program", got[0], got[1], got[2], got[3])
	}
	if replaced < 20 || steps-replaced < 200 {
		t.Errorf("%d changes, %d by another program: one of the two is not tested", steps, replaced)
	}
}
