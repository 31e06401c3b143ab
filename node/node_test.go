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
		{"node: r 1\naddress: 10.0.0.300\nlinks: [{name: a, driver: dpdk}, {name: a}, {name: b, driver: udp}]\n",
			[]string{"n.yaml:1:7: ", "r 1", "n.yaml:2:10: ", "n.yaml:3:27: ", "dpdk", "packet", "n.yaml:3:34: ", "twice", "n.yaml:3:", "local address"}},
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

// A graph with mistakes of every kind: all of them are reported, where they stand in the node file, by the check
// and by a node that is to run.
func TestGraphErrorsAllAtOnce(t *testing.T) {
	const text = `node: r1
address: 10.255.0.1
links:
  - name: eth0
    driver: mem
graph: |

    src :: InfiniteSource -> Queu(5) -> Discard;
    c :: Counter;
    InfiniteSource -> ToDevice(eth9);
    TimedSource -> Unqueue -> Discard;
    Queue -> d :: Counter -> Queue;
    ants :: ANTS(eth1) -> Discard;
`
	want := []string{
		"n.yaml:8:30: unknown element class 'Queu', did you mean 'Queue'",
		"n.yaml:9:5: 'c :: Counter'", "unused",
		"n.yaml:10:23: ", "link eth9 is not open",
		"n.yaml:11:5: 'TimedSource@", "push output 0 connected to 'Unqueue@", "pull input 0",
		"n.yaml:12:14: agnostic 'd :: Counter' in mixed context",
		"n.yaml:13:5: ", "eth1", "'ants :: ANTS' input 0 unused",
	}
	s, err := Parse("n.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, started := Start(s, Env{})
	for what, err := range map[string]error{"check": s.CheckGraph(), "start": started} {
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error does not say %q:\n%v", what, w, err)
			}
		}
	}
}

func TestGraphErrorsInOtherStyles(t *testing.T) {
	for text, want := range map[string]string{
		"graph: 'Idle -> Nope(1);'\n":                         "n.yaml:1:17: unknown element class 'Nope'",
		"graph: Idle -> Nope(1);\n":                           "n.yaml:1:16: unknown element class 'Nope'",
		"graph: |2\n   Idle -> Discard;\n   Nope(1);\n":       "n.yaml:3:4: unknown element class 'Nope'",
		"graph: |\n  Idle ->\n":                               "n.yaml:2:8: ",
		"graph: 'Idle -> ANTS -> Idle;'\nants: {off: true}\n": "n.yaml:1:17: 'ANTS@2 :: ANTS': the node file switches",
	} {
		s, err := Parse("n.yaml", []byte(text+"node: r1\naddress: 10.255.0.1\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckGraph(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// What is generated must pass our own checks, whatever the links are.
func TestGeneratedGraphs(t *testing.T) {
	for links, want := range map[string]string{
		"[{name: eth0}, {name: eth1, driver: packet}]":                        "eth1/ether/ip/udp, ADDRESS :3322",
		"[{name: t, driver: udp, device: '127.0.0.1:0', peers: ['[::1]:9']}]": "FromChannel(t/udp, KEY",
		"[{name: t, device: '[::1]:7000', peers: ['[::1]:9']}]":               "ToChannel(t/udp)",
		"[{name: eth0}]\nants: {port: 77, quota: 5, rate: 9}":                 ", QUOTA 5, RATE 9) -> [0] ants",
		"[]": "",
	} {
		s, err := Parse("n.yaml", []byte("node: r1\naddress: 10.255.0.1\nlinks: "+links+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckGraph(); err != nil {
			t.Errorf("%s: %v", links, err)
		}
		if !strings.Contains(s.GraphText(), want) {
			t.Errorf("%s: no %q in\n%s", links, want, s.GraphText())
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
		if err == nil {
			roundTrip(t, s)
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
