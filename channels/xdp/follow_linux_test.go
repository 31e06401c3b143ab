package xdp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/nodeos"
)

// TestCutFollowsTheHost changes the host's route, and the hardware address of its next hop, under load: the kernel's cut-through follows through
// rtnetlink, and every packet arrives once, by the old way or the new one.
func TestCutFollowsTheHost(t *testing.T) {
	w := newCutNetwork(t, "native")
	hops := [2]netip.Addr{netip.MustParseAddr("10.78.0.8"), netip.MustParseAddr("10.78.0.9")}
	macs := [3][6]byte{{0x0e, 1, 1, 1, 1, 1}, {0x0e, 2, 2, 2, 2, 2}, {0x0e, 3, 3, 3, 3, 3}}
	must(t, w.here.Sysctl("ipv4/ip_forward", "1"))
	change := func(fn func(h *netlink.Handle, index int) error) {
		t.Helper()
		w.do(t, w.here, func(h *netlink.Handle) error {
			l, err := h.LinkByName("jnl1")
			if err != nil {
				return err
			}
			return fn(h, l.Attrs().Index)
		})
	}
	neighbor := func(k int, mac [6]byte) {
		t.Helper()
		change(func(h *netlink.Handle, index int) error {
			return h.NeighSet(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: hops[k].AsSlice(), HardwareAddr: mac[:]})
		})
	}
	_, to, err := net.ParseCIDR("10.99.0.0/24")
	must(t, err)
	route := func(k int) {
		t.Helper()
		change(func(h *netlink.Handle, index int) error {
			return h.RouteReplace(&netlink.Route{LinkIndex: index, Dst: to, Gw: hops[k].AsSlice()})
		})
	}
	neighbor(0, macs[0])
	neighbor(1, macs[1])
	route(0)
	var table *host.Table
	must(t, w.here.Do(func() (err error) { table, err = host.Follow(host.Spec{}); return err }))
	defer table.Close()

	spec := w.spec()
	spec.Out = nodeos.OutChanSpec{Address: "0x88b5"}
	c, err := host.NewCut(w.n.Root(), table, host.CutSpec{Chan: spec, To: netip.MustParseAddr("10.99.0.1"), Link: func(device string) string { return map[string]string{"jnl0": "l0", "jnl1": "l1"}[device] }})
	must(t, err)
	defer c.Close()
	inKernel(t, c.Chan())

	x := &cutFlow{w: w}
	var last atomic.Int32 // which address the last frame had
	var all atomic.Int64
	all.Store(1 << 62)
	seen := make(map[uint64]bool)
	var reader sync.WaitGroup
	reader.Go(func() {
		for int64(x.seen.Load()) < all.Load() {
			f := w.arrived()
			if len(f) < 22 {
				t.Errorf("only %d of %d packets came", x.seen.Load(), x.sent.Load())
				return
			}
			k := int32(f[1]) - 1
			if k < 0 || k > 2 || [6]byte(f) != macs[k] {
				t.Errorf("a frame to %x", f[:6])
				return
			}
			if n := binary.BigEndian.Uint64(f[14:]); seen[n] {
				t.Errorf("packet %d came twice", n)
			} else {
				seen[n] = true
			}
			last.Store(k)
			x.seen.Add(1)
		}
	})
	x.run(t, 64)
	goes := func(k int32) {
		t.Helper()
		conformance.Until(t, func() bool { return last.Load() == k && x.seen.Load() > 0 })
	}
	goes(0)
	const changes = 60
	for i := range changes {
		k := 1 - i%2
		route(k)
		goes(int32(k))
	}
	route(1)
	goes(1)
	for i := range changes {
		k := 2 - i%2
		neighbor(1, macs[k])
		goes(int32(k))
	}
	x.end()
	all.Store(int64(x.sent.Load()))
	w.inject(t, w.frame([]byte{0xff, 0, 0, 0, 0, 0, 0, 0})) // one more, so that the reader looks
	reader.Wait()
	if st := c.Chan().Stats(); st.Packets < x.sent.Load() || st.Full+st.Poor+st.Gone+st.Invalid+st.TooBig > 0 {
		t.Errorf("%d sent, %+v", x.sent.Load(), st)
	}
	inKernel(t, c.Chan())
	t.Logf("%d packets through %d changes", x.sent.Load(), 2*changes)
}
