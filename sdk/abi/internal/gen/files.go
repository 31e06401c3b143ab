package gen

import (
	"os"
	"path/filepath"
)

// Files returns what abi.yaml in dir (the directory sdk/abi) and elem/element.yaml generate, by path.
func Files(dir string) (map[string][]byte, error) {
	var failed error
	read := func(name ...string) []byte {
		b, err := os.ReadFile(filepath.Join(append([]string{dir}, name...)...))
		if err != nil {
			failed = err
		}
		return b
	}
	capsules, element := read("abi.yaml"), read("elem", "element.yaml")
	if failed != nil {
		return nil, failed
	}
	s, err := Parse(capsules)
	if err != nil {
		return nil, err
	}
	g, err := s.Go()
	if err != nil {
		return nil, err
	}
	e, err := Parse(element)
	if err != nil {
		return nil, err
	}
	ge, err := e.ElementGo()
	if err != nil {
		return nil, err
	}
	kit, docs := filepath.Join(dir, "..", "c"), filepath.Join(dir, "..", "..", "docs")
	files := map[string][]byte{
		filepath.Join(dir, "abi_gen.go"):          g,
		filepath.Join(kit, "janos.h"):             s.Header(read("kit.h.in")),
		filepath.Join(docs, "abi.md"):             s.Markdown(read("abi.md.in")),
		filepath.Join(dir, "elem", "elem_gen.go"): ge,
		filepath.Join(kit, "janos_element.h"):     e.ElementHeader(read("elem", "kit.h.in")),
		filepath.Join(docs, "abi-elements.md"):    e.ElementMarkdown(read("elem", "element.md.in")),
	}
	return files, failed
}
