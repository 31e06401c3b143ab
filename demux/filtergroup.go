package demux

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"
)

// bpfTable is where a program finds the keys of a group.
type bpfTable struct {
	mapFD, filterFD int
	filterOff       uint32 // of the group's bits in the filter map, in bytes
	shift           int    // of a hash, to index these bits
	mul             [maxWords]uint64
}

// A value of a table's map:
//
//	 0  age of the rule
//	 8  its number, 32 bits
//	12  upper half of the key's hash
//
// The kernel may give an entry's memory to another key while a program on another processor still looks at it. Number and half hash are read at once, and where the hash is
// not that of the key, the program looks again.
const (
	valueAge  = 0
	valueID   = 8
	valueSize = 16
)

// mixShift is for a hash before it indexes the filter: sums of products of neighbouring keys are at equal distances, and with bad luck all absent keys of
// a sort would meet bits of present ones.
const mixShift = 23

// littleWord turns a word of a group into one of the generated program.
func littleWord(w uint64) uint64 { return bits.ReverseBytes64(w) }

// source is where the words of a group are once they have been loaded.
type source struct {
	at   int16  // on the stack
	mask uint64 // still to be applied; 0: has been
}

// groups writes the code of n's groups, which ends with the packets that match none. path is the nodes from the root to n.
func (g *filterGen) groups(n *node, path []*node, next string) {
	if len(n.groups) == 0 {
		return
	}
	shared := g.preload(n, path, next)
	for i, gr := range n.groups {
		last := i == len(n.groups)-1
		tieBefore := i > 0 && n.groups[i-1].bits == gr.bits
		tieAfter := !last && n.groups[i+1].bits == gr.bits
		tie := tieBefore || tieAfter
		if tie && !tieBefore {
			g.add(asm.Mov.Imm(asm.R1, -1), asm.StoreMem(asm.RFP, stackID, asm.R1, asm.DWord))
		}
		end := next
		if !last || tie {
			end = g.label()
		}
		g.group(n, path, gr, shared, tie, end)
		if end != next {
			g.here(end)
		}
		if tie && !tieAfter {
			after := next
			if !last {
				after = g.label()
			}
			g.add(
				asm.LoadMem(asm.R1, asm.RFP, stackID, asm.DWord),
				asm.JEq.Imm(asm.R1, -1, after),
				asm.Mov.Reg(asm.R7, asm.R1),
			)
			g.jump("match")
			if after != next {
				g.here(after)
			}
		}
	}
}

// preload loads those words that several groups of n look at to the stack, as far as the packet has them, and returns where.
func (g *filterGen) preload(n *node, path []*node, fail string) map[load]int16 {
	if len(n.groups) < 2 || n.depth == 0 {
		return nil
	}
	uses, need := map[load]int{}, map[load]int32{}
	var order []load
	for _, gr := range n.groups {
		for _, pc := range gr.shape {
			l := load{pc.depth, pc.anchor, pc.off}
			if pc.anchor == atProto {
				continue
			}
			if uses[l] == 0 {
				order = append(order, l)
			}
			uses[l]++
			need[l] = max(need[l], pc.need)
		}
	}
	shared := map[load]int16{}
	for _, l := range order {
		if uses[l] < 2 || len(shared) == maxLoads {
			continue
		}
		at := int16(stackRaw + 8*len(shared))
		shared[l] = at
		pc := piece{depth: l.depth, anchor: l.anchor, off: l.off, need: need[l]}
		if l.anchor == atHeader {
			g.word(n, path, &pc, fail)
		} else {
			g.upTo(&pc)
		}
		g.add(asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	return shared
}

// group writes the code of one group, which goes to match or, if tie is set, notes the rule, and goes to end if there is none.
func (g *filterGen) group(n *node, path []*node, gr *group, shared map[load]int16, tie bool, end string) {
	if gr.payload {
		if n.layer == IPv4 || n.layer == IPv6 {
			g.add(asm.JSet.Imm(asm.R7, flagLater, end))
		}
		if n.depth > 0 || g.xdp { // in other programs that of depth 0 depends on a tag beside the data
			most := int32(0)
			for _, pc := range gr.shape {
				if pc.anchor == atPayload {
					most = max(most, pc.off+pc.need)
				}
			}
			g.room(most, end)
		}
	}
	tab, fix := g.table(gr)
	if fix != nil {
		g.fixed(n, path, gr, fix, shared, tie, end)
		return
	}
	// One word stays in R0, more are on the stack.
	alone := tab == nil && len(gr.shape) == 1
	var from []source
	for i := range gr.shape {
		pc := &gr.shape[i]
		mask := littleWord(pc.mask)
		if at, ok := shared[load{pc.depth, pc.anchor, pc.off}]; ok {
			if alone {
				g.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.DWord))
				g.mask(asm.R0, mask, 8)
			}
			from = append(from, source{at, mask})
			continue
		}
		size := g.word(n, path, pc, end)
		g.mask(asm.R0, mask, size)
		if !alone {
			at := int16(stackWords + 8*i)
			g.add(asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
			from = append(from, source{at, 0})
		}
	}
	if tab != nil {
		g.lookup(gr, tab, from, tie, end)
		return
	}
	g.inline(gr, from, alone, tie, end)
}

// mask applies m to a word of which size bytes were loaded.
func (g *filterGen) mask(r asm.Register, m uint64, size int) {
	switch {
	case size < 8 && m == 1<<(8*size)-1 || m == 1<<64-1:
	case m < 1<<31:
		g.add(asm.And.Imm(r, int32(m)))
	default:
		g.add(asm.LoadImm(asm.R1, int64(m), asm.DWord), asm.And.Reg(r, asm.R1))
	}
}

// inline compares the words with each key of gr.
func (g *filterGen) inline(gr *group, from []source, alone, tie bool, end string) {
	t := &gr.table
	hit := make([]string, 0, len(t.slots))
	rows := make([]int, 0, len(t.slots))
	if !alone { // apply the masks once
		for i, s := range from {
			if s.mask != 0 {
				g.add(asm.LoadMem(asm.R0, asm.RFP, s.at, asm.DWord))
				g.mask(asm.R0, s.mask, 8)
				g.add(asm.StoreMem(asm.RFP, int16(stackWords+8*i), asm.R0, asm.DWord))
			}
		}
	}
	for _, s := range t.slots {
		if s == 0 {
			continue
		}
		row := int(s - 1)
		l := g.label()
		hit, rows = append(hit, l), append(rows, row)
		other := ""
		key := t.key(row)
		for i, v := range key {
			r := asm.R0
			if !alone {
				g.add(asm.LoadMem(asm.R0, asm.RFP, int16(stackWords+8*i), asm.DWord))
			}
			if i == len(key)-1 {
				g.equal(r, littleWord(v), gr.shape[i].need, l)
				continue
			}
			if other == "" {
				other = g.label()
			}
			g.differ(r, littleWord(v), gr.shape[i].need, other)
		}
		if len(key) == 0 {
			g.jump(l)
		}
		if other != "" {
			g.merge(other)
		}
	}
	g.jump(end)
	offer := g.label()
	for i, row := range rows {
		id, age := t.rule(row)
		g.merge(hit[i])
		if !tie {
			g.add(asm.Mov.Imm32(asm.R7, int32(id)), asm.Ja.Label("match"))
			continue
		}
		g.add(asm.Mov.Imm32(asm.R1, int32(id)), asm.LoadImm(asm.R0, int64(age), asm.DWord))
		if i < len(rows)-1 {
			g.add(asm.Ja.Label(offer))
		}
	}
	if tie {
		if len(rows) > 1 {
			g.merge(offer)
		}
		g.offer(end)
	}
}

// fixed asks the table of gr. A word that all keys have in common is compared as soon as it is loaded; of the others, the last of the key stays in R0, and the rest
// are on the stack.
func (g *filterGen) fixed(n *node, path []*node, gr *group, f *fixed, shared map[load]int16, tie bool, end string) {
	last := len(gr.shape) - 1
	varies := map[int]bool{}
	for _, i := range f.vary {
		varies[i] = true
	}
	var any []uint64 // a key
	for _, s := range gr.table.slots {
		if s != 0 {
			any = gr.table.key(int(s - 1))
		}
	}
	for i := range gr.shape {
		pc := &gr.shape[i]
		size := 8
		if at, ok := shared[load{pc.depth, pc.anchor, pc.off}]; ok {
			g.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.DWord))
		} else {
			size = g.word(n, path, pc, end)
		}
		g.mask(asm.R0, littleWord(pc.mask), size)
		switch {
		case !varies[i]:
			g.differ(asm.R0, littleWord(any[i]), pc.need, end)
		case i < last:
			g.add(asm.StoreMem(asm.RFP, int16(stackWords+8*i), asm.R0, asm.DWord))
		}
	}
	word := func(r asm.Register, i int) {
		if i == last {
			g.add(asm.Mov.Reg(r, asm.R0))
		} else {
			g.add(asm.LoadMem(r, asm.RFP, int16(stackWords+8*i), asm.DWord))
		}
	}
	if len(f.vary) == 0 {
		g.add(asm.Mov.Imm(asm.R4, 0))
	}
	for k, i := range f.vary {
		r := asm.R3
		if k == 0 {
			r = asm.R4
		}
		word(r, i)
		g.add(asm.LoadImm(asm.R1, int64(f.mul[i]), asm.DWord), asm.Mul.Reg(r, asm.R1))
		if k > 0 {
			g.add(asm.Add.Reg(asm.R4, r))
		}
	}
	g.add(
		asm.RSh.Imm(asm.R4, int32(64-f.bits)), asm.LSh.Imm(asm.R4, int32(f.shift)),
		asm.LoadMapValue(asm.R2, f.mapFD, f.off), asm.Add.Reg(asm.R2, asm.R4),
	)
	for k, i := range f.vary {
		word(asm.R3, i)
		g.add(asm.LoadMem(asm.R1, asm.R2, int16(8*k), asm.DWord), asm.JNE.Reg(asm.R1, asm.R3, end))
	}
	if !tie {
		g.add(asm.LoadMem(asm.R7, asm.R2, int16(f.id()), asm.Word))
		g.jump("match")
		return
	}
	g.add(asm.LoadMem(asm.R1, asm.R2, int16(f.id()), asm.Word), asm.LoadMem(asm.R0, asm.R2, int16(f.age()), asm.DWord))
	g.offer(end)
}

// equal goes to label if r, of whose bytes only need are not 0, is v.
func (g *filterGen) equal(r asm.Register, v uint64, need int32, label string) {
	if need <= 4 {
		g.add(asm.JEq.Imm32(r, int32(v), label))
		return
	}
	g.add(asm.LoadImm(asm.R1, int64(v), asm.DWord), asm.JEq.Reg(r, asm.R1, label))
}

// differ is the opposite of equal, and changes r. It does not compare, for the verifier would conclude what the word on the stack is, and follow what comes with
// that knowledge and without.
func (g *filterGen) differ(r asm.Register, v uint64, need int32, label string) {
	if need <= 4 {
		g.add(asm.Xor.Imm32(r, int32(v)))
	} else {
		g.add(asm.LoadImm(asm.R1, int64(v), asm.DWord), asm.Xor.Reg(r, asm.R1))
	}
	g.add(asm.JNE.Imm(r, 0, label))
}

// offer notes rule R1 of age R0, if it goes before the one that is noted.
func (g *filterGen) offer(end string) {
	take := g.label()
	g.add(
		asm.LoadMem(asm.R3, asm.RFP, stackID, asm.DWord),
		asm.JEq.Imm(asm.R3, -1, take),
		asm.LoadMem(asm.R2, asm.RFP, stackAge, asm.DWord),
		asm.JLT.Reg(asm.R0, asm.R2, take),
		asm.JNE.Reg(asm.R0, asm.R2, end),
		asm.JGE.Reg(asm.R1, asm.R3, end),
	)
	g.merge(take)
	g.add(
		asm.StoreMem(asm.RFP, stackID, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, stackAge, asm.R0, asm.DWord),
	)
}

// lookup asks the table of gr.
func (g *filterGen) lookup(gr *group, tab *bpfTable, from []source, tie bool, end string) {
	if len(from) == 0 {
		g.add(asm.Mov.Imm(asm.R4, 0))
	}
	for i, s := range from {
		r := asm.R0
		if i == 0 {
			r = asm.R4
		}
		g.add(asm.LoadMem(r, asm.RFP, s.at, asm.DWord))
		if s.mask != 0 {
			g.mask(r, s.mask, 8)
		}
		g.add(asm.LoadImm(asm.R1, int64(tab.mul[i]), asm.DWord), asm.Mul.Reg(r, asm.R1))
		if i > 0 {
			g.add(asm.Add.Reg(asm.R4, asm.R0))
		}
	}
	g.add(
		asm.Mov.Reg(asm.R3, asm.R4), asm.LSh.Imm(asm.R3, mixShift), asm.Xor.Reg(asm.R3, asm.R4), asm.RSh.Imm(asm.R3, int32(tab.shift)),
		asm.Mov.Reg(asm.R1, asm.R3), asm.RSh.Imm(asm.R1, 6), asm.LSh.Imm(asm.R1, 3),
		asm.LoadMapValue(asm.R2, tab.filterFD, tab.filterOff), asm.Add.Reg(asm.R2, asm.R1),
		asm.LoadMem(asm.R0, asm.R2, 0, asm.DWord), asm.RSh.Reg(asm.R0, asm.R3),
		asm.And.Imm(asm.R0, 1), asm.JEq.Imm(asm.R0, 0, end),
		asm.StoreMem(asm.RFP, stackHash, asm.R4, asm.DWord),
	)
	for i, s := range from {
		if s.mask != 0 {
			g.add(asm.LoadMem(asm.R0, asm.RFP, s.at, asm.DWord))
			g.mask(asm.R0, s.mask, 8)
			g.add(asm.StoreMem(asm.RFP, int16(stackWords+8*i), asm.R0, asm.DWord))
		}
	}
	if len(from) == 0 { // the kernel has no keys of no bytes
		g.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackWords, asm.R1, asm.DWord))
	}
	found := g.label()
	for again := range 2 {
		g.add(
			asm.LoadMapPtr(asm.R1, tab.mapFD),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackWords),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, end),
			asm.LoadMem(asm.R1, asm.R0, valueID, asm.DWord),
		)
		// The number is the lower half where the machine's words begin with the lowest byte.
		g.little(asm.R1, asm.DWord)
		g.add(
			asm.LoadMem(asm.R2, asm.RFP, stackHash, asm.DWord), asm.RSh.Imm(asm.R2, 32),
			asm.Mov.Reg(asm.R3, asm.R1), asm.RSh.Imm(asm.R3, 32),
		)
		if again == 0 {
			g.add(asm.JEq.Reg(asm.R2, asm.R3, found))
		} else {
			g.add(asm.JNE.Reg(asm.R2, asm.R3, end))
		}
	}
	g.merge(found)
	if !tie {
		g.add(asm.Mov.Reg32(asm.R7, asm.R1))
		g.jump("match")
		return
	}
	g.add(asm.Mov.Reg32(asm.R1, asm.R1), asm.LoadMem(asm.R0, asm.R0, valueAge, asm.DWord))
	g.offer(end)
}

// word loads the word of pc to R0, or goes to fail when the packet is too short, and returns how many bytes were loaded. Bytes that pc does not need may be in them.
func (g *filterGen) word(n *node, path []*node, pc *piece, fail string) (size int) {
	d := int(pc.depth)
	if pc.anchor == atProto {
		if d == n.depth {
			g.add(asm.Mov.Reg(asm.R0, asm.R7))
		} else {
			g.load(asm.R0, d, slotInfo)
		}
		g.add(asm.RSh.Imm(asm.R0, 8))
		return 2
	}
	size = 1
	for size < int(pc.need) {
		size *= 2
	}
	width := map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word, 8: asm.DWord}[size]
	if pc.anchor == atPayload {
		if d == 0 && pc.off+pc.need > 12 && !g.xdp { // whole frames: a tag beside the data has a place in them
			plain, loaded := g.label(), g.label()
			g.add(
				asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackBuf, asm.R1, asm.DWord),
				asm.LoadMem(asm.R1, asm.R6, skbVLANPresent, asm.Word), asm.JEq.Imm(asm.R1, 0, plain),
			)
			g.room(pc.off+pc.need-4, fail)
			g.tagged(pc, fail)
			g.jump(loaded)
			g.here(plain)
			g.room(pc.off+pc.need, fail)
			g.copy(pc.off, int(pc.need), stackBuf, fail)
			g.here(loaded)
			g.add(asm.LoadMem(asm.R0, asm.RFP, stackBuf, asm.DWord))
			g.little(asm.R0, asm.DWord)
			return 8
		}
		if size != int(pc.need) || d == 0 && !g.xdp {
			if d == 0 && !g.xdp {
				g.room(pc.off+pc.need, fail)
			}
			g.upTo(pc)
			return 8
		}
		g.open(-1, asm.R8, pc.off, size, g.bound+int64(pc.off) <= maxXDPOffset, fail)
		g.field(asm.R0, 0, width)
		g.little(asm.R0, width)
		return size
	}
	// Headers are long enough for all sizes that addresses ask for.
	switch layer := path[d].layer; {
	case g.win != nil && g.win.depth == d && int(pc.off)+size <= g.win.n:
		g.field(asm.R0, int(pc.off), width)
	default:
		pos, bounded := asm.R3, false
		if layer == Ether {
			g.add(asm.Mov.Imm(asm.R3, 0))
			bounded = true
		} else {
			g.load(asm.R3, d, slotHdr)
		}
		g.open(-1, pos, pc.off, size, bounded, fail)
		g.field(asm.R0, 0, width)
	}
	g.little(asm.R0, width)
	return size
}

// upTo loads up to eight bytes of pc, which is in the payload, to R0: pc.need at least, if the packet has them; where it ends, zeros follow.
func (g *filterGen) upTo(pc *piece) {
	done := g.label()
	if !g.xdp {
		g.add(
			asm.Mov.Imm(asm.R0, 0), asm.StoreMem(asm.RFP, stackBuf, asm.R0, asm.DWord),
			asm.Mov.Reg(asm.R2, asm.R8), asm.Add.Imm(asm.R2, pc.off),
			asm.JGE.Reg(asm.R2, asm.R9, done),
			asm.Mov.Reg(asm.R4, asm.R9), asm.Sub.Reg(asm.R4, asm.R2),
		)
		fits := g.label()
		g.add(
			asm.JLE.Imm(asm.R4, 8, fits),
			asm.Mov.Imm(asm.R4, 8),
		)
		g.merge(fits)
		g.add(
			asm.And.Imm(asm.R4, 15), asm.JEq.Imm(asm.R4, 0, done), // for the verifier
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, stackBuf),
			asm.FnSkbLoadBytes.Call(),
			asm.LoadMem(asm.R0, asm.RFP, stackBuf, asm.DWord),
		)
		g.here(done)
		g.little(asm.R0, asm.DWord)
		return
	}
	short := g.label()
	g.add(asm.Mov.Imm(asm.R0, 0))
	g.point(asm.R8, g.bound+int64(pc.off) <= maxXDPOffset, done)
	g.add(
		asm.Mov.Reg(asm.R1, asm.R5), asm.Add.Imm(asm.R1, pc.off+8), asm.JGT.Reg(asm.R1, asm.R2, short),
		asm.LoadMem(asm.R0, asm.R5, int16(pc.off), asm.DWord),
	)
	g.little(asm.R0, asm.DWord)
	g.add(asm.Ja.Label(done))
	g.merge(short)
	for i := range int32(pc.need) {
		g.add(
			asm.Mov.Reg(asm.R1, asm.R5), asm.Add.Imm(asm.R1, pc.off+i+1), asm.JGT.Reg(asm.R1, asm.R2, done),
			asm.LoadMem(asm.R3, asm.R5, int16(pc.off+i), asm.Byte), asm.LSh.Imm(asm.R3, 8*i), asm.Or.Reg(asm.R0, asm.R3),
		)
	}
	g.here(done)
}

// copy copies n bytes of an skb to the stack, or goes to fail.
func (g *filterGen) copy(off int32, n int, to int32, fail string) {
	g.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, off),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, to),
		asm.Mov.Imm(asm.R4, int32(n)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, fail),
	)
}

// tagged loads the bytes of pc from a frame whose tag, bytes 12 to 15, is beside the data.
func (g *filterGen) tagged(pc *piece, fail string) {
	lo, hi := pc.off, pc.off+pc.need
	if lo < 12 {
		g.copy(lo, int(12-lo), stackBuf, fail)
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
		g.copy(from-4, int(hi-from), stackBuf+from-lo, fail)
	}
}
