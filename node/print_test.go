package node

import (
	"reflect"
	"strings"
	"testing"
)

// bare returns a spec without what says where it is from.
func bare(s *Spec) *Spec {
	c := *s
	c.file, c.graphAt.Line, c.graphAt.Col, c.graphAt.File, c.graphBlock, c.protocolsAt = "", 0, 0, "", false, nil
	c.Graph = s.GraphText()
	c.Domains = append([]Domain(nil), s.Domains...)
	for i := range c.Domains {
		c.Domains[i].at.Line, c.Domains[i].at.Col, c.Domains[i].at.File, c.Domains[i].block = 0, 0, "", false
	}
	return &c
}

// roundTrip prints a spec, reads it again, and compares.
func roundTrip(t *testing.T, s *Spec) {
	t.Helper()
	text := s.Text()
	r, err := Parse(s.file, []byte(text))
	if err != nil {
		t.Fatalf("what is printed cannot be read: %v\n%s", err, text)
	}
	if a, b := bare(s), bare(r); !reflect.DeepEqual(a, b) {
		t.Fatalf("what is printed is another node:\n%+v\n%+v\n%s", a, b, text)
	}
	if again := r.Text(); again != text {
		t.Fatalf("printed again it differs:\n%s\n%s", text, again)
	}
}

func TestPrintedNodeIsTheSameNode(t *testing.T) {
	for _, text := range []string{
		Schema,
		"node: r1\naddress: 10.255.0.1\n",
		"node: 'yes'\nkind: host\naddress: 10.255.0.1\nlinks: [{name: '1', options: {mac: '02:00:00:00:00:01', q: 'a\\b\"'}}, {name: u, driver: udp, device: '127.0.0.1:0', peers: ['[::1]:9']}]\n",
		"node: r1\naddress: 10.255.0.1\nants: {off: true, protocols: [a b.yaml, \"c#d\"]}\nrouting: {off: true, hello: 1500ms, prefixes: [10.0.0.0/8]}\nlimits: {memory: none, cpu: 10ms}\n",
		"node: r1\naddress: 10.255.0.1\nlinks: [{name: a}]\ngraph: \"  Idle -> Discard; \\t // x\"\ndomains: [{name: d, rights: [], graph: 'Idle->Discard;'}]\n",
		"node: r1\naddress: 10.255.0.1\ngraph: |\n  // text\n\n    Idle -> Discard;\n",
	} {
		s, err := Parse("n.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, s)
	}
}

// Errors in the parts that describe domains, with their places, all at once.
func TestDomainErrorsHavePlaces(t *testing.T) {
	const text = `node: r1
address: 10.255.0.1
links: [{name: a}]
pools:
  - {name: p, limit: 5, parent: q}
  - {name: ants}
domains:
  - name: d
  - {name: d, graph: "Idle -> Nope;", reserve: {cpu: 10ms}, pool: p}
  - {name: e, graph: "Idle -> Discard;", worker: 3, max-run: fast, rights: [new-task, fly, new-task]}
  - name: f
    files: {max-open: 3}
    cut-through:
      - {in: a/ether, out: b/ether}
      - {in: a/ether, key: what, out: a/ether, ether: x}
      - {in: a/ether, out: a/ether, ratio: 3}
      - {in: a/ether, out: a/ether, route: 10.0.0.1}
      - {in: a/ether, out: if/ether, route: 10.0.0.1, ether: "02:00:00:00:00:01"}
      - {in: a/ether, out: if/ether, route: nowhere, key: "0/1"}
graph-domain: {pool: no, name: x}
ants: {rights: [], reserve: {memory: 3}}
`
	_, err := Parse("n.yaml", []byte(text))
	for _, w := range []string{
		"n.yaml:5:5: memory pool p: there is no pool \"q\" before it", "n.yaml:6:5: memory pool ants: the node itself",
		"n.yaml:8:5: domain d does nothing", "n.yaml:9:5: domain d: there is a domain of that name", "n.yaml:9:5: domain d: processor time cannot be reserved below memory pool p",
		"n.yaml:10:5: domain e: worker 3", "fast", "n.yaml:10:87: unknown right \"fly\"", "right new-task is there twice",
		"n.yaml:12:", "files without a directory", "n.yaml:14:9: domain f: b/ether: the node has no link b", "n.yaml:15:", "\"what\"", "is not an Ethernet address", "n.yaml:16:", "ratio", "n.yaml:17:9: domain f: out: a/ether: with route", "n.yaml:18:9: domain f: ether: with route", "\"nowhere\" is no address",
		"graph-domain: there is no memory pool \"no\"", "n.yaml:20:", "n.yaml:21:", "rights",
	} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in\n%v", w, err)
		}
	}

	s, err := Parse("n.yaml", []byte("node: r1\naddress: 10.255.0.1\ndomains:\n  - name: d\n    graph: |\n      Idle -> Nope(1);\n  - name: e\n    graph: 'Idle -> Discard; Idle -> Neither(1);'\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.CheckGraph()
	for _, w := range []string{"n.yaml:6:15: unknown element class 'Nope'", "n.yaml:8:38: unknown element class 'Neither'"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in\n%v", w, err)
		}
	}
}
