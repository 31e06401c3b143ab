package repotest

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/janos-os/janos"

// pkg is what `go list` says of a package of ours.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) < 10 {
		t.Fatalf("go list found only %d packages", len(ps))
	}
	return ps
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// layer says what the packages under a prefix may import of ours, by prefix. clock, errs and
// internal may be imported by everybody and are not repeated. The table is that of the design; what was
// added to it is explained in RATIONALE.md.
var layers = []struct {
	prefix string
	may    []string
}{
	{"clock", nil},
	{"errs", nil},
	{"internal/capsulecmd", []string{"sdk", "vm", "ee/ants", "clock"}}, // a command, mounted by cmd/janos
	{"internal", nil},
	{"packet", nil},
	{"resctl", nil},
	{"linkmodel", nil},
	{"demux", []string{"packet"}},
	{"nodeos", []string{"packet", "resctl", "demux"}},
	{"channels", []string{"channels", "packet", "demux", "nodeos", "resctl"}},
	{"click/elements/wasm", []string{"click", "vm", "sdk", "nodeos", "packet", "resctl"}},
	{"click", []string{"click", "channels/host", "packet", "demux", "nodeos", "resctl", "linkmodel"}},
	{"sdk", []string{"sdk"}},
	{"vm/nodeosabi", []string{"vm", "sdk", "nodeos", "demux", "resctl", "packet", "examples/guest-ee"}}, // where isolates meet the NodeOS
	{"vm/wasi", []string{"vm", "nodeos", "resctl"}},                                                     // whose domains' files programs see
	{"vm", []string{"vm", "resctl", "sdk"}},
	{"ee/ants", []string{"ee/ants", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet"}},
	{"node", []string{"ee", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet"}},
	{"control", []string{"node", "ee", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet"}},
	{"lab", []string{"lab", "control", "node", "ee", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet", "linkmodel"}},
	{"bench", []string{"bench", "examples/elements", "control", "node", "ee", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet"}},
	{"apps", []string{"apps", "ee", "vm", "nodeos", "click", "sdk", "packet", "resctl"}},
	{"examples", []string{"ee", "vm", "sdk", "click", "channels", "nodeos", "demux", "resctl", "packet"}},
	{"cmd", []string{""}},
}

// under reports whether path is prefix or below it.
func under(path, prefix string) bool {
	return prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

func TestImportsGoDownward(t *testing.T) {
	for _, p := range packages(t) {
		self := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		i := slices.IndexFunc(layers, func(l struct {
			prefix string
			may    []string
		}) bool {
			return under(self, l.prefix)
		})
		if i < 0 {
			t.Errorf("%s is in no layer: put it into the table of this test and of the architecture page", self)
			continue
		}
		for _, imp := range p.Imports {
			of := strings.TrimPrefix(imp, module+"/")
			if of == imp || under(of, "clock") || under(of, "errs") || (under(of, "internal") && !under(of, "internal/capsulecmd")) {
				continue
			}
			if under(self, "internal") && under(of, "internal") {
				continue
			}
			if !slices.ContainsFunc(layers[i].may, func(m string) bool { return under(of, m) }) {
				t.Errorf("%s imports %s, which layer %q may not", self, of, layers[i].prefix)
			}
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		n := 0
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil && !isDirective(file.Doc) {
				n++
				if f != "doc.go" && f != "main.go" {
					t.Errorf("%s: the package comment is in %s, want doc.go", p.ImportPath, f)
				}
			}
		}
		if n != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s has %d package comments, want one", p.ImportPath, n)
		}
	}
}

func isDirective(g *ast.CommentGroup) bool { return strings.TrimSpace(g.Text()) == "" }

// goFiles calls fn for every Go file of the tree but those of other modules and of testdata.
func goFiles(t *testing.T, fn func(path string, src string)) {
	t.Helper()
	dir := root(t)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != dir && (n == "testdata" || strings.HasPrefix(n, ".") || n == "node_modules" || n == "bin") {
				return filepath.SkipDir
			}
			if path != dir {
				if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
					return filepath.SkipDir
				}
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			fn(filepath.ToSlash(rel), string(src))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnsafeAndSystemCallsStayInTheirPlaces(t *testing.T) {
	raw := regexp.MustCompile(`\b(unix|syscall)\.(Raw)?Syscall6?\b`)
	goFiles(t, func(path, src string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		for _, imp := range f.Imports {
			switch imp.Path.Value {
			case `"unsafe"`:
				if !strings.HasPrefix(path, "internal/sys/") && !strings.HasSuffix(path, "_unsafe.go") {
					t.Errorf("%s imports unsafe: it belongs in internal/sys or a file named *_unsafe.go", path)
				}
			case `"C"`:
				t.Errorf("%s uses cgo", path)
			}
			if strings.HasPrefix(imp.Path.Value, `"github.com/tetratelabs/wazero`) && strings.HasPrefix(path, "bench/") && path != "bench/fuel.go" {
				t.Errorf("%s imports %s: in bench only fuel.go may, which runs committed code of ours with and without metering", path, imp.Path.Value)
			}
		}
		if raw.MatchString(src) && !strings.HasPrefix(path, "internal/sys/") && !strings.HasPrefix(path, "internal/repotest/") && path != "vm/jail/hostile_linux_test.go" {
			t.Errorf("%s makes raw system calls: they belong in internal/sys", path)
		}
	})
}

func TestWazeroOnlyBehindTheGate(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == module+"/bench" { // whose files are looked at one by one, see above
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/tetratelabs/wazero") && p.ImportPath != module+"/vm" {
				t.Errorf("%s imports %s: untrusted code runs through package vm only", p.ImportPath, imp)
			}
		}
	}
}

func TestDependenciesAreListedWithAReason(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root(t), "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]+\\| *\\S").FindAllStringSubmatch(string(doc), -1) {
		reasons[m[1]] = true
	}
	direct := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) v\S+(.*)$`).FindAllStringSubmatch(string(mod), -1) {
		if strings.Contains(m[2], "// indirect") {
			continue
		}
		direct[m[1]] = true
		if !reasons[m[1]] {
			t.Errorf("go.mod requires %s, which docs/dependencies.md does not list with a reason", m[1])
		}
	}
	if len(direct) == 0 {
		t.Fatal("no dependencies found in go.mod: the pattern is wrong")
	}
	for r := range reasons {
		if !direct[r] {
			t.Errorf("docs/dependencies.md lists %s, which go.mod does not require directly", r)
		}
	}
}

func TestNothingUnfinishedIsCommitted(t *testing.T) {
	words := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|not (yet )?imple` + `mented|unimple` + `mented)\b`)
	goFiles(t, func(path, src string) {
		if m := words.FindString(src); m != "" {
			t.Errorf("%s says %q", path, m)
		}
	})
}

func TestFilesAreNotTooLong(t *testing.T) {
	goFiles(t, func(path, src string) {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(src[:min(len(src), 400)], "DO NOT EDIT") {
			return
		}
		if n := strings.Count(src, "\n"); n > 1000 {
			t.Errorf("%s has %d lines", path, n)
		}
	})
}
