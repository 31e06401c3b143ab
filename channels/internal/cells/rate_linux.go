package cells

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// rateTries is how often RateCode tries to set the time of the next packet while other processors do. Then it drops the packet.
const rateTries = 4

// RateCode returns instructions that decide whether a packet is in time for the rate of its channel, whose cell has an interval. They begin with the label
// "rate" and jump to "accepted" with the address of the cell in R0, or go on behind their end with it in R3. That address is on the stack at cell, a multiple of 8; old is another
// place there. R1 to R5 are lost. weigh multiplies R4, the interval, where what came stands for several packets; it may use R1 and labels, nil: one.
//
// The rate is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, Annex A): a packet is due at a time, may be early by the
// tolerance, and moves that time on by the interval.
func RateCode(cell, old int16, weigh asm.Instructions) asm.Instructions {
	ins := asm.Instructions{
		asm.FnKtimeGetNs.Call().WithSymbol("rate"),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.LoadMem(asm.R3, asm.RFP, cell, asm.DWord),
		asm.LoadMem(asm.R4, asm.R3, Interval, asm.DWord),
		asm.LoadMem(asm.R5, asm.R3, Tolerance, asm.DWord),
		asm.Add.Reg(asm.R5, asm.R2),
	}
	ins = append(ins, weigh...)
	for try := range rateTries {
		late := fmt.Sprintf("late%d", try)
		ins = append(ins,
			asm.LoadMem(asm.R0, asm.R3, Next, asm.DWord),
			asm.StoreMem(asm.RFP, old, asm.R0, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R0),
			asm.JGE.Reg(asm.R1, asm.R2, late),
			asm.Mov.Reg(asm.R1, asm.R2),
			asm.JGT.Reg(asm.R1, asm.R5, "early").WithSymbol(late),
			asm.Add.Reg(asm.R1, asm.R4),
			Atomically(asm.CmpXchg, asm.R3, asm.R1, Next),
			asm.LoadMem(asm.R1, asm.RFP, old, asm.DWord),
			asm.JNE.Reg(asm.R0, asm.R1, fmt.Sprintf("again%d", try)),
			asm.LoadMem(asm.R0, asm.RFP, cell, asm.DWord),
			asm.Ja.Label("accepted"),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(fmt.Sprintf("again%d", try)),
		)
	}
	return append(ins, asm.Mov.Imm(asm.R0, 0).WithSymbol("early"))
}

// Atomically emits op for 64 bits of memory. The encoder of cilium/ebpf 0.22 writes all operations as additions unless they are in the instruction's
// constant as well, where the kernel wants them (Instruction.Marshal sets it after it has been used).
func Atomically(op asm.AtomicOp, dst, src asm.Register, offset int16) asm.Instruction {
	ins := op.Mem(dst, src, asm.DWord, offset)
	ins.Constant = int64(op >> 8)
	return ins
}
