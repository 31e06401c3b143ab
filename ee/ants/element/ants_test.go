package element

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/device"
	_ "github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

func TestMain(m *testing.M) { leak.Main(m) }

// node is a node whose EE is in a graph.
type node struct {
	os     *nodeos.Node
	ee     *ants.EE
	routes ants.StaticRoutes
	graph  *click.Router
	link   nodeos.LinkInfo
	worker int
}

const graph = `ants :: ANTS(%s);
FromChannel(eth0/ether/ip/udp, ADDRESS :3322) -> in :: Counter -> [0] ants [0] -> out :: Counter -> ToChannel(eth0/ether/ip/udp, ADDRESS :3322);
`

func newNode(t *testing.T, clk clock.Clock, seg *mem.Net, i int) *node {
	return newNodeOn(t, clk, seg, i, 0)
}

// newNodeOn makes a node whose graph is on the given worker. A virtual clock makes it a stepped one.
func newNodeOn(t *testing.T, clk clock.Clock, seg *mem.Net, i, worker int) *node {
	t.Helper()
	_, stepped := clk.(*clock.Virtual)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	x := &node{worker: worker}
	var err error
	x.os, err = nodeos.NewNode(nodeos.NodeSpec{Name: fmt.Sprintf("n%d", i), Clock: clk, Stepped: stepped, Workers: worker + 1, Packets: packet.PoolSpec{Frames: 256}})
	must(err)
	engine, err := vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: clk})
	must(err)
	t.Cleanup(func() {
		if err := x.os.Close(); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := seg.Open(x.os, x.os.NextLinkNumber(), nodeos.LinkSpec{Name: "eth0", Device: "wire", Opts: map[string]string{"addr": fmt.Sprintf("10.0.0.%d/24", i)}})
	must(err)
	must(x.os.AddLink(l, 0))
	x.link = l.Info()
	d, err := x.os.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "ants"}})
	must(err)
	x.ee, err = ants.New(ants.Spec{Domain: d, Engine: engine, Addr: ants.NodeAddr(10<<24 | 255<<16 | uint32(i)), Router: &x.routes})
	must(err)
	links := "eth0"
	if i == 2 {
		links = "" // the node's links in their order
	}
	x.open(t, fmt.Sprintf(graph, links))
	return x
}

func (x *node) parse(t *testing.T, text string) (*click.Router, error) {
	t.Helper()
	spec, err := click.Parse("graph", text, click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.os.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprintf("graph%d", len(x.os.Root().Children()))}})
	if err != nil {
		t.Fatal(err)
	}
	return click.New(spec, click.Env{Domain: d, Worker: x.worker, Values: map[string]any{EE: x.ee}})
}

func (x *node) open(t *testing.T, text string) {
	t.Helper()
	var err error
	if x.graph, err = x.parse(t, text); err != nil {
		t.Fatal(err)
	}
}

func (x *node) read(t *testing.T, handler string) string {
	t.Helper()
	s, err := x.graph.Read(handler, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// join makes two nodes neighbours and returns a protocol for them.
func join(t *testing.T, a, b *node) (*ants.Protocol, ants.MethodID) {
	t.Helper()
	for _, p := range [][2]*node{{a, b}, {b, a}} {
		if err := p[0].routes.Set([]ants.Hop{{Node: p[1].ee.Addr(), Link: p[0].link.Number, IP: firstAddr(p[1]), MAC: p[1].link.HWAddr, HasMAC: true}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	code, err := os.ReadFile("../testdata/ping.wasm")
	if err != nil {
		t.Fatal(err)
	}
	p := &ants.Protocol{Name: "ping", Groups: []ants.Group{{Name: "main", Classes: []ants.Class{{Name: "ping", Code: code}}}}}
	m, err := p.Method("ping")
	if err != nil {
		t.Fatal(err)
	}
	return p, m
}

func TestPingThroughGraphs(t *testing.T) {
	clk, seg := clock.NewVirtual(time.Unix(0, 0)), mem.NewNet()
	a, b := newNode(t, clk, seg, 1), newNode(t, clk, seg, 2)
	p, m := join(t, a, b)
	if err := a.ee.Register(p); err != nil {
		t.Fatal(err)
	}
	run := func(n int) *ants.ProbeResult {
		t.Helper()
		probe, err := a.ee.Probe(ants.ProbeSpec{Capsule: ants.Capsule{Method: m, Dst: b.ee.Addr(), Data: make([]byte, 8)}, Count: n, Interval: time.Millisecond, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			for range 8 {
				a.os.Step()
				b.os.Step()
			}
			clk.Advance(time.Millisecond)
		}
		select {
		case <-probe.Done():
		default:
			t.Fatal("the probe is not over")
		}
		return probe.Result()
	}
	if r := run(20); r.Received != 20 {
		t.Errorf("%+v; drops %v %v", r, a.ee.Stats().Drops, b.ee.Stats().Drops)
	}
	// To b: 20 pings, two requests' answers. From b: 20 pings, two requests.
	for h, want := range map[string]string{"in.count": "22", "out.count": "22", "ants.received": "22", "ants.evaluated": "20", "ants.forwarded": "20", "ants.delivered": "0"} {
		if got := b.read(t, h); got != want {
			t.Errorf("%s is %s, want %s", h, got, want)
		}
	}
	if got := a.read(t, "ants.delivered"); got != "20" {
		t.Errorf("%s delivered", got)
	}
	if s := b.read(t, "ants.stats"); !strings.Contains(s, `"name":"ping"`) {
		t.Errorf("stats %s", s)
	}

	// A graph is replaced while the protocols live on.
	if _, err := b.parse(t, fmt.Sprintf(graph, "")); err == nil || !strings.Contains(err.Error(), "has a port already") {
		t.Errorf("two elements for one link: %v", err)
	}
	b.graph.Close()
	b.os.Step()
	if r := run(5); r.Received != 0 {
		t.Errorf("%d pings came back without a graph", r.Received)
	}
	b.open(t, fmt.Sprintf(graph, "eth0"))
	if r := run(5); r.Received != 5 || b.ee.Stats().Counts.Loads != 1 {
		t.Errorf("%+v, %d loads", r, b.ee.Stats().Counts.Loads)
	}
	for _, x := range []*node{a, b} {
		if n := x.os.Pool().Stats().Charged; len(n) != 0 {
			t.Errorf("%s: frames are held: %v", x.os.Name(), n)
		}
	}
}

func firstAddr(x *node) netip.Addr { return x.link.Prefixes[0].Addr() }

// TestGraphOnAnotherWorker runs EE and graph on different workers of nodes that run by themselves.
func TestGraphOnAnotherWorker(t *testing.T) {
	clk, seg := clock.NewReal(), mem.NewNet()
	a, b := newNodeOn(t, clk, seg, 1, 1), newNodeOn(t, clk, seg, 2, 1)
	p, m := join(t, a, b)
	if err := a.ee.Register(p); err != nil {
		t.Fatal(err)
	}
	probe, err := a.ee.Probe(ants.ProbeSpec{Capsule: ants.Capsule{Method: m, Dst: b.ee.Addr(), Data: make([]byte, 8)}, Count: 50, Interval: time.Millisecond, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	<-probe.Done()
	if r := probe.Result(); r.Received != 50 {
		t.Errorf("%d of 50 came back; drops %v %v", r.Received, a.ee.Stats().Drops, b.ee.Stats().Drops)
	}
	a.graph.Close()
	b.graph.Close()
}

func TestConfigurationErrors(t *testing.T) {
	clk, seg := clock.NewVirtual(time.Unix(0, 0)), mem.NewNet()
	a := newNode(t, clk, seg, 1)
	a.graph.Close()
	a.os.Step()
	for text, want := range map[string]string{
		"Idle -> ANTS(eth0, eth1) -> Discard;":                        "2 links are named, and there are 1 inputs",
		"Idle -> ANTS(eth7) -> Discard;":                              "link eth7",
		"Idle -> a :: ANTS -> Discard; Idle -> [1] a [1] -> Discard;": "2 inputs, and the node has 1 links",
		"Idle -> ANTS(MTU 5) -> Discard;":                             "MTU",
	} {
		if _, err := a.parse(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	spec, err := click.Parse("graph", "Idle -> ANTS -> Discard;", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = click.New(spec, click.Env{Domain: a.ee.Domain(), Worker: -1}); err == nil || !strings.Contains(err.Error(), "no ANTS execution environment") {
		t.Errorf("a node without an EE: %v", err)
	}
}
