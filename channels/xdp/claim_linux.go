package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// Verdicts of XDP programs (enum xdp_action of linux/bpf.h).
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

// Offsets in struct xdp_md.
const (
	mdData    = 0
	mdDataEnd = 4
	mdQueue   = 16
)

// A cell is what programs and user space share about one queue. Each side writes to a cache line of its own.
//
//	 0  produced  packets that were redirected to the socket
//	 8  full      packets that were dropped because the credit was used up
//	16  long      packets that were dropped because no frame holds them
//	64  consumed  of produced, those that user space has taken, or knows to be lost
//	72  credit    how far produced may be ahead of consumed
const (
	cellProduced = 0
	cellFull     = 8
	cellLong     = 16
	cellConsumed = 64
	cellCredit   = 72
	cellSize     = 128
)

// programs are the link's eBPF objects. The entry program is attached once and calls what slot 0 of an array holds: the decision, which
// is replaced by one update of the slot. A packet is judged by one decision, the old or the new. A decision answers with slots of channels: the node
// does not give one to another channel before no processor can still run a decision that knows the first.
type programs struct {
	chans    *chans    // of the node, by slot
	cells    *ebpf.Map // array of cells, by queue
	sockets  *ebpf.Map // XSKMAP, by queue
	slots    *ebpf.Map // program array of one
	entry    *ebpf.Program
	tables   *demux.Tables
	judged   *demux.Program // whose rules the decision has; nil: there is none
	decision *ebpf.Program  // nil: slot 0 is empty, and all is the host's
	attached link.Link
	words    *sys.SharedWords
	longest  int // bytes of a frame that user space can take

	// serial says that at no time two processors run the program for the same queue. Then what it redirects to the queue's socket is counted without an
	// atomic operation, which costs as much as a dozen others; and with one queue also what goes to channels that are on this link only.
	serial bool
	queues int

	// cut is what is done with the packets of cut-through channels: nil if there is nothing to do it with, and then such a channel's go to the socket.
	// It begins with the context in R6, the slot in R7, offset and end of the payload in R8 and R9, and the address of the channel's
	// cell in R0, also at claimCell on the stack; R1 to R5 and the stack below claimStack are free. The packet's rate has been
	// checked. It ends in a return, or jumps to "socket" with R6 as it was if user space is to have the packet, unchanged. Its labels begin with "cut".
	cut asm.Instructions
}

// The stack of claimedCode.
const (
	claimKey   = -4  // slot or queue, for lookups
	claimCell  = -16 // address of the channel's cell
	claimOld   = -24 // when the next packet was due
	claimStack = -24
)

// newPrograms makes the maps and the entry program for queues 0 to queues-1. Frames for other hardware addresses than mac are left to the host, unless promisc.
func newPrograms(chans *chans, queues, longest int, mac [6]byte, promisc bool) (_ *programs, err error) {
	p := &programs{chans: chans, queues: queues, longest: longest, tables: demux.NewTables(true)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.cells, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_cells", Type: ebpf.Array, KeySize: 4, ValueSize: cellSize, MaxEntries: uint32(queues), Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return nil, fmt.Errorf("map of cells: %w", err)
	}
	if p.words, err = sys.MapSharedWords(p.cells.FD(), queues*cellSize); err != nil {
		return nil, err
	}
	for q := range queues { // without a socket packets are the host's: they shall not find the credit used up
		p.words.At(q*cellSize + cellCredit).Store(math.MaxInt64)
	}
	if p.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_xsks", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)}); err != nil {
		return nil, fmt.Errorf("map of sockets: %w", err)
	}
	if p.slots, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_slots", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("program array: %w", err)
	}
	if p.entry, err = load("janos_xdp", entryCode(p.slots.FD(), mac, promisc)); err != nil {
		return nil, err
	}
	return p, nil
}

// load gives a program to the kernel. What the verifier says is in the error; all of it with %+v.
func load(name string, ins asm.Instructions) (*ebpf.Program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "GPL", Instructions: ins})
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) && !errors.Is(err, unix.EPERM) {
		return nil, errs.New(errs.NotSupported, "the kernel's verifier refused program %s of %d instructions (a defect of ours, or a kernel too old; driver packet does without): %w", name, len(ins), err)
	}
	if err != nil {
		return nil, fmt.Errorf("loading XDP program %s: %w", name, err)
	}
	return prog, nil
}

// entryCode leaves frames for others to the host and calls the decision for the rest. With an empty slot the call fails, and
// everything is the host's.
func entryCode(slots int, mac [6]byte, promisc bool) asm.Instructions {
	var ins asm.Instructions
	if !promisc {
		var eight [8]byte
		copy(eight[:], mac[:])
		own, cut := binary.NativeEndian.Uint64(eight[:])<<16, asm.LSh.Imm(asm.R4, 16)
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // the last bytes are the lowest
			own, cut = own>>32, asm.RSh.Imm(asm.R4, 16)
		}
		ins = append(ins,
			asm.LoadMem(asm.R2, asm.R1, mdData, asm.Word),
			asm.LoadMem(asm.R3, asm.R1, mdDataEnd, asm.Word),
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, demux.EtherLen),
			asm.JGT.Reg(asm.R4, asm.R3, "pass"),
			asm.LoadMem(asm.R4, asm.R2, 0, asm.DWord), // and two bytes more
			cut,
			asm.LoadImm(asm.R5, int64(own), asm.DWord),
			asm.JEq.Reg(asm.R4, asm.R5, "ours"),
			asm.LoadMem(asm.R4, asm.R2, 0, asm.Byte),
			asm.And.Imm(asm.R4, 1), // groups
			asm.JEq.Imm(asm.R4, 0, "pass"),
		)
	}
	return append(ins,
		asm.LoadMapPtr(asm.R2, slots).WithSymbol("ours"),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	)
}

// claimedCode is what a decision does with a claimed packet: it keeps the channel to its rate, and redirects the packet to the queue's socket if
// the channel and the queue have credit. The context is in R6, the channel's slot in R7. Queues without a socket leave it to the host.
func (p *programs) claimedCode() asm.Instructions {
	one := func(word int16, from asm.Register) asm.Instructions {
		return asm.Instructions{asm.Mov.Imm(asm.R1, 1), asm.AddAtomic.Mem(from, asm.R1, asm.DWord, word)}
	}
	drop := func(label string, word int16, from asm.Register) asm.Instructions {
		ins := append(one(word, from), asm.Mov.Imm(asm.R0, xdpDrop), asm.Return())
		ins[0] = ins[0].WithSymbol(label)
		return ins
	}
	ins := asm.Instructions{
		asm.StoreMem(asm.RFP, claimKey, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, p.chans.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, claimKey),
		asm.FnMapLookupElem.Call(), // the kernel writes out lookups in arrays, so this is no call
		asm.JEq.Imm(asm.R0, 0, "host"),
		asm.StoreMem(asm.RFP, claimCell, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, chanInterval, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "rate"),
	}
	if p.cut != nil {
		ins = append(ins,
			asm.LoadMem(asm.R1, asm.R0, chanKind, asm.DWord).WithSymbol("accepted"),
			asm.JNE.Imm(asm.R1, kindSocket, "cut"),
			asm.LoadMem(asm.R7, asm.RFP, claimCell, asm.DWord).WithSymbol("socket"),
		)
	} else {
		ins = append(ins, asm.LoadMem(asm.R7, asm.RFP, claimCell, asm.DWord).WithSymbol("accepted"))
	}
	ins = append(ins,
		asm.LoadMem(asm.R1, asm.R6, mdQueue, asm.Word),
		asm.StoreMem(asm.RFP, claimKey, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, p.cells.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, claimKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "host"),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R1, asm.R6, mdDataEnd, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.JGT.Imm(asm.R1, int32(p.longest), "long"),
		asm.LoadMem(asm.R1, asm.R7, chanProduced, asm.DWord),
		asm.LoadMem(asm.R2, asm.R7, chanConsumed, asm.DWord),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, asm.R7, chanCredit, asm.DWord),
		asm.JSGE.Reg(asm.R1, asm.R2, "chanfull"),
		asm.LoadMem(asm.R1, asm.R8, cellProduced, asm.DWord),
		asm.LoadMem(asm.R2, asm.R8, cellConsumed, asm.DWord),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, asm.R8, cellCredit, asm.DWord),
		asm.JSGE.Reg(asm.R1, asm.R2, "full"),
		asm.LoadMapPtr(asm.R1, p.sockets.FD()),
		asm.LoadMem(asm.R2, asm.RFP, claimKey, asm.Word),
		asm.Mov.Imm(asm.R3, xdpPass), // if there is no socket
		asm.FnRedirectMap.Call(),
		asm.JNE.Imm(asm.R0, xdpRedirect, "done"),
	)
	if p.serial {
		ins = append(ins,
			asm.LoadMem(asm.R1, asm.R8, cellProduced, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R8, cellProduced, asm.R1, asm.DWord),
		)
	} else {
		ins = append(ins, one(cellProduced, asm.R8)...)
	}
	if p.serial && p.queues == 1 {
		ins = append(ins,
			asm.LoadMem(asm.R1, asm.R7, chanAlone, asm.DWord),
			asm.JEq.Imm(asm.R1, 0, "several"),
			asm.LoadMem(asm.R1, asm.R7, chanProduced, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R7, chanProduced, asm.R1, asm.DWord),
			asm.Return(),
		)
	}
	several := one(chanProduced, asm.R7)
	several[0] = several[0].WithSymbol("several")
	ins = append(ins, several...)
	ins = append(ins, asm.Return().WithSymbol("done"))
	ins = append(ins, drop("chanfull", chanFull, asm.R7)...)
	ins = append(ins, drop("full", cellFull, asm.R8)...)
	ins = append(ins, drop("long", cellLong, asm.R8)...)
	ins = append(ins, asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("host"), asm.Return())

	ins = append(ins, cells.RateCode(claimCell, claimOld, nil)...)
	ins = append(ins, drop("limited", chanLimited, asm.R3)...)
	return append(ins, p.cut...)
}

// decide makes the decision that of a demux program. Most changes are of the maps that the decision looks into; others take another decision.
func (p *programs) decide(d *demux.Program) error {
	err := p.follow(d)
	if err == nil {
		p.judged = d
		return nil
	}
	if p.judged != nil {
		if back := p.follow(p.judged); back != nil {
			return fmt.Errorf("%w (and going back failed: %v)", err, back)
		}
	}
	return err
}

func (p *programs) follow(d *demux.Program) error {
	replace, err := p.tables.Follow(d)
	if err != nil || !replace {
		return err
	}
	// Without rules there is a program all the same: emptying the slot would wait for a grace period, filling it does not.
	ins, err := p.tables.Code(p.claimedCode(), asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()})
	if err != nil {
		return err
	}
	next, err := load("janos_decision", ins)
	if err != nil {
		return err
	}
	if err := p.slots.Put(uint32(0), next); err != nil {
		next.Close()
		return fmt.Errorf("updating the program array: %w", err)
	}
	p.tables.Installed()
	if p.decision != nil {
		p.decision.Close()
	}
	p.decision = next
	return nil
}

// attach puts the entry program on the interface, in the calling thread's network namespace. The kernel refuses if there is a program already; it
// is never replaced. The attachment ends with the process.
func (p *programs) attach(ifindex int, flags link.XDPAttachFlags) (err error) {
	p.attached, err = link.AttachXDP(link.XDPOptions{Program: p.entry, Interface: ifindex, Flags: flags})
	return err
}

// close takes the program off the interface and forgets all.
func (p *programs) close() error {
	var first error
	if p.attached != nil {
		// An interface that is gone has detached it, which is no error.
		first = p.attached.Close()
	}
	for _, g := range [...]*ebpf.Program{p.entry, p.decision} {
		if g != nil {
			g.Close()
		}
	}
	p.tables.Close()
	if p.words != nil {
		p.words.Close()
	}
	for _, m := range [...]*ebpf.Map{p.slots, p.sockets, p.cells} {
		if m != nil {
			m.Close()
		}
	}
	return first
}
