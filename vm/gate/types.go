package gate

import "strings"

// Type is a WebAssembly value type, as encoded.
type Type byte

// The value types.
const (
	I32 Type = 0x7f
	I64 Type = 0x7e
	F32 Type = 0x7d
	F64 Type = 0x7c

	unknown Type = 0 // below an unreachable instruction: any type
)

// String returns the name of the type in the text format.
func (t Type) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	}
	return "any"
}

// Sig is the type of a function.
type Sig struct{ Params, Results []Type }

// Equal reports whether both signatures are the same.
func (s Sig) Equal(o Sig) bool {
	return typesEqual(s.Params, o.Params) && typesEqual(s.Results, o.Results)
}

// String returns, for example, "(i32 i64) -> i32".
func (s Sig) String() string {
	list := func(ts []Type) string {
		var n []string
		for _, t := range ts {
			n = append(n, t.String())
		}
		return strings.Join(n, " ")
	}
	out := "(" + list(s.Params) + ")"
	if len(s.Results) > 0 {
		out += " -> " + list(s.Results)
	}
	return out
}

func typesEqual(a, b []Type) bool { return string(asBytes(a)) == string(asBytes(b)) }

func asBytes(t []Type) []byte {
	b := make([]byte, len(t))
	for i, v := range t {
		b[i] = byte(v)
	}
	return b
}

// Import is a function that a module may import.
type Import struct {
	Module, Name string
	Sig          Sig
	Fuel         uint32 // price of a call, charged with the caller's region
}

// Export is a function that a module must export.
type Export struct {
	Name string
	Sig  Sig
}

func (r *reader) valueType() Type {
	at := r.pos
	switch t := Type(r.byte()); t {
	case I32, I64, F32, F64:
		return t
	case 0x7b:
		r.pos = at
		r.unaccepted(at, "vectors (SIMD)", "compile with -mno-simd128")
	case 0x70, 0x6f, 0x64, 0x63:
		r.pos = at
		r.unaccepted(at, "reference types", "compile with -mno-reference-types")
	default:
		if r.err == nil {
			r.pos = at
			r.invalid("%#x is no value type", byte(t))
		}
	}
	return I32
}
