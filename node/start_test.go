package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// onNet opens a node's links as ends of segments in memory, the device being the segment.
func onNet(net *mem.Net) func(*nodeos.Node, Link) (nodeos.Link, error) {
	return func(n *nodeos.Node, l Link) (nodeos.Link, error) {
		return net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Device: l.Device, Opts: l.Options})
	}
}

// pairSpec is the file of node i, from 1, of a net of nodes on one segment.
func pairSpec(i int) *Spec {
	return &Spec{
		Name: fmt.Sprint("n", i), Addr: ants.NodeAddr(0x0aff0000 + i), Seed: uint64(i), Frames: 1024,
		Links:   []Link{{Name: "eth0", Device: "s", Options: map[string]string{"addr": fmt.Sprintf("10.0.0.%d/24", i), "mac": fmt.Sprintf("02:00:00:00:00:%02x", i)}}},
		ANTS:    ANTS{Protocols: []string{"../examples/capsules/ping/protocol.yaml"}},
		Routing: Routing{Hello: 100 * time.Millisecond},
	}
}

// openFiles counts the process's open files.
func openFiles(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // TestMain's leak check is left
	}
	return len(es)
}

// Whatever fails, nothing of what was begun is left.
func TestStartUndoesWhatItBegan(t *testing.T) {
	broken := errors.New("no such cable")
	for _, c := range []struct {
		name string
		edit func(s *Spec, e *Env)
		want string
	}{
		{"spec", func(s *Spec, _ *Env) { s.Name = "" }, "name"},
		{"graph text", func(s *Spec, _ *Env) { s.Graph = "Idle -> " }, "graph"},
		{"graph class", func(s *Spec, _ *Env) { s.Graph = "Nonsense -> Discard;" }, "Nonsense"},
		{"graph link", func(s *Spec, _ *Env) { s.Graph = "FromChannel(eth9/ether) -> Discard;" }, "eth9"},
		{"graph element", func(s *Spec, _ *Env) { s.Graph = "FromChannel(eth0/ether, KEY nothing) -> Discard;" }, "KEY"},
		{"event log", func(s *Spec, _ *Env) { s.Events = filepath.Join(t.TempDir(), "no", "such") }, "event log"},
		{"packet memory", func(s *Spec, _ *Env) { s.Frames = -1 }, "frames"},
		{"limits", func(s *Spec, _ *Env) { s.Limits[resctl.Memory] = -5 }, "negative"},
		{"second link", func(s *Spec, e *Env) {
			s.Links = append(s.Links, Link{Name: "eth1"})
			open := e.OpenLink
			e.OpenLink = func(n *nodeos.Node, l Link) (nodeos.Link, error) {
				if l.Name == "eth1" {
					return nil, broken
				}
				return open(n, l)
			}
		}, "no such cable"},
		{"link options", func(s *Spec, _ *Env) { s.Links[0].Options["speed"] = "fast" }, "speed"},
		{"same link twice", func(s *Spec, e *Env) {
			s.Links = append(s.Links, Link{Name: "eth1", Device: "s"})
			open := e.OpenLink
			e.OpenLink = func(n *nodeos.Node, l Link) (nodeos.Link, error) { l.Name = "eth0"; return open(n, l) }
		}, "open already"},
		{"driver", func(s *Spec, e *Env) { e.OpenLink, s.Links[0].Driver = nil, "carrier-pigeon" }, "carrier-pigeon"},
		{"routing", func(s *Spec, _ *Env) { s.Routing.Hello = time.Nanosecond }, "hello"},
		{"ants", func(s *Spec, _ *Env) { s.ANTS.Budget = 1 << 60 }, "budget"},
		{"ants account", func(s *Spec, _ *Env) { s.ANTS.Limits[resctl.Frames] = -7 }, "negative"},
		{"bundle", func(s *Spec, _ *Env) { s.ANTS.Protocols = append(s.ANTS.Protocols, "no/such.yaml") }, "no/such.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, isStepped := range []bool{false, true} {
				files, routines := openFiles(t), runtime.NumGoroutine()
				net := mem.NewNet()
				s, e := pairSpec(1), Env{OpenLink: onNet(net), Stepped: isStepped}
				c.edit(s, &e)
				n, err := Start(s, e)
				if err == nil {
					n.Close()
					t.Fatal("the node started")
				}
				if n != nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
					t.Errorf("error %q does not say %q", err, c.want)
				}
				if got := net.Segments(); got != 0 {
					t.Errorf("%d segments have ends", got)
				}
				if got := openFiles(t); got > files {
					t.Errorf("%d files are open, %d before", got, files)
				}
				for range 1000 { // goroutines that are told to end do so in their own time
					if runtime.NumGoroutine() <= routines {
						break
					}
					runtime.Gosched()
				}
			}
		})
	}
}

// Two nodes on one segment, each with its own workers: the generated graphs carry capsules there and back, and both end.
func TestTwoNodesPing(t *testing.T) {
	net := mem.NewNet()
	var nodes [2]*Node
	for i := range nodes {
		n, err := Start(pairSpec(i+1), Env{OpenLink: onNet(net)})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes[i] = n
	}
	got := ping(t, nodes[0], nodes[1], 20, func(p *ants.Probe) { <-p.Done() })
	if got == 0 {
		t.Fatal("no capsule came back")
	}
	if nodes[0].Graph() == nil || !strings.Contains(nodes[0].GraphText(), "ants :: ANTS(eth0)") {
		t.Errorf("graph %s", nodes[0].GraphText())
	}
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		<-n.Done()
		if n.Close() != nil {
			t.Error("the second close differs from the first")
		}
	}
	if net.Segments() != 0 {
		t.Error("a segment is left")
	}
}

// ping waits until a can reach b, probes, and returns how many came back.
func ping(t *testing.T, a, b *Node, count int, wait func(*ants.Probe)) int {
	t.Helper()
	p, err := ants.LoadProtocol("../examples/capsules/ping/protocol.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Method("ping")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // routes come with the first hellos
		pr, err := a.ANTS().Probe(ants.ProbeSpec{
			Capsule: ants.Capsule{Method: m, Dst: b.Spec().Addr, Data: make([]byte, 8)}, Count: count, Interval: time.Millisecond, Timeout: 200 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		wait(pr)
		if r := pr.Result(); r.Received > 0 {
			return r.Received
		}
	}
	return 0
}

// Two runs of a stepped pair under one clock write the same events, to the byte.
func TestSteppedPairIsDeterministic(t *testing.T) {
	play := func() (string, int) {
		clk := clock.NewVirtual(time.Time{})
		net := mem.NewNet()
		var log bytes.Buffer
		var nodes [2]*Node
		var os [2]*nodeos.Node
		for i := range nodes {
			out := json.NewEncoder(&log)
			n, err := Start(pairSpec(i+1), Env{OpenLink: onNet(net), Stepped: true, Clock: clk, Events: func(e any) {
				if err := out.Encode(e); err != nil {
					t.Error(err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			nodes[i], os[i] = n, n.OS()
		}
		run := func(d time.Duration) {
			if !nodeos.Simulate(clk, clk.Now().Add(d), os[:]...) {
				t.Fatal("no rest")
			}
		}
		run(2 * time.Second)
		got := ping(t, nodes[0], nodes[1], 20, func(p *ants.Probe) { run(time.Second) })
		for i := range nodes {
			fmt.Fprintln(&log, nodes[i].OS().Root().Account().Use(resctl.CPU), nodes[i].OS().Root().Account().Use(resctl.Fuel))
		}
		return log.String(), got
	}
	a, got := play()
	b, _ := play()
	if got != 20 || len(a) < 100 {
		t.Fatalf("%d of 20 came back; events:\n%s", got, a)
	}
	if a != b {
		t.Fatalf("the runs differ:\n%s\nand\n%s", a, b)
	}
}
