package nodeos

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// specs are the package's Specs. One that is missing here fails the test below.
var specs = []any{NodeSpec{}, DomainSpec{}, FilesSpec{}, MemPoolSpec{}, HeapSpec{}, RegionSpec{}, TaskSpec{}, InChanSpec{}, OutChanSpec{}, CutChanSpec{}, LinkSpec{}}

var (
	attributeRow = regexp.MustCompile("^\\| `([A-Za-z]+Spec\\.[A-Za-z]+)` \\| ([^|]+) \\| ((?:`[a-z/]+\\.Test[A-Za-z0-9]+` ?)+)\\|$")
	testNamed    = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`")
)

// attributesWithout returns what is wrong with a page's table of attributes: attributes without a row, rows without an
// attribute or of another form, and tests that do not exist.
func attributesWithout(page string, specs []any, exists func(dir, name string) bool) (wrong []string) {
	_, table, _ := strings.Cut(page, "\n| attribute | effect | test |\n|---|---|---|\n")
	rows := make(map[string]bool)
	for line := range strings.Lines(table) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") {
			break
		}
		m := attributeRow.FindStringSubmatch(line)
		if m == nil || rows[m[1]] {
			wrong = append(wrong, "a row that is not an attribute, its effect and its tests, or is there twice: "+line)
			continue
		}
		rows[m[1]] = true
		for _, n := range testNamed.FindAllStringSubmatch(m[3], -1) {
			if !exists(n[1], n[2]) {
				wrong = append(wrong, m[1]+": there is no "+n[1]+"."+n[2])
			}
		}
	}
	for _, s := range specs {
		typ := reflect.TypeOf(s)
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				name := typ.Name() + "." + f.Name
				if !rows[name] {
					wrong = append(wrong, name+" has no effect with a test")
				}
				delete(rows, name)
			}
		}
	}
	for name := range rows {
		wrong = append(wrong, name+" is no attribute")
	}
	return wrong
}

// Every attribute that can be set has an effect, and a test of it.
func TestAttributesHaveEffects(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "nodeos.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]string)
	exists := func(dir, name string) bool {
		if tests[dir] == "" {
			files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				src, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				tests[dir] += "\n" + string(src)
			}
		}
		return strings.Contains(tests[dir], "\nfunc "+name+"(t *testing.T)")
	}
	for _, w := range attributesWithout(string(page), specs, exists) {
		t.Errorf("docs/nodeos.md: %s", w)
	}
	none := func(string, string) bool { return false }
	for _, c := range []struct{ row, want string }{
		{"", "FilesSpec.Dir has no effect"},
		{"| `FilesSpec.Dir` | is stored | |", "a row that is not"},
		{"| `FilesSpec.Dir` | x | `nodeos.TestNone` |", "there is no nodeos.TestNone"},
		{"| `FilesSpec.Gone` | x | `nodeos.TestNone` |", "FilesSpec.Gone is no attribute"},
	} {
		wrong := attributesWithout("\n| attribute | effect | test |\n|---|---|---|\n"+c.row+"\n", []any{FilesSpec{}}, none)
		if !strings.Contains(strings.Join(wrong, "\n"), c.want) {
			t.Errorf("row %q: %q, want %q", c.row, wrong, c.want)
		}
	}
}

// The list of Specs is that of the source.
func TestSpecsAreAllListed(t *testing.T) {
	listed := make(map[string]bool)
	for _, s := range specs {
		listed[reflect.TypeOf(s).Name()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && ast.IsExported(s.Name.Name) && strings.HasSuffix(s.Name.Name, "Spec") {
				if found++; !listed[s.Name.Name] {
					t.Errorf("%s: %s is not in the list of Specs", name, s.Name.Name)
				}
			}
			return true
		})
	}
	if found != len(specs) {
		t.Errorf("%d Specs in the source, %d in the list", found, len(specs))
	}
}
