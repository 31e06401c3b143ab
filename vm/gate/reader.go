package gate

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/janos-os/janos/errs"
)

// reader walks over the input. The first error sticks: afterwards every read returns zero
// and more reports false, so that loops end by themselves.
type reader struct {
	b     []byte // the whole module; end may be less than len(b)
	pos   int
	end   int
	where string
	body  int // of which function it reads the body, from 1; 0: of none. It stands for where, which takes memory
	err   *Error
}

// sub returns a reader of the next n bytes and skips them.
func (r *reader) sub(n uint32, where string) reader {
	s := reader{b: r.b, pos: r.pos, end: r.pos, where: where}
	if uint64(n) > uint64(r.end-r.pos) {
		r.invalid("%s: length %d with %d bytes left", where, n, r.end-r.pos)
		s.err = r.err
		return s
	}
	s.end = r.pos + int(n)
	r.pos = s.end
	return s
}

func (r *reader) more() bool { return r.err == nil && r.pos < r.end }

func (r *reader) left() int { return r.end - r.pos }

func (r *reader) fail(kind errs.Kind, at int, remedy, format string, args ...any) {
	if r.err == nil {
		if r.body > 0 {
			r.where = "function " + strconv.Itoa(r.body-1)
		}
		r.err = &Error{Kind: kind, Offset: at, Where: r.where, Msg: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	r.pos = r.end
}

// The remedies for bytes that no compiler writes.
const (
	damaged = "the file is cut short or damaged, build it again"
	notWasm = "compile to a WebAssembly 1.0 module, for C with janos capsule build"
)

func (r *reader) invalid(format string, args ...any) {
	r.fail(errs.Invalid, r.pos, damaged, format, args...)
}

// limit refuses when n is above max; remedy says how its author gets below.
func (r *reader) limit(at int, what string, n uint64, max uint32, remedy string) bool {
	if n > uint64(max) {
		r.fail(errs.Refused, at, remedy, "%s: %d, limit %d", what, n, max)
		return false
	}
	return true
}

func (r *reader) byte() byte {
	if r.pos >= r.end {
		return r.none()
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

// none is what byte returns at the end.
func (r *reader) none() byte {
	r.invalid("unexpected end")
	return 0
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.invalid("%d bytes wanted, %d left", n, r.left())
		return nil
	}
	b := r.b[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *reader) u32() uint32 {
	if r.pos < r.end && r.b[r.pos] < 0x80 { // nearly all are short
		r.pos++
		return uint32(r.b[r.pos-1])
	}
	var v uint32
	for shift := 0; ; shift += 7 {
		at := r.pos
		c := r.byte()
		if shift == 28 && c > 0x0f {
			r.pos = at
			r.invalid("integer does not fit 32 bits")
			return 0
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

// signed reads a signed LEB128 number of the given width.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		at := r.pos
		c := r.byte()
		if shift+7 >= bits {
			// The last byte may hold bits-shift bits; what is above must repeat the sign.
			top := int8(c<<1) >> 1 // bits 0 to 6, sign extended
			if sign := top >> (bits - shift - 1); c >= 0x80 || sign != 0 && sign != -1 {
				r.pos = at
				r.invalid("integer does not fit %d bits", bits)
				return 0
			}
			return v | int64(top)<<shift
		}
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// count reads a number of things of at least size bytes each. The result
// is bounded by the bytes that are left, and so is what the caller allocates.
func (r *reader) count(what string, size int, max uint32, remedy string) uint32 {
	at := r.pos
	n := r.u32()
	if left := r.left(); r.err == nil && uint64(n)*uint64(size) > uint64(left) {
		r.pos = at
		r.invalid("%s: %d, but only %d bytes are left", what, n, left)
		return 0
	}
	if !r.limit(at, what, uint64(n), max, remedy) {
		return 0
	}
	return n
}

func (r *reader) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.invalid("a name is not UTF-8")
		return ""
	}
	return string(b)
}
