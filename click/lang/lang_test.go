package lang

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/janos-os/janos/click/internal/script"
)

func TestSplitArgs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{" /* nothing */ ", nil},
		{"a, b", []string{"a", "b"}},
		{"a,,b,", []string{"a", "", "b"}},
		{`"a, b" 'c,"' , \<2c , 2c> x`, []string{`"a, b" 'c,"'`, `\<2c , 2c> x`}},
		{"a // x, y\n b, c/* , */d", []string{"a   b", "c d"}},
		{`"\", " 'z\', "//"`, []string{`"\", " 'z\'`, `"//"`}},
	} {
		if got := SplitArgs(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("SplitArgs(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		`a"b"c`:                          "abc",
		`'a\n"'"\n\x141\101\\"`:          "a\\n\"\nAA\\",
		`\<48 45 4c /* x */ 4C 4f>!`:     "HELLO!",
		`"\<4a>\q\` + "\n" + `z"`:        "Jqz",
		`a\b`:                            `a\b`,
		`"\<4`:                           "",
		`"\`:                             `\`,
		`"\a\b\t\n\v\f\r"` + `"\0` + `"`: "\a\b\t\n\v\f\r\x00",
	} {
		if got := Unquote(in); got != want {
			t.Errorf("Unquote(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSource(t *testing.T) {
	member := func(name, data string) string {
		s := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", name, 0, 0, 0, 0o644, len(data), data)
		if len(data)%2 == 1 {
			s += "\n"
		}
		return s
	}
	for _, c := range []struct{ in, want, err string }{
		{"a -> b", "a -> b", ""},
		{arMagic + member("x.cc/", "odd") + member("config/", "Idle;"), "Idle;", ""},
		{arMagic + member("#1/8", "config\x00\x00Idle;"), "Idle;", ""},
		{arMagic + member("other", ""), "", "no member 'config'"},
		{arMagic + member("config", "Idle;")[:62], "", "longer than the archive"},
	} {
		got, err := Source(c.in)
		if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Source(%q) = %q, %v", c.in, got, err)
		}
	}
}

// TestBounds feeds configurations that are short and would be huge.
func TestBounds(t *testing.T) {
	var deep, vars, fan strings.Builder
	deep.WriteString("elementclass A0 { x :: Idle }\n")
	vars.WriteString("define($v0 xxxxxxxx);\n")
	fan.WriteString("elementclass F0 { input -> output }\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&deep, "elementclass A%d { A%d; A%d }\n", i, i-1, i-1)
		fmt.Fprintf(&vars, "define($v%d \"$v%d$v%d\");\n", i, i-1, i-1)
		fmt.Fprintf(&fan, "elementclass F%d { input -> F%d, F%d -> output }\n", i, i-1, i-1)
	}
	deep.WriteString("A59;")
	vars.WriteString("Message($v59);")
	fan.WriteString("Idle -> F59 -> Discard;")
	for name, c := range map[string]struct{ text, want string }{
		"elements":    {deep.String(), "expands to more than"},
		"variables":   {vars.String(), "variables expand to more than"},
		"connections": {fan.String(), "expand"},
		"nesting":     {strings.Repeat("(", 5000), "nested more than"},
		"braces":      {strings.Repeat("{", 5000), "nested more than"},
		"ports":       {"a [0-65535] => b", "more than 4096 ports in one list"},
		"errors":      {strings.Repeat("->;", 5000), "no 'input' here"},
	} {
		_, err := ParseGraph("config", c.text, Options{MaxElements: 2000})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %.200v, want one with %q", name, err, c.want)
		}
	}
}

// FuzzParse: no input panics, and what is accepted prints to a text that means the same graph.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		a, err := script.Load(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Text("config"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		opt := Options{MaxElements: 500}
		g, err := ParseGraph("config", text, opt)
		if err != nil {
			_ = err.Error()
			return
		}
		flat := g.String()
		for i := range g.Elements {
			// A value can hold text that only looks like a variable; read again it may be one.
			if strings.Contains(g.Elements[i].Config(), "$") {
				return
			}
		}
		again, err := ParseGraph("flat", flat, opt)
		if err != nil {
			t.Fatalf("flat form refused: %v\n%s", err, flat)
		}
		if got := again.String(); got != flat {
			t.Fatalf("flat form changed\n%s\nto\n%s", flat, got)
		}
	})
}

func FuzzQuote(f *testing.F) {
	f.Add("plain")
	f.Add("a b,\"'\\()\n\x00\xff$x//")
	f.Fuzz(func(t *testing.T, s string) {
		q := Quote(s)
		if got := Unquote(q); got != s {
			t.Fatalf("Unquote(%q) = %q, want %q", q, got, s)
		}
		if args := SplitArgs(q); len(args) != 1 || args[0] != q {
			t.Fatalf("SplitArgs(%q) = %q", q, args)
		}
		_, _ = Unquote(s), SplitWords(s)
	})
}

func BenchmarkFlatten10000(b *testing.B) {
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&text, "e%d :: Null(%d); ", i, i)
		if i > 0 {
			fmt.Fprintf(&text, "e%d -> e%d;\n", i-1, i)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseGraph("config", text.String(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
