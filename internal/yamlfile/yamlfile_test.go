package yamlfile

import (
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
)

const sample = `name: net
count: 0x10
nodes:
  - {name: a, wait: 5ms, on: true}
  - name: b
    wait: 1
    on: maybe
    colour: red
    weight: 1
    nmae: c
    name: twice
ratio: 50%
empty:
`

// take reads sample's form and returns what it found.
func take(f *File) (names []string, count int64, ratio float64, waits []time.Duration) {
	m := f.Root().Map("file")
	m.Need("name").Text()
	count, _ = m.Get("count").Int(0, 100)
	ratio, _ = m.Get("ratio").Float(0, 1)
	m.Get("empty").Text()
	for _, n := range m.Get("nodes").List() {
		nm := n.Map("node")
		s, _ := nm.Need("name").Text()
		names = append(names, s)
		if d, ok := nm.Get("wait").Duration(time.Second); ok {
			waits = append(waits, d)
		}
		nm.Get("on").Bool()
		nm.Get("weight").Int(2, 3)
		nm.Close()
	}
	m.Close()
	return
}

func TestGettersFindAllErrorsWithPlaces(t *testing.T) {
	f := Parse("net.yaml", []byte(sample))
	names, count, ratio, waits := take(f)
	if len(names) != 2 || names[0] != "a" || names[1] != "b" || count != 16 || ratio != 0.5 || len(waits) != 1 || waits[0] != 5*time.Millisecond {
		t.Errorf("got %v %d %v %v", names, count, ratio, waits)
	}
	err := f.Err()
	if errs.KindOf(err) != errs.Invalid {
		t.Errorf("kind = %v", errs.KindOf(err))
	}
	want := []string{
		`net.yaml:6:11: "1" is not a time span; write a number with its unit`,
		`net.yaml:7:9: "maybe" is neither true nor false`,
		`net.yaml:8:5: node has no setting "colour"; known are: name, on, wait, weight`,
		`net.yaml:9:13: "1" is not a whole number from 2 to 3`,
		`net.yaml:10:5: node has no setting "nmae"; did you mean name?`,
		`net.yaml:11:5: node: key "name" appears twice, first in line 5; keep one`,
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d errors, want %d:\n%v", len(lines), len(want), err)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("error %d is\n\t%s\nwant\n\t%s", i, lines[i], w)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"syntax":   {"a: [1, 2\nb: 3\n", "not valid YAML"},
		"alias":    {"name: &x a\nnodes: *x\n", "alias"},
		"tag":      {"name: !!str 5\n", "tag"},
		"brackets": {"a: " + strings.Repeat("[", 40), "nested"},
		"dashes":   {strings.Repeat("- ", 40) + "x", "nested"},
		"indents":  {deep(40), "nested"},
		"line":     {"a: " + strings.Repeat("x", MaxLine), "line has"},
		"size":     {strings.Repeat("a: b\n", MaxSize/4), "split it"},
		"binary":   {"a: \x01", "control character"},
		"latin":    {"a: \xff", "UTF-8"},
		"two":      {"name: a\n---\nname: b\n", "second document"},
		"scalar":   {"hello", "need a mapping"},
		"missing":  {"count: 3\n", `file has no "name"`},
	} {
		f := Parse("f", []byte(c.text))
		take(f)
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a: {b: [c, d], e: 'x'}\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("<<: *a\n"))
	f.Add([]byte("a: |\n  text\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		take(Parse("f", text))
	})
}
