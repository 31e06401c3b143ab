package demux

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/errs"
)

// maxFilterIns is the most instructions of a program: its jumps reach 32,767.
const maxFilterIns = 32000

// Registers of the generated program between the steps of the walk. What else there is is lost with every call.
//
//	R6  context
//	R7  bits 8 to 23: the number of the protocol in the payload, as the word of an atProto piece; bit 0 and 1: flagLater, flagMore
//	R8  offset of the payload in the packet
//	R9  offset of the payload's end
//
// Words of a packet are numbers whose lowest byte is the first in the packet, so that most machines load them as they are.
//
// The stack, downwards from the frame pointer:
const (
	stackBuf   = -40                                // header bytes, where there is no direct access to the packet
	stackWords = stackBuf - 8*maxWords              // key of a table
	stackSteps = stackWords - 8*stepSlots*MaxLayers // what the walk has found out, of layers that it comes back to
	stackAge   = stackSteps - 8                     // of the best rule yet, among groups with equally many bits
	stackID    = stackAge - 8                       // its number, or -1
	stackHash  = stackID - 8                        // of the key in stackWords
	stackRaw   = stackHash - 8*maxLoads             // words that several groups look at, without their masks
)

// Fields of a step on the stack. Each has 8 bytes, whose bounds all verifiers remember.
const (
	slotHdr = iota * 8
	slotInfo
	slotPay
	slotEnd
	stepSlots = iota
)

const (
	flagLater = 1
	flagMore  = 2
)

// Offsets in struct __sk_buff (linux/bpf.h), which the kernel keeps.
const (
	skbLen         = 0
	skbVLANPresent = 20
	skbVLANTCI     = 24
	skbVLANProto   = 28
)

// Offsets in struct xdp_md.
const (
	xdpData    = 0
	xdpDataEnd = 4
)

// maxXDPOffset is the largest offset of a header that a program for XDP follows: the verifier wants a bound, and a frame of XDP
// is a page at most.
const maxXDPOffset = 0x3fff

// filter returns an eBPF program, for XDP or for skbs (socket filter or tc), of packets that begin with their Ethernet header. It runs match when some
// rule of p matches, as Match has it, and miss otherwise. Both must end in a return, find the context in R6, and
// may use the whole stack. In match R7 is the number of the rule, R8 the offset in the packet of the payload that Match would pull to, and R9 that of its
// end. A VLAN tag that the kernel has taken out of an skb's data counts as if it were there, but the offsets are without it; XDP sees tags only where
// they are in the data. Of super-frames, which generic XDP may meet, a program for XDP matches no headers beyond their first 16 KiB.
// Only programs whose base is Ether have a filter.
//
// Groups for which table returns something are looked up there; the keys of others are in the instructions, whose number is bounded (errs.Limit).
func (p *Program) filter(xdp bool, match, miss asm.Instructions, table func(*group) (*bpfTable, *fixed)) (asm.Instructions, error) {
	if p.base != Ether {
		return nil, errs.New(errs.NotSupported, "demux: no filter for links whose frames begin with %s", p.base)
	}
	if len(match) == 0 || len(miss) == 0 {
		return nil, errs.New(errs.Internal, "demux: filter without verdicts")
	}
	g := &filterGen{xdp: xdp, table: table}
	g.add(asm.Mov.Reg(asm.R6, asm.R1))
	if xdp {
		g.add(
			asm.LoadMem(asm.R5, asm.R6, xdpData, asm.Word),
			asm.LoadMem(asm.R2, asm.R6, xdpDataEnd, asm.Word),
			asm.Mov.Reg(asm.R9, asm.R2), asm.Sub.Reg(asm.R9, asm.R5),
		)
		g.fresh = true
	} else {
		g.add(asm.LoadMem(asm.R9, asm.R6, skbLen, asm.Word))
	}
	g.add(asm.Mov.Imm(asm.R8, 0), asm.Mov.Imm(asm.R7, 0))
	if p.rules == 0 { // never taken: the verifier wants every instruction to be reachable
		g.add(asm.JSLT.Imm(asm.R9, 0, "match"))
	}
	g.node(p.root, nil, "miss")
	g.here("miss")
	g.add(miss...)
	g.here("match")
	g.add(match...)
	if len(g.ins) > maxFilterIns {
		return nil, errs.New(errs.Limit, "demux: the filter would have %d instructions, at most %d are possible; use fewer mask shapes or shorter protocol strings",
			len(g.ins), maxFilterIns)
	}
	return g.ins, nil
}

// filterGen writes the program.
type filterGen struct {
	ins     asm.Instructions
	labels  int
	pending string // label of the next instruction
	xdp     bool
	table   func(*group) (*bpfTable, *fixed)

	fresh bool  // XDP: R5 and R2 are start and end of the packet
	bound int64 // R8 is not larger
	whole bool  // R9 is the end of the packet
	frags bool  // a header of IP has been passed, so R7 may have flags
	win   *window
}

// window is bytes of a header that the last instructions have looked at and that can be loaded again: n of them, from the header's start.
type window struct {
	depth, n int
	base     asm.Register
	off      int16
}

func (g *filterGen) add(ins ...asm.Instruction) {
	if g.pending != "" && len(ins) > 0 {
		if ins[0].Symbol() != "" {
			g.ins = append(g.ins, asm.Mov.Imm(asm.R0, 0).WithSymbol(g.pending))
		} else {
			ins = append(asm.Instructions{ins[0].WithSymbol(g.pending)}, ins[1:]...)
		}
		g.pending = ""
	}
	g.ins = append(g.ins, ins...)
}

func (g *filterGen) label() string {
	g.labels++
	return fmt.Sprintf("demux.%d", g.labels)
}

// here places a label. What comes may come from elsewhere, so nothing is known of R5.
func (g *filterGen) here(label string) {
	g.merge(label)
	g.win, g.fresh = nil, false
}

// merge is here for a label that is jumped to from a few instructions before only.
func (g *filterGen) merge(label string) {
	if g.pending != "" {
		g.add(asm.Mov.Imm(asm.R0, 0))
	}
	g.pending = label
}

// jump goes to label always, but looks conditional, so that what follows is not unreachable to the verifier, which then makes it unconditional.
func (g *filterGen) jump(label string) { g.add(asm.JGE.Imm(asm.R8, 0, label)) }

func slot(depth, field int) int16 { return int16(stackSteps + 8*stepSlots*(depth-1) + field) }

func (g *filterGen) load(r asm.Register, depth, field int) {
	g.add(asm.LoadMem(r, asm.RFP, slot(depth, field), asm.DWord))
}

func (g *filterGen) save(depth, field int, r asm.Register) {
	g.add(asm.StoreMem(asm.RFP, slot(depth, field), r, asm.DWord))
}

// little turns what was loaded as a number of the machine into a word.
func (g *filterGen) little(r asm.Register, size asm.Size) {
	if size != asm.Byte && binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		g.add(asm.HostTo(asm.LE, r, size))
	}
}

// be16 loads two bytes of a header as a number.
func (g *filterGen) be16(r asm.Register, at int) {
	g.field(r, at, asm.Half)
	g.add(asm.HostTo(asm.BE, r, asm.Half))
}

// field loads bytes of the window as they are.
func (g *filterGen) field(r asm.Register, at int, size asm.Size) {
	g.add(asm.LoadMem(r, g.win.base, g.win.off+int16(at), size))
}

// open makes a window of n bytes at pos+off, where pos is a register with an offset in the packet, or goes to fail. bounded says that the verifier knows
// pos to be small.
// Lost are R0 to R5, for XDP only R1, R2 and R5.
func (g *filterGen) open(depth int, pos asm.Register, off int32, n int, bounded bool, fail string) {
	if !g.xdp {
		g.add(
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, pos),
			asm.Add.Imm(asm.R2, off),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, stackBuf),
			asm.Mov.Imm(asm.R4, int32(n)),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, fail),
		)
		g.win = &window{depth: depth, n: n, base: asm.RFP, off: stackBuf}
		return
	}
	g.point(pos, bounded, fail)
	g.add(
		asm.Mov.Reg(asm.R1, asm.R5),
		asm.Add.Imm(asm.R1, off+int32(n)),
		asm.JGT.Reg(asm.R1, asm.R2, fail),
	)
	g.win = &window{depth: depth, n: n, base: asm.R5, off: int16(off)}
}

// point sets R5 to the byte at pos and R2 to the end of the packet.
func (g *filterGen) point(pos asm.Register, bounded bool, fail string) {
	if !bounded {
		g.add(asm.JGT.Imm(pos, maxXDPOffset, fail))
	}
	if !g.fresh {
		g.add(asm.LoadMem(asm.R5, asm.R6, xdpData, asm.Word), asm.LoadMem(asm.R2, asm.R6, xdpDataEnd, asm.Word))
	}
	g.fresh = false
	g.add(asm.Add.Reg(asm.R5, pos))
}

// header opens a window of the first n bytes of a header at R8 whose room must be at least room bytes, or goes to fail.
func (g *filterGen) header(depth, n, room int, fail string) {
	if !g.whole || room > n {
		g.room(int32(room), fail)
	}
	g.open(depth, asm.R8, 0, n, g.bound <= maxXDPOffset, fail)
}

// room goes to fail when fewer than n bytes of payload follow R8.
func (g *filterGen) room(n int32, fail string) {
	g.add(asm.Mov.Reg(asm.R1, asm.R8), asm.Add.Imm(asm.R1, n), asm.JGT.Reg(asm.R1, asm.R9, fail))
}

// blur makes the verifier forget what it knows of R8 but the bound, on ways that few packets take. It would follow the rest of the program once for each of
// these ways, and so does it once for all.
func (g *filterGen) blur(fail string) {
	g.add(asm.Mov.Reg(asm.R1, asm.R9), asm.Sub.Reg(asm.R1, asm.R8), asm.Mov.Reg(asm.R8, asm.R9), asm.Sub.Reg(asm.R8, asm.R1))
	if g.xdp {
		g.add(asm.JGT.Imm(asm.R8, int32(g.bound), fail))
	}
}

// node writes the code for a packet that has all layers down to n: first its children, then its groups. It ends with the packets that match nothing, and next
// must be placed there. parents are the nodes above n.
func (g *filterGen) node(n *node, parents []*node, next string) {
	var children []*node
	for _, c := range n.children {
		if c != nil {
			children = append(children, c)
		}
	}
	groups := next
	again := len(children) > 1 || len(children) > 0 && len(n.groups) > 0
	if again && n.depth > 0 {
		g.save(n.depth, slotInfo, asm.R7)
		g.save(n.depth, slotPay, asm.R8)
		g.save(n.depth, slotEnd, asm.R9)
	}
	if again {
		groups = g.label()
	}
	whole, frags := g.whole, g.frags
	if n.depth == 0 {
		whole = true
	}
	if len(children) > 0 && (n.layer == IPv4 || n.layer == IPv6) {
		g.add(asm.JSet.Imm(asm.R7, flagLater, groups))
	}
	above := append(parents, n)
	for i, c := range children {
		other := groups
		if i < len(children)-1 {
			other = g.label()
		}
		g.whole, g.frags = whole, frags
		g.chooses(n, c.layer, other)
		g.parse(c, other)
		g.node(c, above, other)
		if other != next {
			g.here(other)
			g.restore(n, whole, frags)
		}
	}
	g.whole, g.frags = whole, frags
	g.groups(n, above, next)
}

// restore brings back what the walk knew at n.
func (g *filterGen) restore(n *node, whole, frags bool) {
	g.whole, g.frags = whole, frags
	if n.depth > 0 {
		g.load(asm.R7, n.depth, slotInfo)
		g.load(asm.R8, n.depth, slotPay)
		g.load(asm.R9, n.depth, slotEnd)
		g.bound = 1 << 32
		return
	}
	g.bound = 0
	g.add(asm.Mov.Imm(asm.R7, 0), asm.Mov.Imm(asm.R8, 0))
	if g.xdp {
		g.add(asm.LoadMem(asm.R9, asm.R6, xdpDataEnd, asm.Word), asm.LoadMem(asm.R1, asm.R6, xdpData, asm.Word), asm.Sub.Reg(asm.R9, asm.R1))
	} else {
		g.add(asm.LoadMem(asm.R9, asm.R6, skbLen, asm.Word))
	}
}

// protoWord is the word of an atProto piece for an Ethernet type.
func protoWord(etherType int32) int32 { return etherType>>8 | etherType&0xff<<8 }

// chooses goes to other unless the payload of n is of layer l.
func (g *filterGen) chooses(n *node, l Layer, other string) {
	var want int32
	switch {
	case n.layer == None || l == ANEP:
		return
	case n.layer == Ether && l == IPv4:
		want = protoWord(etherIPv4)
	case n.layer == Ether:
		want = protoWord(etherIPv6)
	case l == IPv4:
		want = protoIPv4 << 8
	case l == IPv6:
		want = protoIPv6 << 8
	case l == UDP:
		want = protoUDP << 8
	case l == TCP:
		want = protoTCP << 8
	}
	g.add(asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, 8), asm.JNE.Imm(asm.R1, want, other))
}

// wantsHeader reports whether some group of n or below looks at the header of layer depth, other than by R8.
func (n *node) wantsHeader(depth int) bool {
	found := false
	n.each(func(at *node, gr *group) {
		for _, pc := range gr.shape {
			found = found || pc.anchor == atHeader && int(pc.depth) == depth
		}
	})
	return found
}

// parse reads the header of c at R8 and sets R7 to R9 as they are inside it, or goes to fail.
func (g *filterGen) parse(c *node, fail string) {
	d := c.depth
	if c.layer != Ether && c.wantsHeader(d) {
		g.save(d, slotHdr, asm.R8)
	}
	switch c.layer {
	case Ether:
		g.ether(d, fail)
	case IPv4:
		g.ipv4(d, fail)
	case IPv6:
		g.ipv6(d, fail)
	case UDP:
		g.header(d, 8, 8, fail)
		g.be16(asm.R4, 4)
		g.add(asm.JLT.Imm(asm.R4, 8, fail))
		g.shorten(fail)
		g.add(asm.Add.Imm(asm.R8, 8))
		g.bound += 8
	case TCP:
		g.header(d, 20, 20, fail)
		g.field(asm.R4, 12, asm.Byte)
		g.add(
			asm.RSh.Imm(asm.R4, 4), asm.LSh.Imm(asm.R4, 2), asm.JLT.Imm(asm.R4, 20, fail),
			asm.Add.Reg(asm.R8, asm.R4), asm.JGT.Reg(asm.R8, asm.R9, fail),
		)
		g.bound += 60
	case ANEP:
		g.header(d, 8, 8, fail)
		g.field(asm.R1, 0, asm.Byte)
		g.add(asm.JNE.Imm(asm.R1, 1, fail))
		g.be16(asm.R3, 4)
		g.be16(asm.R4, 6)
		g.add(
			asm.LSh.Imm(asm.R3, 2), asm.JLT.Imm(asm.R3, 8, fail), asm.JLT.Reg(asm.R4, asm.R3, fail),
			asm.Add.Reg(asm.R3, asm.R8), asm.JGT.Reg(asm.R3, asm.R9, fail),
		)
		g.shorten(fail)
		g.add(asm.Mov.Reg(asm.R8, asm.R3))
		g.bound += 4 * 0xffff
	}
	g.whole = c.layer == Ether
	g.frags = g.frags || c.layer == IPv4 || c.layer == IPv6
}

// shorten ends the payload R4 bytes behind R8. More than there is is only allowed in a first fragment.
func (g *filterGen) shorten(fail string) {
	g.add(asm.Add.Reg(asm.R4, asm.R8))
	if !g.frags {
		g.add(asm.JGT.Reg(asm.R4, asm.R9, fail), asm.Mov.Reg(asm.R9, asm.R4))
		return
	}
	fits, done := g.label(), g.label()
	g.add(
		asm.JLE.Reg(asm.R4, asm.R9, fits),
		asm.JSet.Imm(asm.R7, flagMore, done),
		asm.Ja.Label(fail),
	)
	g.merge(fits)
	g.add(asm.Mov.Reg(asm.R9, asm.R4))
	g.merge(done)
}

func (g *filterGen) ether(d int, fail string) {
	g.bound = 0
	g.header(d, 14, 14, fail)
	g.field(asm.R7, 12, asm.Half)
	g.little(asm.R7, asm.Half)
	g.add(asm.Mov.Imm(asm.R8, 14))
	g.bound = 14
	done := g.label()
	for i := range maxVLANTags {
		tag := g.label()
		g.add(
			asm.JEq.Imm(asm.R7, protoWord(etherVLAN), tag),
			asm.JNE.Imm(asm.R7, protoWord(etherSVID), done),
		)
		g.merge(tag)
		if i == maxVLANTags-1 && !g.xdp { // a tag beside the data is one of those that are skipped
			g.add(asm.LoadMem(asm.R2, asm.R6, skbVLANPresent, asm.Word), asm.JNE.Imm(asm.R2, 0, done))
		}
		g.header(d, 4, 4, fail)
		g.field(asm.R7, 2, asm.Half)
		g.little(asm.R7, asm.Half)
		g.add(asm.Add.Imm(asm.R8, 4))
		g.bound += 4
		g.blur(fail)
	}
	g.here(done)
	g.add(asm.LSh.Imm(asm.R7, 8))
}

// inherit clears in R7 what is not passed on to the next header of IP.
func (g *filterGen) inherit() {
	if g.frags {
		g.add(asm.And.Imm(asm.R7, flagMore))
	}
}

func (g *filterGen) ipv4(d int, fail string) {
	notLater, done := g.label(), g.label()
	g.header(d, 20, 20, fail)
	g.field(asm.R1, 0, asm.Byte)
	g.add(
		asm.Mov.Reg(asm.R3, asm.R1), asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 4, fail),
		asm.And.Imm(asm.R3, 15), asm.LSh.Imm(asm.R3, 2), asm.JLT.Imm(asm.R3, 20, fail),
	)
	g.be16(asm.R4, 2)
	g.add(
		asm.JLT.Reg(asm.R4, asm.R3, fail),
		asm.Add.Reg(asm.R4, asm.R8), asm.JGT.Reg(asm.R4, asm.R9, fail),
		asm.Mov.Reg(asm.R9, asm.R4),
		asm.Add.Reg(asm.R8, asm.R3),
	)
	g.inherit()
	g.field(asm.R1, 9, asm.Byte)
	g.add(asm.LSh.Imm(asm.R1, 16))
	if g.frags {
		g.add(asm.Or.Reg(asm.R7, asm.R1))
	} else {
		g.add(asm.Mov.Reg(asm.R7, asm.R1))
	}
	g.field(asm.R4, 6, asm.Half)
	g.little(asm.R4, asm.Half)
	g.add(
		asm.And.Imm(asm.R4, protoWord(0x3fff)), asm.JEq.Imm(asm.R4, 0, done),
		asm.Mov.Reg(asm.R1, asm.R4), asm.And.Imm(asm.R1, protoWord(0x1fff)), asm.JEq.Imm(asm.R1, 0, notLater),
		asm.Or.Imm(asm.R7, flagLater),
	)
	g.merge(notLater)
	g.add(asm.And.Imm(asm.R4, protoWord(0x2000)), asm.JEq.Imm(asm.R4, 0, done), asm.Or.Imm(asm.R7, flagMore))
	g.merge(done)
	g.bound += 60
	if g.frags { // few packets have IP in IP
		g.bound = min(g.bound, maxXDPOffset)
		g.blur(fail)
	}
}

func (g *filterGen) ipv6(d int, fail string) {
	done := g.label()
	g.header(d, 8, 40, fail)
	g.field(asm.R1, 0, asm.Byte)
	g.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, fail))
	g.be16(asm.R4, 4)
	g.field(asm.R1, 6, asm.Byte)
	g.add(
		asm.Add.Imm(asm.R8, 40),
		asm.Add.Reg(asm.R4, asm.R8), asm.JGT.Reg(asm.R4, asm.R9, fail),
		asm.Mov.Reg(asm.R9, asm.R4),
	)
	g.inherit()
	g.add(asm.LSh.Imm(asm.R1, 16))
	if g.frags {
		g.add(asm.Or.Reg(asm.R7, asm.R1))
	} else {
		g.add(asm.Mov.Reg(asm.R7, asm.R1))
	}
	g.bound += 40
	g.whole = false
	extensions := [...]int32{protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoAH, protoFragment}
	for i := range maxExtensions + 1 {
		ext, fragment, ah, sized := g.label(), g.label(), g.label(), g.label()
		g.add(
			asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, 16),
			asm.JEq.Imm(asm.R1, protoUDP, done), asm.JEq.Imm(asm.R1, protoTCP, done), // most are
		)
		for _, proto := range extensions {
			if i == maxExtensions {
				g.add(asm.JEq.Imm(asm.R1, proto, fail))
			} else {
				g.add(asm.JEq.Imm(asm.R1, proto, ext))
			}
		}
		if i == maxExtensions {
			break
		}
		g.add(asm.Ja.Label(done))
		g.here(ext)
		g.header(d, 8, 8, fail)
		g.field(asm.R3, 0, asm.Byte)
		g.field(asm.R4, 1, asm.Byte)
		g.add(
			asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, 16),
			asm.And.Imm(asm.R7, flagMore|flagLater),
			asm.JEq.Imm(asm.R1, protoFragment, fragment),
			asm.JEq.Imm(asm.R1, protoAH, ah),
			asm.LSh.Imm(asm.R4, 3), asm.Add.Imm(asm.R4, 8), asm.Ja.Label(sized),
		)
		g.merge(ah)
		g.add(asm.LSh.Imm(asm.R4, 2), asm.Add.Imm(asm.R4, 8), asm.Ja.Label(sized))
		g.merge(fragment)
		g.be16(asm.R1, 2)
		notLater := g.label()
		g.add(
			asm.Mov.Imm(asm.R4, 8),
			asm.Mov.Reg(asm.R0, asm.R1), asm.And.Imm(asm.R0, 0xfff8), asm.JEq.Imm(asm.R0, 0, notLater),
			asm.Or.Imm(asm.R7, flagLater),
		)
		g.merge(notLater)
		g.add(asm.And.Imm(asm.R1, 1), asm.JEq.Imm(asm.R1, 0, sized), asm.Or.Imm(asm.R7, flagMore))
		g.merge(sized)
		g.add(
			asm.Add.Reg(asm.R8, asm.R4), asm.JGT.Reg(asm.R8, asm.R9, fail),
			asm.LSh.Imm(asm.R3, 16), asm.Or.Reg(asm.R7, asm.R3),
		)
		g.bound = min(g.bound+8+8*255, maxXDPOffset)
		g.blur(fail)
		g.add(asm.JSet.Imm(asm.R7, flagLater, done))
	}
	g.here(done)
	if g.frags { // few packets have IP in IP
		g.blur(fail)
	}
}
