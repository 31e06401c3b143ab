package ethernet_test

import (
	"testing"

	"github.com/janos-os/janos/click/elementtest"
)

func TestElementsDoNotAllocate(t *testing.T) {
	const source = `InfiniteSource(DATA \<020000000001 020000000002 0800 4500003200000000 4011 64b8 0a000002 0a000202 04d2162e001e0000 00000000000000000000>, BURST 32)`
	for name, config := range map[string]string{
		"tags":   source + ` -> VLANEncap(7) -> VLANDecap -> StripEtherVLANHeader -> EtherVLANEncap(0x800, 2:0:0:0:0:1, 2:0:0:0:0:2, ANNO) -> StripEtherVLANHeader -> EnsureEther -> Discard;`,
		"header": source + ` -> EtherMirror -> EtherRewrite(2:0:0:0:0:1, 2:0:0:0:0:2) -> StoreEtherAddress(2:0:0:0:0:3, src) -> MarkMACHeader(0, 14) -> HostEtherFilter(2:0:0:0:0:2) -> Discard;`,
		"switch": source + ` -> [0] sw :: EtherSwitch => Discard, Discard, Discard; Idle -> [1] sw; Idle -> [2] sw;`,
		"answer": `InfiniteSource(DATA \<ffffffffffff 020000000002 0806 0001080006040001 020000000002 0a000002 000000000000 0a000001>, BURST 32) -> CheckARPHeader(14) -> ARPResponder(10.0.0.1 2:0:0:0:0:1) -> Discard;`,
		"known":  `InfiniteSource(LENGTH 40, BURST 8) -> SetIPAddress(10.0.0.2) -> q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> Discard; q[1] -> ARPResponder(10.0.0.2 2:0:0:0:0:2) -> [1] q;`,
		"asked":  `InfiniteSource(LENGTH 40, BURST 8) -> SetIPAddress(10.0.0.2) -> q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, CAPACITY 100) -> Discard; q[1] -> Discard; Idle -> [1] q;`,
	} {
		t.Run(name, func(t *testing.T) {
			if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
				t.Errorf("a turn allocates %v times", n)
			}
		})
	}
}
