package gate

import "encoding/binary"

// writer appends the binary format in its shortest form.
type writer struct{ b []byte }

func (w *writer) byte(c byte) { w.b = append(w.b, c) }

func (w *writer) u32(v uint32) { w.b = binary.AppendUvarint(w.b, uint64(v)) }

func (w *writer) signed(v int64) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			w.b = append(w.b, c)
			return
		}
		w.b = append(w.b, c|0x80)
	}
}

func (w *writer) bytes(b []byte) {
	w.u32(uint32(len(b)))
	w.b = append(w.b, b...)
}

func (w *writer) name(s string) {
	w.u32(uint32(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) types(ts []Type) {
	w.u32(uint32(len(ts)))
	for _, t := range ts {
		w.byte(byte(t))
	}
}

// section appends a section whose content fn writes to a scratch writer.
func (w *writer) section(id byte, scratch *writer, fn func(*writer)) {
	scratch.b = scratch.b[:0]
	fn(scratch)
	w.byte(id)
	w.bytes(scratch.b)
}

func (w *writer) op(op int) {
	if op >= prefixed {
		w.byte(0xfc)
		w.u32(uint32(op &^ prefixed))
		return
	}
	w.byte(byte(op))
}

func (w *writer) opIndex(op int, i uint32) {
	w.op(op)
	w.u32(i)
}

// constant writes a constant of type t; v holds its value or its bits.
func (w *writer) constant(t Type, v int64) {
	switch t {
	case I32:
		w.byte(opI32Const)
		w.signed(v)
	case I64:
		w.byte(opI64Const)
		w.signed(v)
	case F32:
		w.byte(opF32Const)
		w.b = binary.LittleEndian.AppendUint32(w.b, uint32(v))
	case F64:
		w.byte(opF64Const)
		w.b = binary.LittleEndian.AppendUint64(w.b, uint64(v))
	}
}
