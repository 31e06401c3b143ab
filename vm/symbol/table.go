package symbol

import (
	"encoding/binary"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table is what is known about a module's source. The zero value knows nothing. It is immutable.
type Table struct {
	// Kind is where lines come from: "dwarf", "source map", or "" for nowhere.
	Kind    string
	funcs   map[uint32]string
	exports map[uint32]string
	lines   []entry // ascending by offset
	files   []string
}

// entry says that the instructions from offset on came from a line.
type entry struct {
	offset int
	file   int // -1: nothing is known from here on
	line   int
}

// Bounds of what is kept.
const (
	maxName  = 200
	maxNames = 1 << 16
	maxLines = 1 << 18
	maxFiles = 1 << 10
)

// Read reads the custom sections of a module, and sourceMap if it is not nil, the text of a source map (version 3) for it. It neither fails nor checks
// the module.
func Read(code, sourceMap []byte) *Table {
	t := &Table{funcs: map[uint32]string{}, exports: map[uint32]string{}}
	dwarf := map[string][]byte{}
	start := -1 // of the code section's content
	for b := code[min(8, len(code)):]; len(b) > 0; {
		id := b[0]
		content, rest, ok := sized(b[1:])
		if !ok {
			break
		}
		switch id {
		case 0:
			name, data, ok := sized(content)
			switch {
			case !ok:
			case string(name) == "name":
				t.names(data)
			case strings.HasPrefix(string(name), ".debug_"):
				dwarf[string(name)] = data
			}
		case 7:
			t.exported(content)
		case 10:
			start = len(code) - len(rest) - len(content)
		}
		b = rest
	}
	switch {
	case sourceMap != nil && t.sourceMap(sourceMap):
		t.Kind = "source map"
	case start >= 0 && t.dwarf(dwarf, start):
		t.Kind = "dwarf"
	}
	return t
}

// Func returns the name of a function by its index, from the name section or, if that has none, as it is exported; or "".
func (t *Table) Func(index int) string {
	if n := t.funcs[uint32(index)]; n != "" {
		return n
	}
	return t.exports[uint32(index)]
}

// Exported returns the function that is exported under a name.
func (t *Table) Exported(name string) (index int, ok bool) {
	for i, n := range t.exports {
		if n == name {
			return int(i), true
		}
	}
	return 0, false
}

// Line returns the file and the line that the instruction at a byte offset of the module came from.
func (t *Table) Line(offset int) (file string, line int, ok bool) {
	i := sort.Search(len(t.lines), func(i int) bool { return t.lines[i].offset > offset }) - 1
	if i < 0 || t.lines[i].file < 0 {
		return "", 0, false
	}
	return t.files[t.lines[i].file], t.lines[i].line, true
}

// Files returns the names of the source files.
func (t *Table) Files() []string { return slices.Clone(t.files) }

// Breaks reports whether the instruction at offset is the first of a line.
func (t *Table) Breaks(offset int) bool {
	i, found := slices.BinarySearchFunc(t.lines, offset, func(e entry, o int) int { return e.offset - o })
	return found && t.lines[i].file >= 0
}

// file returns the number of a file's name, which may be new.
func (t *Table) file(name string) int {
	name = clean(name)
	i := slices.Index(t.files, name)
	if i < 0 && len(t.files) < maxFiles {
		i = len(t.files)
		t.files = append(t.files, name)
	}
	return i
}

// clean makes a name that is fit to be printed.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, s)
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}

// names reads the name section: subsection 1 has a vector of function indices with names.
func (t *Table) names(b []byte) {
	for len(b) > 0 {
		id := b[0]
		sub, rest, ok := sized(b[1:])
		if !ok {
			return
		}
		if b = rest; id != 1 {
			continue
		}
		n, sub, ok := number(sub)
		for ; ok && n > 0 && len(t.funcs) < maxNames; n-- {
			var i uint64
			var name []byte
			if i, sub, ok = number(sub); !ok {
				return
			}
			if name, sub, ok = sized(sub); ok {
				t.funcs[uint32(i)] = clean(string(name))
			}
		}
	}
}

// exported reads the export section.
func (t *Table) exported(b []byte) {
	n, b, ok := number(b)
	for ; ok && n > 0 && len(t.exports) < maxNames; n-- {
		var name []byte
		var i uint64
		if name, b, ok = sized(b); !ok || len(b) == 0 {
			return
		}
		kind := b[0]
		if i, b, ok = number(b[1:]); ok && kind == 0 {
			t.exports[uint32(i)] = clean(string(name))
		}
	}
}

// number splits off an unsigned number.
func number(b []byte) (n uint64, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > 1<<32-1 {
		return 0, nil, false
	}
	return n, b[k:], true
}

// sized splits off a byte string with its length in front.
func sized(b []byte) (s, rest []byte, ok bool) {
	n, b, ok := number(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// sorted puts the lines into order and drops what comes twice.
func (t *Table) sorted() bool {
	slices.SortStableFunc(t.lines, func(a, b entry) int { return a.offset - b.offset })
	out := t.lines[:0]
	for _, e := range t.lines {
		if n := len(out); n > 0 && out[n-1].offset == e.offset {
			out[n-1] = e
		} else if n == 0 || out[n-1].file != e.file || out[n-1].line != e.line {
			out = append(out, e)
		}
	}
	t.lines = out
	return len(out) > 0
}
