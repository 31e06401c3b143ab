package control

import (
	"maps"
	"slices"
	"testing"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func TestChannels(t *testing.T) {
	n := start(t, nil)
	_, client := serve(t, n)
	d, err := n.OS().Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	in, err := d.NewInChan(nodeos.InChanSpec{
		Protocol: "eth0/ether/ip/udp", Address: ":7", Key: demux.Key{{Offset: 2, Value: []byte{1, 2}}}, Quota: 9, Rate: 1000,
		Handler: func(w *nodeos.Worker, b *packet.Batch) { w.Cache().FreeBatch(b) },
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.NewOutChan(nodeos.OutChanSpec{Protocol: "eth0/ether/ip", Address: "10.0.0.2,99"})
	if err != nil {
		t.Fatal(err)
	}
	cut, err := d.NewCutThrough(nodeos.CutChanSpec{
		In: nodeos.InChanSpec{Protocol: "eth0/ether", Address: "0x88b5"}, Out: nodeos.OutChanSpec{Protocol: "eth0/ether", LinkAddr: [6]byte{2}}, BitRate: 1e6,
	})
	if err != nil {
		t.Fatal(err)
	}
	cs, err := client.Channels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var mine []ChannelInfo
	others := 0
	for _, c := range cs {
		if c.Domain == d.Path() {
			mine = append(mine, c)
		} else {
			others++
		}
	}
	if len(mine) != 3 || others == 0 {
		t.Fatalf("%d channels of the domain and %d others: %+v", len(mine), others, cs)
	}
	slot := func(c *nodeos.InChan) uint32 {
		s, ok := c.Slot()
		if !ok {
			t.Error("no slot")
		}
		return s
	}
	c, i, o := mine[0], mine[1], mine[2]
	if c.Kind != "cut" || c.Protocol != "eth0/ether" || c.Address != "0x88b5" || c.Out != "eth0/ether" || c.Where != "user" || c.Why == "" || c.BitRate != 1e6 ||
		c.Quota != nodeos.DefaultQuota || c.Slot == nil || *c.Slot != slot(cut.In()) ||
		!slices.Equal(slices.Sorted(maps.Keys(c.Drops)), []string{"full", "gone", "invalid", "limited", "poor", "rate", "too_big", "ttl"}) {
		t.Errorf("cut-through channel: %+v", c)
	}
	if i.Kind != "in" || i.Protocol != "eth0/ether/ip/udp" || i.Address != ":7" || i.Key != in.Spec().Key.String() || i.Key == "" || i.Quota != 9 || i.PacketRate != 1000 ||
		i.Where != "user" || i.Slot == nil || *i.Slot != slot(in) || len(i.Drops) != 3 {
		t.Errorf("in-channel: %+v", i)
	}
	if o.Kind != "out" || o.Protocol != "eth0/ether/ip" || o.Address != out.Spec().Address || o.Slot != nil || len(o.Drops) != 1 {
		t.Errorf("out-channel: %+v", o)
	}
}
