package step

import (
	"encoding/binary"

	"github.com/janos-os/janos/vm/gate"
)

// at returns n bytes of memory, or nil if they are not all there.
func (m *Machine) at(addr, n uint64) []byte {
	if addr > uint64(len(m.Memory)) || n > uint64(len(m.Memory))-addr {
		return nil
	}
	return m.Memory[addr : addr+n]
}

// widths are the bytes that loads and stores access, from opcode 0x28.
var widths = [...]uint64{4, 8, 4, 8, 1, 1, 2, 2, 1, 1, 2, 2, 4, 4, 4, 8, 4, 8, 1, 2, 1, 2, 4}

// memory executes a load or a store.
func (m *Machine) memory(in *gate.Instr) Reason {
	var v uint64
	if in.Op >= 0x36 {
		v = m.pop()
	}
	n := widths[in.Op-0x28]
	b := m.at(uint64(m.pop32())+uint64(in.B), n)
	if b == nil {
		return Bounds
	}
	if in.Op >= 0x36 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], v)
		copy(b, w[:n])
		return ""
	}
	var w [8]byte
	copy(w[:], b)
	v = binary.LittleEndian.Uint64(w[:])
	switch in.Op {
	case 0x2c:
		v = uint64(uint32(int8(v)))
	case 0x2e:
		v = uint64(uint32(int16(v)))
	case 0x30:
		v = uint64(int8(v))
	case 0x32:
		v = uint64(int16(v))
	case 0x34:
		v = uint64(int32(v))
	}
	m.push(v)
	return ""
}

// bulk executes what stands behind the prefix, but for the conversions.
func (m *Machine) bulk(in *gate.Instr) Reason {
	switch in.Op &^ gate.Prefix {
	case 9:
		m.dropped[0][in.A] = true
		return ""
	case 13:
		m.dropped[1][in.A] = true
		return ""
	}
	n, src, dst := uint64(m.pop32()), uint64(m.pop32()), uint64(m.pop32())
	inside := func(at uint64, size int) bool { return at+n <= uint64(size) }
	switch in.Op &^ gate.Prefix {
	case 8:
		var data []byte
		if !m.dropped[0][in.A] {
			data = m.Prog.Data[in.A].Bytes
		}
		if !inside(src, len(data)) || m.at(dst, n) == nil {
			return Bounds
		}
		copy(m.Memory[dst:], data[src:src+n])
	case 10:
		if m.at(src, n) == nil || m.at(dst, n) == nil {
			return Bounds
		}
		copy(m.Memory[dst:dst+n], m.Memory[src:src+n])
	case 11:
		b := m.at(dst, n)
		if b == nil {
			return Bounds
		}
		for i := range b {
			b[i] = byte(src)
		}
	case 12:
		var funcs []uint32
		if !m.dropped[1][in.A] {
			funcs = m.Prog.Elems[in.A].Funcs
		}
		if !inside(src, len(funcs)) || !inside(dst, len(m.table)) {
			return Table
		}
		for i := range n {
			m.table[dst+i] = int(funcs[src+i])
		}
	case 14:
		if !inside(src, len(m.table)) || !inside(dst, len(m.table)) {
			return Table
		}
		copy(m.table[dst:dst+n], m.table[src:src+n])
	}
	return ""
}
