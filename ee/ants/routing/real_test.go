package routing_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// realNode is a node with workers and a real clock.
func realNode(t *testing.T, workers int) *nodeos.Node {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal(), Workers: workers, Packets: packet.PoolSpec{Frames: 512}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// await waits for a table that satisfies cond.
func await(t *testing.T, r *routing.Router, what string, cond func(*routing.Table) bool) {
	t.Helper()
	news, cancel := r.Watch()
	defer cancel()
	limit := time.After(20 * time.Second)
	for {
		select {
		case <-news:
			if cond(r.Table()) {
				return
			}
		case <-limit:
			rep, _ := r.Report()
			t.Fatalf("%s: not within 20 s: %+v", what, rep)
		}
	}
}

// TestRealWorkers runs a triangle of nodes with two workers each, over Ethernets in memory whose links are on other workers
// than the routers, and ends one of them.
func TestRealWorkers(t *testing.T) {
	net := mem.NewNet()
	var nodes []*nodeos.Node
	var rs []*routing.Router
	var mu sync.Mutex
	var log []routing.Event
	segments := [][2]int{{0, 1}, {1, 2}, {2, 0}}
	for i := range 3 {
		n := realNode(t, 2)
		s := routing.Spec{Addr: routing.NodeAddr(10<<24 + i + 1), Hello: 50 * time.Millisecond, OnEvent: func(e routing.Event) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, e)
		}}
		for k, ends := range segments {
			if ends[0] != i && ends[1] != i {
				continue
			}
			name := fmt.Sprint("seg", k)
			host := 1
			if ends[1] == i {
				host = 2
			}
			l, err := net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: name, Opts: map[string]string{"addr": fmt.Sprintf("10.1.%d.%d/24", k, host)}})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.AddLink(l, 1); err != nil {
				t.Fatal(err)
			}
			s.Links = append(s.Links, routing.LinkSpec{Name: name})
		}
		r, err := routing.New(n.Root(), s)
		if err != nil {
			t.Fatal(err)
		}
		nodes, rs = append(nodes, n), append(rs, r)
	}
	for _, r := range rs {
		await(t, r, "all reach all directly", func(tb *routing.Table) bool {
			return len(tb.Neighbours()) == 2 && len(tb.Nodes()) == 2 && tb.Nodes()[0].Cost == 10 && tb.Nodes()[1].Cost == 10
		})
	}
	// Lookups go on on this goroutine while the workers change the table.
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		await(t, rs[i], "the node that ended is missed", func(tb *routing.Table) bool {
			return tb.NextHop(rs[1].Addr()) == nil && len(tb.Nodes()) == 1
		})
	}
	if _, ok := rs[1].Report(); ok {
		t.Error("a report from a node that is closed")
	}
	rs[0].Close()
	<-rs[0].Domain().Done()
	await(t, rs[2], "the goodbye is heard", func(tb *routing.Table) bool { return len(tb.Nodes()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	left := 0
	for _, e := range log {
		if e.Kind == routing.NeighbourDown && e.Reason == routing.ReasonLeft {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d neighbours left by saying so, want 1", left)
	}
}
