package xdp

import (
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/packet"
)

// TestCutHook has code of its own for the packets of a channel, which counts them in the channel's cell and leaves every second one to the socket.
func TestCutHook(t *testing.T) {
	w := newNetwork(t, 1)
	l, c := w.byHand(t, conformance.NewNode(t), nil, 0)
	const slot = 1
	l.programs.cut = asm.Instructions{
		asm.LoadMem(asm.R1, asm.R0, chanCutCounts, asm.DWord).WithSymbol("cut"),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R2, asm.DWord, chanCutCounts),
		asm.And.Imm(asm.R1, 1),
		asm.JEq.Imm(asm.R1, 0, "socket"),
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
	}
	must(t, l.Claim(conformance.Claims(t, "l0", suiteRules(t)...)))
	var b packet.Batch
	receive := func(want int) {
		t.Helper()
		frame := conformance.UDPFrame(w.mac, conformance.Port, []byte("x"))
		before := l.queues[0].produced.Load()
		w.inject(t, frame, frame, frame, frame)
		conformance.Until(t, func() bool { l.Receive(c, &b); return b.Len() == want })
		c.FreeBatch(&b)
		if got := l.queues[0].produced.Load() - before; got != uint64(want) {
			t.Errorf("%d packets were redirected, want %d", got, want)
		}
	}
	receive(4)
	if n := l.chans.word(slot, chanCutCounts).Load(); n != 0 {
		t.Errorf("a channel that is not cut through has counted %d", n)
	}
	l.chans.word(slot, chanKind).Store(kindCut)
	receive(2)
	if n, p := l.chans.word(slot, chanCutCounts).Load(), l.chans.word(slot, chanProduced).Load(); n != 4 || p != 6 {
		t.Errorf("%d packets met the code and %d the socket, want 4 and 6", n, p)
	}
}
