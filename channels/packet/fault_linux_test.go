package packet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// TestMTU opens an interface whose MTU the node's frames do not hold, one whose frames do, and one whose MTU grows afterwards.
func TestMTU(t *testing.T) {
	w := newNetwork(t)
	mtu := func(n int) {
		for _, e := range []struct {
			index int
			do    func(func(h *netlink.Handle) error)
		}{
			{w.hereIndex, func(fn func(h *netlink.Handle) error) { w.do(t, w.here, fn) }},
			{w.thereIndex, func(fn func(h *netlink.Handle) error) { w.do(t, w.there, fn) }},
		} {
			e.do(func(h *netlink.Handle) error {
				l, err := h.LinkByIndex(e.index)
				if err != nil {
					return err
				}
				return h.LinkSetMTU(l, n)
			})
		}
	}
	payload := make([]byte, 2900)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	// dropped sends long frames and a short one, which alone arrives.
	dropped := func(n *nodeos.Node, l *Link, s *conformance.Sink) {
		t.Helper()
		const long = 20
		for range long {
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, payload))
		}
		w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("short")))
		if g := s.Next(t); string(g.Data) != "short" {
			t.Errorf("got %d bytes", len(g.Data))
		}
		if st := l.Stats(); st.RxDrops != long || st.RxPackets != 1 {
			t.Errorf("stats %+v, want %d drops", st, long)
		}
		s.Chan.Close()
		must(t, n.CloseLink("l0"))
		if st := n.Pool().Stats(); st.ByState[packet.Free] != n.Pool().Spec().Frames {
			t.Errorf("frames are missing: %v", st.ByState)
		}
	}
	port := fmt.Sprintf(":%d", conformance.Port)
	mtu(3000)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "MTU 3000") || !strings.Contains(notes[0], "dropped and counted") {
		t.Errorf("notes %q", notes)
	}
	dropped(n, l, conformance.NewSink(t, n, "l0/ether/ip/udp", port, ""))

	large, err := nodeos.NewNode(nodeos.NodeSpec{Name: "large", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 512, FrameSize: 4096}})
	must(t, err)
	defer large.Close()
	if notes := w.open(t, large, spec(nil)).Info().Notes; len(notes) != 0 {
		t.Errorf("notes %q with frames of 4,096 bytes", notes)
	}
	s := conformance.NewSink(t, large, "l0/ether/ip/udp", port, "")
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, payload))
	if g := s.Next(t); string(g.Data) != string(payload) {
		t.Error("a frame of 2,942 bytes was damaged")
	}
	must(t, large.CloseLink("l0"))

	mtu(1500)
	l = w.open(t, n, spec(nil))
	s = conformance.NewSink(t, n, "l0/ether/ip/udp", port, "")
	mtu(3000)
	dropped(n, l, s)
}

// TestWithoutPrivileges opens a link on a thread that has put its capabilities down.
func TestWithoutPrivileges(t *testing.T) {
	w := newNetwork(t)
	n := conformance.NewNode(t)
	var refused error
	must(t, w.here.Do(func() error { // on a thread of its own
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all [2]unix.CapUserData
		if err := unix.Capget(&head, &all[0]); err != nil {
			return err
		}
		none := all
		none[0].Effective, none[1].Effective = 0, 0
		if err := unix.Capset(&head, &none[0]); err != nil {
			return err
		}
		_, refused = n.OpenLink(nodeos.LinkSpec{Name: "jnl0", Driver: "packet"})
		return unix.Capset(&head, &all[0])
	}))
	if errs.KindOf(refused) != errs.Permission || !strings.Contains(refused.Error(), "CAP_NET_RAW") || !strings.Contains(refused.Error(), "jnl0") {
		t.Errorf("without privileges: %v", refused)
	}
	if notes := w.open(t, n, spec(nil)).Info().Notes; len(notes) != 0 {
		t.Errorf("afterwards: %q", notes)
	}
}
