package gen

import (
	"bytes"
	"fmt"
	"go/format"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
)

// Spec is the description as abi.yaml or element.yaml has it.
type Spec struct {
	Version   int     `yaml:"version"`
	Constants []Named `yaml:"constants"`
	Verdicts  []Named `yaml:"verdicts"`
	Flags     []Named `yaml:"flags"`
	StateActs []Named `yaml:"state_acts"`
	Structs   []Struct
	Module    string `yaml:"module"`
	Calls     []Call `yaml:"calls"`
}

// Named is a constant.
type Named struct {
	Name  string
	Value int
	Text  string
}

// Struct is a record in guest memory.
type Struct struct {
	Name   string
	Export string // name of the guest's exported global that holds its address, or empty
	Text   string
	Fields []Field
	size   int
	align  int
}

// Field is a member of a Struct.
type Field struct {
	Name   string
	Type   string
	Count  int
	Dir    string // in, out, inout or empty
	Text   string
	offset int
}

// Call is a function that a guest may import.
type Call struct {
	Name   string
	Params []Param
	Result string
	Fuel   int
	Text   string
}

// Param is a parameter of a Call.
type Param struct{ Name, Type string }

// Parse reads a description and lays its structs out. It refuses hidden padding, so
// that every compiler agrees about the layout.
func Parse(src []byte) (*Spec, error) {
	s := new(Spec)
	if err := yaml.UnmarshalWithOptions(src, s, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("abi.yaml: %w", err)
	}
	if err := layout(s.Structs); err != nil {
		return nil, fmt.Errorf("abi.yaml: %w", err)
	}
	return s, nil
}

// layout gives fields their offsets and structs their sizes.
func layout(all []Struct) error {
	known := map[string]*Struct{}
	left := len(all)
	for left > 0 { // a struct is laid out when those it contains are
		progress := false
	next:
		for i := range all {
			st := &all[i]
			if known[st.Name] != nil {
				continue
			}
			at, align := 0, 1
			for j := range st.Fields {
				f := &st.Fields[j]
				size, al := scalar(f.Type), scalar(f.Type)
				if size == 0 {
					inner := known[f.Type]
					if inner == nil {
						continue next
					}
					size, al = inner.size, inner.align
				}
				if at%al != 0 {
					return fmt.Errorf("%s.%s at offset %d is not a multiple of %d: reorder the fields", st.Name, f.Name, at, al)
				}
				f.offset = at
				at += size * max(1, f.Count)
				align = max(align, al)
			}
			if at%align != 0 || st.Export != "" && at%8 != 0 {
				return fmt.Errorf("size %d of %s needs padding: add a reserved field", at, st.Name)
			}
			st.size, st.align = at, align
			known[st.Name] = st
			left--
			progress = true
		}
		if !progress {
			return fmt.Errorf("a struct has a field of an unknown type")
		}
	}
	return nil
}

func scalar(t string) int {
	switch t {
	case "u8":
		return 1
	case "u16":
		return 2
	case "u32", "i32":
		return 4
	case "u64":
		return 8
	}
	return 0
}

// camel turns time_ns into TimeNS.
func camel(s string) string {
	var b strings.Builder
	for _, w := range strings.Split(s, "_") {
		switch w {
		case "ns", "abi", "ttl":
			b.WriteString(strings.ToUpper(w))
		default:
			r := []rune(w)
			r[0] = unicode.ToUpper(r[0])
			b.WriteString(string(r))
		}
	}
	return b.String()
}

const mark = "Code generated from abi.yaml by sdk/abi/internal/gen; DO NOT EDIT."

// Go returns abi_gen.go.
func (s *Spec) Go() ([]byte, error) {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("// %s\n\npackage abi\n\nimport \"encoding/binary\"\n\n", mark)
	p("// Version is the version of the ABI.\nconst Version = %d\n\n", s.Version)
	p("// Bounds of the ABI.\nconst (\n")
	for _, c := range s.Constants {
		p("%s = %d // %s\n", camel(c.Name), c.Value, c.Text)
	}
	p(")\n\n// Verdict is what a guest decided about a capsule.\ntype Verdict uint32\n\n// The verdicts.\nconst (\n")
	for _, c := range s.Verdicts {
		p("%s Verdict = %d // %s\n", camel(c.Name), c.Value, c.Text)
	}
	p(")\n\nvar verdictNames = [...]string{")
	for _, c := range s.Verdicts {
		p("%d: %q, ", c.Value, c.Name)
	}
	p("}\n\n// StateAct is what a guest wants done to its soft state.\ntype StateAct uint32\n\n// The acts.\nconst (\n")
	for _, c := range s.StateActs {
		p("State%s StateAct = %d // %s\n", camel(c.Name), c.Value, c.Text)
	}
	p(")\n\n")
	s.goOffsets(p)
	p("// ExportEvaluate is the name of the function that a guest exports: it takes nothing and returns a Verdict.\nconst ExportEvaluate = \"evaluate\"\n\n")
	s.goExports(p)
	for _, st := range s.Structs {
		if st.Name == "block" {
			s.goIn(p, st, "one capsule", "in")
		}
	}
	p("// Module is the name under which guests import host calls.\nconst Module = %q\n\n", s.Module)
	p("// Calls are the functions that a guest may import from Module.\nvar Calls = []Call{\n")
	for _, c := range s.Calls {
		p("{Name: %q, Params: %d, Result: %v, Fuel: %d}, // ", c.Name, len(c.Params), c.Result != "", c.Fuel)
		for i, q := range c.Params {
			if i > 0 {
				p(", ")
			}
			p("%s", q.Name)
		}
		p("\n")
	}
	p("}\n\n// Indices into Calls.\nconst (\n")
	for i, c := range s.Calls {
		p("Call%s = %d\n", camel(c.Name), i)
	}
	p(")\n")
	return format.Source(b.Bytes())
}

// goOffsets writes where everything is in a record.
func (s *Spec) goOffsets(p func(string, ...any)) {
	p("// Sizes and offsets of the records in guest memory.\nconst (\n")
	for _, st := range s.Structs {
		p("%sSize = %d\n", camel(st.Name), st.size)
		for _, f := range st.Fields {
			p("%s%sOff = %d\n", camel(st.Name), camel(f.Name), f.offset)
		}
		p("\n")
	}
	p(")\n\n")
}

// goExports writes the names under which guests export the addresses of the records.
func (s *Spec) goExports(p func(string, ...any)) {
	p("// Names of the globals that hold the addresses of the records.\nconst (\n")
	for _, st := range s.Structs {
		if st.Export != "" {
			p("Export%s = %q\n", camel(st.Name), st.Export)
		}
	}
	p("ExportWindow = \"janos_window\"\n)\n\n")
}

// goIn writes the struct of the fields that the host fills in, which have one of the directions. Size and version come first where a record has them.
func (s *Spec) goIn(p func(string, ...any), st Struct, what string, dirs ...string) {
	var in []Field
	versioned := false
	for _, f := range st.Fields {
		switch {
		case f.Name == "size" || f.Name == "abi":
			versioned = true
		case slices.Contains(dirs, f.Dir):
			in = append(in, f)
		}
	}
	name := camel(st.Name)
	p("// In is what the host tells the guest about %s.\ntype In struct {\n", what)
	for _, f := range in {
		p("%s uint%d // %s\n", camel(f.Name), scalar(f.Type)*8, f.Text)
	}
	p("}\n\n// Put writes in to the start of a %s, which must have %sSize bytes.\nfunc (in *In) Put(b []byte) {\n_ = b[%sSize-1]\n", st.Name, name, name)
	if versioned {
		p("binary.LittleEndian.PutUint32(b[%sSizeOff:], %sSize)\nbinary.LittleEndian.PutUint32(b[%sABIOff:], Version)\n", name, name, name)
	}
	for _, f := range in {
		p("binary.LittleEndian.PutUint%d(b[%s%sOff:], in.%s)\n", scalar(f.Type)*8, name, camel(f.Name), camel(f.Name))
	}
	p("}\n\n")
}

func ctype(t string) string {
	switch t {
	case "u8", "u16", "u32", "u64":
		return "uint" + t[1:] + "_t"
	case "i32":
		return "int32_t"
	case "ptr":
		return "void *"
	case "cptr":
		return "const void *"
	}
	return "struct janos_" + t
}

func decl(t, name string) string {
	if strings.HasSuffix(t, "*") {
		return t + name
	}
	return t + " " + name
}

// comment makes a C comment of text, indented by indent and broken at 96 columns.
func comment(text, indent string) string {
	var b strings.Builder
	line := indent + "/*"
	for _, w := range strings.Fields(text) {
		if len(line)+1+len(w) > 93 {
			b.WriteString(line + "\n")
			line = indent + " *"
		}
		line += " " + w
	}
	b.WriteString(line + " */\n")
	return b.String()
}

// Header returns janos.h; tail is hand-written C that is appended inside the include guard.
func (s *Spec) Header(tail []byte) []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("/* janos.h - the guest side of the Janos capsule ABI, version %d.\n * %s\n */\n", s.Version, mark)
	p("#ifndef JANOS_H\n#define JANOS_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n#define JANOS_ABI %d\n\n", s.Version)
	for _, c := range s.Constants {
		p("#define JANOS_%s %d /* %s */\n", strings.ToUpper(c.Name), c.Value, c.Text)
	}
	p("\nenum janos_verdict {\n")
	for _, c := range s.Verdicts {
		p("%s\tJANOS_%s = %d,\n", comment(c.Text, "\t"), strings.ToUpper(c.Name), c.Value)
	}
	p("};\n\nenum janos_state_act {\n")
	for _, c := range s.StateActs {
		p("\tJANOS_STATE_%s = %d, /* %s */\n", strings.ToUpper(c.Name), c.Value, c.Text)
	}
	p("};\n")
	s.cStructs(p, "janos.h")
	p("\n/* Host calls. Unused ones are not imported. */\n")
	for _, c := range s.Calls {
		res := "void"
		if c.Result != "" {
			res = ctype(c.Result)
		}
		var ps []string
		for _, q := range c.Params {
			ps = append(ps, decl(ctype(q.Type), q.Name))
		}
		p("\n%s__attribute__((import_module(%q), import_name(%q)))\n%s janos_%s(%s);\n", comment(c.Text+fmt.Sprintf(". Costs %d units of fuel.", c.Fuel), ""),
			s.Module, c.Name, res, c.Name, strings.Join(ps, ", "))
	}
	p("\n%s\n#endif /* JANOS_H */\n", bytes.TrimSpace(tail))
	return b.Bytes()
}

// cStructs writes the records as C has them.
func (s *Spec) cStructs(p func(string, ...any), file string) {
	done := map[string]bool{}
	var emit func(st Struct)
	emit = func(st Struct) {
		if done[st.Name] {
			return
		}
		done[st.Name] = true
		for _, f := range st.Fields {
			for _, in := range s.Structs {
				if in.Name == f.Type {
					emit(in)
				}
			}
		}
		p("\n%sstruct janos_%s {\n", comment(st.Text, ""), st.Name)
		for _, f := range st.Fields {
			arr := ""
			if f.Count > 0 {
				arr = fmt.Sprintf("[%d]", f.Count)
			}
			dir := ""
			if f.Dir != "" {
				dir = f.Dir + ": "
			}
			p("\t%s%s; /* %s%s */\n", decl(ctype(f.Type), f.Name), arr, dir, f.Text)
		}
		p("};\n_Static_assert(sizeof(struct janos_%s) == %d, \"%s: struct janos_%s has a wrong size\");\n", st.Name, st.size, file, st.Name)
	}
	for _, st := range s.Structs {
		emit(st)
	}
}

// Markdown returns the manual page.
func (s *Spec) Markdown(intro []byte) []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("<!-- %s -->\n\n# Guest ABI, version %d\n\n%s\n", mark, s.Version, bytes.TrimSpace(intro))
	p("\n## Verdicts\n\n`evaluate` returns one of these; any other number counts as a fault.\n\n| value | name | meaning |\n|---|---|---|\n")
	for _, c := range s.Verdicts {
		p("| %d | `%s` | %s |\n", c.Value, c.Name, c.Text)
	}
	p("\n## State acts\n\n| value | name | meaning |\n|---|---|---|\n")
	for _, c := range s.StateActs {
		p("| %d | `%s` | %s |\n", c.Value, c.Name, c.Text)
	}
	s.mdRecords(p)
	p("\n## Host calls\n\nImported from the module `%s`. All parameters and results are i32.\n\n| call | fuel | what it does |\n|---|---|---|\n", s.Module)
	for _, c := range s.Calls {
		var ps []string
		for _, q := range c.Params {
			ps = append(ps, q.Name)
		}
		res := ""
		if c.Result != "" {
			res = " -> " + c.Result
		}
		p("| `%s(%s)%s` | %d | %s |\n", c.Name, strings.Join(ps, ", "), res, c.Fuel, c.Text)
	}
	return b.Bytes()
}

// mdRecords writes the tables of bounds and records.
func (s *Spec) mdRecords(p func(string, ...any)) {
	p("\n## Bounds\n\n| name | value | meaning |\n|---|---|---|\n")
	for _, c := range s.Constants {
		p("| `%s` | %d | %s |\n", c.Name, c.Value, c.Text)
	}
	p("\n## Records\n")
	for _, st := range s.Structs {
		at := ""
		if st.Export != "" {
			at = fmt.Sprintf(", at the address in the exported global `%s`", st.Export)
		}
		p("\n### %s\n\n%d bytes%s. %s\n\n| offset | type | name | direction | meaning |\n|---|---|---|---|---|\n", st.Name, st.size, at, st.Text)
		for _, f := range st.Fields {
			t := f.Type
			if f.Count > 0 {
				t = fmt.Sprintf("%s[%d]", t, f.Count)
			}
			p("| %d | %s | `%s` | %s | %s |\n", f.offset, t, f.Name, f.Dir, f.Text)
		}
	}
}
