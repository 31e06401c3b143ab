package gen

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Calls is the description as calls.yaml has it.
type Calls struct {
	Modules []Module
}

// Module is a module of host calls with its constants and records.
type Module struct {
	Name      string
	Prefix    string // of names in the kits
	Package   string // that implements it
	Title     string
	Text      string
	Constants []struct {
		Name  string
		Value uint64
		Text  string
	}
	Structs []Struct
	Calls   []HostCall
}

// HostCall is a function that a guest may import. It returns an i32.
type HostCall struct {
	Name      string
	Fuel      int
	PerPacket int `yaml:"per_packet"` // more fuel for each packet or event
	PerBytes  int `yaml:"per_bytes"`  // bytes that are moved for a unit of fuel
	PerByte   int `yaml:"per_byte"`   // fuel for each byte
	Wait      bool
	Process   bool
	Never     bool
	Rights    string
	Params    []Param
	Text      string
}

// ParseCalls reads calls.yaml and lays the records out.
func ParseCalls(src []byte) (*Calls, error) {
	c := new(Calls)
	if err := yaml.UnmarshalWithOptions(src, c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("calls.yaml: %w", err)
	}
	for i := range c.Modules {
		m := &c.Modules[i]
		if err := layout(m.Structs); err != nil {
			return nil, fmt.Errorf("calls.yaml: %s: %w", m.Name, err)
		}
		for _, h := range m.Calls {
			for _, p := range h.Params {
				if _, rec := record(p.Type); rec != "" && m.find(rec) == nil {
					return nil, fmt.Errorf("calls.yaml: %s.%s: unknown record %s", m.Name, h.Name, rec)
				}
			}
		}
	}
	return c, nil
}

func (m *Module) find(name string) *Struct {
	for i := range m.Structs {
		if m.Structs[i].Name == name {
			return &m.Structs[i]
		}
	}
	return nil
}

// record splits ptr:status into ptr and status.
func record(t string) (base, rec string) {
	base, rec, _ = strings.Cut(t, ":")
	return base, rec
}

func (h *HostCall) rights() string {
	if h.Rights == "" {
		return ""
	}
	return "to " + h.Rights
}

func (h *HostCall) price() string {
	s := fmt.Sprint(h.Fuel)
	if h.PerPacket > 0 {
		s += fmt.Sprintf(" + %d each", h.PerPacket)
	}
	if h.PerBytes > 0 {
		s += fmt.Sprintf(" + 1 for %d bytes", h.PerBytes)
	}
	if h.PerByte > 0 {
		s += fmt.Sprintf(" + %d a byte", h.PerByte)
	}
	return s
}

const callsMark = "Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT."

// Go returns calls_gen.go.
func (c *Calls) Go() ([]byte, error) {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("// %s\n\npackage abi\n\n", callsMark)
	for _, m := range c.Modules {
		pre := strings.ToUpper(m.Prefix)
		p("// %sModule is the name under which guests import the calls of package %s.\nconst %sModule = %q\n\n", pre, m.Package, pre, m.Name)
		p("// Constants of %s.\nconst (\n", m.Name)
		for _, k := range m.Constants {
			p("%s%s = %d // %s\n", pre, camel(k.Name), k.Value, k.Text)
		}
		p(")\n\n// Sizes and offsets of the records of %s.\nconst (\n", m.Name)
		for _, st := range m.Structs {
			p("%s%sSize = %d\n", pre, camel(st.Name), st.size)
			for _, f := range st.Fields {
				p("%s%s%sOff = %d\n", pre, camel(st.Name), camel(f.Name), f.offset)
			}
			p("\n")
		}
		p(")\n\n// %sCalls are the calls of %s.\nvar %sCalls = []Call{\n", pre, m.Name, pre)
		for _, h := range m.Calls {
			only := ""
			if h.Process {
				only = ", Process: true"
			}
			p("{Name: %q, Params: %d, Result: true, Fuel: %d%s}, // ", h.Name, len(h.Params), h.Fuel, only)
			for i, q := range h.Params {
				if i > 0 {
					p(", ")
				}
				p("%s", q.Name)
			}
			p("\n")
		}
		p("}\n\n")
		p("// Prices that depend on the arguments of calls of %s, in units of fuel.\nconst (\n", m.Name)
		for _, h := range m.Calls {
			if h.PerPacket > 0 {
				p("%s%sEach = %d // for each packet or event\n", pre, camel(h.Name), h.PerPacket)
			}
			if h.PerBytes > 0 {
				p("%s%sBytes = %d // bytes for a unit\n", pre, camel(h.Name), h.PerBytes)
			}
			if h.PerByte > 0 {
				p("%s%sByte = %d // for each byte\n", pre, camel(h.Name), h.PerByte)
			}
		}
		p(")\n\n")
	}
	src := strings.ReplaceAll(b.String(), "const (\n)\n\n", "")
	src = dropEmptyPrices(src)
	return format.Source([]byte(src))
}

// dropEmptyPrices takes away comments whose block of constants was empty.
func dropEmptyPrices(s string) string {
	lines := strings.Split(s, "\n")
	var out []string
	for i, l := range lines {
		if strings.HasPrefix(l, "// Prices that depend") && (i+1 >= len(lines) || lines[i+1] != "const (") {
			continue
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// Headers returns the C kit: a header for each module, by file name.
func (c *Calls) Headers() map[string][]byte {
	all := make(map[string][]byte)
	for i := range c.Modules {
		m := &c.Modules[i]
		all[m.Name+".h"] = m.header()
	}
	return all
}

func (m *Module) header() []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	pre, up := m.Prefix+"_", strings.ToUpper(m.Prefix)+"_"
	guard := strings.ToUpper(m.Name) + "_H"
	p("/* %s.h - %s\n * %s\n */\n#ifndef %s\n#define %s\n\n#include <stddef.h>\n#include <stdint.h>\n\n", m.Name, m.Title, callsMark, guard, guard)
	for _, k := range m.Constants {
		v := fmt.Sprint(k.Value)
		switch {
		case k.Value > 1<<32-1:
			v += "ull"
		case k.Value > 1<<31-1:
			v += "u"
		}
		p("#define %s%s %s /* %s */\n", up, strings.ToUpper(k.Name), v, k.Text)
	}
	done := map[string]bool{}
	var emit func(st *Struct)
	emit = func(st *Struct) {
		if done[st.Name] {
			return
		}
		done[st.Name] = true
		for _, f := range st.Fields {
			if in := m.find(f.Type); in != nil {
				emit(in)
			}
		}
		p("\n%sstruct %s%s {\n", comment(st.Text, ""), pre, st.Name)
		for _, f := range st.Fields {
			arr, text := "", ""
			if f.Count > 0 {
				arr = fmt.Sprintf("[%d]", f.Count)
			}
			if f.Text != "" {
				text = " /* " + f.Text + " */"
			}
			t := ctype(f.Type)
			if m.find(f.Type) != nil {
				t = "struct " + pre + f.Type
			}
			p("\t%s%s;%s\n", decl(t, f.Name), arr, text)
		}
		p("};\n_Static_assert(sizeof(struct %s%s) == %d, \"%s.h: struct %s%s has a wrong size\");\n", pre, st.Name, st.size, m.Name, pre, st.Name)
	}
	for i := range m.Structs {
		emit(&m.Structs[i])
	}
	p("\n/* Calls. Unused ones are not imported. A result below zero is minus an error kind. */\n")
	for _, h := range m.Calls {
		var ps []string
		for _, q := range h.Params {
			base, rec := record(q.Type)
			t := ctype(base)
			if rec != "" {
				t = strings.Replace(t, "void", "struct "+pre+rec, 1)
			}
			ps = append(ps, decl(t, q.Name))
		}
		if len(ps) == 0 {
			ps = []string{"void"}
		}
		text := h.Text + ". Costs " + h.price() + " units of fuel."
		if h.Wait {
			text += " May wait."
		}
		p("\n%s__attribute__((import_module(%q), import_name(%q)))\nint32_t %s%s(%s);\n", comment(text, ""), m.Name, h.Name, pre, h.Name, strings.Join(ps, ", "))
	}
	if m.Prefix == "vm" {
		p("\n%s", processMacro)
	}
	p("\n#endif /* %s */\n", guard)
	return b.Bytes()
}

// processMacro is what begins the function of a process.
const processMacro = `/* VM_RUN begins the function of a process: VM_RUN { return 0; }. What it returns is the exit code. VM_EXITING begins its goodbye. */
#define VM_RUN __attribute__((export_name("run"))) int32_t run(void)
#define VM_EXITING __attribute__((export_name("exiting"))) void exiting(void)
`

// AssemblyScript returns the declarations of each module, by file name.
func (c *Calls) AssemblyScript() map[string][]byte {
	all := make(map[string][]byte)
	for i := range c.Modules {
		m := &c.Modules[i]
		var b bytes.Buffer
		p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
		pre, up := m.Prefix+"_", strings.ToUpper(m.Prefix)+"_"
		p("// %s.ts - %s\n// %s\n// Records are described by the offsets of their fields. Unused calls are not imported; a result below zero is minus an error kind.\n\n", m.Name, m.Title, callsMark)
		for _, k := range m.Constants {
			t := "u32"
			if k.Value > 1<<32-1 {
				t = "u64"
			}
			p("export const %s%s: %s = %d; // %s\n", up, strings.ToUpper(k.Name), t, k.Value, k.Text)
		}
		for _, st := range m.Structs {
			p("\n// %s\n", st.Text)
			p("export const %sSIZEOF_%s: usize = %d;\n", up, strings.ToUpper(st.Name), st.size)
			for _, f := range st.Fields {
				t := f.Type
				if f.Count > 0 {
					t = fmt.Sprintf("%s[%d]", t, f.Count)
				}
				text := ""
				if f.Text != "" {
					text = ": " + f.Text
				}
				p("export const %s%s_%s: usize = %d; // %s%s\n", up, strings.ToUpper(st.Name), strings.ToUpper(f.Name), f.offset, t, text)
			}
		}
		for _, h := range m.Calls {
			var ps []string
			for _, q := range h.Params {
				t, _ := record(q.Type)
				if t == "ptr" || t == "cptr" {
					t = "usize"
				}
				name := q.Name
				if name == "in" {
					name = "in_"
				}
				ps = append(ps, name+": "+t)
			}
			p("\n// %s. Costs %s units of fuel.\n@external(%q, %q)\nexport declare function %s%s(%s): i32;\n", h.Text, h.price(), m.Name, h.Name, pre, h.Name, strings.Join(ps, ", "))
		}
		all[m.Name+".ts"] = b.Bytes()
	}
	return all
}

// Markdown returns the manual page.
func (c *Calls) Markdown(intro []byte) []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("<!-- %s -->\n\n# Host calls of processes\n\n%s\n", callsMark, bytes.TrimSpace(intro))
	for _, m := range c.Modules {
		p("\n## %s: `%s`\n\n%s In C: `#include <%s.h>`; implemented by package `%s`.\n", m.Title, m.Name, strings.TrimSpace(m.Text), m.Name, m.Package)
		p("\n| call `%s_...` | fuel | right | handlers | waits | what it does |\n|---|---|---|---|---|---|\n", m.Prefix)
		for _, h := range m.Calls {
			var ps []string
			for _, q := range h.Params {
				ps = append(ps, q.Name)
			}
			wait := ""
			if h.Wait {
				wait = "yes"
			}
			if h.Never {
				wait = "does not return"
			}
			handlers := "yes"
			if h.Process {
				handlers = ""
			}
			p("| `%s(%s)` | %s | %s | %s | %s | %s |\n", h.Name, strings.Join(ps, ", "), h.price(), h.rights(), handlers, wait, h.Text)
		}
		p("\n| constant | value | meaning |\n|---|---|---|\n")
		for _, k := range m.Constants {
			p("| `%s_%s` | %d | %s |\n", strings.ToUpper(m.Prefix), strings.ToUpper(k.Name), k.Value, k.Text)
		}
		for _, st := range m.Structs {
			p("\n### %s_%s\n\n%d bytes. %s\n\n| offset | type | name | meaning |\n|---|---|---|---|\n", m.Prefix, st.Name, st.size, st.Text)
			for _, f := range st.Fields {
				t := f.Type
				if f.Count > 0 {
					t = fmt.Sprintf("%s[%d]", t, f.Count)
				}
				p("| %d | %s | `%s` | %s |\n", f.offset, t, f.Name, f.Text)
			}
		}
	}
	return b.Bytes()
}

// CallFiles returns what calls.yaml in dir (the directory sdk/abi) generates, by path.
func CallFiles(dir string) (map[string][]byte, error) {
	src, err := os.ReadFile(filepath.Join(dir, "calls.yaml"))
	if err != nil {
		return nil, err
	}
	intro, err := os.ReadFile(filepath.Join(dir, "calls.md.in"))
	if err != nil {
		return nil, err
	}
	c, err := ParseCalls(src)
	if err != nil {
		return nil, err
	}
	table, err := c.Go()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		filepath.Join(dir, "calls_gen.go"):                  table,
		filepath.Join(dir, "..", "..", "docs/abi-calls.md"): c.Markdown(intro),
	}
	for name, text := range c.Headers() {
		files[filepath.Join(dir, "..", "c", name)] = text
	}
	for name, text := range c.AssemblyScript() {
		files[filepath.Join(dir, "..", "as", name)] = text
	}
	return files, nil
}
