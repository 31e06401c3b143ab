package abi

import (
	"encoding/binary"

	"github.com/janos-os/janos/errs"
)

// Call describes a function that a guest may import; its parameters and its result are all i32.
type Call struct {
	Name   string
	Params int
	Result bool
	Fuel   uint32 // price, charged before the call

	Process bool // of calls.yaml: it takes time that handlers do not have
}

// String returns the verdict's name.
func (v Verdict) String() string {
	if v.Valid() {
		return verdictNames[v]
	}
	return "unknown verdict"
}

// Valid reports whether v is a verdict of this version.
func (v Verdict) Valid() bool { return int(v) < len(verdictNames) }

// Output is one copy of the window that a guest asks to send.
type Output struct {
	To    uint32 // node address; 0 stands for Out.Dst
	TTL   uint16 // 0: what the capsule has left
	Share uint16 // weight in the division of the credit
}

// Emit is another capsule that a guest asks to send.
type Emit struct {
	Dst    uint32
	Class  uint16 // index in the code group
	TTL    uint16
	Share  uint16
	Offset uint32 // of its bytes in the guest's memory; inside it, checked
	Length uint32 // at most the window's size
}

// Out is what a guest asks for after an evaluation.
type Out struct {
	Dst           uint32
	Length        uint32 // of the class-specific part; see docs/abi.md for what it may be
	StateAct      StateAct
	StateLifetime uint32 // seconds; 0: the node's default
	NumOutputs    uint32
	NumEmits      uint32
	Outputs       [OutputsMax]Output // the first NumOutputs are meaningful
	Emits         [EmitsMax]Emit     // the first NumEmits are meaningful
}

// The refusals of Get are values, so that a hostile guest costs no allocation.
var (
	errLength  = errs.New(errs.Invalid, "out_length is outside what the window allows")
	errOutputs = errs.New(errs.Invalid, "out_count is above %d", OutputsMax)
	errEmits   = errs.New(errs.Invalid, "emit_count is above %d", EmitsMax)
	errEmit    = errs.New(errs.Invalid, "an emit is longer than the window or lies outside the memory")
	errAct     = errs.New(errs.Invalid, "state_act is unknown, or there is no declared state")
)

// Preset writes the out fields that the guest finds at entry.
func (in *In) Preset(b []byte) {
	_ = b[BlockSize-1]
	binary.LittleEndian.PutUint32(b[BlockOutDstOff:], in.Dst)
	binary.LittleEndian.PutUint32(b[BlockOutLengthOff:], in.Length)
	clear(b[BlockOutCountOff:BlockStateOff])
}

// Get reads the out fields of a block and checks them against what the host itself put in: in,
// the size of the window, whether a state is declared, and the size of the guest's
// memory. On error o is unspecified and nothing of it may be used. Get does not allocate.
func (o *Out) Get(b []byte, in *In, windowSize uint32, hasState bool, memory uint32) error {
	_ = b[BlockSize-1]
	le := binary.LittleEndian
	o.Dst = le.Uint32(b[BlockOutDstOff:])
	o.Length = le.Uint32(b[BlockOutLengthOff:])
	o.NumOutputs = le.Uint32(b[BlockOutCountOff:])
	o.NumEmits = le.Uint32(b[BlockEmitCountOff:])
	o.StateAct = StateAct(le.Uint32(b[BlockStateActOff:]))
	o.StateLifetime = le.Uint32(b[BlockStateLifetimeOff:])
	switch {
	case o.Length == in.Length:
	case in.Captured == in.Length && o.Length <= windowSize:
	case o.Length <= in.Captured:
	default:
		return errLength
	}
	if o.NumOutputs > OutputsMax {
		return errOutputs
	}
	if o.NumEmits > EmitsMax {
		return errEmits
	}
	if o.StateAct > StateDelete || o.StateAct != StateKeep && !hasState {
		return errAct
	}
	for i := range o.Outputs[:o.NumOutputs] {
		p := b[BlockOutputsOff+i*OutputSize:]
		o.Outputs[i] = Output{To: le.Uint32(p[OutputToOff:]), TTL: le.Uint16(p[OutputTTLOff:]), Share: le.Uint16(p[OutputShareOff:])}
	}
	for i := range o.Emits[:o.NumEmits] {
		p := b[BlockEmitsOff+i*EmitSize:]
		e := Emit{
			Dst: le.Uint32(p[EmitDstOff:]), Class: le.Uint16(p[EmitClassOff:]),
			TTL: le.Uint16(p[EmitTTLOff:]), Share: le.Uint16(p[EmitShareOff:]),
			Offset: le.Uint32(p[EmitAddrOff:]), Length: le.Uint32(p[EmitLengthOff:]),
		}
		if e.Length > windowSize || uint64(e.Offset)+uint64(e.Length) > uint64(memory) {
			return errEmit
		}
		o.Emits[i] = e
	}
	return nil
}
