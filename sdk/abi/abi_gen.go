// Code generated from abi.yaml by sdk/abi/internal/gen; DO NOT EDIT.

package abi

import "encoding/binary"

// Version is the version of the ABI.
const Version = 1

// Bounds of the ABI.
const (
	OutputsMax  = 16    // most entries of the output list
	EmitsMax    = 4     // most entries of the emit list
	StateMax    = 64    // most bytes of a soft-state value
	KeyMax      = 32    // most bytes of an explicit soft-state key
	KeyPartsMax = 4     // most parts of the declared key
	NameMax     = 32    // bytes of the class name in the manifest
	WindowLimit = 65536 // largest window a guest may declare
	LogMax      = 128   // bytes of a log line that are kept
)

// Verdict is what a guest decided about a capsule.
type Verdict uint32

// The verdicts.
const (
	Drop    Verdict = 0 // the capsule ends here
	Forward Verdict = 1 // send the window: to every entry of the output list, or to out_dst if the list is empty
	Deliver Verdict = 2 // hand the window to the application on dst_port of this node; entries of the output list are sent as well
	Punt    Verdict = 3 // hand the unchanged capsule to the node's slow path
	Error   Verdict = 4 // the guest found the capsule malformed: dropped and counted apart
)

var verdictNames = [...]string{0: "drop", 1: "forward", 2: "deliver", 3: "punt", 4: "error"}

// StateAct is what a guest wants done to its soft state.
type StateAct uint32

// The acts.
const (
	StateKeep   StateAct = 0 // leave the stored value as it is
	StateWrite  StateAct = 1 // store the first state_size bytes of state under the declared key
	StateDelete StateAct = 2 // forget the stored value
)

// Sizes and offsets of the records in guest memory.
const (
	ManifestSize          = 80
	ManifestSizeOff       = 0
	ManifestABIOff        = 4
	ManifestWindowSizeOff = 8
	ManifestWindowMinOff  = 12
	ManifestStateSpaceOff = 16
	ManifestStateSizeOff  = 20
	ManifestKeyPartsOff   = 22
	ManifestKeyOff        = 24
	ManifestNameOff       = 40
	ManifestReservedOff   = 72

	KeyPartSize      = 4
	KeyPartOffsetOff = 0
	KeyPartLengthOff = 2

	BlockSize             = 384
	BlockSizeOff          = 0
	BlockABIOff           = 4
	BlockTimeNSOff        = 8
	BlockFuelOff          = 16
	BlockRandomOff        = 24
	BlockNodeOff          = 32
	BlockPrevOff          = 36
	BlockSrcOff           = 40
	BlockDstOff           = 44
	BlockLengthOff        = 48
	BlockCapturedOff      = 52
	BlockCreditOff        = 56
	BlockTTLOff           = 60
	BlockInLinkOff        = 64
	BlockNeighboursOff    = 68
	BlockSrcPortOff       = 72
	BlockDstPortOff       = 74
	BlockStateFoundOff    = 76
	BlockOutDstOff        = 80
	BlockOutLengthOff     = 84
	BlockOutCountOff      = 88
	BlockEmitCountOff     = 92
	BlockStateActOff      = 96
	BlockStateLifetimeOff = 100
	BlockOutReservedOff   = 104
	BlockStateOff         = 112
	BlockOutputsOff       = 176
	BlockEmitsOff         = 304

	OutputSize     = 8
	OutputToOff    = 0
	OutputTTLOff   = 4
	OutputShareOff = 6

	EmitSize        = 20
	EmitAddrOff     = 0
	EmitLengthOff   = 4
	EmitDstOff      = 8
	EmitClassOff    = 12
	EmitTTLOff      = 14
	EmitShareOff    = 16
	EmitReservedOff = 18
)

// ExportEvaluate is the name of the function that a guest exports: it takes nothing and returns a Verdict.
const ExportEvaluate = "evaluate"

// Names of the globals that hold the addresses of the records.
const (
	ExportManifest = "janos_manifest"
	ExportBlock    = "janos_block"
	ExportWindow   = "janos_window"
)

// In is what the host tells the guest about one capsule.
type In struct {
	TimeNS     uint64 // the node's time in nanoseconds, coarse: one reading per batch
	Fuel       uint64 // budget of this evaluation
	Random     uint64 // fresh pseudo-random bits; not for secrets
	Node       uint32 // address of this node
	Prev       uint32 // address of the previous hop, 0 if injected here
	Src        uint32 // address of the node where the capsule was injected
	Dst        uint32 // destination address
	Length     uint32 // bytes of the class-specific part of the capsule
	Captured   uint32 // how many of them are in the window
	Credit     uint32 // resource count that the capsule brought
	TTL        uint32 // hops left after this node
	InLink     uint32 // number of the link it came by, 0 if injected here
	Neighbours uint32 // how many neighbours are alive
	SrcPort    uint16 // application port at the source
	DstPort    uint16 // application port at the destination
	StateFound uint32 // 1 if state holds a stored value
}

// Put writes in to the start of a block, which must have BlockSize bytes.
func (in *In) Put(b []byte) {
	_ = b[BlockSize-1]
	binary.LittleEndian.PutUint32(b[BlockSizeOff:], BlockSize)
	binary.LittleEndian.PutUint32(b[BlockABIOff:], Version)
	binary.LittleEndian.PutUint64(b[BlockTimeNSOff:], in.TimeNS)
	binary.LittleEndian.PutUint64(b[BlockFuelOff:], in.Fuel)
	binary.LittleEndian.PutUint64(b[BlockRandomOff:], in.Random)
	binary.LittleEndian.PutUint32(b[BlockNodeOff:], in.Node)
	binary.LittleEndian.PutUint32(b[BlockPrevOff:], in.Prev)
	binary.LittleEndian.PutUint32(b[BlockSrcOff:], in.Src)
	binary.LittleEndian.PutUint32(b[BlockDstOff:], in.Dst)
	binary.LittleEndian.PutUint32(b[BlockLengthOff:], in.Length)
	binary.LittleEndian.PutUint32(b[BlockCapturedOff:], in.Captured)
	binary.LittleEndian.PutUint32(b[BlockCreditOff:], in.Credit)
	binary.LittleEndian.PutUint32(b[BlockTTLOff:], in.TTL)
	binary.LittleEndian.PutUint32(b[BlockInLinkOff:], in.InLink)
	binary.LittleEndian.PutUint32(b[BlockNeighboursOff:], in.Neighbours)
	binary.LittleEndian.PutUint16(b[BlockSrcPortOff:], in.SrcPort)
	binary.LittleEndian.PutUint16(b[BlockDstPortOff:], in.DstPort)
	binary.LittleEndian.PutUint32(b[BlockStateFoundOff:], in.StateFound)
}

// Module is the name under which guests import host calls.
const Module = "janos"

// Calls are the functions that a guest may import from Module.
var Calls = []Call{
	{Name: "state_get", Params: 4, Result: true, Fuel: 200},  // key, key_len, value, cap
	{Name: "state_put", Params: 5, Result: true, Fuel: 300},  // key, key_len, value, len, lifetime
	{Name: "route_next", Params: 1, Result: true, Fuel: 100}, // addr
	{Name: "neighbour", Params: 1, Result: true, Fuel: 50},   // index
	{Name: "log", Params: 2, Result: false, Fuel: 500},       // text, len
}

// Indices into Calls.
const (
	CallStateGet  = 0
	CallStatePut  = 1
	CallRouteNext = 2
	CallNeighbour = 3
	CallLog       = 4
)
