package analysis

import (
	"testing"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"

	"github.com/janos-os/janos/clock"
)

// FuzzAggregates: fields of all sorts and flows of whatever a packet says, found without reading beyond it.
func FuzzAggregates(f *testing.F) {
	for _, s := range []string{"ip src/8", "ip[8:2] & 0x3f0", "tcp win", "data{3-9}", "transp[0,1]", "sport", "ip["} {
		f.Add(s, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8, 0, 0}, uint16(1))
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "fuzz", Clock: new(clock.Virtual), Stepped: true, Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { n.Close() })
	f.Fuzz(func(t *testing.T, field string, data []byte, link uint16) {
		if len(data) > 1500 {
			return
		}
		c := n.Root().Home().Cache()
		p := c.AllocFrom(n.Root().Owner(), data)
		if p == nil {
			t.Fatal("no packet")
		}
		defer c.Free(p)
		p.SetNetwork(0)
		if a, err := parseAggregateField(field); err == nil {
			if v, ok := a.value(p); ok && a.length < 32 && v>>a.length != 0 {
				t.Errorf("%d does not fit in %d bits", v, a.length)
			}
		}
		var h header
		if h.read(data) {
			h.ports()
		}
		if forceIP(p, encaps[int(link)%len(encaps)].link) && (p.Len() < 20 || p.Len() > len(data)) {
			t.Errorf("an IP packet of %d bytes", p.Len())
		}
	})
}
