package ants

import (
	"encoding/binary"
	"testing"
	"time"
)

func pingData(seq uint32) []byte { return append(binary.BigEndian.AppendUint32(nil, seq), 0, 0, 0, 0) }

func TestPingLoadsHopByHop(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, nil)
	p := proto(t, "ping", "ping")
	x[0].register(p)
	x[0].send(capsule(t, p, "ping", x[2], pingData(1)))
	n.pass(time.Second)

	if len(x[0].got) != 1 {
		t.Fatalf("%d pings came back; events %+v", len(x[0].got), n.events)
	}
	c := x[0].got[0]
	if seq, hops := binary.BigEndian.Uint32(c.Data), c.Data[5]; seq != 1 || hops != 5 {
		t.Errorf("ping %d came back after %d evaluations, want 1 after 5", seq, hops)
	}
	if c.TTL != DefaultTTL-4 || c.Credit.Count != DefaultCredit-5 || c.Src != x[0].ee.Addr() {
		t.Errorf("ttl %d, credit %d, source %s", c.TTL, c.Credit.Count, c.Src)
	}
	// The code went from node to node, once.
	for i, y := range x {
		k := y.kinds()
		s := y.ee.Stats()
		wantServed, wantLoaded := 2, 1 // directory and one window of chunks
		if i == 0 {
			wantLoaded = 0
		}
		if i == 2 {
			wantServed = 0
		}
		if k[LoadRequested] != wantLoaded || k[LoadCompleted] != wantLoaded || k[LoadServed] != wantServed {
			t.Errorf("%s: events %v", y.node.Name(), k)
		}
		if len(s.Drops) != 0 {
			t.Errorf("%s: drops %v", y.node.Name(), s.Drops)
		}
	}
	before := x[1].ee.Stats().Counts.Loads + x[2].ee.Stats().Counts.Loads
	for seq := range uint32(100) {
		x[0].send(capsule(t, p, "ping", x[2], pingData(seq)))
	}
	n.pass(time.Second)
	if len(x[0].got) != 101 {
		t.Errorf("%d pings came back, want 101", len(x[0].got))
	}
	if after := x[1].ee.Stats().Counts.Loads + x[2].ee.Stats().Counts.Loads; after != before {
		t.Errorf("%d loads for known code", after-before)
	}
}
