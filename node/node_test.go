package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// Every key of the schema is one that the reader knows, and what the schema says is a valid node.
func TestSchemaIsAValidNodeFile(t *testing.T) {
	s, err := Parse("schema.yaml", []byte(Schema))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "r1" || len(s.Links) != 2 || s.Links[1].Peers[0].Port() != 3323 || s.Routing.Dead != 3 || s.ANTS.Budget != 100000 {
		t.Fatalf("read as %+v", s)
	}
}

func TestErrorsHavePlaces(t *testing.T) {
	for _, c := range []struct {
		file string
		want []string
	}{
		{"", []string{"n.yaml:1:1: ", "empty"}},
		{"node: r1\naddress: 10.0.0.1\nlinks:\n  - name: eth0\n  - name: eth0\n", []string{"n.yaml:5:", "eth0 is there twice"}},
		{"node: r1\n", []string{"no logical address"}},
		{"node: a b\naddress: 0.0.0.0\nkind: bridge\nlimit: 3\n", []string{"n.yaml:2:", "n.yaml:3:", "bridge", "n.yaml:4:", "limit"}},
		{"node: r1\naddress: 10.0.0.1\nrouting: {hello: fast, dead: 0}\n", []string{"n.yaml:3:18", "fast", "n.yaml:3:30"}},
		{"node: r1\naddress: 10.0.0.1\nlimits: {apples: 3}\n", []string{"n.yaml:3:", "apples"}},
	} {
		_, err := Parse("n.yaml", []byte(c.file))
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: %v", c.file, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: error %q does not say %q", c.file, err, w)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Schema))
	f.Add([]byte("node: x\naddress: 1.2.3.4\nlinks: [{name: a}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse("f", b)
		if (s == nil) == (err == nil) {
			t.Fatalf("spec %v, error %v", s, err)
		}
		if err == nil && s.Check() != nil {
			t.Fatal("a file that parses does not pass its own check")
		}
	})
}

func TestEventLogKeepsAndWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	l, err := NewEventLog(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		l.Add(map[string]int{"n": i})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Add("late")
	lines, next, _ := l.Since(90)
	if len(lines) != 10 || next != 100 || string(lines[0]) != `{"n":90}` {
		t.Fatalf("%d lines, next %d, first %s", len(lines), next, lines[0])
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "\n") != 100 {
		t.Fatalf("file has %d lines, %v", strings.Count(string(b), "\n"), err)
	}
}
