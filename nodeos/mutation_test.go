package nodeos

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// mutateEnv says which attribute a program of TestAttributesMatter ignores.
const mutateEnv = "JANOS_IGNORED_ATTRIBUTE"

// TestAttributesMatter builds the package's tests with one more thing: an attribute that is named in the environment is ignored, as if nobody had set it. Then it
// runs, for each attribute of the page, its tests without the attribute, and one of them has to fail.
func TestAttributesMatter(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and runs it twice for each attribute")
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "nodeos.md"))
	if err != nil {
		t.Fatal(err)
	}
	bin := buildMutants(t)
	run := func(attribute string, tests []string) ([]byte, error) {
		c := exec.Command(bin, "-test.run=^("+strings.Join(tests, "|")+")$", "-test.timeout=60s", "-test.failfast")
		c.Env = append(os.Environ(), mutateEnv+"="+attribute)
		return c.CombinedOutput()
	}
	rows := 0
	_, table, _ := strings.Cut(string(page), "\n| attribute | effect | test |\n|---|---|---|\n")
	for line := range strings.Lines(table) {
		m := attributeRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			break
		}
		rows++
		var tests []string
		for _, n := range testNamed.FindAllStringSubmatch(m[3], -1) {
			if n[1] == "nodeos" {
				tests = append(tests, n[2])
			}
		}
		if out, err := run("", tests); err != nil {
			t.Errorf("%s: its tests fail as they are: %v\n%s", m[1], err, out)
			continue
		}
		if out, err := run(m[1], tests); err == nil {
			t.Errorf("%s is ignored, and %v pass all the same:\n%s", m[1], tests, out)
		}
	}
	if rows < 60 {
		t.Errorf("%d attributes on the page", rows)
	}
}

// buildMutants returns a program of this package's tests in which each attribute can be ignored.
func buildMutants(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fields := make(map[string][]string)
	for _, s := range specs {
		typ := reflect.TypeOf(s)
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				fields[typ.Name()] = append(fields[typ.Name()], f.Name)
			}
		}
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	put := func(name, text string) {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		overlay.Replace[abs] = at
	}
	put("ignored_attribute.go", "package nodeos\n\nimport \"os\"\n\nvar ignoredAttribute = os.Getenv(\""+mutateEnv+"\")\n")
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if text := mutated(string(src), f, set, fields); text != string(src) {
			put(name, text)
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "mutants.test")
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the tests with attributes that can be ignored: %v\n%s", err, out)
	}
	return bin
}

// mutated returns a file in which functions that are given a Spec clear the ignored field of it, and ignored setters do nothing.
func mutated(src string, f *ast.File, set *token.FileSet, fields map[string][]string) string {
	type insertion struct {
		at   int
		text string
	}
	var all []insertion
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		at, text := set.Position(fn.Body.Lbrace).Offset+1, ""
		for _, p := range fn.Type.Params.List {
			typ, ok := p.Type.(*ast.Ident)
			if !ok || len(p.Names) != 1 || p.Names[0].Name == "_" {
				continue
			}
			for _, field := range fields[typ.Name] {
				text += fmt.Sprintf(" if ignoredAttribute == %q { var unset %s; %s.%s = unset.%s };", typ.Name+"."+field, typ.Name, p.Names[0].Name, field, field)
			}
		}
		if fn.Recv != nil && settersNamed.MatchString(fn.Name.Name) {
			recv := fn.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			if id, ok := recv.(*ast.Ident); ok && ast.IsExported(id.Name) {
				text += fmt.Sprintf(" if ignoredAttribute == %q {", id.Name+"."+fn.Name.Name)
				var results []string
				if fn.Type.Results != nil {
					for _, r := range fn.Type.Results.List {
						for range max(len(r.Names), 1) {
							v := fmt.Sprint("unset", len(results))
							text += fmt.Sprintf(" var %s %s;", v, src[set.Position(r.Type.Pos()).Offset:set.Position(r.Type.End()).Offset])
							results = append(results, v)
						}
					}
				}
				text += " return " + strings.Join(results, ", ") + " };"
			}
		}
		if text != "" {
			all = append(all, insertion{at, text})
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		src = src[:all[i].at] + all[i].text + src[all[i].at:]
	}
	return src
}
