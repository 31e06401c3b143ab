package step

import (
	"math"
	"math/bits"

	"github.com/janos-os/janos/vm/gate"
)

// number executes an instruction that only has operands and a result.
func (m *Machine) number(op int) Reason {
	switch {
	case op >= gate.Prefix:
		return m.convert(op, true)
	case op == 0x45:
		m.pushBool(m.pop32() == 0)
	case op == 0x50:
		m.pushBool(m.pop() == 0)
	case op <= 0x4f:
		b, a := m.pop32(), m.pop32()
		m.pushBool(compare(op-0x46, int64(int32(a)), int64(int32(b)), uint64(a), uint64(b)))
	case op <= 0x5a:
		b, a := m.pop(), m.pop()
		m.pushBool(compare(op-0x51, int64(a), int64(b), a, b))
	case op <= 0x60:
		b, a := float64(m.popF32()), float64(m.popF32())
		m.pushBool(compareFloat(op-0x5b, a, b))
	case op <= 0x66:
		b, a := m.popF64(), m.popF64()
		m.pushBool(compareFloat(op-0x61, a, b))
	case op <= 0x78:
		return m.integer32(op)
	case op <= 0x8a:
		return m.integer64(op)
	case op <= 0x98:
		m.float32(op - 0x8b)
	case op <= 0xa6:
		m.float64(op - 0x99)
	default:
		return m.convert(op, false)
	}
	return ""
}

func compare(k int, a, b int64, ua, ub uint64) bool {
	switch k {
	case 0:
		return ua == ub
	case 1:
		return ua != ub
	case 2:
		return a < b
	case 3:
		return ua < ub
	case 4:
		return a > b
	case 5:
		return ua > ub
	case 6:
		return a <= b
	case 7:
		return ua <= ub
	case 8:
		return a >= b
	}
	return ua >= ub
}

func compareFloat(k int, a, b float64) bool {
	switch k {
	case 0:
		return a == b
	case 1:
		return a != b
	case 2:
		return a < b
	case 3:
		return a > b
	case 4:
		return a <= b
	}
	return a >= b
}

func (m *Machine) integer32(op int) Reason {
	b := m.pop32()
	switch op {
	case 0x67:
		m.push32(uint32(bits.LeadingZeros32(b)))
		return ""
	case 0x68:
		m.push32(uint32(bits.TrailingZeros32(b)))
		return ""
	case 0x69:
		m.push32(uint32(bits.OnesCount32(b)))
		return ""
	}
	a := m.pop32()
	switch op {
	case 0x6a:
		a += b
	case 0x6b:
		a -= b
	case 0x6c:
		a *= b
	case 0x6d, 0x6e, 0x6f, 0x70:
		if b == 0 || op == 0x6d && a == 1<<31 && b == math.MaxUint32 {
			return Divide
		}
		switch op {
		case 0x6d:
			a = uint32(int32(a) / int32(b))
		case 0x6e:
			a /= b
		case 0x6f:
			a = uint32(int64(int32(a)) % int64(int32(b)))
		case 0x70:
			a %= b
		}
	case 0x71:
		a &= b
	case 0x72:
		a |= b
	case 0x73:
		a ^= b
	case 0x74:
		a <<= b & 31
	case 0x75:
		a = uint32(int32(a) >> (b & 31))
	case 0x76:
		a >>= b & 31
	case 0x77:
		a = bits.RotateLeft32(a, int(b&31))
	case 0x78:
		a = bits.RotateLeft32(a, -int(b&31))
	}
	m.push32(a)
	return ""
}

func (m *Machine) integer64(op int) Reason {
	b := m.pop()
	switch op {
	case 0x79:
		m.push(uint64(bits.LeadingZeros64(b)))
		return ""
	case 0x7a:
		m.push(uint64(bits.TrailingZeros64(b)))
		return ""
	case 0x7b:
		m.push(uint64(bits.OnesCount64(b)))
		return ""
	}
	a := m.pop()
	switch op {
	case 0x7c:
		a += b
	case 0x7d:
		a -= b
	case 0x7e:
		a *= b
	case 0x7f, 0x80, 0x81, 0x82:
		if b == 0 || op == 0x7f && a == 1<<63 && b == math.MaxUint64 {
			return Divide
		}
		switch {
		case op == 0x7f:
			a = uint64(int64(a) / int64(b))
		case op == 0x80:
			a /= b
		case op == 0x81 && b == math.MaxUint64:
			a = 0
		case op == 0x81:
			a = uint64(int64(a) % int64(b))
		default:
			a %= b
		}
	case 0x83:
		a &= b
	case 0x84:
		a |= b
	case 0x85:
		a ^= b
	case 0x86:
		a <<= b & 63
	case 0x87:
		a = uint64(int64(a) >> (b & 63))
	case 0x88:
		a >>= b & 63
	case 0x89:
		a = bits.RotateLeft64(a, int(b&63))
	case 0x8a:
		a = bits.RotateLeft64(a, -int(b&63))
	}
	m.push(a)
	return ""
}

func (m *Machine) popF32() float32   { return math.Float32frombits(m.pop32()) }
func (m *Machine) popF64() float64   { return math.Float64frombits(m.pop()) }
func (m *Machine) pushF32(f float32) { m.push32(math.Float32bits(f)) }
func (m *Machine) pushF64(f float64) { m.push(math.Float64bits(f)) }

// float32 and float64 execute the arithmetic of floating point, by its place in the list of opcodes.
func (m *Machine) float32(k int) {
	const sign = 1 << 31
	switch k { // these are operations on bits
	case 0:
		m.push32(m.pop32() &^ sign)
		return
	case 1:
		m.push32(m.pop32() ^ sign)
		return
	case 13:
		b, a := m.pop32(), m.pop32()
		m.push32(a&^sign | b&sign)
		return
	}
	b := m.popF32()
	if k <= 6 {
		m.pushF32(float32(unary(k, float64(b)))) // all are exact or, the root, rounded once in effect
		return
	}
	a := m.popF32()
	switch k {
	case 7:
		a += b
	case 8:
		a -= b
	case 9:
		a *= b
	case 10:
		a /= b
	case 11, 12:
		a = float32(least(k == 12, float64(a), float64(b)))
	}
	m.pushF32(a)
}

func (m *Machine) float64(k int) {
	const sign = 1 << 63
	switch k {
	case 0:
		m.push(m.pop() &^ sign)
		return
	case 1:
		m.push(m.pop() ^ sign)
		return
	case 13:
		b, a := m.pop(), m.pop()
		m.push(a&^sign | b&sign)
		return
	}
	b := m.popF64()
	if k <= 6 {
		m.pushF64(unary(k, b))
		return
	}
	a := m.popF64()
	switch k {
	case 7:
		a += b
	case 8:
		a -= b
	case 9:
		a *= b
	case 10:
		a /= b
	case 11, 12:
		a = least(k == 12, a, b)
	}
	m.pushF64(a)
}

// least is the lesser of two numbers, or the greater.
func least(greater bool, a, b float64) float64 {
	switch {
	case a != a || b != b:
		return math.NaN() // before infinities, which package math puts first
	case greater:
		return math.Max(a, b)
	}
	return math.Min(a, b)
}

func unary(k int, a float64) float64 {
	switch k {
	case 2:
		return math.Ceil(a)
	case 3:
		return math.Floor(a)
	case 4:
		return math.Trunc(a)
	case 5:
		return math.RoundToEven(a)
	}
	return math.Sqrt(a)
}

// toInt truncates f to an integer with lo < f < hi, or traps, or saturates.
func toInt(f, lo, hi float64, least, most uint64, sat bool, to func(float64) uint64) (uint64, Reason) {
	switch {
	case f != f:
		if sat {
			return 0, ""
		}
		return 0, Conversion
	case f <= lo:
		if sat {
			return least, ""
		}
		return 0, Conversion
	case f >= hi:
		if sat {
			return most, ""
		}
		return 0, Conversion
	}
	return to(f), ""
}

// convert executes conversions.
func (m *Machine) convert(op int, sat bool) (why Reason) {
	// Truncations to integers: which they are, behind the prefix and before.
	k := -1
	switch {
	case sat:
		k = op &^ gate.Prefix
	case op >= 0xa8 && op <= 0xab:
		k = op - 0xa8
	case op >= 0xae && op <= 0xb1:
		k = op - 0xae + 4
	}
	if k >= 0 {
		var f float64
		if k&2 == 0 {
			f = float64(m.popF32())
		} else {
			f = m.popF64()
		}
		var v uint64
		switch k &^ 2 {
		case 0:
			v, why = toInt(f, -1<<31-1, 1<<31, 1<<31, 1<<31-1, sat, func(f float64) uint64 { return uint64(uint32(int32(f))) })
		case 1:
			v, why = toInt(f, -1, 1<<32, 0, 1<<32-1, sat, func(f float64) uint64 { return uint64(uint32(f)) })
		case 4:
			v, why = toInt(f, math.Nextafter(-1<<63, math.Inf(-1)), 1<<63, 1<<63, 1<<63-1, sat, func(f float64) uint64 { return uint64(int64(f)) })
		case 5:
			v, why = toInt(f, -1, 1<<64, 0, math.MaxUint64, sat, unsigned)
		}
		if why == "" {
			m.push(v)
		}
		return why
	}
	switch v := m.pop(); op {
	case 0xa7, 0xad, 0xbc, 0xbe:
		m.push(uint64(uint32(v)))
	case 0xac:
		m.push(uint64(int32(v)))
	case 0xb2:
		m.pushF32(float32(int32(v)))
	case 0xb3:
		m.pushF32(float32(uint32(v)))
	case 0xb4:
		m.pushF32(float32(int64(v)))
	case 0xb5:
		m.pushF32(float32(v))
	case 0xb6:
		m.pushF32(float32(math.Float64frombits(v)))
	case 0xb7:
		m.pushF64(float64(int32(v)))
	case 0xb8:
		m.pushF64(float64(uint32(v)))
	case 0xb9:
		m.pushF64(float64(int64(v)))
	case 0xba:
		m.pushF64(float64(v))
	case 0xbb:
		m.pushF64(float64(math.Float32frombits(uint32(v))))
	case 0xbd, 0xbf:
		m.push(v)
	case 0xc0:
		m.push32(uint32(int8(v)))
	case 0xc1:
		m.push32(uint32(int16(v)))
	case 0xc2:
		m.push(uint64(int8(v)))
	case 0xc3:
		m.push(uint64(int16(v)))
	case 0xc4:
		m.push(uint64(int32(v)))
	}
	return ""
}

// unsigned converts 0 <= f < 2^64.
func unsigned(f float64) uint64 {
	if f < 1<<63 {
		return uint64(int64(f))
	}
	return uint64(int64(f-1<<63)) + 1<<63
}
