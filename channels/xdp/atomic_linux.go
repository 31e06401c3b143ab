package xdp

import "github.com/cilium/ebpf/asm"

// atomically emits op for 64 bits of memory. The encoder of cilium/ebpf 0.22 writes all operations as additions unless they are in the instruction's
// constant as well, where the kernel wants them (Instruction.Marshal sets it after it has been used).
func atomically(op asm.AtomicOp, dst, src asm.Register, offset int16) asm.Instruction {
	ins := op.Mem(dst, src, asm.DWord, offset)
	ins.Constant = int64(op >> 8)
	return ins
}
