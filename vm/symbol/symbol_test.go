package symbol

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func module(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDWARF reads testdata/mix.wasm, which was built with `janos capsule build --debug mix.c`.
func TestDWARF(t *testing.T) {
	code := module(t)
	tab := Read(code, nil)
	if tab.Kind != "dwarf" || tab.Func(0) != "evaluate" || tab.Func(1) != "mix" || tab.Func(2) != "" {
		t.Fatalf("%q: functions %q, %q, %q", tab.Kind, tab.Func(0), tab.Func(1), tab.Func(2))
	}
	seen := map[int]bool{}
	for at := range len(code) {
		if file, line, ok := tab.Line(at); ok {
			if !strings.HasSuffix(file, "mix.c") {
				t.Fatalf("file %q", file)
			}
			seen[line] = true
		}
	}
	source, err := os.ReadFile("testdata/mix.c")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(source), "\n")
	for _, text := range []string{"s = s * 31", "table[s & 15]", "if (s == 17)"} {
		found := false
		for n := range seen {
			found = found || strings.Contains(lines[n-1], text)
		}
		if !found {
			t.Errorf("no instruction comes from the line with %q; there are %v", text, seen)
		}
	}
	if _, _, ok := tab.Line(0); ok {
		t.Error("the header comes from a line")
	}
	// Without its sections only the exports have names.
	at := bytes.Index(code, []byte(".debug_"))
	if bare := Read(code[:at-8], nil); bare.Kind != "" || bare.Func(0) != "evaluate" || bare.Func(1) != "" {
		t.Errorf("%q: functions %q, %q", bare.Kind, bare.Func(0), bare.Func(1))
	}
}

func TestSourceMap(t *testing.T) {
	// Columns 100, 104 and 116 are lines 3 and 5 of a.ts, and line 1 of b.ts; then comes what has no source.
	text := `{"version":3,"sources":["a.ts","b\u0007.ts"],"names":[],"mappings":"oGAEA,IAEA,YCJA,U"}`
	tab := Read(nil, []byte(text))
	want := map[int]string{99: "", 100: "a.ts:3", 103: "a.ts:3", 104: "a.ts:5", 116: "b..ts:1", 125: "b..ts:1", 126: ""}
	for at, w := range want {
		file, line, ok := tab.Line(at)
		got := ""
		if ok {
			got = file + ":" + string(rune('0'+line))
		}
		if got != w {
			t.Errorf("offset %d: %q, want %q", at, got, w)
		}
	}
	if tab.Kind != "source map" || !tab.Breaks(104) || tab.Breaks(105) || tab.Breaks(126) {
		t.Errorf("%q, breaks %v %v %v", tab.Kind, tab.Breaks(104), tab.Breaks(105), tab.Breaks(126))
	}
	for _, bad := range []string{"", "{", `{"version":2,"mappings":"AAAA"}`, `{"version":3,"mappings":"A?"}`, `{"version":3,"mappings":"D"}`, `{"version":3,"mappings":"gggggggggA"}`} {
		if tab := Read(nil, []byte(bad)); tab.Kind != "" {
			t.Errorf("%q is taken as a %s", bad, tab.Kind)
		}
	}
}

// FuzzRead: whatever an author writes, reading ends, and places do not lead out of the tables.
func FuzzRead(f *testing.F) {
	f.Add(module(f), []byte(`{"version":3,"sources":["a"],"mappings":"AAAA,GGDA"}`), 100)
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x00\x05\x04name\x07\x04\x01\x01a\x00"), []byte(nil), 0)
	f.Fuzz(func(t *testing.T, code, text []byte, at int) {
		for _, m := range [][]byte{nil, text} {
			tab := Read(code, m)
			if file, line, ok := tab.Line(at); ok && (line <= 0 || len(file) > maxName) {
				t.Fatalf("%q:%d", file, line)
			}
			if len(tab.Func(at)) > maxName {
				t.Fatal("a long name")
			}
		}
	})
}
