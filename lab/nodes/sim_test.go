package nodes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/node"
)

// bundle puts the description of a protocol of one class from the EE's tests into a folder.
func bundle(t testing.TB, dir, name string) string {
	t.Helper()
	code, err := os.ReadFile("../../ee/ants/testdata/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".wasm"), code, 0o644); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name: %s\ngroups:\n  - {name: main, classes: [{name: %s, code: %s.wasm}]}\n", name, name, name)
	path := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// diamond is two hosts with two ways between them, the shorter one over b.
func diamond(t testing.TB, name string, actions string) *lab.Plan {
	_, p := diamondTopology(t, name, actions)
	return p
}

func diamondTopology(t testing.TB, name string, actions string) (*lab.Topology, *lab.Plan) {
	t.Helper()
	dir := t.TempDir()
	bundle(t, dir, "ping")
	text := `name: ` + name + `
seed: 5
duration: 1s
nodes:
  - {name: s, kind: host}
  - {name: a, kind: router}
  - {name: b, kind: router}
  - {name: c, kind: router}
  - {name: d, kind: router}
  - {name: r, kind: host}
links:
  - {ends: [s, a], delay: 1ms}
  - {ends: [a, b], delay: 2ms}
  - {ends: [a, c], delay: 3ms, cost: 20}
  - {ends: [b, d], delay: 2ms}
  - {ends: [c, d], delay: 3ms, cost: 20}
  - {ends: [d, r], delay: 1ms, rate: 100Mbit}
protocols:
  - {file: ping.yaml, at: [s]}
actions:
` + actions
	topo, err := lab.Parse(filepath.Join(dir, "lab.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	return topo, p
}

const story = `
  - {at: 2s, do: probe, node: s, to: r, protocol: ping, class: ping, count: 20, interval: 10ms, payload: PAYLOAD, seq-at: SEQAT, wait: 1s}
  - {at: 4s, do: kill, node: b}
  - {at: 6s, do: probe, node: s, to: r, protocol: ping, class: ping, count: 20, interval: 10ms, payload: PAYLOAD, seq-at: SEQAT, wait: 1s}
  - {at: 8s, do: start, node: b}
  - {at: 8s, do: impair, link: c-d, delay: 1ms, loss: 0.5}
  - {at: 9s, do: link-down, link: a-c}
  - {at: 11s, do: probe, node: s, to: r, protocol: ping, class: ping, count: 5, interval: 10ms, payload: PAYLOAD, seq-at: SEQAT, wait: 1s}
`

// told returns the story for a payload as the class ping of the EE's tests wants it.
func told() string {
	return strings.NewReplacer("PAYLOAD", strings.Repeat("00", 16), "SEQAT", "0").Replace(story)
}

func play(t *testing.T, p *lab.Plan) (*Sim, string) {
	t.Helper()
	var log bytes.Buffer
	s, err := NewSim(p, &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Play(); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	return s, log.String()
}

func TestSimulationTellsTheStory(t *testing.T) {
	p := diamond(t, "story", told())
	s, log := play(t, p)
	var probes []string
	for _, line := range strings.Split(log, "\n") {
		var e lab.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.What == "probe" {
			probes = append(probes, e.Detail)
		}
	}
	if len(probes) != 3 {
		t.Fatalf("%d probes in\n%s", len(probes), log)
	}
	// Over b: 2*(1+2+2+1) ms, over c 2*(1+3+3+1), and what the rate of the last link takes.
	for i, want := range []string{"20 sent, 20 came back, 0 twice; RTT min 12.", "20 sent, 20 came back, 0 twice; RTT min 16.", "5 sent, 5 came back, 0 twice; RTT min 12."} {
		if !strings.Contains(probes[i], want) {
			t.Errorf("probe %d: %s\nwant %s", i, probes[i], want)
		}
	}
	if s.Now() < 0 || s.Node("b") == nil || s.Node("x") != nil {
		t.Error("nodes are not as the story left them")
	}
	for _, l := range s.WireStats() {
		for d, n := range l.Directions {
			// A few may be under way.
			if done := n.Delivered + n.Lost + n.QueueFull + n.Overflow + n.Undelivered; n.Received < done || n.Received > done+5 {
				t.Errorf("link %s, direction %d: %+v", l.Name, d, n)
			}
		}
	}
}

func TestSimulationIsTheSameTwice(t *testing.T) {
	_, a := play(t, diamond(t, "twice", told()))
	_, b := play(t, diamond(t, "twice", told()))
	if len(a) < 1000 {
		t.Fatalf("the log is short:\n%s", a)
	}
	if a != b {
		la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range min(len(la), len(lb)) {
			if la[i] != lb[i] {
				t.Fatalf("line %d differs:\n%s\n%s", i+1, la[i], lb[i])
			}
		}
		t.Fatalf("%d and %d lines", len(la), len(lb))
	}
}

func TestLiveNetworkTellsTheStory(t *testing.T) {
	p := diamond(t, "live", strings.NewReplacer("2s", "1s", "4s", "2s", "6s", "3500ms", "8s", "4s", "9s", "4500ms", "11s", "6s").Replace(told()))
	p.Duration = 0
	var log bytes.Buffer
	s, err := NewLive(p, &log)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Play()
	stats := s.WireStats()
	if e := s.Close(); e != nil {
		t.Error(e)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if n := strings.Count(log.String(), " came back, 0 twice"); n != 3 {
		t.Errorf("%d probes in\n%s", n, &log)
	}
	if len(stats) != 6 || stats[0].Directions[0].Delivered == 0 {
		t.Errorf("stats = %+v", stats)
	}
}

func TestSimulationRefuses(t *testing.T) {
	p := diamond(t, "refuses", `
  - {at: 1s, do: exec, node: a, command: [true]}
  - {at: 2s, do: start, node: a}
  - {at: 3s, do: stop, node: a}
  - {at: 4s, do: kill, node: a}
  - {at: 5s, do: send, node: s, to: r, protocol: nothing, class: x}
`)
	s, err := NewSim(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Play()
	for _, want := range []string{
		"exec: exec needs network namespaces", "start: node a runs already", "kill: node a does not run",
		"send: node s has no class x of protocol nothing",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestNodeFileReadsBack(t *testing.T) {
	topo, err := lab.Parse("l.yaml", []byte(`name: file
seed: 9
defaults: {node: {hello: 150ms, dead: 4, budget: 777, limits: {memory: 1000000, frames: 500}, protocol-limits: {cpu: 20ms, memory: none}}}
nodes:
  - {name: a, kind: host, workers: 2}
  - {name: r.1, kind: router}
links: [{ends: [a, r.1], cost: 7}]
protocols: [{file: "odd name/ping.yaml"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		text, err := File(p, n, "/state dir")
		if err != nil {
			t.Fatal(err)
		}
		s, err := node.Parse("node.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		host := n.Kind == lab.Host
		if s.Name != n.Name || (s.Kind == node.Host) != host || s.Addr.IP() != n.Addr || s.Control != "/state dir/control" || s.Events != "/state dir/events" {
			t.Errorf("%s: %+v", n.Name, s)
		}
		if len(s.Links) != 1 || s.Links[0].Device != "eth0" || s.Links[0].Cost != 7 || s.Links[0].Driver != "packet" {
			t.Errorf("%s: links %+v", n.Name, s.Links)
		}
		if s.Routing.Hello != 150*time.Millisecond || s.Routing.Dead != 4 || s.Routing.Kernel == host || s.ANTS.Budget != 777 {
			t.Errorf("%s: routing %+v, ants %+v", n.Name, s.Routing, s.ANTS)
		}
		if len(s.ANTS.Protocols) == 1 != host || host && !strings.HasSuffix(s.ANTS.Protocols[0], "/odd name/ping.yaml") {
			t.Errorf("%s: protocols %q", n.Name, s.ANTS.Protocols)
		}
	}
	text, err := File(p, &p.Nodes[0], "/d")
	if err != nil || !strings.Contains(string(text), "workers: 2\n") || !strings.Contains(string(text), "      cpu: 20ms\n      memory: none\n") {
		t.Errorf("file:\n%s%v", text, err)
	}
	bad := *p
	bad.Nodes = append([]lab.NodePlan(nil), p.Nodes...)
	bad.Nodes[0].Options.Limits = lab.Limits{"shoes": "2"}
	if _, err := Spec(&bad, &bad.Nodes[0]); errs.KindOf(err) != errs.Internal {
		t.Errorf("a plan that nobody checked: %v", err)
	}
}

func TestReachable(t *testing.T) {
	p := diamond(t, "reach", "  - {at: 0s, do: link-up, link: s-a}\n")
	if got := fmt.Sprint(reachable(p, func(string) bool { return true })); got != "[5 5 5 5 5 5]" {
		t.Errorf("all: %s", got)
	}
	if got := fmt.Sprint(reachable(p, func(n string) bool { return n != "d" })); got != "[3 3 3 3 0 0]" {
		t.Errorf("without d: %s", got)
	}
}

func BenchmarkSimulatedSecond(b *testing.B) {
	s, err := NewSim(diamond(b, "bench", "  - {at: 0s, do: link-up, link: s-a}\n"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Run(s.Now().Add(time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
