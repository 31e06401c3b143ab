package hostip_test

import (
	"testing"

	"github.com/janos-os/janos/click/elements/hostip"
	"github.com/janos-os/janos/click/elementtest"
)

const forward = `InfiniteSource(DATA \<45000014 00000000 40000000 01010101 c0000201>, BURST 32) -> MarkIPHeader -> GetIPAddress(16) -> LinuxIPLookup(eth0, eth1) -> HostNeighbor(eth0) -> c :: Counter -> Discard;`

func TestForwardingDoesNotAllocate(t *testing.T) {
	if n := elementtest.Allocs(t, forward, elementtest.Options{Values: map[string]any{hostip.Key: &hostip.Env{Table: network()}}}); n != 0 {
		t.Errorf("%v allocations in a turn", n)
	}
}

func BenchmarkForward(b *testing.B) {
	elementtest.Bench(b, forward, "c.count", elementtest.Options{Values: map[string]any{hostip.Key: &hostip.Env{Table: network()}}})
}
