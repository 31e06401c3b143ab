package nodeos

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// specs are the package's Specs. One that is missing here fails the test below.
var specs = []any{NodeSpec{}, DomainSpec{}, FilesSpec{}, MemPoolSpec{}, HeapSpec{}, RegionSpec{}, TaskSpec{}, InChanSpec{}, OutChanSpec{}, CutChanSpec{}, LinkSpec{}}

var (
	attributeRow = regexp.MustCompile("^\\| `([A-Za-z]+\\.[A-Za-z]+)` \\| ([^|]+) \\| ((?:`[a-z/]+\\.Test[A-Za-z0-9]+` ?)+)\\|$")
	testNamed    = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`")
)

// attributesWithout returns what is wrong with a page's table of attributes: fields of Specs and setters without a row, rows without one
// or of another form, tests that do not exist, and attributes that none of their tests speaks of. source returns the text of a test.
func attributesWithout(page string, specs []any, setters []string, source func(dir, name string) string) (wrong []string) {
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
		_, short, _ := strings.Cut(m[1], ".")
		spoken := false
		for _, n := range testNamed.FindAllStringSubmatch(m[3], -1) {
			text := source(n[1], n[2])
			if text == "" {
				wrong = append(wrong, m[1]+": there is no "+n[1]+"."+n[2])
			}
			spoken = spoken || strings.Contains(text, short)
		}
		if !spoken {
			wrong = append(wrong, m[1]+": no test of its row has the word "+short)
		}
	}
	demand := func(name string) {
		if !rows[name] {
			wrong = append(wrong, name+" has no effect with a test")
		}
		delete(rows, name)
	}
	for _, s := range specs {
		typ := reflect.TypeOf(s)
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				demand(typ.Name() + "." + f.Name)
			}
		}
	}
	for _, name := range setters {
		demand(name)
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
	source := func(dir, name string) string {
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
		_, text, _ := strings.Cut(tests[dir], "\nfunc "+name+"(t *testing.T)")
		text, _, _ = strings.Cut(text, "\n}\n")
		return text
	}
	set := setters(t)
	for _, must := range []string{"Domain.SetShare", "MemPool.SetLimit", "InChan.SetTask", "Node.SetLinkRate", "OutChan.SetBitRate", "Timer.Set"} {
		if !slices.Contains(set, must) {
			t.Errorf("%s was not found in the source", must)
		}
	}
	for _, w := range attributesWithout(string(page), specs, set, source) {
		t.Errorf("docs/nodeos.md: %s", w)
	}
	// The check itself: what is missing is found.
	one := func(_, name string) string {
		return map[string]string{"TestDir": "Dir is set", "TestNothing": "nothing", "TestSetIt": "SetIt"}[name]
	}
	type FakeSpec struct{ Dir, fake string }
	const good = "| `FakeSpec.Dir` | x | `nodeos.TestDir` |\n| `Fake.SetIt` | x | `a/b.TestSetIt` |"
	for _, c := range []struct{ rows, want string }{
		{good, ""},
		{"| `FakeSpec.Dir` | x | `nodeos.TestDir` |", "Fake.SetIt has no effect"},
		{"| `Fake.SetIt` | x | `nodeos.TestSetIt` |", "FakeSpec.Dir has no effect"},
		{"| `FakeSpec.Dir` | is stored | |", "a row that is not"},
		{good + "\n| `Fake.SetIt` | x | `a/b.TestSetIt` |", "is there twice"},
		{"| `FakeSpec.Dir` | x | `nodeos.TestNone` |", "there is no nodeos.TestNone"},
		{"| `FakeSpec.Dir` | x | `nodeos.TestNothing` |", "FakeSpec.Dir: no test of its row has the word Dir"},
		{"| `FakeSpec.Gone` | x | `nodeos.TestNone` |", "FakeSpec.Gone is no attribute"},
		{"| `Fake.SetGone` | x | `nodeos.TestNone` |", "Fake.SetGone is no attribute"},
	} {
		wrong := attributesWithout("\n| attribute | effect | test |\n|---|---|---|\n"+c.rows+"\n", []any{FakeSpec{}}, []string{"Fake.SetIt"}, one)
		if !strings.Contains(strings.Join(wrong, "\n"), c.want) || c.want == "" && len(wrong) > 0 {
			t.Errorf("rows %q: %q, want %q", c.rows, wrong, c.want)
		}
	}
}

// setters returns the methods of exported types that set something, of the source.
func setters(t *testing.T) (all []string) {
	t.Helper()
	eachFile(t, func(_ string, f *ast.File) {
		for _, d := range f.Decls {
			m, ok := d.(*ast.FuncDecl)
			if !ok || m.Recv == nil || !settersNamed.MatchString(m.Name.Name) {
				continue
			}
			typ := m.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok && ast.IsExported(id.Name) {
				all = append(all, id.Name+"."+m.Name.Name)
			}
		}
	})
	return all
}

var settersNamed = regexp.MustCompile("^Set([A-Z].*)?$")

// eachFile parses the package's files that are not tests.
func eachFile(t *testing.T, fn func(name string, f *ast.File)) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		fn(name, f)
	}
}

// The list of Specs is that of the source.
func TestSpecsAreAllListed(t *testing.T) {
	listed := make(map[string]bool)
	for _, s := range specs {
		listed[reflect.TypeOf(s).Name()] = true
	}
	found := 0
	eachFile(t, func(name string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && ast.IsExported(s.Name.Name) && strings.HasSuffix(s.Name.Name, "Spec") {
				if found++; !listed[s.Name.Name] {
					t.Errorf("%s: %s is not in the list of Specs", name, s.Name.Name)
				}
			}
			return true
		})
	})
	if found != len(specs) {
		t.Errorf("%d Specs in the source, %d in the list", found, len(specs))
	}
}
