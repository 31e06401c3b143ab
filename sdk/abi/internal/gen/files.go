package gen

import (
	"os"
	"path/filepath"
)

// Files returns what abi.yaml in dir (the directory sdk/abi) generates, by path.
func Files(dir string) (map[string][]byte, error) {
	in := map[string][]byte{}
	for _, n := range []string{"abi.yaml", "kit.h.in", "abi.md.in"} {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, err
		}
		in[n] = b
	}
	s, err := Parse(in["abi.yaml"])
	if err != nil {
		return nil, err
	}
	g, err := s.Go()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		filepath.Join(dir, "abi_gen.go"):              g,
		filepath.Join(dir, "..", "c", "janos.h"):      s.Header(in["kit.h.in"]),
		filepath.Join(dir, "..", "..", "docs/abi.md"): s.Markdown(in["abi.md.in"]),
	}, nil
}
