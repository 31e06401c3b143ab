package gate

// mod builds modules by hand for tests; the zero value is empty. Sections are written in order.
type mod struct {
	types   []Sig
	imports []Import // Sig must be in types
	funcs   []fn
	table   []uint32 // min, max
	memory  []uint32 // min, max
	globals []global
	exports []export
	start   int // function index + 1
	elems   [][]byte
	data    [][]byte
	dcount  int // count + 1
	tail    []byte
}

type fn struct {
	typ    uint32
	locals []localGroup
	code   []byte
}

var i32Result = Sig{Results: []Type{I32}}

// evaluator is a module that exports "evaluate", a function () -> i32 with the given code, which needs no end.
func evaluator(code ...byte) *mod {
	return &mod{types: []Sig{i32Result}, memory: []uint32{1, 1}, funcs: []fn{{code: append(code, opEnd)}}, exports: []export{{"evaluate", 0, 0}}}
}

// with replaces the code.
func (m *mod) with(code ...byte) *mod {
	m.funcs[0].code = append(code, opEnd)
	return m
}

func (m *mod) bytes() []byte {
	var w, s writer
	w.b = append(w.b, "\x00asm\x01\x00\x00\x00"...)
	if m.types != nil {
		w.section(secType, &s, func(s *writer) {
			s.u32(uint32(len(m.types)))
			for _, t := range m.types {
				s.byte(0x60)
				s.types(t.Params)
				s.types(t.Results)
			}
		})
	}
	if m.imports != nil {
		w.section(secImport, &s, func(s *writer) {
			s.u32(uint32(len(m.imports)))
			for _, i := range m.imports {
				s.name(i.Module)
				s.name(i.Name)
				s.byte(0)
				for k := range m.types {
					if m.types[k].Equal(i.Sig) {
						s.u32(uint32(k))
						break
					}
				}
			}
		})
	}
	if m.funcs != nil {
		w.section(secFunction, &s, func(s *writer) {
			s.u32(uint32(len(m.funcs)))
			for _, f := range m.funcs {
				s.u32(f.typ)
			}
		})
	}
	if m.table != nil {
		w.section(secTable, &s, func(s *writer) { s.b = append(s.b, 1, 0x70); s.limits(&[2]uint32{m.table[0], m.table[1]}) })
	}
	if m.memory != nil {
		w.section(secMemory, &s, func(s *writer) { s.byte(1); s.limits(&[2]uint32{m.memory[0], m.memory[1]}) })
	}
	if m.globals != nil {
		w.section(secGlobal, &s, func(s *writer) {
			s.u32(uint32(len(m.globals)))
			for _, g := range m.globals {
				s.byte(byte(g.t))
				if g.mutable {
					s.byte(1)
				} else {
					s.byte(0)
				}
				s.constant(g.t, g.init)
				s.byte(opEnd)
			}
		})
	}
	if m.exports != nil {
		w.section(secExport, &s, func(s *writer) {
			s.u32(uint32(len(m.exports)))
			for _, e := range m.exports {
				s.name(e.name)
				s.byte(e.kind)
				s.u32(e.index)
			}
		})
	}
	if m.start > 0 {
		w.section(secStart, &s, func(s *writer) { s.u32(uint32(m.start - 1)) })
	}
	list := func(id byte, entries [][]byte) {
		if entries != nil {
			w.section(id, &s, func(s *writer) {
				s.u32(uint32(len(entries)))
				for _, e := range entries {
					s.b = append(s.b, e...)
				}
			})
		}
	}
	list(secElement, m.elems)
	if m.dcount > 0 {
		w.section(secDataCount, &s, func(s *writer) { s.u32(uint32(m.dcount - 1)) })
	}
	if m.funcs != nil {
		w.section(secCode, &s, func(s *writer) {
			s.u32(uint32(len(m.funcs)))
			for _, f := range m.funcs {
				var b writer
				b.u32(uint32(len(f.locals)))
				for _, l := range f.locals {
					b.u32(l.n)
					b.byte(byte(l.t))
				}
				b.b = append(b.b, f.code...)
				s.bytes(b.b)
			}
		})
	}
	list(secData, m.data)
	return append(w.b, m.tail...)
}

// section returns a raw section with the given content.
func section(id byte, content ...byte) []byte {
	w := writer{b: []byte{id}}
	w.bytes(content)
	return w.b
}

// rep returns n copies of b.
func rep(n int, b ...byte) []byte {
	var out []byte
	for range n {
		out = append(out, b...)
	}
	return out
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
