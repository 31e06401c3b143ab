package gen

import (
	"bytes"
	"fmt"
	"go/format"
	"strings"
)

const elementMark = "Code generated from element.yaml by sdk/abi/internal/gen; DO NOT EDIT."

// ElementGo returns elem_gen.go.
func (s *Spec) ElementGo() ([]byte, error) {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("// %s\n\npackage elem\n\nimport \"encoding/binary\"\n\n", elementMark)
	p("// Version is the version of the ABI.\nconst Version = %d\n\n", s.Version)
	p("// Bounds of the ABI.\nconst (\n")
	for _, c := range s.Constants {
		p("%s = %d // %s\n", camel(c.Name), c.Value, c.Text)
	}
	p(")\n\n// Flags of a manifest.\nconst (\n")
	for _, c := range s.Flags {
		p("Flag%s = %d // %s\n", camel(c.Name), c.Value, c.Text)
	}
	p(")\n\n")
	s.goOffsets(p)
	p("// Names of the functions that a guest exports: of nothing, and returning an i32.\nconst (\nExportEvaluate = \"evaluate\" // the number of an output, or Drop\nExportConfigure = \"configure\" // optional\n)\n\n")
	s.goExports(p)
	for _, st := range s.Structs {
		if st.Name == "packet" {
			s.goIn(p, st, "one packet", "in", "inout")
		}
	}
	return format.Source(b.Bytes())
}

// ElementHeader returns janos_element.h; tail is hand-written C that is appended inside the include guard.
func (s *Spec) ElementHeader(tail []byte) []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("/* janos_element.h - the guest side of the Janos ABI for graph elements, version %d.\n * %s\n */\n", s.Version, elementMark)
	p("#ifndef JANOS_ELEMENT_H\n#define JANOS_ELEMENT_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n#define JANOS_ELEMENT_ABI %d\n\n", s.Version)
	for _, c := range append(s.Constants[:len(s.Constants):len(s.Constants)], s.Flags...) {
		p("#define JANOS_%s %d /* %s */\n", strings.ToUpper(c.Name), c.Value, c.Text)
	}
	s.cStructs(p, "janos_element.h")
	p("\n%s\n\n#endif /* JANOS_ELEMENT_H */\n", bytes.TrimSpace(tail))
	return b.Bytes()
}

// ElementMarkdown returns the manual page.
func (s *Spec) ElementMarkdown(intro []byte) []byte {
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, f, a...) }
	p("<!-- %s -->\n\n# ABI for graph elements, version %d\n\n%s\n", elementMark, s.Version, bytes.TrimSpace(intro))
	p("\n## Flags\n\n| value | name | meaning |\n|---|---|---|\n")
	for _, c := range s.Flags {
		p("| %d | `%s` | %s |\n", c.Value, c.Name, c.Text)
	}
	s.mdRecords(p)
	return b.Bytes()
}
