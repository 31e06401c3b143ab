package symbol

import (
	"debug/dwarf"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// dwarf reads the line tables of DWARF sections; addresses count from start.
func (t *Table) dwarf(sections map[string][]byte, start int) (ok bool) {
	if sections[".debug_info"] == nil || sections[".debug_line"] == nil {
		return false
	}
	// The standard library's reader is not made for hostile input.
	defer func() {
		if recover() != nil {
			t.lines, t.files, ok = nil, nil, false
		}
	}()
	s := func(name string) []byte { return sections[".debug_"+name] }
	d, err := dwarf.New(s("abbrev"), nil, nil, s("info"), s("line"), nil, s("ranges"), s("str"))
	if err != nil {
		return false
	}
	for _, name := range []string{"addr", "line_str", "str_offsets", "rnglists"} {
		if b := s(name); b != nil {
			if err := d.AddSection(".debug_"+name, b); err != nil {
				return false
			}
		}
	}
	for r := d.Reader(); ; {
		unit, err := r.Next()
		if err != nil || unit == nil {
			break
		}
		r.SkipChildren()
		if unit.Tag != dwarf.TagCompileUnit {
			continue
		}
		lr, err := d.LineReader(unit)
		if err != nil || lr == nil {
			continue
		}
		var e dwarf.LineEntry
		numbers := map[*dwarf.LineFile]int{}
		for len(t.lines) < maxLines {
			if err := lr.Next(&e); errors.Is(err, io.EOF) || err != nil {
				break
			}
			x := entry{offset: start + int(e.Address), file: -1}
			if e.Address > 1<<30 {
				continue // code that the linker dropped
			}
			if !e.EndSequence && e.File != nil && e.Line > 0 {
				n, known := numbers[e.File]
				if !known {
					n = t.file(e.File.Name)
					numbers[e.File] = n
				}
				x.file, x.line = n, e.Line
			}
			t.lines = append(t.lines, x)
		}
	}
	return t.sorted()
}

// sourceMap reads a source map (revision 3) of a module, whose text has one line: a column is an offset in the module's file.
func (t *Table) sourceMap(text []byte) bool {
	var m struct {
		Version  int
		Sources  []string
		Mappings string
	}
	if json.Unmarshal(text, &m) != nil || m.Version != 3 {
		return false
	}
	var offset, source, line int
	first, _, _ := strings.Cut(m.Mappings, ";")
	for first != "" && len(t.lines) < maxLines {
		var seg string
		seg, first, _ = strings.Cut(first, ",")
		var fields [5]int
		n := 0
		for ; seg != "" && n < len(fields); n++ {
			var ok bool
			if fields[n], seg, ok = base64VLQ(seg); !ok {
				return false
			}
		}
		if n == 0 {
			continue
		}
		offset += fields[0]
		e := entry{offset: offset, file: -1}
		if n >= 4 {
			source += fields[1]
			line += fields[2]
			if source >= 0 && source < len(m.Sources) && line >= 0 {
				e.file, e.line = t.file(m.Sources[source]), line+1
			}
		}
		if offset < 0 {
			return false
		}
		t.lines = append(t.lines, e)
	}
	return t.sorted()
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64VLQ splits off a number: digits of 6 bits, the least first, of which the highest bit says that more follow and the lowest of all the sign.
func base64VLQ(s string) (n int, rest string, ok bool) {
	v, shift := 0, 0
	for i := 0; i < len(s) && shift <= 30; i++ {
		d := strings.IndexByte(digits, s[i])
		if d < 0 {
			return 0, "", false
		}
		v |= d & 31 << shift
		if shift += 5; d&32 == 0 {
			if n = v >> 1; v&1 != 0 {
				n = -n
			}
			return n, s[i+1:], true
		}
	}
	return 0, "", false
}
