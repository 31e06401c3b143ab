package jail

import (
	"encoding/binary"
	"encoding/json"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

// The memory that node and worker share. Words by which one side publishes are 64 bytes apart. Numbers are little-endian but for
// the words, which are the processor's.
//
//	control: one request and one answer at a time, as JSON, with the bytes of a module behind the request
//	lane 0:  for evaluations one at a time (Instance.Evaluate)
//	lane 1:  for the first Queue; and so on
//
//	lane:    words | call and reply of a host function | slots of requests | slots of answers
//
// A lane is a ring: request number s is in slot s mod ringSlots, and so is its answer; answers come in the order of the requests. The node writes submitted, the
// worker completed.
const (
	ringSlots = 128 // a power of two

	ctlSubmitted = 0   // node
	ctlCompleted = 64  // worker
	ctlReqLen    = 128 // node: bytes of JSON
	ctlBlobLen   = 132 // node: bytes behind them
	ctlRespLen   = 192 // worker
	ctlRequest   = 4096
	ctlJSONMax   = 64 << 10
	ctlBlobMax   = 1 << 20
	ctlResponse  = ctlRequest + ctlJSONMax + ctlBlobMax
	ctlBytes     = ctlResponse + ctlJSONMax

	laneSubmitted = 0   // node
	laneCompleted = 64  // worker
	laneSleeping  = 128 // worker: wants to be woken
	laneCalls     = 192 // worker: host calls made
	laneReplies   = 256 // node: host calls served
	laneCall      = 4096
	laneReply     = laneCall + callBytes
	laneSlots     = laneReply + callBytes

	callBytes  = 8192
	callSlot   = 0 // number of the request in whose evaluation it is made
	callFn     = 4
	callViews  = 8
	callArgs   = 64  // 16 of 4 bytes
	callView   = 128 // maxViews of 12 bytes: address, length, 1 if written
	callData   = 256
	maxViews   = 4
	maxArgs    = 16
	replyFail  = 0 // not 0: the host function failed
	replyValue = 4
	replyData  = 256 // what was written, in the order of the views

	// Request.
	reqIn       = 0   // as in a context block
	reqInstance = 384 // number
	reqAfter    = 388 // 0, or how many requests before this one the one is whose state it continues
	reqWindow   = 392 // length
	reqState    = 396 // 0, or 1 and the length
	reqBudget   = 400
	reqCode     = 408 // number, from which the instance is made if it is not there
	reqFresh    = 412 // 1: each evaluation of it begins in fresh memory
	reqStateAt  = 448
	reqData     = 512

	// Answer. The first 64 bytes, then a context block in which only the out fields mean something, a text, the payload and the bytes of the emits.
	respStatus  = 0 // see below
	respVerdict = 4
	respUsed    = 8
	respReason  = 16
	respFunc    = 20
	respOffset  = 24
	respKind    = 28
	respText    = 32 // length
	respPayload = 36 // length
	respEmits   = 40 // length
	respHead    = 64
	respBlock   = 64
	respTextAt  = 64 + abi.BlockSize
	textMax     = 256
	respData    = respTextAt + textMax
)

// What an answer is.
const (
	statusVerdict = 1
	statusFault   = 2
	statusError   = 3
)

// layout is where things are for a window.
type layout struct {
	window int
	lanes  int
}

func (l *layout) reqStride() int  { return reqData + (l.window+63)&^63 + 64 }
func (l *layout) respStride() int { return respData + (1+abi.EmitsMax)*((l.window+63)&^63) + 64 }
func (l *layout) laneBytes() int {
	return (laneSlots + ringSlots*(l.reqStride()+l.respStride()) + 4095) &^ 4095
}
func (l *layout) bytes() int { return (ctlBytes+4095)&^4095 + l.lanes*l.laneBytes() }

// lane is one side's view of a lane.
type lane struct {
	layout                                         *layout
	mem                                            []byte
	submitted, completed, sleeping, calls, replies *atomic.Uint32
}

func (l *layout) lane(mem []byte, n int) *lane {
	at := (ctlBytes+4095)&^4095 + n*l.laneBytes()
	m := mem[at : at+l.laneBytes() : at+l.laneBytes()]
	return &lane{layout: l, mem: m, submitted: sys.Word(m, laneSubmitted), completed: sys.Word(m, laneCompleted), sleeping: sys.Word(m, laneSleeping),
		calls: sys.Word(m, laneCalls), replies: sys.Word(m, laneReplies)}
}

// request returns the slot of request s.
func (l *lane) request(s uint32) []byte {
	n := l.layout.reqStride()
	at := laneSlots + int(s%ringSlots)*n
	return l.mem[at : at+n : at+n]
}

// answer returns the slot of the answer to request s.
func (l *lane) answer(s uint32) []byte {
	n := l.layout.respStride()
	at := laneSlots + ringSlots*l.layout.reqStride() + int(s%ringSlots)*n
	return l.mem[at : at+n : at+n]
}

var le = binary.LittleEndian

// getIn reads what abi.In.Put wrote, but for the lengths that Evaluate sets.
func getIn(b []byte, in *abi.In) {
	_ = b[abi.BlockSize-1]
	*in = abi.In{
		TimeNS: le.Uint64(b[abi.BlockTimeNSOff:]), Fuel: le.Uint64(b[abi.BlockFuelOff:]), Random: le.Uint64(b[abi.BlockRandomOff:]),
		Node: le.Uint32(b[abi.BlockNodeOff:]), Prev: le.Uint32(b[abi.BlockPrevOff:]), Src: le.Uint32(b[abi.BlockSrcOff:]), Dst: le.Uint32(b[abi.BlockDstOff:]),
		Length: le.Uint32(b[abi.BlockLengthOff:]), Captured: le.Uint32(b[abi.BlockCapturedOff:]), Credit: le.Uint32(b[abi.BlockCreditOff:]),
		TTL: le.Uint32(b[abi.BlockTTLOff:]), InLink: le.Uint32(b[abi.BlockInLinkOff:]), Neighbours: le.Uint32(b[abi.BlockNeighboursOff:]),
		SrcPort: le.Uint16(b[abi.BlockSrcPortOff:]), DstPort: le.Uint16(b[abi.BlockDstPortOff:]), StateFound: le.Uint32(b[abi.BlockStateFoundOff:]),
	}
}

// putOut writes the out fields of a block as abi.Out.Get reads them. Emits follow each other in the bytes behind.
func putOut(b []byte, o *abi.Out) {
	_ = b[abi.BlockSize-1]
	le.PutUint32(b[abi.BlockOutDstOff:], o.Dst)
	le.PutUint32(b[abi.BlockOutLengthOff:], o.Length)
	le.PutUint32(b[abi.BlockOutCountOff:], o.NumOutputs)
	le.PutUint32(b[abi.BlockEmitCountOff:], o.NumEmits)
	le.PutUint32(b[abi.BlockStateActOff:], uint32(o.StateAct))
	le.PutUint32(b[abi.BlockStateLifetimeOff:], o.StateLifetime)
	for i := range o.Outputs[:o.NumOutputs] {
		p, x := b[abi.BlockOutputsOff+i*abi.OutputSize:], &o.Outputs[i]
		le.PutUint32(p[abi.OutputToOff:], x.To)
		le.PutUint16(p[abi.OutputTTLOff:], x.TTL)
		le.PutUint16(p[abi.OutputShareOff:], x.Share)
	}
	at := uint32(0)
	for i := range o.Emits[:o.NumEmits] {
		p, x := b[abi.BlockEmitsOff+i*abi.EmitSize:], &o.Emits[i]
		le.PutUint32(p[abi.EmitAddrOff:], at)
		le.PutUint32(p[abi.EmitLengthOff:], x.Length)
		le.PutUint32(p[abi.EmitDstOff:], x.Dst)
		le.PutUint16(p[abi.EmitClassOff:], x.Class)
		le.PutUint16(p[abi.EmitTTLOff:], x.TTL)
		le.PutUint16(p[abi.EmitShareOff:], x.Share)
		at += x.Length
	}
}

// putManifest writes a manifest as modules have it.
func putManifest(m *abi.Manifest) []byte {
	b := make([]byte, abi.ManifestSize)
	le.PutUint32(b[abi.ManifestABIOff:], abi.Version)
	le.PutUint32(b[abi.ManifestSizeOff:], abi.ManifestSize)
	le.PutUint32(b[abi.ManifestWindowSizeOff:], m.WindowSize)
	le.PutUint32(b[abi.ManifestWindowMinOff:], m.WindowMin)
	le.PutUint32(b[abi.ManifestStateSpaceOff:], m.StateSpace)
	le.PutUint16(b[abi.ManifestStateSizeOff:], m.StateSize)
	le.PutUint16(b[abi.ManifestKeyPartsOff:], uint16(len(m.Key)))
	for i, k := range m.Key {
		p := b[abi.ManifestKeyOff+i*abi.KeyPartSize:]
		le.PutUint16(p[abi.KeyPartOffsetOff:], k.Offset)
		le.PutUint16(p[abi.KeyPartLengthOff:], k.Length)
	}
	copy(b[abi.ManifestNameOff:abi.ManifestNameOff+abi.NameMax], m.Name)
	return b
}

// takeOut copies the out fields of a block that the other side may be writing to: each byte once, counts before what they count.
func takeOut(to *[abi.BlockSize]byte, from []byte) {
	_ = from[abi.BlockSize-1]
	copy(to[abi.BlockOutDstOff:abi.BlockStateOff], from[abi.BlockOutDstOff:abi.BlockStateOff])
	if n := int(min(le.Uint32(to[abi.BlockOutCountOff:]), abi.OutputsMax)); n > 0 {
		copy(to[abi.BlockOutputsOff:abi.BlockOutputsOff+n*abi.OutputSize], from[abi.BlockOutputsOff:])
	}
	if n := int(min(le.Uint32(to[abi.BlockEmitCountOff:]), abi.EmitsMax)); n > 0 {
		copy(to[abi.BlockEmitsOff:abi.BlockEmitsOff+n*abi.EmitSize], from[abi.BlockEmitsOff:])
	}
	if abi.StateAct(le.Uint32(to[abi.BlockStateActOff:])) == abi.StateWrite {
		copy(to[abi.BlockStateOff:abi.BlockStateOff+abi.StateMax], from[abi.BlockStateOff:])
	}
}

// The requests of the control area.
const (
	askHello   = "hello"   // first, and answered when the worker is sealed
	askClass   = "class"   // makes a class of guests
	askLoad    = "load"    // passes a module through the gate
	askRelease = "release" // of a code
	askClose   = "close"   // of an instance
)

// ctlReq is a request.
type ctlReq struct {
	Op      string       `json:"op"`
	ID      uint32       `json:"id,omitempty"` // what it is about, or is to be called
	Of      uint32       `json:"of,omitempty"` // class of a code
	Name    string       `json:"name,omitempty"`
	Limits  *gate.Limits `json:"limits,omitempty"`
	Imports []hostFunc   `json:"imports,omitempty"`
}

// hostFunc is a vm.HostFunc without its function.
type hostFunc struct {
	Module string    `json:"module"`
	Name   string    `json:"name"`
	Params int       `json:"params"`
	Result bool      `json:"result"`
	Fuel   uint32    `json:"fuel"`
	Spans  []vm.Span `json:"spans,omitempty"`
}

// ctlResp is an answer. What the worker says in it is bounded and checked by those who use it.
type ctlResp struct {
	Kind     errs.Kind `json:"kind,omitempty"` // of the error; 0: none
	Error    string    `json:"error,omitempty"`
	Sealed   *Sealed   `json:"sealed,omitempty"`
	Manifest []byte    `json:"manifest,omitempty"` // as the module has it
	Info     vm.Info   `json:"info"`
}

// putCtl writes a request or an answer at a place of the control area and returns its length.
func putCtl(to []byte, v any) (int, error) {
	b, err := json.Marshal(v)
	if err != nil || len(b) > ctlJSONMax {
		return 0, errs.New(errs.TooBig, "vm/jail: a request or an answer of %d bytes, at most %d: %v", len(b), ctlJSONMax, err)
	}
	return copy(to, b), nil
}
