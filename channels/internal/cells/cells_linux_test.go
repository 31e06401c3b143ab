package cells

import (
	"math"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func newCells(t *testing.T) (*nodeos.Node, *Cells) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF")
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := Of(n)
	if err != nil {
		t.Fatal(err)
	}
	return n, c
}

// TestLinksShare has two links of a node and one of another.
func TestLinksShare(t *testing.T) {
	n, c := newCells(t)
	other, d := newCells(t)
	again, err := Of(n)
	if err != nil || again != c || c == d {
		t.Fatalf("%p and %p of one node, %p of another: %v", c, again, d, err)
	}
	cell := c.Cell(5)
	cell.Produced.Add(7)
	cell.Next.Store(9)
	if w := c.Word(5, Produced).Load(); w != 7 || d.Word(5, Produced).Load() != 0 {
		t.Errorf("%d", w)
	}
	c.Reset(5)
	for off := 0; off < Size; off += 8 {
		want := uint64(0)
		if off == Credit {
			want = math.MaxInt64
		}
		if w := c.Word(5, off).Load(); w != want {
			t.Errorf("word %d is %d after Reset, want %d", off, w, want)
		}
	}
	c.Release()
	if err := c.Settle(); err != nil {
		t.Errorf("with a link left: %v", err)
	}
	c.Release()
	d.Release()
	if err := c.Settle(); errs.KindOf(err) != errs.Dead || len(shared.nodes) != 0 {
		t.Errorf("after the last link: %v, %d nodes", err, len(shared.nodes))
	}
	if c, err = Of(other); err != nil { // and they can be had again
		t.Fatal(err)
	}
	c.Release()
}

// TestRateCode runs the instructions on one cell: packets that count 1, 3 and 4 at a rate of one in an hour.
func TestRateCode(t *testing.T) {
	_, c := newCells(t)
	defer c.Release()
	const slot, hour = 3, 3600e9
	ins := asm.Instructions{
		asm.LoadMem(asm.R8, asm.R1, 0, asm.Word), // how many it counts for: the length behind the Ethernet header
		asm.StoreImm(asm.RFP, -4, slot, asm.Word),
		asm.LoadMapPtr(asm.R1, c.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "none"),
		asm.StoreMem(asm.RFP, -16, asm.R0, asm.DWord),
	}
	ins = append(ins, RateCode(-16, -24, asm.Instructions{asm.Mul.Reg(asm.R4, asm.R8)})...)
	ins = append(ins,
		asm.LoadMem(asm.R0, asm.R3, Interval, asm.DWord).WithSymbol("late"), asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.LoadMem(asm.R1, asm.R0, Interval, asm.DWord).WithSymbol("accepted"), asm.Mov.Imm(asm.R0, 1), asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("none"), asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: ins})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer prog.Close()
	c.Word(slot, Interval).Store(hour)
	c.Word(slot, Tolerance).Store(5 * hour)
	for i, step := range []struct{ weight, want, due int }{{1, 1, 1}, {3, 1, 4}, {4, 1, 8}, {1, 0, 8}, {4, 0, 8}} {
		got, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 14+step.weight)})
		if err != nil {
			t.Fatal(err)
		}
		due := (int64(c.Word(slot, Next).Load()) - c.Now() + hour/2) / hour
		if int(got) != step.want || int(due) != step.due {
			t.Errorf("step %d: %d, the next is due in %d hours, want %+v", i, got, due, step)
		}
	}
}
