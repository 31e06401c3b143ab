package bench

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
)

// emptyRun is the row of the instructions that make the packets, which all others contain.
const emptyRun = "ebpf: the packets alone"

// kernelRuns is how many packets a measurement runs: a test run has costs of its own, of some microseconds.
const kernelRuns = 1 << 20

// openKernelDemux loads the sets as XDP programs and gives t their rows. What it returns compares them. Without the right to load programs there are no rows, and a note.
func openKernelDemux(e *Env, t *opsTrial) (func(r *Round, compare func(back string) error) error, error) {
	state, err := ebpf.NewMap(&ebpf.MapSpec{Name: "jnb_demux", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if errors.Is(err, os.ErrPermission) {
		return func(r *Round, _ func(string) error) error {
			r.Note("the eBPF back end is not measured, for that needs the right to load programs (root): %v", err)
			return nil
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("map jnb_demux: %w", err)
	}
	t.closers = append(t.closers, state.Close)
	load := func(ins asm.Instructions) (*ebpf.Program, error) {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jnb_demux", Type: ebpf.XDP, License: "GPL", Instructions: ins})
		if err != nil {
			return nil, fmt.Errorf("program jnb_demux: %w", err)
		}
		t.closers = append(t.closers, p.Close)
		return p, nil
	}
	frame := toOneNet(e.rand(2))[0]
	clear(frame[42 : 42+keyAt])
	type sort struct {
		name string
		prog *ebpf.Program
		want uint32
	}
	var sorts []sort
	verdict := func(v int32) asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()} }
	empty, err := load(append(nextPacket(state.FD(), keyed{4096, 8}, pickAll), verdict(xdpPass)...))
	if err != nil {
		return nil, err
	}
	sorts = append(sorts, sort{emptyRun, empty, xdpPass})
	for _, v := range keyedSets {
		prog, err := v.program()
		if err != nil {
			return nil, err
		}
		tables := demux.NewTables(true)
		t.closers = append(t.closers, tables.Close)
		if _, err := tables.Follow(prog); err != nil {
			return nil, err
		}
		for _, pick := range v.picks() {
			code, err := tables.Code(verdict(xdpDrop), verdict(xdpPass))
			if err != nil {
				return nil, err
			}
			p, err := load(append(nextPacket(state.FD(), v, pick), code...))
			if err != nil {
				return nil, err
			}
			want := uint32(xdpDrop)
			if pick == pickNone {
				want = xdpPass
			}
			sorts = append(sorts, sort{"ebpf: " + v.String() + pick, p, want})
		}
	}
	n := kernelRuns
	if e.Quick {
		n = kernelRuns / 64
	}
	return func(r *Round, compare func(back string) error) error {
		for _, s := range sorts {
			cost, _, err := measure(n, func(n int) error {
				got, err := s.prog.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(n)})
				if err == nil && got != s.want {
					err = errs.New(errs.Internal, "the program's last verdict is %d, want %d", got, s.want)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			r.Add(s.name, "ns/packet", float64(cost.Nanoseconds())/float64(n))
		}
		return compare("ebpf")
	}, nil
}

// nextPacket writes the number of another key of v into the packet, which is the same at all runs, and goes on with the context in R1.
func nextPacket(state int, v keyed, pick string) asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R1, xdpData, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, xdpDataEnd, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Imm(asm.R3, 64), asm.JGT.Reg(asm.R3, asm.R2, "short"),
		asm.LoadMapValue(asm.R8, state, 0),
		asm.LoadMem(asm.R1, asm.R8, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1237), // has no divisor in common with the number of keys
		asm.StoreMem(asm.R8, 0, asm.R1, asm.DWord),
		asm.And.Imm(asm.R1, int32(v.keys-1)),
	}
	switch pick {
	case pickLast:
		ins = append(ins, asm.And.Imm(asm.R1, int32(-v.shapes)))
	case pickNone:
		ins = append(ins, asm.Or.Imm(asm.R1, 1<<15))
	}
	return append(ins,
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R7, 42+keyAt, asm.R1, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("short"),
	)
}
