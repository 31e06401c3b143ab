package xdp

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/demux"
)

// The way of a packet through a cut-through channel in the kernel. The instructions are the same for all channels of a node: what is done is
// in the channel's head, an element of an array that does not change while a program may read it.
//
//  1. the head is that whose number the channel's cell holds now; one load decides for all that follows
//  2. hop limit, length and rate are judged, and what needs user space goes there: until here the packet is unchanged
//  3. the hop limit is lowered, what is before the payload and behind its end is cut off, and room is made for the new headers
//  4. the headers are written, with what depends on the payload: its type, lengths, the checksum of IPv4
//  5. the packet is counted and redirected to the interface of the head
//
// Whole frames, of which nothing is changed, take a shorter way, for which the channel's cell has all that it takes beside the head's number; so do packets of IPv4 whose frames get
// other addresses only, as most of a router's. What needs more than a comparison there (a bucket that is empty, a frame that is too long or may have an unfinished checksum, a
// hop limit that is used up, options, tags) goes the long way, which judges it from the start.

// A head, by bytes. Fields of headers are as on the wire, the others numbers.
const (
	headCut   = 0   // u32: the channel's place in counters and buckets
	headOut   = 4   // u32: the out-link's place in the devmap
	headFlags = 8   // u32
	headLen   = 12  // u32: bytes of all headers; 0: the frame leaves as it is
	headMost  = 16  // u32: longest payload
	headFits  = 20  // u32: longest payload that the kernel takes; longer ones are for user space
	headType  = 24  // u16: the Ethernet type
	headTags  = 28  // u32: how many VLAN tags
	headMACs  = 32  // destination and source
	headTag   = 44  // two tags of 4 bytes, the outer one first
	headIPv   = 52  // u32: version of IP, 0 for none
	headIP    = 56  // header with length and checksum zero, 20 or 40 bytes
	headUDP   = 96  // header with length and checksum zero
	headIsUDP = 104 // u32
	headSum   = 108 // u32: sum of the IPv4 header's words
	headCost  = 112 // u64: what a byte takes out of the bucket
	headSize  = 128
)

// The word of a channel's cell that makes packets do what a head says, from its lowest bit. The word behind it is headCost of all heads of the channel.
const (
	wordFlags = 0  // 8 bits
	wordOut   = 8  // 8 bits: headOut
	wordCut   = 16 // 16 bits: headCut
	wordHead  = 32 // 16 bits: the head's number
	wordFits  = 48 // 16 bits: the longest frame for the short way
)

// Flags of such a word.
const (
	wordWhole      = 1 // whole frames: the short way may be tried
	wordUnfinished = 2 // headUnfinished
	wordRated      = 4 // headRated
	wordHop        = 8 // frames get other addresses, nothing more, and packets one hop less: the short way may be tried
)

// Flags of a head. Without any of them step 2 looks at the packet's length only.
const (
	headTyped      = 1  // the payload follows its Ethernet type
	headKeepType   = 2  // that type is kept
	headHops       = 4  // the payload is an IP packet, whose hop limit is lowered
	headUnfinished = 8  // packets with unfinished checksums are for user space
	headRated      = 16 // the channel has a bucket
)

// A channel's counters, by bytes, of each processor.
const (
	cutPackets = 0
	cutBytes   = 8  // of payloads
	cutTooBig  = 16 // longer than headMost
	cutHops    = 24 // hop limit used up
	cutRate    = 32 // bucket empty
	cutInvalid = 40 // no IP packet where headHops wants one, or no room for the headers
	cutGone    = 48 // the out-link is closed
	cutUp      = 56 // left to user space
	cutLocal   = 64 // of the bucket's contents, what this processor has taken out and not used up
	cutSize    = 72
)

// A bucket, by bytes. Its contents are time in units of 2^-16 ns: what passed since it was last filled up, less what frames have taken to
// send at the channel's rate. Processors take it out in lots, since an atomic operation costs as much as a third of all the rest. The clock is read, which
// costs more than all the rest, only when the bucket is empty. So in a moment as much as two buckets may leave, and a lot for each processor; depth is half of
// what may, and a lot a sixty-fourth or less.
const (
	bucketCredit = 0
	bucketFilled = 8  // ns, of the monotonic clock
	bucketLot    = 16 // units
	bucketDepth  = 24 // ns
	bucketSize   = 64 // a cache line
)

// bucketShift makes ns of bucket units.
const bucketShift = 16

// Stack of cutCode, below that of claimedCode.
const (
	cutKey     = claimStack - 8  // for lookups
	cutHead    = claimStack - 16 // address of the head
	cutCounts  = claimStack - 24 // address of the counters
	cutPayload = claimStack - 32 // bytes of payload
	cutType    = claimStack - 40 // Ethernet type that is written
	cutTail    = claimStack - 48 // bytes behind the payload
	cutBucket  = claimStack - 56 // address of the bucket
	cutCost    = claimStack - 64 // what the frame takes out of the bucket
)

// cutMaps are the descriptors of the maps that cutCode uses.
type cutMaps struct{ heads, counts, buckets, out int }

// cutCode returns what is done with packets of cut-through channels, as programs.cut wants it. word is where in the channel's cell, whose address R0 is, the
// number of its head is and what else the short way takes.
func cutCode(m cutMaps, word int16) asm.Instructions {
	c := &cutGen{}
	c.short(m, word)
	c.begin(m, word)
	c.typed()
	c.hops()
	c.unfinished()
	c.length()
	c.rate(m)
	c.lower()
	c.resize()
	c.headers()
	c.leave(m)
	c.verdicts()
	return c.ins
}

type cutGen struct {
	ins    asm.Instructions
	labels int
	next   string // label of the next instruction
}

func (c *cutGen) add(ins ...asm.Instruction) {
	if c.next != "" {
		ins[0] = ins[0].WithSymbol(c.next)
		c.next = ""
	}
	c.ins = append(c.ins, ins...)
}

func (c *cutGen) label() string {
	c.labels++
	return fmt.Sprintf("cut%d", c.labels)
}

// place labels the next instruction.
func (c *cutGen) place(label string) {
	if c.next != "" {
		c.add(asm.Mov.Imm(asm.R0, 0))
	}
	c.next = label
}

// lookup leaves in R0 the address of an element of an array whose number is at cutKey, or has the packet go up. The kernel writes lookups in arrays
// out, so it is no call.
func (c *cutGen) lookup(fd int) {
	c.add(
		asm.LoadMapPtr(asm.R1, fd),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, cutKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "cut_socket"),
	)
}

// at makes dst the address of the byte in the packet whose offset is in R8, if n bytes follow, and goes to fail otherwise. R3 is lost.
func (c *cutGen) at(dst asm.Register, n int32, fail string) {
	c.add(
		asm.LoadMem(dst, asm.R6, mdData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, mdDataEnd, asm.Word),
		asm.Add.Reg(dst, asm.R8),
	)
	c.follow(dst, n, fail)
}

// follow goes to fail unless n bytes follow p. R3 is the packet's end; R4 is lost.
func (c *cutGen) follow(p asm.Register, n int32, fail string) {
	c.add(asm.Mov.Reg(asm.R4, p), asm.Add.Imm(asm.R4, n), asm.JGT.Reg(asm.R4, asm.R3, fail))
}

// flags loads the head's flags into R1, and its address into R5.
func (c *cutGen) flags() {
	c.add(asm.LoadMem(asm.R5, asm.RFP, cutHead, asm.DWord), asm.LoadMem(asm.R1, asm.R5, headFlags, asm.Word))
}

// unless goes to label if the head has none of some flags. R1 and R5 are lost.
func (c *cutGen) unless(flags int32, label string) {
	c.flags()
	c.add(asm.And.Imm(asm.R1, flags), asm.JEq.Imm(asm.R1, 0, label))
}

// short is the way of frames that leave as long as they came: whole ones, and those of IPv4 without options for the next hop. R7 is the word of the cell, R8 the
// address of the counters.
func (c *cutGen) short(m cutMaps, word int16) {
	whole, hop, look, counted, pay, paid, rewrite, redirect := c.label(), c.label(), c.label(), c.label(), c.label(), c.label(), c.label(), c.label()
	is := func(flag int32, label string) { c.add(asm.JSet.Imm(asm.R7, flag, label)) }
	lookup := func(fd int, field int32) {
		c.add(
			asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, field), asm.And.Imm(asm.R1, 0xffff),
			asm.StoreMem(asm.RFP, cutKey, asm.R1, asm.Word),
			asm.LoadMapPtr(asm.R1, fd), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, cutKey),
			asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "socket"),
		)
	}
	c.place("cut")
	c.add(asm.LoadMem(asm.R7, asm.R0, word, asm.DWord))
	is(wordWhole, whole)
	is(wordHop, hop)
	c.add(asm.Ja.Label("cut_long"))
	c.place(whole)
	c.add(asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, wordFits), asm.JGT.Reg(asm.R9, asm.R1, "cut_long"))
	is(wordUnfinished, look)
	c.place(counted)
	lookup(m.counts, wordCut)
	c.add(asm.Mov.Reg(asm.R8, asm.R0))
	is(wordRated, pay)
	c.place(paid)
	is(wordHop, rewrite)
	c.place(redirect)
	c.add(
		asm.LoadMapPtr(asm.R1, m.out),
		asm.Mov.Reg(asm.R2, asm.R7), asm.RSh.Imm(asm.R2, wordOut), asm.And.Imm(asm.R2, 0xff),
		asm.Mov.Imm(asm.R3, xdpDrop), // if the link is closed
		asm.FnRedirectMap.Call(),
		asm.JNE.Imm(asm.R0, xdpRedirect, "cut_away"),
	)
	c.count()

	c.place(look)
	c.plain("cut_long", counted)
	c.add(asm.Ja.Label(counted))

	c.place(hop)
	c.add(
		asm.JNE.Imm(asm.R8, demux.EtherLen, "cut_long"),
		asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word), asm.LoadMem(asm.R3, asm.R6, mdDataEnd, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R3), asm.Sub.Reg(asm.R1, asm.R2), asm.JNE.Reg(asm.R1, asm.R9, "cut_long"), // something behind the payload
	)
	c.follow(asm.R2, demux.EtherLen+demux.IPv4Len, "cut_long")
	c.option(asm.R2, "cut_long")
	c.add(asm.LoadMem(asm.R1, asm.R2, demux.EtherLen+8, asm.Byte), asm.JGT.Imm(asm.R1, 1, whole), asm.Ja.Label("cut_long"))

	c.place(pay)
	c.add(
		asm.LoadMem(asm.R3, asm.RFP, claimCell, asm.DWord),
		asm.LoadMem(asm.R1, asm.R3, word+8, asm.DWord), asm.Mul.Reg(asm.R1, asm.R9),
		asm.LoadMem(asm.R2, asm.R8, cutLocal, asm.DWord),
		asm.JLT.Reg(asm.R2, asm.R1, "cut_empty"),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.StoreMem(asm.R8, cutLocal, asm.R2, asm.DWord),
		asm.Ja.Label(paid),
	)

	c.place(rewrite)
	lookup(m.heads, wordHead)
	c.add(
		asm.Sub.Imm(asm.R9, demux.EtherLen),
		asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word), asm.LoadMem(asm.R3, asm.R6, mdDataEnd, asm.Word),
	)
	c.follow(asm.R2, demux.EtherLen+demux.IPv4Len, "cut_never") // it has been seen to be there
	less := int32(binary.NativeEndian.Uint16([]byte{0xfe, 0xff}))
	c.add(
		asm.LoadMem(asm.R1, asm.R0, headMACs, asm.DWord), asm.StoreMem(asm.R2, 0, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, headMACs+8, asm.Word), asm.StoreMem(asm.R2, 8, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R2, demux.EtherLen+8, asm.Byte), asm.Sub.Imm(asm.R1, 1), asm.StoreMem(asm.R2, demux.EtherLen+8, asm.R1, asm.Byte),
		// As lower has it: of a field that is 256 less, the complement and the new value are always 0xfeff together, and one carry is the most.
		asm.LoadMem(asm.R0, asm.R2, demux.EtherLen+10, asm.Half), asm.Xor.Imm(asm.R0, 0xffff), asm.Add.Imm(asm.R0, less),
	)
	c.fold()
	c.add(asm.Xor.Imm(asm.R0, 0xffff), asm.StoreMem(asm.R2, demux.EtherLen+10, asm.R0, asm.Half), asm.Ja.Label(redirect))

	c.place("cut_away")
	c.add(asm.StoreMem(asm.RFP, cutCounts, asm.R8, asm.DWord), asm.Ja.Label("cut_gone"))
	c.place("cut_never")
	c.add(asm.StoreMem(asm.RFP, cutCounts, asm.R8, asm.DWord), asm.Ja.Label("cut_short"))
	c.place("cut_empty")
	c.add(asm.Mov.Imm(asm.R8, demux.EtherLen))
	is(wordHop, "cut_long")
	c.add(asm.Mov.Imm(asm.R8, 0))
	c.place("cut_long")
	c.add(asm.LoadMem(asm.R0, asm.RFP, claimCell, asm.DWord))
}

// option goes to label unless the frame at p, of which that much has been seen to be there, is of IPv4 without options. R1 is lost.
func (c *cutGen) option(p asm.Register, label string) {
	begin := binary.NativeEndian.Uint32([]byte{demux.EtherTypeIPv4 >> 8, demux.EtherTypeIPv4 & 0xff, 0x45, 0})
	mask := binary.NativeEndian.Uint32([]byte{0xff, 0xff, 0xff, 0})
	c.add(asm.LoadMem(asm.R1, p, demux.EtherLen-2, asm.Word), asm.And.Imm(asm.R1, int32(mask)), asm.JNE.Imm32(asm.R1, int32(begin), label))
}

// plain goes to done if a frame carries UDP or TCP in IPv4 without options and its checksum is not unfinished, or carries something else in such a header,
// and to other if more has to be looked at. The checksum is unfinished if it is not 0 and equal to the sum of the pseudo-header, of 16-bit words with carries added.
// That is so if their difference is a multiple of 65,535, and this if it does not get larger than the quotient of 2^64-1 by 65,535 when it is multiplied by the
// inverse of 65,535 (Granlund and Montgomery, Division by Invariant Integers using Multiplication, section 9). The words are in the order of the machine: changing it multiplies
// all by 256, modulo 65,535.
func (c *cutGen) plain(other, done string) {
	const (
		odd     = 0xffff
		inverse = -(1 + 1<<16 + 1<<32 + 1<<48) // modulo 2^64
		most    = (1<<64 - 1) / odd
		ipAt    = demux.EtherLen
		l4At    = ipAt + demux.IPv4Len
	)
	udp, sum := c.label(), c.label()
	c.add(asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word), asm.LoadMem(asm.R3, asm.R6, mdDataEnd, asm.Word))
	c.follow(asm.R2, l4At+demux.UDPLen, other)
	c.option(asm.R2, other)
	c.add(
		asm.LoadMem(asm.R5, asm.R2, ipAt+9, asm.Byte),
		asm.JEq.Imm(asm.R5, demux.ProtoUDP, udp), asm.JNE.Imm(asm.R5, demux.ProtoTCP, done),
	)
	c.follow(asm.R2, l4At+18, other)
	c.add(asm.LoadMem(asm.R1, asm.R2, l4At+16, asm.Half), asm.Ja.Label(sum))
	c.place(udp)
	c.add(asm.LoadMem(asm.R1, asm.R2, l4At+6, asm.Half))
	c.place(sum)
	c.add(
		asm.JEq.Imm(asm.R1, 0, done),
		asm.Add.Imm(asm.R5, odd-demux.IPv4Len), // the protocol's number and the length without the header
		asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.Add.Imm(asm.R5, odd),
		asm.Sub.Reg(asm.R5, asm.R1),
		asm.LoadMem(asm.R1, asm.R2, ipAt+12, asm.Word), asm.Add.Reg(asm.R5, asm.R1),
		asm.LoadMem(asm.R1, asm.R2, ipAt+16, asm.Word), asm.Add.Reg(asm.R5, asm.R1),
		asm.LoadMem(asm.R1, asm.R2, ipAt+2, asm.Half), asm.Add.Reg(asm.R5, asm.R1),
		asm.LoadImm(asm.R1, inverse, asm.DWord), asm.Mul.Reg(asm.R5, asm.R1),
		asm.LoadImm(asm.R1, most, asm.DWord),
		asm.JLE.Reg(asm.R5, asm.R1, other),
	)
}

// begin finds head and counters.
func (c *cutGen) begin(m cutMaps, word int16) {
	c.add(
		asm.LoadMem(asm.R1, asm.R0, word, asm.DWord), asm.RSh.Imm(asm.R1, wordHead), asm.And.Imm(asm.R1, 0xffff),
		asm.StoreMem(asm.RFP, cutKey, asm.R1, asm.Word),
	)
	c.add(asm.LoadMapPtr(asm.R1, m.heads), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, cutKey),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "socket"))
	c.add(
		asm.StoreMem(asm.RFP, cutHead, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, headCut, asm.Word),
		asm.StoreMem(asm.RFP, cutKey, asm.R1, asm.Word),
	)
	c.add(asm.LoadMapPtr(asm.R1, m.counts), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, cutKey),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "socket"))
	c.add(
		asm.StoreMem(asm.RFP, cutCounts, asm.R0, asm.DWord),
		asm.JGT.Imm(asm.R8, maxCutOffset, "cut_socket"),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Sub.Reg(asm.R1, asm.R8),
		asm.StoreMem(asm.RFP, cutPayload, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R6, mdDataEnd, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.Sub.Reg(asm.R1, asm.R9),
		asm.StoreMem(asm.RFP, cutTail, asm.R1, asm.DWord),
	)
	c.flags()
	c.add(
		asm.LoadMem(asm.R2, asm.R5, headType, asm.Half),
		asm.StoreMem(asm.RFP, cutType, asm.R2, asm.DWord),
		asm.And.Imm(asm.R1, headTyped|headKeepType|headHops|headUnfinished),
		asm.JEq.Imm(asm.R1, 0, "cut_length"),
	)
}

// maxCutOffset is the largest offset of a payload, which the verifier wants to know bounded; demux follows headers no further.
const maxCutOffset = 0x3fff

// typed loads the frame's type, as on the wire, into R9, whose value is not needed any more.
func (c *cutGen) typed() {
	c.add(asm.Mov.Imm(asm.R9, 0))
	c.unless(headTyped, "cut_hops")
	c.add(asm.JLT.Imm(asm.R8, demux.EtherLen, "cut_invalid"))
	c.add(asm.Sub.Imm(asm.R8, 2))
	c.at(asm.R2, 2, "cut_invalid")
	c.add(asm.LoadMem(asm.R9, asm.R2, 0, asm.Half), asm.Add.Imm(asm.R8, 2))
	c.unless(headKeepType, "cut_hops")
	c.add(asm.StoreMem(asm.RFP, cutType, asm.R9, asm.DWord))
}

// hops refuses what is no IP packet and what has no hop left.
func (c *cutGen) hops() {
	six := c.label()
	wrong := func(typ uint16) {
		ok := c.label()
		c.add(asm.LoadMem(asm.R1, asm.R5, headFlags, asm.Word), asm.And.Imm(asm.R1, headTyped), asm.JEq.Imm(asm.R1, 0, ok),
			asm.Mov.Reg(asm.R1, asm.R9), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.JNE.Imm(asm.R1, int32(typ), "cut_invalid"))
		c.place(ok)
	}
	c.place("cut_hops")
	c.unless(headHops, "cut_unfinished")
	c.add(asm.LoadMem(asm.R0, asm.RFP, cutPayload, asm.DWord), asm.JLT.Imm(asm.R0, demux.IPv4Len, "cut_invalid"))
	c.at(asm.R2, demux.IPv4Len, "cut_invalid")
	c.add(asm.LoadMem(asm.R1, asm.R2, 0, asm.Byte), asm.RSh.Imm(asm.R1, 4),
		asm.JEq.Imm(asm.R1, 6, six), asm.JNE.Imm(asm.R1, 4, "cut_invalid"))
	wrong(demux.EtherTypeIPv4)
	c.add(asm.LoadMem(asm.R1, asm.R2, 8, asm.Byte), asm.JLE.Imm(asm.R1, 1, "cut_nohops"), asm.Ja.Label("cut_unfinished"))
	c.place(six)
	wrong(demux.EtherTypeIPv6)
	c.add(asm.JLT.Imm(asm.R0, demux.IPv6Len, "cut_invalid"))
	c.add(asm.LoadMem(asm.R1, asm.R2, 7, asm.Byte), asm.JLE.Imm(asm.R1, 1, "cut_nohops"))
}

// unfinished has packets go up whose UDP or TCP checksum holds the sum of the pseudo-header only, as finishChecksum
// has it. It looks at less, and so takes some others for such packets, for which user space does the same.
func (c *cutGen) unfinished() {
	six, l4, udp, test := c.label(), c.label(), c.label(), c.label()
	const done = "cut_finished"
	known := c.label()
	c.place("cut_unfinished")
	c.unless(headUnfinished, "cut_length")
	c.add(asm.StoreMem(asm.RFP, cutCost, asm.R8, asm.DWord)) // R8 is where the IP header is, R9 the type
	c.add(asm.LoadMem(asm.R1, asm.R5, headFlags, asm.Word), asm.And.Imm(asm.R1, headTyped), asm.JNE.Imm(asm.R1, 0, known))
	c.add(asm.Mov.Imm(asm.R8, demux.EtherLen-2))
	c.at(asm.R2, 2, done)
	c.add(asm.LoadMem(asm.R9, asm.R2, 0, asm.Half), asm.Mov.Imm(asm.R8, demux.EtherLen))
	for range 2 {
		tag := c.label()
		c.add(asm.Mov.Reg(asm.R1, asm.R9), asm.HostTo(asm.BE, asm.R1, asm.Half),
			asm.JEq.Imm(asm.R1, demux.EtherTypeVLAN, tag), asm.JNE.Imm(asm.R1, demux.EtherTypeSVLAN, known))
		c.place(tag)
		c.at(asm.R2, demux.VLANLen, done)
		c.add(asm.LoadMem(asm.R9, asm.R2, 2, asm.Half), asm.Add.Imm(asm.R8, demux.VLANLen))
	}
	c.place(known)
	c.add(asm.Mov.Reg(asm.R1, asm.R9), asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, demux.EtherTypeIPv6, six), asm.JNE.Imm(asm.R1, demux.EtherTypeIPv4, done))
	// R0: sum, in the host's order of the words as they are; R1: protocol; R2: start of what IP carries
	c.at(asm.R2, demux.IPv4Len, done)
	c.add(
		asm.LoadMem(asm.R5, asm.R2, 0, asm.Byte), asm.And.Imm(asm.R5, 15), asm.LSh.Imm(asm.R5, 2),
		asm.LoadMem(asm.R0, asm.R2, 12, asm.Word),
		asm.LoadMem(asm.R1, asm.R2, 16, asm.Word), asm.Add.Reg(asm.R0, asm.R1),
		asm.LoadMem(asm.R1, asm.R2, 9, asm.Byte),
		asm.LoadMem(asm.R4, asm.R2, 2, asm.Half), asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.Sub.Reg(asm.R4, asm.R5), asm.Add.Reg(asm.R4, asm.R1), asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.Add.Reg(asm.R0, asm.R4),
		asm.Add.Reg(asm.R2, asm.R5),
		asm.Ja.Label(l4),
	)
	c.place(six)
	c.at(asm.R2, demux.IPv6Len, done)
	c.add(asm.Mov.Imm(asm.R0, 0))
	for i := int16(8); i < demux.IPv6Len; i += 4 {
		c.add(asm.LoadMem(asm.R1, asm.R2, i, asm.Word), asm.Add.Reg(asm.R0, asm.R1))
	}
	c.add(
		asm.LoadMem(asm.R1, asm.R2, 6, asm.Byte),
		asm.LoadMem(asm.R4, asm.R2, 4, asm.Half), asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.Add.Reg(asm.R4, asm.R1), asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.Add.Reg(asm.R0, asm.R4),
		asm.Add.Imm(asm.R2, demux.IPv6Len),
	)
	c.place(l4)
	c.add(asm.JEq.Imm(asm.R1, demux.ProtoUDP, udp), asm.JNE.Imm(asm.R1, demux.ProtoTCP, done))
	c.follow(asm.R2, 18, done)
	c.add(asm.LoadMem(asm.R1, asm.R2, 16, asm.Half), asm.Ja.Label(test))
	c.place(udp)
	c.follow(asm.R2, demux.UDPLen, done)
	c.add(asm.LoadMem(asm.R1, asm.R2, 6, asm.Half))
	c.place(test)
	for range 3 { // the sum has at most 37 bits
		c.fold()
	}
	c.add(asm.JEq.Reg(asm.R0, asm.R1, "cut_socket"))
	c.place(done)
	c.add(asm.LoadMem(asm.R8, asm.RFP, cutCost, asm.DWord))
}

// fold adds what is above the low 16 bits of R0 to them. R4 is lost.
func (c *cutGen) fold() {
	c.add(asm.Mov.Reg(asm.R4, asm.R0), asm.RSh.Imm(asm.R4, 16), asm.And.Imm(asm.R0, 0xffff), asm.Add.Reg(asm.R0, asm.R4))
}

// length compares the payload's length with the bounds.
func (c *cutGen) length() {
	c.place("cut_length")
	c.flags()
	c.add(
		asm.LoadMem(asm.R2, asm.RFP, cutPayload, asm.DWord),
		asm.LoadMem(asm.R3, asm.R5, headMost, asm.Word),
		asm.JGT.Reg(asm.R2, asm.R3, "cut_big"),
		asm.LoadMem(asm.R3, asm.R5, headFits, asm.Word),
		asm.JGT.Reg(asm.R2, asm.R3, "cut_socket"),
		asm.And.Imm(asm.R1, headRated),
		asm.JEq.Imm(asm.R1, 0, "cut_lower"),
	)
}

// rate takes the frame's time out of what the processor has, or else a lot and that out of the bucket, which it fills up if it is empty.
func (c *cutGen) rate(m cutMaps) {
	more, full, lost, got := c.label(), c.label(), c.label(), c.label()
	c.add(
		asm.LoadMem(asm.R1, asm.RFP, cutPayload, asm.DWord),
		asm.LoadMem(asm.R2, asm.R5, headLen, asm.Word),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, asm.R5, headCost, asm.DWord),
		asm.Mul.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R3, asm.RFP, cutCounts, asm.DWord),
		asm.LoadMem(asm.R2, asm.R3, cutLocal, asm.DWord),
		asm.JLT.Reg(asm.R2, asm.R1, more),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.StoreMem(asm.R3, cutLocal, asm.R2, asm.DWord),
		asm.Ja.Label("cut_lower"),
	)
	c.place(more)
	c.add(asm.StoreMem(asm.RFP, cutCost, asm.R1, asm.DWord))
	c.lookup(m.buckets)
	c.add(
		asm.StoreMem(asm.RFP, cutBucket, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, cutCost, asm.DWord),
		asm.LoadMem(asm.R2, asm.R0, bucketLot, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.RFP, cutCost, asm.R1, asm.DWord), // and the lot
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Neg.Imm(asm.R2, 0),
		cells.Atomically(asm.FetchAdd, asm.R0, asm.R2, bucketCredit), // R2 is what there was
		asm.JSGE.Reg(asm.R2, asm.R1, got),

		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.LoadMem(asm.R3, asm.RFP, cutBucket, asm.DWord),
		asm.LoadMem(asm.R0, asm.R3, bucketFilled, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Sub.Reg(asm.R4, asm.R0), // what has passed
		asm.LoadMem(asm.R5, asm.R3, bucketDepth, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R0),
		cells.Atomically(asm.CmpXchg, asm.R3, asm.R2, bucketFilled),
		asm.JNE.Reg(asm.R0, asm.R1, lost), // another processor fills it
		asm.JLE.Reg(asm.R4, asm.R5, full),
		asm.Mov.Reg(asm.R4, asm.R5),
	)
	c.place(full)
	c.add(
		asm.LSh.Imm(asm.R4, bucketShift),
		asm.AddAtomic.Mem(asm.R3, asm.R4, asm.DWord, bucketCredit),
	)
	c.place(lost)
	c.add(
		asm.LoadMem(asm.R1, asm.R3, bucketCredit, asm.DWord),
		asm.JSGE.Imm(asm.R1, 0, got),
		asm.LoadMem(asm.R1, asm.RFP, cutCost, asm.DWord),
		asm.AddAtomic.Mem(asm.R3, asm.R1, asm.DWord, bucketCredit),
		asm.Ja.Label("cut_slow"),
	)
	c.place(got)
	c.add(
		asm.LoadMem(asm.R3, asm.RFP, cutBucket, asm.DWord),
		asm.LoadMem(asm.R1, asm.R3, bucketLot, asm.DWord),
		asm.LoadMem(asm.R3, asm.RFP, cutCounts, asm.DWord),
		asm.LoadMem(asm.R2, asm.R3, cutLocal, asm.DWord),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.StoreMem(asm.R3, cutLocal, asm.R2, asm.DWord),
	)
}

// lower takes one from the hop limit. The checksum is changed as RFC 1624, equation 3, has it.
func (c *cutGen) lower() {
	six := c.label()
	c.place("cut_lower")
	c.unless(headHops, "cut_resize")
	c.at(asm.R2, demux.IPv4Len, "cut_invalid")
	c.add(
		asm.LoadMem(asm.R1, asm.R2, 0, asm.Byte), asm.RSh.Imm(asm.R1, 4), asm.JEq.Imm(asm.R1, 6, six),
		asm.LoadMem(asm.R1, asm.R2, 8, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), // hop limit and protocol
		asm.LoadMem(asm.R0, asm.R2, 10, asm.Half), asm.HostTo(asm.BE, asm.R0, asm.Half),
		asm.Xor.Imm(asm.R0, 0xffff),
		asm.Mov.Reg(asm.R4, asm.R1), asm.Xor.Imm(asm.R4, 0xffff), asm.Add.Reg(asm.R0, asm.R4),
		asm.Sub.Imm(asm.R1, 0x100), asm.Add.Reg(asm.R0, asm.R1),
		asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.R2, 8, asm.R1, asm.Half),
	)
	c.fold()
	c.fold()
	c.add(
		asm.Xor.Imm(asm.R0, 0xffff),
		asm.HostTo(asm.BE, asm.R0, asm.Half), asm.StoreMem(asm.R2, 10, asm.R0, asm.Half),
		asm.Ja.Label("cut_resize"),
	)
	c.place(six)
	c.add(asm.LoadMem(asm.R1, asm.R2, 7, asm.Byte), asm.Sub.Imm(asm.R1, 1), asm.StoreMem(asm.R2, 7, asm.R1, asm.Byte))
}

// resize makes the frame as long as it will be, the front first: the kernel keeps 14 bytes. R8 is the address of the head then, R9 the payload's length,
// R7 the address of the counters.
func (c *cutGen) resize() {
	tail, loaded := c.label(), c.label()
	c.place("cut_resize")
	c.add(
		asm.LoadMem(asm.R5, asm.RFP, cutHead, asm.DWord),
		asm.LoadMem(asm.R1, asm.R5, headLen, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.JEq.Imm(asm.R2, 0, tail),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnXdpAdjustHead.Call(),
		asm.JNE.Imm(asm.R0, 0, "cut_invalid"),
	)
	c.place(tail)
	c.add(
		asm.LoadMem(asm.R2, asm.RFP, cutTail, asm.DWord),
		asm.JEq.Imm(asm.R2, 0, loaded),
		asm.Neg.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnXdpAdjustTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "cut_invalid"),
	)
	c.place(loaded)
	c.add(
		asm.LoadMem(asm.R7, asm.RFP, cutCounts, asm.DWord),
		asm.LoadMem(asm.R8, asm.RFP, cutHead, asm.DWord),
		asm.LoadMem(asm.R9, asm.RFP, cutPayload, asm.DWord),
	)
}

// headers writes them. R2 goes along the packet, R3 is its end.
func (c *cutGen) headers() {
	const short = "cut_short"
	typ, six, udp := c.label(), c.label(), c.label()
	c.add(
		asm.LoadMem(asm.R1, asm.R8, headLen, asm.Word), asm.JEq.Imm(asm.R1, 0, "cut_leave"),
		asm.LoadMem(asm.R2, asm.R6, mdData, asm.Word), asm.LoadMem(asm.R3, asm.R6, mdDataEnd, asm.Word),
	)
	c.follow(asm.R2, demux.EtherLen, short)
	c.copy(headMACs, 12)
	c.add(asm.LoadMem(asm.R0, asm.R8, headTags, asm.Word), asm.Add.Imm(asm.R2, 12))
	for i := range int16(2) {
		c.add(asm.JLE.Imm(asm.R0, int32(i), typ))
		c.follow(asm.R2, demux.VLANLen+2, short)
		c.copy(headTag+demux.VLANLen*i, demux.VLANLen)
		c.add(asm.Add.Imm(asm.R2, demux.VLANLen))
	}
	c.place(typ)
	c.add(
		asm.LoadMem(asm.R1, asm.RFP, cutType, asm.DWord), asm.StoreMem(asm.R2, 0, asm.R1, asm.Half),
		asm.Add.Imm(asm.R2, 2),
		asm.LoadMem(asm.R0, asm.R8, headIPv, asm.Word),
		asm.JEq.Imm(asm.R0, 0, "cut_leave"),
		asm.JNE.Imm(asm.R0, 4, six),
	)

	c.follow(asm.R2, demux.IPv4Len, short)
	c.copy(headIP, demux.IPv4Len)
	c.add(asm.Mov.Reg(asm.R1, asm.R9), asm.Add.Imm(asm.R1, demux.IPv4Len), asm.LoadMem(asm.R0, asm.R8, headIsUDP, asm.Word))
	c.add(asm.LSh.Imm(asm.R0, 3), asm.Add.Reg(asm.R1, asm.R0)) // 8 bytes more with UDP
	c.add(asm.LoadMem(asm.R0, asm.R8, headSum, asm.Word), asm.Add.Reg(asm.R0, asm.R1))
	c.fold()
	c.fold()
	c.add(
		asm.Xor.Imm(asm.R0, 0xffff),
		asm.HostTo(asm.BE, asm.R0, asm.Half), asm.StoreMem(asm.R2, 10, asm.R0, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.R2, 2, asm.R1, asm.Half),
		asm.Add.Imm(asm.R2, demux.IPv4Len),
		asm.Ja.Label(udp),
	)

	c.place(six)
	c.follow(asm.R2, demux.IPv6Len, short)
	c.copy(headIP, demux.IPv6Len)
	c.add(asm.Mov.Reg(asm.R1, asm.R9), asm.LoadMem(asm.R0, asm.R8, headIsUDP, asm.Word), asm.LSh.Imm(asm.R0, 3), asm.Add.Reg(asm.R1, asm.R0))
	c.add(asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.R2, 4, asm.R1, asm.Half), asm.Add.Imm(asm.R2, demux.IPv6Len))

	c.place(udp)
	c.add(asm.LoadMem(asm.R0, asm.R8, headIsUDP, asm.Word), asm.JEq.Imm(asm.R0, 0, "cut_leave"))
	c.follow(asm.R2, demux.UDPLen, short)
	c.copy(headUDP, demux.UDPLen)
	c.add(
		asm.Mov.Reg(asm.R1, asm.R9), asm.Add.Imm(asm.R1, demux.UDPLen),
		asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.R2, 4, asm.R1, asm.Half),
	)
}

// copy copies n bytes of the head to R2. R1 is lost.
func (c *cutGen) copy(from, n int16) {
	at := int16(0)
	for _, part := range [...]asm.Size{asm.DWord, asm.Word} {
		for ; n-at >= int16(part.Sizeof()); at += int16(part.Sizeof()) {
			c.add(asm.LoadMem(asm.R1, asm.R8, from+at, part), asm.StoreMem(asm.R2, at, asm.R1, part))
		}
	}
}

// leave redirects and counts.
func (c *cutGen) leave(m cutMaps) {
	c.place("cut_leave")
	c.add(
		asm.LoadMapPtr(asm.R1, m.out),
		asm.LoadMem(asm.R2, asm.R8, headOut, asm.Word),
		asm.Mov.Imm(asm.R3, xdpDrop), // if the link is closed
		asm.FnRedirectMap.Call(),
		asm.JNE.Imm(asm.R0, xdpRedirect, "cut_gone"),
		asm.Mov.Reg(asm.R8, asm.R7),
	)
	c.count()
}

// count counts a packet whose payload has R9 bytes, in the counters at R8, and returns.
func (c *cutGen) count() {
	c.add(
		asm.LoadMem(asm.R1, asm.R8, cutPackets, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R8, cutPackets, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, cutBytes, asm.DWord), asm.Add.Reg(asm.R1, asm.R9), asm.StoreMem(asm.R8, cutBytes, asm.R1, asm.DWord),
		asm.Return(),
	)
}

// verdicts counts what does not leave, and why. Counters are a processor's own, so adding takes no lock.
func (c *cutGen) verdicts() {
	count := func(label string, word int16) {
		c.place(label)
		c.add(asm.LoadMem(asm.R2, asm.RFP, cutCounts, asm.DWord),
			asm.LoadMem(asm.R1, asm.R2, word, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R2, word, asm.R1, asm.DWord))
	}
	for _, v := range []struct {
		label string
		word  int16
	}{
		{"cut_big", cutTooBig}, {"cut_nohops", cutHops}, {"cut_slow", cutRate}, {"cut_gone", cutGone}, {"cut_short", cutInvalid}, {"cut_invalid", cutInvalid},
	} {
		count(v.label, v.word)
		c.add(asm.Mov.Imm(asm.R0, xdpDrop), asm.Return())
	}
	count("cut_socket", cutUp)
	c.add(asm.Ja.Label("socket"))
}
