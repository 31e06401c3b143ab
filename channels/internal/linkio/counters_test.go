package linkio

import (
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func TestCounters(t *testing.T) {
	var c Counters
	c.Received(100)
	c.Received(50)
	c.RxDrops.Add(3)
	c.TxPackets.Add(4)
	c.TxBytes.Add(5)
	c.TxDrops.Add(6)
	if got, want := c.Stats(), (nodeos.LinkStats{RxPackets: 2, RxBytes: 150, RxDrops: 3, TxPackets: 4, TxBytes: 5, TxDrops: 6}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRing(t *testing.T) {
	for in, want := range map[int]int{0: 512, 1: 1, 65_536: 65_536} {
		if got, err := Ring(&nodeos.LinkSpec{Ring: in}, 512, "frames"); got != want || err != nil {
			t.Errorf("ring %d: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []int{-1, 65_537} {
		if _, err := Ring(&nodeos.LinkSpec{Name: "l0", Ring: in}, 512, "frames"); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "link l0") {
			t.Errorf("ring %d: %v", in, err)
		}
	}
}

func TestNoteVLAN(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	frame := func(rest ...byte) []byte { return append(make([]byte, 12), rest...) }
	for _, v := range []struct {
		frame []byte
		vlan  uint16
		has   bool
	}{
		{frame(0x81, 0x00, 0x20, 0x07, 0x08, 0x00), 0x2007, true},
		{frame(0x88, 0xa8, 0x00, 0x01, 0x81, 0x00), 1, true},
		{frame(0x08, 0x00, 0x20, 0x07, 0x08, 0x00), 0, false},
		{frame(0x81, 0x00, 0x20, 0x07), 0, false},
		{frame(0x81, 0x00), 0, false},
	} {
		p := c.AllocFrom(packet.Node, v.frame)
		NoteVLAN(p)
		if p.Anno.VLAN != v.vlan || p.Anno.HasVLAN != v.has {
			t.Errorf("%x: tag %#x, %v", v.frame, p.Anno.VLAN, p.Anno.HasVLAN)
		}
		c.Free(p)
	}
}
