package gate

import (
	"bytes"
	"testing"
)

// TestOptionalExports: an optional function is kept when it is there, must then have its type, and may be missing.
func TestOptionalExports(t *testing.T) {
	cfg := handlerConfig()
	cfg.Optional = []Export{{Name: "bye"}}
	build := func(typ uint32, exported bool) []byte {
		m := evaluator(opI32Const, 0)
		m.types = append(m.types, Sig{}, Sig{Params: []Type{I32}})
		m.funcs = append(m.funcs, fn{typ: typ, code: []byte{opEnd}})
		if exported {
			m.exports = append(m.exports, export{"bye", 0, 1})
		}
		return m.bytes()
	}
	for _, tc := range []struct {
		typ              uint32
		exported, ok, in bool
	}{{1, true, true, true}, {1, false, true, false}, {2, true, false, false}, {2, false, true, false}} {
		got, err := Check(build(tc.typ, tc.exported), cfg)
		if (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if err == nil && bytes.Contains(got.Wasm, []byte("\x03bye")) != tc.in {
			t.Errorf("%+v: kept or not", tc)
		}
	}
	if got, err := Check(build(1, true), handlerConfig()); err != nil || bytes.Contains(got.Wasm, []byte("\x03bye")) {
		t.Errorf("an export that nobody asked for: %v", err)
	}
}
