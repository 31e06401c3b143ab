package demux

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/errs"
)

// MaxFilterKeys is the most keys that Filter writes out one after the other.
const MaxFilterKeys = 512

// Stack of the generated program, downwards from the frame pointer:
//
//	 -48  buf    header bytes as they were loaded
//	-176  words  a packet's masked words, as piece by piece loaded
//	-196  step 0, -216 step 1, ...  what the walk found out, as type step has it
const (
	stackBuf   = -48
	stackWords = stackBuf - 8*maxWords
	stackSteps = stackWords - 20
)

// Fields of a step on the stack.
const (
	slotHdr = iota * 4
	slotPay
	slotEnd
	slotProto
	slotFlags
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

// Filter returns an eBPF program for skbs (socket filter or tc) that begin with their Ethernet header. It runs match when some
// rule of p matches, as Match has it, and miss otherwise; both must end in a return, find the context in R6, and
// may use the whole stack. A VLAN tag that the kernel has taken out of the data counts as if it were
// there. Only programs whose base is Ether have a filter, and only up to MaxFilterKeys rules (errs.Limit).
func (p *Program) Filter(match, miss asm.Instructions) (asm.Instructions, error) {
	return p.filter(false, match, miss)
}

// FilterXDP is Filter for a program of type XDP. It sees tags only where they are in the data. Of super-frames, which generic XDP may meet, it matches
// no headers beyond their first 16 KiB.
func (p *Program) FilterXDP(match, miss asm.Instructions) (asm.Instructions, error) {
	return p.filter(true, match, miss)
}

func (p *Program) filter(xdp bool, match, miss asm.Instructions) (asm.Instructions, error) {
	if p.base != Ether {
		return nil, errs.New(errs.NotSupported, "demux: no filter for links whose frames begin with %s", p.base)
	}
	if p.rules > MaxFilterKeys {
		return nil, errs.New(errs.Limit, "demux: %d rules on one link, a filter holds at most %d", p.rules, MaxFilterKeys)
	}
	if len(match) == 0 || len(miss) == 0 {
		return nil, errs.New(errs.Internal, "demux: filter without verdicts")
	}
	g := &filterGen{xdp: xdp}
	g.add(asm.Mov.Reg(asm.R6, asm.R1))
	if xdp {
		g.add(
			asm.LoadMem(asm.R8, asm.R6, xdpDataEnd, asm.Word),
			asm.LoadMem(asm.R1, asm.R6, xdpData, asm.Word),
			asm.Sub.Reg(asm.R8, asm.R1),
		)
	} else {
		g.add(asm.LoadMem(asm.R8, asm.R6, skbLen, asm.Word))
	}
	g.add(g.store(0, slotHdr, 0), g.store(0, slotPay, 0), g.store(0, slotProto, 0), g.store(0, slotFlags, 0))
	g.add(asm.StoreMem(asm.RFP, slot(0, slotEnd), asm.R8, asm.Word))
	if p.rules == 0 { // never taken: the verifier wants every instruction to be reachable
		g.add(asm.JSLT.Imm(asm.R8, 0, "match"))
	}
	g.node(p.root)
	g.add(miss...)
	match = append(asm.Instructions(nil), match...)
	match[0] = match[0].WithSymbol("match")
	g.add(match...)
	return g.ins, nil
}

// filterGen writes the program. R6 is the context, R7 an offset in the packet, R8 the end of the
// present payload; R0 to R5 are lost with every call.
type filterGen struct {
	ins    asm.Instructions
	labels int
	xdp    bool
}

func (g *filterGen) add(ins ...asm.Instruction) { g.ins = append(g.ins, ins...) }

func (g *filterGen) label() string {
	g.labels++
	return fmt.Sprintf("l%d", g.labels)
}

// place puts a label here.
func (g *filterGen) place(label string) { g.add(asm.Mov.Imm(asm.R0, 0).WithSymbol(label)) }

// jump goes to label always, but looks conditional, so that what follows is not unreachable to the verifier.
func (g *filterGen) jump(label string) { g.add(asm.JGE.Imm(asm.R8, 0, label)) }

func slot(depth, field int) int16 { return int16(stackSteps - 20*depth + field) }

func (g *filterGen) store(depth, field int, v int64) asm.Instruction {
	return asm.StoreImm(asm.RFP, slot(depth, field), v, asm.Word)
}

func (g *filterGen) load(r asm.Register, depth, field int) asm.Instruction {
	return asm.LoadMem(r, asm.RFP, slot(depth, field), asm.Word)
}

func (g *filterGen) save(depth, field int, r asm.Register) asm.Instruction {
	return asm.StoreMem(asm.RFP, slot(depth, field), r, asm.Word)
}

// fetch copies n bytes at R7+off to stack+to, or goes to fail.
func (g *filterGen) fetch(off int32, n int, to int32, fail string) {
	if g.xdp {
		g.fetchXDP(off, n, to, fail)
		return
	}
	g.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, off),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, to),
		asm.Mov.Imm(asm.R4, int32(n)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, fail),
	)
}

// fetchXDP is fetch by direct access instead of a call. The comparisons repeat what room has found out, in the form
// that the verifier understands. Places on the stack are aligned to 8, and so every part is to its size.
func (g *filterGen) fetchXDP(off int32, n int, to int32, fail string) {
	g.add(
		asm.JGT.Imm(asm.R7, maxXDPOffset, fail),
		asm.LoadMem(asm.R1, asm.R6, xdpData, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, xdpDataEnd, asm.Word),
		asm.Add.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, off),
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Add.Imm(asm.R3, int32(n)),
		asm.JGT.Reg(asm.R3, asm.R2, fail),
	)
	at := 0
	for _, part := range [...]asm.Size{asm.DWord, asm.Word, asm.Half, asm.Byte} {
		for ; n-at >= part.Sizeof(); at += part.Sizeof() {
			g.add(
				asm.LoadMem(asm.R3, asm.R1, int16(at), part),
				asm.StoreMem(asm.RFP, int16(int(to)+at), asm.R3, part),
			)
		}
	}
}

// room goes to fail when fewer than n bytes follow R7.
func (g *filterGen) room(n int32, fail string) {
	g.add(asm.Mov.Reg(asm.R1, asm.R7), asm.Add.Imm(asm.R1, n), asm.JGT.Reg(asm.R1, asm.R8, fail))
}

// be16 loads two bytes of buf into r.
func (g *filterGen) be16(r asm.Register, at int16) {
	g.add(asm.LoadMem(r, asm.RFP, stackBuf+at, asm.Half), asm.HostTo(asm.BE, r, asm.Half))
}

// node writes the code for a packet that has all layers down to n: first its children, then its groups.
func (g *filterGen) node(n *node) {
	groups := g.label()
	children := 0
	for l, c := range n.children {
		if c == nil {
			continue
		}
		if children == 0 {
			g.add(g.load(asm.R1, n.depth, slotFlags), asm.And.Imm(asm.R1, flagLater), asm.JNE.Imm(asm.R1, 0, groups))
		}
		children++
		next := g.label()
		g.chooses(n, Layer(l), next)
		g.parse(n, c, next)
		g.node(c)
		g.place(next)
	}
	g.place(groups)
	for _, gr := range n.groups {
		g.group(n, gr)
	}
}

// chooses goes to next unless the payload of n is of layer l.
func (g *filterGen) chooses(n *node, l Layer, next string) {
	var want int32
	switch {
	case n.layer == None || l == ANEP:
		return
	case n.layer == Ether && l == IPv4:
		want = etherIPv4
	case n.layer == Ether:
		want = etherIPv6
	case l == IPv4:
		want = protoIPv4
	case l == IPv6:
		want = protoIPv6
	case l == UDP:
		want = protoUDP
	case l == TCP:
		want = protoTCP
	}
	g.add(g.load(asm.R1, n.depth, slotProto), asm.JNE.Imm(asm.R1, want, next))
}

// parse reads the header of c at the payload of n and fills in its step, or goes to fail.
func (g *filterGen) parse(n, c *node, fail string) {
	d := c.depth
	g.add(
		g.load(asm.R7, n.depth, slotPay), g.load(asm.R8, n.depth, slotEnd),
		g.save(d, slotHdr, asm.R7), g.save(d, slotEnd, asm.R8), g.store(d, slotProto, 0),
		g.load(asm.R1, n.depth, slotFlags), asm.And.Imm(asm.R1, flagMore), g.save(d, slotFlags, asm.R1),
	)
	switch c.layer {
	case Ether:
		g.ether(d, fail)
	case IPv4:
		g.ipv4(d, fail)
	case IPv6:
		g.ipv6(d, fail)
	case UDP:
		g.room(8, fail)
		g.fetch(0, 8, stackBuf, fail)
		g.be16(asm.R2, 4)
		g.add(asm.JLT.Imm(asm.R2, 8, fail))
		g.shorten(d, fail)
		g.add(asm.Add.Imm(asm.R7, 8), g.save(d, slotPay, asm.R7))
	case TCP:
		g.room(20, fail)
		g.fetch(12, 1, stackBuf, fail)
		g.add(
			asm.LoadMem(asm.R2, asm.RFP, stackBuf, asm.Byte), asm.RSh.Imm(asm.R2, 4), asm.LSh.Imm(asm.R2, 2),
			asm.JLT.Imm(asm.R2, 20, fail),
			asm.Add.Reg(asm.R7, asm.R2), asm.JGT.Reg(asm.R7, asm.R8, fail), g.save(d, slotPay, asm.R7),
		)
	case ANEP:
		g.room(8, fail)
		g.fetch(0, 8, stackBuf, fail)
		g.add(asm.LoadMem(asm.R1, asm.RFP, stackBuf, asm.Byte), asm.JNE.Imm(asm.R1, 1, fail))
		g.be16(asm.R3, 4)
		g.add(
			asm.LSh.Imm(asm.R3, 2), asm.JLT.Imm(asm.R3, 8, fail),
			asm.Mov.Reg(asm.R1, asm.R7), asm.Add.Reg(asm.R1, asm.R3), asm.JGT.Reg(asm.R1, asm.R8, fail),
			g.save(d, slotPay, asm.R1),
		)
		g.be16(asm.R2, 6)
		g.add(asm.JLT.Reg(asm.R2, asm.R3, fail))
		g.shorten(d, fail)
	}
}

// shorten ends the payload of step d R2 bytes behind R7. More than there is is only allowed in a first fragment.
func (g *filterGen) shorten(d int, fail string) {
	fits, done := g.label(), g.label()
	g.add(
		asm.Add.Reg(asm.R2, asm.R7), asm.JLE.Reg(asm.R2, asm.R8, fits),
		g.load(asm.R1, d, slotFlags), asm.And.Imm(asm.R1, flagMore), asm.JEq.Imm(asm.R1, 0, fail),
		asm.Ja.Label(done),
		g.save(d, slotEnd, asm.R2).WithSymbol(fits),
	)
	g.place(done)
}

func (g *filterGen) ether(d int, fail string) {
	done := g.label()
	g.add(asm.Mov.Imm(asm.R7, 0))
	g.room(14, fail)
	g.fetch(12, 2, stackBuf, fail)
	g.be16(asm.R1, 0)
	g.add(g.save(d, slotProto, asm.R1), asm.Mov.Imm(asm.R7, 14))
	for i := range maxVLANTags {
		if i == maxVLANTags-1 && !g.xdp { // a tag beside the data is one of those that are skipped
			g.add(asm.LoadMem(asm.R2, asm.R6, skbVLANPresent, asm.Word), asm.JNE.Imm(asm.R2, 0, done))
		}
		tag := g.label()
		g.add(
			g.load(asm.R1, d, slotProto),
			asm.JEq.Imm(asm.R1, etherVLAN, tag),
			asm.JNE.Imm(asm.R1, etherSVID, done),
		)
		g.place(tag)
		g.room(4, fail)
		g.fetch(2, 2, stackBuf, fail)
		g.be16(asm.R1, 0)
		g.add(g.save(d, slotProto, asm.R1), asm.Add.Imm(asm.R7, 4))
	}
	g.place(done)
	g.add(g.save(d, slotPay, asm.R7))
}

func (g *filterGen) ipv4(d int, fail string) {
	notLater, notMore := g.label(), g.label()
	g.room(20, fail)
	g.fetch(0, 20, stackBuf, fail)
	g.add(
		asm.LoadMem(asm.R1, asm.RFP, stackBuf, asm.Byte),
		asm.Mov.Reg(asm.R3, asm.R1), asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 4, fail),
		asm.And.Imm(asm.R3, 15), asm.LSh.Imm(asm.R3, 2), asm.JLT.Imm(asm.R3, 20, fail),
	)
	g.be16(asm.R2, 2)
	g.add(
		asm.JLT.Reg(asm.R2, asm.R3, fail),
		asm.Add.Reg(asm.R2, asm.R7), asm.JGT.Reg(asm.R2, asm.R8, fail), g.save(d, slotEnd, asm.R2),
		asm.Add.Reg(asm.R3, asm.R7), g.save(d, slotPay, asm.R3),
		asm.LoadMem(asm.R1, asm.RFP, stackBuf+9, asm.Byte), g.save(d, slotProto, asm.R1),
	)
	g.be16(asm.R1, 6)
	g.add(
		g.load(asm.R4, d, slotFlags),
		asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, 0x1fff), asm.JEq.Imm(asm.R2, 0, notLater),
		asm.Or.Imm(asm.R4, flagLater),
		asm.And.Imm(asm.R1, 0x2000).WithSymbol(notLater), asm.JEq.Imm(asm.R1, 0, notMore),
		asm.Or.Imm(asm.R4, flagMore),
		g.save(d, slotFlags, asm.R4).WithSymbol(notMore),
	)
}

func (g *filterGen) ipv6(d int, fail string) {
	done := g.label()
	g.room(40, fail)
	g.fetch(0, 8, stackBuf, fail)
	g.add(asm.LoadMem(asm.R1, asm.RFP, stackBuf, asm.Byte), asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, fail))
	g.be16(asm.R2, 4)
	g.add(
		asm.Add.Imm(asm.R7, 40),
		asm.Add.Reg(asm.R2, asm.R7), asm.JGT.Reg(asm.R2, asm.R8, fail),
		asm.Mov.Reg(asm.R8, asm.R2), g.save(d, slotEnd, asm.R8),
		asm.LoadMem(asm.R1, asm.RFP, stackBuf+6, asm.Byte), g.save(d, slotProto, asm.R1),
	)
	for i := range maxExtensions + 1 {
		ext, fragment, ah, sized := g.label(), g.label(), g.label(), g.label()
		g.add(g.load(asm.R1, d, slotProto))
		for _, proto := range [...]int32{protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoAH, protoFragment} {
			if i == maxExtensions {
				g.add(asm.JEq.Imm(asm.R1, proto, fail))
			} else {
				g.add(asm.JEq.Imm(asm.R1, proto, ext))
			}
		}
		if i == maxExtensions {
			break
		}
		g.jump(done)
		g.place(ext)
		g.room(8, fail)
		g.fetch(0, 8, stackBuf, fail)
		g.add(
			asm.LoadMem(asm.R2, asm.RFP, stackBuf+1, asm.Byte),
			g.load(asm.R1, d, slotProto),
			g.load(asm.R4, d, slotFlags),
			asm.JEq.Imm(asm.R1, protoFragment, fragment),
			asm.JEq.Imm(asm.R1, protoAH, ah),
			asm.LSh.Imm(asm.R2, 3), asm.Add.Imm(asm.R2, 8), asm.Ja.Label(sized),
			asm.LSh.Imm(asm.R2, 2).WithSymbol(ah), asm.Add.Imm(asm.R2, 8), asm.Ja.Label(sized),
			asm.Mov.Imm(asm.R2, 8).WithSymbol(fragment),
		)
		notLater := g.label()
		g.be16(asm.R1, 2)
		g.add(
			asm.Mov.Reg(asm.R3, asm.R1), asm.And.Imm(asm.R3, 0xfff8), asm.JEq.Imm(asm.R3, 0, notLater),
			asm.Or.Imm(asm.R4, flagLater),
			asm.And.Imm(asm.R1, 1).WithSymbol(notLater), asm.JEq.Imm(asm.R1, 0, sized),
			asm.Or.Imm(asm.R4, flagMore),
		)
		g.place(sized)
		g.add(
			g.save(d, slotFlags, asm.R4),
			asm.Add.Reg(asm.R7, asm.R2), asm.JGT.Reg(asm.R7, asm.R8, fail),
			asm.LoadMem(asm.R1, asm.RFP, stackBuf, asm.Byte), g.save(d, slotProto, asm.R1),
			asm.And.Imm(asm.R4, flagLater), asm.JNE.Imm(asm.R4, 0, done),
		)
	}
	g.place(done)
	g.add(g.save(d, slotPay, asm.R7))
}

// group goes to match when some key of gr matches.
func (g *filterGen) group(n *node, gr *group) {
	next := g.label()
	if gr.payload {
		g.add(g.load(asm.R1, n.depth, slotFlags), asm.And.Imm(asm.R1, flagLater), asm.JNE.Imm(asm.R1, 0, next))
	}
	for i := range gr.shape {
		g.piece(&gr.shape[i], int16(stackWords+8*i), next)
	}
	for i := range gr.table.len() {
		other := g.label()
		for j, v := range gr.table.key(i) {
			g.add(
				asm.LoadMem(asm.R1, asm.RFP, int16(stackWords+8*j), asm.DWord),
				asm.LoadImm(asm.R2, int64(v), asm.DWord),
				asm.JNE.Reg(asm.R1, asm.R2, other),
			)
		}
		g.jump("match")
		g.place(other)
	}
	g.place(next)
}

// piece loads one masked word to stack+to, or goes to fail when the packet is too short.
func (g *filterGen) piece(pc *piece, to int16, fail string) {
	d := int(pc.depth)
	if pc.anchor == atProto {
		g.add(g.load(asm.R0, d, slotProto), asm.LSh.Imm(asm.R0, 48))
		g.mask(pc.mask, to)
		return
	}
	field := slotHdr
	if pc.anchor == atPayload {
		field = slotPay
	}
	g.add(
		g.load(asm.R7, d, field), g.load(asm.R8, d, slotEnd),
		asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackBuf, asm.R1, asm.DWord),
	)
	if d == 0 && pc.off+pc.need > 12 && !g.xdp { // whole frames: a tag beside the data has a place in them
		plain, loaded := g.label(), g.label()
		g.add(asm.LoadMem(asm.R1, asm.R6, skbVLANPresent, asm.Word), asm.JEq.Imm(asm.R1, 0, plain))
		g.room(pc.off+pc.need-4, fail)
		g.tagged(pc, fail)
		g.jump(loaded)
		g.place(plain)
		g.room(pc.off+pc.need, fail)
		g.fetch(pc.off, int(pc.need), stackBuf, fail)
		g.place(loaded)
	} else {
		g.room(pc.off+pc.need, fail)
		g.fetch(pc.off, int(pc.need), stackBuf, fail)
	}
	g.add(asm.LoadMem(asm.R0, asm.RFP, stackBuf, asm.DWord), asm.HostTo(asm.BE, asm.R0, asm.DWord))
	g.mask(pc.mask, to)
}

// tagged loads the bytes of pc from a frame whose tag, bytes 12 to 15, is beside the data.
func (g *filterGen) tagged(pc *piece, fail string) {
	lo, hi := pc.off, pc.off+pc.need
	if lo < 12 {
		g.fetch(lo, int(12-lo), stackBuf, fail)
	}
	for b := max(lo, 12); b < min(hi, 16); b++ {
		// Both fields are numbers in a 32-bit word; the protocol is in network order, the tag in the host's.
		switch b {
		case 12, 13:
			g.add(asm.LoadMem(asm.R1, asm.R6, skbVLANProto, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Half))
		default:
			g.add(asm.LoadMem(asm.R1, asm.R6, skbVLANTCI, asm.Word))
		}
		if b%2 == 0 {
			g.add(asm.RSh.Imm(asm.R1, 8))
		}
		g.add(asm.StoreMem(asm.RFP, int16(stackBuf+b-lo), asm.R1, asm.Byte))
	}
	if from := max(lo, 16); from < hi {
		g.fetch(from-4, int(hi-from), stackBuf+from-lo, fail)
	}
}

func (g *filterGen) mask(m uint64, to int16) {
	g.add(
		asm.LoadImm(asm.R1, int64(m), asm.DWord), asm.And.Reg(asm.R0, asm.R1),
		asm.StoreMem(asm.RFP, to, asm.R0, asm.DWord),
	)
}
