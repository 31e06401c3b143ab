package ants

import (
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/janos-os/janos/resctl"
)

var long = flag.Bool("long", false, "churn 100,000 protocols")

// TestProtocolChurn: protocols that are loaded, evaluated and displaced by others, one after the other, leave nothing at a node that has room for three.
func TestProtocolChurn(t *testing.T) {
	total := 400
	if *long {
		total = 100_000
	}
	n := newNet(t)
	n.add(nil)
	n.add(func(s *Spec) { s.Limits.Protocols = 3 })
	x := n.nodes
	n.connect(x[0], x[1], 1500)
	x[0].route(nil)
	x[1].route(nil)
	const variants = 8
	var ps [variants]*Protocol
	for i := range ps {
		ps[i] = variant(t, i)
		x[0].register(ps[i])
	}
	var before, after runtime.MemStats
	var held int64
	goroutines := 0
	use := func() int64 { return x[1].ee.Domain().Account().Use(resctl.Memory) }
	for i := range total {
		if i == total/4 {
			runtime.GC()
			runtime.ReadMemStats(&before)
			held, goroutines = use(), runtime.NumGoroutine()
		}
		x[0].send(capsule(t, ps[i%variants], "ping", x[1], pingData(uint32(i))))
		n.pass(1500 * time.Millisecond) // the one before is out of use by then
		if got := len(x[0].got); got != 1 {
			t.Fatalf("protocol %d: %d pings came back", i, got)
		}
		x[0].got = x[0].got[:0]
		if k := len(x[1].ee.Stats().Protocols); k > 3 {
			t.Fatalf("protocol %d: the node has %d", i, k)
		}
		n.mu.Lock()
		n.events = n.events[:0]
		n.mu.Unlock()
	}
	if n := use(); n > held+held/20 {
		t.Errorf("%d bytes are charged, %d were before", n, held)
	}
	for n := 0; runtime.NumGoroutine() > goroutines && n < 100_000; n++ { // one may be on its way out
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
