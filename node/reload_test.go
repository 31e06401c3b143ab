package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// on opens links on net, and counts them; the device "broken" cannot be opened.
func on(net *mem.Net, opened map[string]int) func(*nodeos.Node, Link) (nodeos.Link, error) {
	return func(n *nodeos.Node, l Link) (nodeos.Link, error) {
		if l.Device == "broken" {
			return nil, errors.New("no such cable")
		}
		opened[l.Name]++
		return net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Device: l.Device, Opts: l.Options})
	}
}

func parse(t *testing.T, text string) *Spec {
	t.Helper()
	s, err := Parse("n.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const reloadable = `node: n1
address: 10.255.0.1
frames: 1024
links:
  - {name: a, device: s1, options: {addr: 10.0.0.1/24, mac: "02:00:00:00:00:01"}}
  - {name: b, device: s2, options: {addr: 10.0.1.1/24, mac: "02:00:00:00:01:01"}}
ants: {protocols: [../examples/capsules/ping/protocol.yaml], share: 50}
pools: [{name: big, limit: 1000000}, {name: part, parent: big}]
domains:
  - name: d
    share: 300
    pool: part
    max-run: 10s
    rights: [new-task, new-in-channel, new-out-channel, new-fd]
    graph: |
      FromChannel(a/ether/ip/udp, :7) -> c :: Counter -> Discard;
  - name: cut
    limits: {frames: 100}
    cut-through: [{in: a/ether/ip/udp, address: ":8", out: b/ether/ip/udp, to: "10.0.1.2:8"}]
`

func change(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			panic(pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func stateOfDomain(t *testing.T, n *Node, path string) DomainState {
	t.Helper()
	for _, d := range n.DomainStates() {
		if d.Path == path {
			return d
		}
	}
	t.Fatalf("no domain %s", path)
	return DomainState{}
}

func TestReload(t *testing.T) {
	net, opened := mem.NewNet(), make(map[string]int)
	n, err := Start(parse(t, reloadable), Env{OpenLink: on(net, opened)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	d := stateOfDomain(t, n, "node/big/part/d")
	if d.Share != 300 || d.Runs.Bound != 10*time.Second || d.Pool != "part" || len(d.Rights) != 4 || d.Cred != "n1/d" {
		t.Errorf("domain %+v", d)
	}
	if s := stateOfDomain(t, n, "node/ants"); s.Share != 50 || s.Rights != nil {
		t.Errorf("ants %+v", s)
	}
	if s := stateOfDomain(t, n, "node/cut"); s.Frames.Limit != 100 {
		t.Errorf("cut %+v", s)
	}
	ps := n.PoolStates()
	if len(ps) != 2 || ps[0].Stats.Limit != 1000000 || ps[1].Parent != "big" || fmt.Sprint(ps[1].Domains) != "[node/big/part/d]" || ps[0].Deadline != time.Second {
		t.Errorf("pools %+v", ps)
	}
	reload := func(text string) {
		t.Helper()
		if err := n.Reload(parse(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	graph, live := n.Graph(), n.domains["d"].domain

	// Nothing, weights and limits: everything stays.
	reload(reloadable)
	text := change(reloadable, "share: 300", "share: 20", "limit: 1000000", "limit: 5000", "share: 50", "share: 60", "frames: 100}", "frames: 50}")
	reload(text)
	if n.Graph() != graph || n.domains["d"].domain != live || live.Account().Share() != 20 || n.eeDom.Account().Share() != 60 || n.PoolStates()[0].Stats.Limit != 5000 {
		t.Error("weights and limits do not change in place")
	}
	if s := stateOfDomain(t, n, "node/cut"); s.Frames.Limit != 50 {
		t.Errorf("cut %+v", s)
	}
	// A graph: only its domain.
	text = change(text, "c :: Counter", "c2 :: Counter", ":7)", ":9)")
	reload(text)
	if n.Graph() != graph || n.domains["d"].domain == live || n.domains["cut"].domain.Reason() != nil || live.State() != nodeos.Dead {
		t.Error("another domain's graph changes more than it")
	}
	// Links: one goes, one comes, one stays.
	text = change(text, "name: b, device: s2", "name: c, device: s3", "out: b/", "out: c/")
	reload(text)
	if fmt.Sprint(opened) != "map[a:1 b:1 c:1]" || net.Segments() != 2 {
		t.Errorf("opened %v, %d segments", opened, net.Segments())
	}
	if ls := n.LinkStates(); len(ls) != 2 || ls[1].Name != "c" || ls[1].State != "up" || ls[1].Asked != "auto" {
		t.Errorf("links %+v", ls)
	}
	if !strings.Contains(n.GraphText(), "ANTS(a, c)") || n.Graph() == graph || n.Graph() == nil {
		t.Error("the graph is not that of the links")
	}
	// Protocols, prefixes, a pool, all domains.
	text = change(text, "protocols: [../examples/capsules/ping/protocol.yaml]", "protocols: []", "pools: [{name: big, limit: 5000}, {name: part, parent: big}]", "pools: [{name: part}]",
		"    pool: part\n", "", "node: n1", "routing: {prefixes: [192.0.2.0/24]}\nnode: n1")
	reload(text)
	if got := n.ee.Stats().Protocols; len(got) != 0 {
		t.Errorf("protocols %v", got)
	}
	if ps := n.PoolStates(); len(ps) != 1 || ps[0].Path != "node/part" || len(ps[0].Domains) != 0 {
		t.Errorf("pools %+v", ps)
	}
	if s := stateOfDomain(t, n, "node/d"); s.State != "active" {
		t.Errorf("%+v", s)
	}
	reload(reloadable) // all the way back
	if got := n.ee.Stats().Protocols; len(got) != 1 {
		t.Errorf("protocols %v", got)
	}
	if s := n.Spec().Text(); s != parse(t, reloadable).Text() {
		t.Errorf("the node is\n%s", s)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Reload(parse(t, reloadable)); errs.KindOf(err) != errs.Dead {
		t.Errorf("reload of a closed node: %v", err)
	}
}

// Files that are refused leave the node as it was, whatever had been changed by then.
func TestReloadRefused(t *testing.T) {
	net, opened := mem.NewNet(), make(map[string]int)
	n, err := Start(parse(t, reloadable), Env{OpenLink: on(net, opened)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	before := n.Spec().Text()
	for _, c := range []struct {
		want  string
		kind  errs.Kind
		pairs []string
	}{
		{"cannot change workers, frames, seed, control, events, routing.off", errs.Refused, []string{"frames: 1024", "frames: 2048\nworkers: 2\nseed: 4\ncontrol: x\nevents: y\nrouting: {off: true}"}},
		{"cannot change node, kind, address", errs.Refused, []string{"node: n1", "node: n2\nkind: host", "10.255.0.1", "10.255.0.2"}},
		{"cannot change ants", errs.Refused, []string{"ants: {", "ants: {budget: 5, "}},
		{"unknown element class 'Nope'", errs.NotFound, []string{"c :: Counter", "c :: Nope(1)"}},
		{"protocol no.yaml", errs.Invalid, []string{"protocols: [", "protocols: [no.yaml, "}},
		{"no such cable", errs.Internal, []string{"device: s2", "device: broken"}},
		{"speed", errs.Invalid, []string{"options: {addr: 10.0.1.1/24", "options: {speed: high, addr: 10.0.1.1/24"}},
		{"may not new-in-channel", errs.Permission, []string{"new-in-channel, ", ""}},
		{"file root", errs.NotFound, []string{"share: 300", "files: {dir: no/such}"}},
		{"reserve", errs.Limit, []string{"frames: 100}", "frames: 100}\n    reserve: {cpu: 1h}"}},
	} {
		err := n.Reload(parse(t, change(reloadable, c.pairs...)))
		if err == nil || !strings.Contains(err.Error(), c.want) || errs.KindOf(err) != c.kind {
			t.Errorf("%v: %v (%v)", c.pairs, err, errs.KindOf(err))
		}
		if n.Spec().Text() != before || n.Graph() == nil {
			t.Fatalf("after %v the node is another", c.pairs)
		}
		for _, p := range []string{"node/big/part/d", "node/cut", "node/graph", "node/ants", "node/routing"} {
			if s := stateOfDomain(t, n, p); s.State != "active" {
				t.Errorf("after %v: %+v", c.pairs, s)
			}
		}
		if ls := n.LinkStates(); len(ls) != 2 || ls[0].State != "up" || ls[1].State != "up" {
			t.Errorf("after %v: links %+v", c.pairs, ls)
		}
	}
	if opened["a"] != 1 {
		t.Errorf("link a was opened %d times", opened["a"])
	}
}

// spin is a run of 300 ms.
type spin struct{}

func (spin) Run(nodeos.Budget) nodeos.Used {
	for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
	}
	return nodeos.Used{}
}

// A domain that its bound on runs ended is seen, told, and made again by a reload.
func TestEndedDomainIsToldAndComesBack(t *testing.T) {
	text := change(reloadable, "max-run: 10s", "max-run: 250ms")
	told := make(chan DomainEvent, 1)
	n, err := Start(parse(t, text), Env{OpenLink: on(mem.NewNet(), map[string]int{}), Events: func(e any) {
		if e, ok := e.(DomainEvent); ok {
			told <- e
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	task, err := n.domains["d"].domain.NewTask(nodeos.TaskSpec{Name: "spin", Worker: -1, Run: spin{}})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	e := <-told
	if e.Kind != "domain-ended" || e.Domain != "node/big/part/d" || !strings.Contains(e.Reason, "its bound is 250ms") {
		t.Errorf("event %+v", e)
	}
	if s := stateOfDomain(t, n, "node/big/part/d"); s.State != "dead" || !strings.Contains(s.Reason, "its bound is 250ms") {
		t.Errorf("%+v", s)
	}
	if err := n.Reload(parse(t, reloadable)); err != nil {
		t.Fatal(err)
	}
	if s := stateOfDomain(t, n, "node/big/part/d"); s.State != "active" || s.Runs.Bound != 10*time.Second {
		t.Errorf("%+v", s)
	}
}

func TestTrial(t *testing.T) {
	net := mem.NewNet()
	n, err := Start(parse(t, reloadable), Env{OpenLink: on(net, map[string]int{})})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.Confirm(); errs.KindOf(err) != errs.NotFound {
		t.Errorf("nothing to confirm: %v", err)
	}
	undone := make(chan struct{})
	for _, d := range []time.Duration{0, -1, MaxTrial + 1} {
		if err := n.Try("start", d, func() { t.Error("undone") }); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%v: %v", d, err)
		}
	}
	if err := n.Try("start", time.Hour, func() { t.Error("undone") }); err != nil {
		t.Fatal(err)
	}
	another := parse(t, change(reloadable, "share: 300", "share: 20"))
	if err := n.ReloadFor(another, 0); errs.KindOf(err) != errs.Exists || n.Spec() == another {
		t.Errorf("reload while a start waits: %v", err)
	}
	if p, ok := n.Pending(); !ok || p.What != "start" || p.Left <= 0 {
		t.Errorf("pending %+v, %v", p, ok)
	}
	if c, err := n.Confirm(); err != nil || c.What != "start" {
		t.Errorf("confirmed %+v, %v", c, err)
	}
	if err := n.Try("start", time.Millisecond, func() { close(undone) }); err != nil {
		t.Fatal(err)
	}
	<-undone
	if _, err := n.Confirm(); errs.KindOf(err) != errs.NotFound {
		t.Errorf("too late: %v", err)
	}

	// A reload that nobody confirms is taken back; one that is confirmed stays.
	before := n.Spec()
	if err := n.ReloadFor(another, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); n.Spec() != before; {
		if time.Now().After(end) {
			t.Fatal("the reload was not undone")
		}
		<-time.After(time.Millisecond)
	}
	if s := stateOfDomain(t, n, "node/big/part/d"); s.Share != 300 {
		t.Errorf("%+v", s)
	}
	if err := n.ReloadFor(another, time.Hour); err != nil {
		t.Fatal(err)
	}
	if c, err := n.Confirm(); err != nil || c.What != "reload" || n.Spec() != another {
		t.Errorf("confirmed %+v, %v", c, err)
	}
	if err := n.ReloadFor(before, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil { // while it waits
		t.Error(err)
	}
	if err := n.Try("start", time.Second, func() {}); errs.KindOf(err) != errs.Dead {
		t.Errorf("after close: %v", err)
	}
}

// The limits of a file are those of the accounts.
func TestLimitsOfTheFile(t *testing.T) {
	text := change(reloadable, "node: n1", "limits: {memory: 77777777}\nshare: 7\ngraph-domain: {share: 9, limits: {frames: 33}, reserve: {cpu: 1ms}}\nnode: n1")
	n, err := Start(parse(t, text), Env{OpenLink: on(mem.NewNet(), map[string]int{})})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	root := n.OS().Root().Account()
	g := stateOfDomain(t, n, "node/graph")
	if root.Share() != 7 || root.Usage(resctl.Memory).Limit != 77777777 || g.Share != 9 || g.Frames.Limit != 33 || g.CPU.Reserve != int64(time.Millisecond) {
		t.Errorf("root %d, %+v; graph %+v", root.Share(), root.Usage(resctl.Memory), g)
	}
}
