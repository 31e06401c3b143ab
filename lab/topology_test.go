package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/linkmodel"
)

const small = `name: small
seed: 7
routes: static
nodes:
  - {name: h1, kind: host}
  - {name: r, kind: router, addr: 10.255.0.9}
  - {name: h2, kind: host}
links:
  - {ends: [h1, r], delay: 1ms, loss: 1%, rate: 10Mbit, queue: 50}
  - {name: back, ends: [r, h2], addrs: [192.168.1.2/24, 192.168.1.1/24], mtu: 1400}
  - {ends: [r, h2], prefix: 10.0.0.0/29, direct: true}
actions:
  - {at: 1s, do: kill, node: r}
  - {at: 1500ms, do: start, node: r}
  - {at: 2s, do: link-down, link: h1-r}
  - {at: 2s, do: impair, link: back, loss: 0.5}
  - {at: 3s, do: exec, node: h1, command: [ip, addr]}
`

func TestParseAndPlan(t *testing.T) {
	topo, err := Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "small" || p.Seed != 7 || len(p.Nodes) != 3 || len(p.Links) != 3 || len(p.Actions) != 5 {
		t.Fatalf("plan = %+v", p)
	}
	var ifs []string
	for _, n := range p.Nodes {
		for _, f := range n.Interfaces {
			ifs = append(ifs, fmt.Sprint(n.Name, " ", f.Name, " ", f.Prefix, " ", f.MAC, " > ", f.Peer, " ", f.PeerAddr, " ", f.PeerMAC, " ", f.MTU))
		}
	}
	want := []string{
		// The pool's first network, 10.0.0.0/30, lies in the third link's 10.0.0.0/29.
		"h1 eth0 10.0.0.9/30 02:6a:6e:00:00:00 > r 10.0.0.10 02:6a:6e:00:01:00 1500",
		"r eth0 10.0.0.10/30 02:6a:6e:00:01:00 > h1 10.0.0.9 02:6a:6e:00:00:00 1500",
		"r eth1 192.168.1.2/24 02:6a:6e:00:01:01 > h2 192.168.1.1 02:6a:6e:00:02:00 1400",
		"r eth2 10.0.0.1/29 02:6a:6e:00:01:02 > h2 10.0.0.2 02:6a:6e:00:02:01 1500",
		"h2 eth0 192.168.1.1/24 02:6a:6e:00:02:00 > r 192.168.1.2 02:6a:6e:00:01:01 1400",
		"h2 eth1 10.0.0.2/29 02:6a:6e:00:02:01 > r 10.0.0.1 02:6a:6e:00:01:02 1500",
	}
	if !reflect.DeepEqual(ifs, want) {
		t.Errorf("interfaces:\n%s\nwant:\n%s", strings.Join(ifs, "\n"), strings.Join(want, "\n"))
	}
	if a, b, c := p.Node("h1").Addr, p.Node("r").Addr, p.Node("h2").Addr; a.String() != "10.255.0.1" || b.String() != "10.255.0.9" || c.String() != "10.255.0.2" {
		t.Errorf("addresses %v %v %v", a, b, c)
	}
	if l := p.Link("h1-r"); l == nil || l.Impair != (linkmodel.Impairment{Delay: time.Millisecond, Loss: 0.01, Rate: 10e6, Queue: 50}) {
		t.Errorf("link h1-r = %+v", l)
	}
	if p.Link("back") == nil || p.Link("r-h2") == nil || !p.Link("r-h2").Direct {
		t.Error("links are not found by their names")
	}
	if r := p.Node("h1").Routes; len(r) != 1 || r[0].Dst != defaultRoute || r[0].Via.String() != "10.0.0.10" {
		t.Errorf("routes of h1 = %v", r)
	}
	// Both links to h2 cost the same but for the hop; its address is reached over the first.
	if got := fmt.Sprint(p.Node("r").Routes); got != "[{10.255.0.1/32 10.0.0.9 0} {10.255.0.2/32 192.168.1.1 1}]" {
		t.Errorf("routes of r = %v", got)
	}

	again, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, again) {
		t.Error("a second plan differs")
	}
}

func TestNodeOptionsAndProtocols(t *testing.T) {
	topo, err := Parse("dir/n.yaml", []byte(`name: n
duration: 3s
defaults: {node: {hello: 50ms, dead: 4, limits: {memory: 1000, frames: 7}}}
nodes:
  - {name: a, kind: host, dead: 2, limits: {frames: 9}}
  - {name: r, kind: router, budget: 5000}
  - {name: b, kind: host}
links:
  - {ends: [a, r], cost: 3}
  - {ends: [r, b]}
protocols:
  - {file: p/ping.yaml}
  - {file: /q/trace.yaml, at: [r, a]}
actions:
  - {at: 1s, do: probe, node: a, to: b, protocol: ping, class: main, count: 3, interval: 10ms, payload: 0000000000, seq-at: 1}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	ms := time.Millisecond
	for name, want := range map[string]NodeOptions{
		"a": {Hello: 50 * ms, Dead: 2, Limits: Limits{"memory": "1000", "frames": "9"}},
		"r": {Hello: 50 * ms, Dead: 4, Budget: 5000, Limits: Limits{"memory": "1000", "frames": "7"}},
		"b": {Hello: 50 * ms, Dead: 4, Limits: Limits{"memory": "1000", "frames": "7"}},
	} {
		if got := p.Node(name).Options; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := fmt.Sprint(p.Node("a").Protocols, p.Node("r").Protocols, p.Node("b").Protocols); got != "[dir/p/ping.yaml /q/trace.yaml] [/q/trace.yaml] [dir/p/ping.yaml]" {
		t.Errorf("protocols: %s", got)
	}
	if p.Link("a-r").Cost != 3 || p.Duration != 3*time.Second {
		t.Errorf("cost %d, duration %s", p.Link("a-r").Cost, p.Duration)
	}
	want := Action{At: time.Second, Do: Probe, Node: "a", Capsule: Capsule{
		Protocol: "ping", Class: "main", To: "b", Count: 3, Interval: 10 * ms, Payload: make([]byte, 5), SeqAt: 2,
	}}
	if !reflect.DeepEqual(p.Actions[0], want) {
		t.Errorf("action %+v, want %+v", p.Actions[0], want)
	}
}

func TestPlanJSONRoundTrip(t *testing.T) {
	topo, err := Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Plan
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p.Nodes, q.Nodes) || !reflect.DeepEqual(p.Links, q.Links) {
		t.Errorf("%s reads back differently", b)
	}
}

// TestBadTopologies reads testdata/bad/*.yaml; each comment "# want: L:C: text" there is one error that must be reported, and
// no other may be.
func TestBadTopologies(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, l := range strings.Split(string(text), "\n") {
				if w, ok := strings.CutPrefix(l, "# want: "); ok {
					want = append(want, file+":"+w)
				}
			}
			_, err = Load(file)
			if err == nil {
				t.Fatal("no error")
			}
			if errs.KindOf(err) != errs.Invalid {
				t.Errorf("kind is %v", errs.KindOf(err))
			}
			if got := strings.Split(err.Error(), "\n"); !reflect.DeepEqual(got, want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
		})
	}
}

func TestBadTopologyFromGo(t *testing.T) {
	topo := &Topology{
		Name:    "x y",
		Nodes:   []Node{{Name: "a", Kind: Host}, {Name: "a", Kind: Host}, {Name: "b"}},
		Links:   []Link{{Ends: [2]string{"a", "z"}}, {Ends: [2]string{"b", "b"}, MTU: 12}},
		Actions: []Action{{Do: "dance"}, {Do: Kill, Node: "q"}, {Do: Exec, Node: "a"}},
	}
	_, err := topo.Plan()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"x y" has the character ' '`,
		`a second node named "a", the first is number 1`,
		`node b is neither host nor router`,
		`link to unknown node "z"; add it under nodes, or use one of a, b`,
		`a link from b to itself`,
		`MTU 12 is outside 576 to 9000`,
		`"dance" is not an action`,
		`kill of unknown node "q"`,
		`exec has no command`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestPoolRunsOut(t *testing.T) {
	topo := &Topology{Name: "x", LinkPool: netip.MustParsePrefix("10.0.0.0/29"), NodePool: netip.MustParsePrefix("10.1.0.0/30")}
	for i := range 4 {
		topo.Nodes = append(topo.Nodes, Node{Name: fmt.Sprintf("n%d", i), Kind: Router})
		if i > 0 {
			topo.Links = append(topo.Links, Link{Ends: [2]string{"n0", fmt.Sprintf("n%d", i)}})
		}
	}
	if _, err := topo.Plan(); errs.KindOf(err) != errs.Limit || !strings.Contains(err.Error(), "no network left in 10.0.0.0/29 for link n0-n3") {
		t.Errorf("links: %v", err)
	}
	topo.LinkPool = netip.Prefix{}
	if _, err := topo.Plan(); errs.KindOf(err) != errs.Limit || !strings.Contains(err.Error(), "no address left in 10.1.0.0/30 for node n3") {
		t.Errorf("nodes: %v", err)
	}
}

func TestSchemaIsATopology(t *testing.T) {
	topo, err := Parse("schema.yaml", []byte(Schema))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topo.Plan(); err != nil {
		t.Fatal(err)
	}
	// Every action there is appears in it.
	for _, v := range strings.Split(verbs, ", ") {
		if v != string(Stop) && !strings.Contains(Schema, "do: "+v+",") {
			t.Errorf("no action %s", v)
		}
	}
}

func TestWarnsAboutSeparateParts(t *testing.T) {
	topo, err := Parse("w.yaml", []byte("name: w\nnodes:\n- {name: a, kind: host}\n- {name: b, kind: host}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if w := topo.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "w.yaml:4:10: warning: node b cannot be reached from a") {
		t.Errorf("warnings = %q", w)
	}
}

func TestExampleNetworkHasTwoDisjointPaths(t *testing.T) {
	topo, err := Load("../examples/first-network/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if w := topo.Warnings(); len(w) != 0 {
		t.Error(w)
	}
	// Whichever router dies, except those that hosts hang on, s1 still reaches every receiver.
	access := map[string]bool{}
	for _, l := range topo.Links {
		for e := range 2 {
			if l.Ends[e] == "s1" || l.Ends[e][0] == 'r' {
				access[l.Ends[1-e]] = true
			}
		}
	}
	routers := 0
	for _, n := range topo.Nodes {
		if n.Kind != Router {
			continue
		}
		if routers++; access[n.Name] {
			continue
		}
		cut := *topo
		cut.Nodes, cut.Links = nil, nil
		for _, m := range topo.Nodes {
			if m.Name != n.Name {
				cut.Nodes = append(cut.Nodes, m)
			}
		}
		for _, l := range topo.Links {
			if l.Ends[0] != n.Name && l.Ends[1] != n.Name {
				cut.Links = append(cut.Links, l)
			}
		}
		if w := cut.Warnings(); len(w) != 0 {
			t.Errorf("without router %s: %v", n.Name, w)
		}
	}
	if routers < 5 || routers == len(access) {
		t.Errorf("%d routers, %d of them at hosts", routers, len(access))
	}
}

func TestLargeTopology(t *testing.T) {
	topo := &Topology{Name: "ring"}
	const n = 3000
	for i := range n {
		topo.Nodes = append(topo.Nodes, Node{Name: fmt.Sprintf("n%d", i), Kind: Router})
		topo.Links = append(topo.Links, Link{Ends: [2]string{fmt.Sprintf("n%d", i), fmt.Sprintf("n%d", (i+1)%n)}})
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, nd := range p.Nodes {
		for _, s := range []string{nd.Addr.String(), nd.Interfaces[0].Prefix.Addr().String(), nd.Interfaces[1].MAC.String()} {
			if seen[s] {
				t.Fatalf("%s is used twice", s)
			}
			seen[s] = true
		}
	}
}

func FuzzParseTopology(f *testing.F) {
	f.Add([]byte(small))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range append(files, "../examples/first-network/lab.yaml") {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		topo, err := Parse("f.yaml", text)
		if err != nil {
			return
		}
		topo.Warnings()
		p, err := topo.Plan()
		if err != nil {
			if errs.KindOf(err) != errs.Limit {
				t.Fatalf("parsed, but cannot be planned: %v", err)
			}
			return
		}
		var used []netip.Prefix
		for _, l := range p.Links {
			a, b := p.at(l.Ends[0]), p.at(l.Ends[1])
			if a.Prefix.Masked() != b.Prefix.Masked() || a.Prefix.Addr() == b.Prefix.Addr() {
				t.Fatalf("link %s: %v and %v", l.Name, a.Prefix, b.Prefix)
			}
			used = append(used, a.Prefix.Masked())
		}
		for _, n := range p.Nodes {
			used = append(used, netip.PrefixFrom(n.Addr, 32))
		}
		for i := range used {
			for j := range i {
				if used[i].Overlaps(used[j]) {
					t.Fatalf("%v overlaps %v", used[i], used[j])
				}
			}
		}
	})
}

// The files that a topology names are looked for when it is read.
func TestMissingProtocolFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	text := "name: x\nnodes: [{name: a, kind: host}]\nprotocols:\n  - {file: one/protocol.yaml, at: [a]}\n  - {file: lab.yaml, at: [a]}\n  - {file: two.yaml, at: [a]}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil {
		t.Fatal("missing files were not noticed")
	}
	for _, want := range []string{":4:12: ", "one/protocol.yaml", ":6:12: ", "two.yaml", "relative to the topology file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), ":5:") {
		t.Errorf("a file that is there: %v", err)
	}
}
