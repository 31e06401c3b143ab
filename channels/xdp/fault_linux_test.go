package xdp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// TestRefusals opens what cannot be opened and looks for what is named in the error.
func TestRefusals(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	for _, c := range []struct {
		spec nodeos.LinkSpec
		kind errs.Kind
		want []string
	}{
		{nodeos.LinkSpec{Opts: map[string]string{"mode": "fast", "queues": "0", "typo": "x"}}, errs.Invalid, []string{"mode=", `unknown option "typo"`}},
		{nodeos.LinkSpec{Opts: map[string]string{"queues": "0-1"}}, errs.Invalid, []string{"no queue 1", "it has 1", "ethtool -L"}},
		{nodeos.LinkSpec{Opts: map[string]string{"queues": "x"}}, errs.Invalid, []string{"queues=", "0,2-3"}},
		{nodeos.LinkSpec{Ring: -1}, errs.Invalid, []string{"ring of -1 frames"}},
		{nodeos.LinkSpec{Ring: 1700}, errs.NoMemory, []string{"ring of 1700", "1828 packet frames", "1536 are left"}},
		{nodeos.LinkSpec{Opts: map[string]string{"zerocopy": "true"}}, errs.NotSupported, []string{"jnl0", "zero copy", "zerocopy: false"}},
	} {
		c.spec.Name = "l0"
		l, err := w.try(n, c.spec)
		if errs.KindOf(err) != c.kind {
			t.Errorf("%+v: %v, %v; want kind %v", c.spec, l, err, c.kind)
			continue
		}
		for _, s := range c.want {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("error %q lacks %q", err, s)
			}
		}
		if program(t, w) != 0 {
			t.Fatal("a refused link leaves its program on the interface")
		}
	}
	must(t, w.here.Do(func() error {
		if _, err := n.OpenLink(nodeos.LinkSpec{Name: "jnnone0", Driver: "xdp"}); errs.KindOf(err) != errs.NotFound {
			return fmt.Errorf("an interface that is not there: %v", err)
		}
		if _, err := n.OpenLink(nodeos.LinkSpec{Name: "lo", Driver: "xdp"}); errs.KindOf(err) != errs.NotSupported {
			return fmt.Errorf("an interface that is no Ethernet: %v", err)
		}
		return nil
	}))
	small, err := nodeos.NewNode(nodeos.NodeSpec{Name: "small", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 180}})
	must(t, err)
	defer small.Close()
	if l, err := w.try(small, spec(nil)); errs.KindOf(err) != errs.NoMemory {
		t.Errorf("a node with 180 frames: %v, %v", l, err)
	}
	if _, err := w.try(conformance.NewNode(t, 2), nodeos.LinkSpec{Name: "l0", Workers: []int{1, 0}}); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "2 workers for 1 queues") || !strings.Contains(err.Error(), "ethtool -L jnl0") {
		t.Errorf("more workers than queues: %v", err)
	}
	// Two links share what a worker may lend; the second gets a smaller ring.
	a := w.open(t, n, nodeos.LinkSpec{Name: "l0", Ring: 1000})
	must(t, w.here.Do(func() error {
		b, err := n.OpenLink(nodeos.LinkSpec{Name: "jnl1", Driver: "xdp"})
		if err != nil {
			return err
		}
		if x, y := a.queues[0].ring, b.(*Link).queues[0].ring; x != 1000 || y != 1536-(1000+slack)-slack {
			t.Errorf("rings of %d and %d", x, y)
		}
		return nil
	}))
	must(t, n.CloseLink("l0"))
	must(t, n.CloseLink("jnl1"))
	if len(registered.lent) != 0 {
		t.Errorf("frames stay reserved: %v", registered.lent)
	}
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames {
		t.Errorf("refused links keep frames: %v", s.ByState)
	}
}

// TestMTU opens an interface whose MTU no frame holds, and one whose MTU grows afterwards.
func TestMTU(t *testing.T) {
	w := newNetwork(t, 1)
	mtu := func(n int) {
		w.hereLink(t, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, n) })
		w.do(t, w.there, func(h *netlink.Handle) error {
			l, err := h.LinkByIndex(w.thereIndex)
			if err != nil {
				return err
			}
			return h.LinkSetMTU(l, n)
		})
	}
	mtu(3000)
	n := conformance.NewNode(t)
	_, err := w.try(n, spec(nil))
	if errs.KindOf(err) != errs.TooBig || !strings.Contains(err.Error(), "MTU 3000") || !strings.Contains(err.Error(), "driver packet") {
		t.Errorf("MTU 3000: %v", err)
	}
	large, err := nodeos.NewNode(nodeos.NodeSpec{Name: "large", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 2048, FrameSize: 4096}})
	must(t, err)
	defer large.Close()
	payload := make([]byte, 2900)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	w.open(t, large, spec(nil))
	s := conformance.NewSink(t, large, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, payload))
	if g := s.Next(t); string(g.Data) != string(payload) {
		t.Error("a frame of 2,942 bytes was damaged")
	}
	must(t, large.CloseLink("l0"))

	mtu(1500)
	l := w.open(t, n, spec(nil))
	s = conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	mtu(3000)
	const long = 2 * DefaultRing // would use up the credit, if they counted as redirected
	for range long {
		w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, payload))
	}
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("short")))
	if g := s.Next(t); string(g.Data) != "short" {
		t.Errorf("got %q", g.Data)
	}
	if st := l.Stats(); st.RxDrops != long || st.RxPackets != 1 {
		t.Errorf("stats %+v, want %d drops", st, long)
	}
}

// TestSlotTaken leaves programs of others alone, however they are attached, and the other driver still works.
func TestSlotTaken(t *testing.T) {
	w := newNetwork(t, 1)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "others", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	must(t, err)
	defer prog.Close()
	info, err := prog.Info()
	must(t, err)
	id, _ := info.ID()
	check := func(how string) {
		t.Helper()
		n := conformance.NewNode(t)
		for _, mode := range []string{"auto", "native", "generic"} {
			l, err := w.try(n, spec(map[string]string{"mode": mode}))
			if errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), "XDP program of somebody else") || !strings.Contains(err.Error(), "jnl0") {
				t.Errorf("%s, mode %s: %v, %v", how, mode, l, err)
			}
		}
		if got := program(t, w); got != uint32(id) {
			t.Errorf("%s: the interface has program %d, not %d of the other", how, got, id)
		}
	}
	for _, flags := range []int{unix.XDP_FLAGS_DRV_MODE, unix.XDP_FLAGS_SKB_MODE} {
		w.hereLink(t, func(h *netlink.Handle, l netlink.Link) error {
			return w.here.Do(func() error { return netlink.LinkSetXdpFdWithFlags(l, prog.FD(), flags) })
		})
		check(fmt.Sprintf("netlink, flags %d", flags))
		w.hereLink(t, func(h *netlink.Handle, l netlink.Link) error {
			return w.here.Do(func() error { return netlink.LinkSetXdpFdWithFlags(l, -1, flags) })
		})
	}
	var other link.Link
	must(t, w.here.Do(func() (err error) {
		other, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: w.hereIndex, Flags: link.XDPDriverMode})
		return err
	}))
	check("link")
	must(t, other.Close())

	// A link of another node is somebody else too; and a closed link gives the interface free.
	a, b := conformance.NewNode(t), conformance.NewNode(t)
	w.open(t, a, spec(nil))
	if _, err := w.try(b, spec(nil)); errs.KindOf(err) != errs.Exists {
		t.Errorf("the interface of another node: %v", err)
	}
	must(t, a.CloseLink("l0"))
	w.open(t, b, spec(nil))
}

// TestQueueTaken finds a socket of somebody else on the queue, without a program.
func TestQueueTaken(t *testing.T) {
	w := newNetwork(t, 1)
	region, err := sys.MapAnon(64 * 2048)
	must(t, err)
	defer sys.Unmap(region)
	var x *sys.XSK
	must(t, w.here.Do(func() (err error) {
		x, err = sys.OpenXSK(sys.XSKSpec{Ifindex: w.hereIndex, Region: region, ChunkSize: 2048, Rx: 64, Fill: 64, Completion: 64})
		return err
	}))
	n := conformance.NewNode(t)
	if _, err := w.try(n, spec(nil)); errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), "queue 0") {
		t.Errorf("a queue with a socket: %v", err)
	}
	if program(t, w) != 0 {
		t.Error("the refused link leaves its program")
	}
	must(t, x.Close())
	w.open(t, n, spec(nil)) // waits for the kernel
}

// TestVerifier has a program refused and finds the verifier's words in the error.
func TestVerifier(t *testing.T) {
	newNetwork(t, 1) // for root
	_, err := load("janos_bad", asm.Instructions{asm.LoadMem(asm.R0, asm.R5, 0, asm.Word), asm.Return()})
	if errs.KindOf(err) != errs.NotSupported || !strings.Contains(err.Error(), "R5 !read_ok") || !strings.Contains(err.Error(), "driver packet") {
		t.Errorf("refused program: %v", err)
	}
}

// TestTooManyRules refuses a rule beyond what a program holds, which is not a matter of their number but of their shapes, and the link goes on with those before.
func TestTooManyRules(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l, _ := w.byHand(t, n, nil, 0)
	rules := suiteRules(t)
	for i := range 1000 {
		r := rules[0]
		r.ID, r.Local.Port = uint32(len(rules)+1), uint16(10000+i)
		rules = append(rules, r)
	}
	must(t, l.Claim(conformance.Claims(t, "l0", rules...)))
	for i := range demux.MaxChainShapes {
		r := rules[0]
		r.ID, r.Key = uint32(len(rules)+1), demux.Key{{Offset: i, Value: []byte{1}}}
		rules = append(rules, r)
	}
	if err := l.Claim(conformance.Claims(t, "l0", rules...)); errs.KindOf(err) != errs.Limit {
		t.Errorf("%d shapes: %v", demux.MaxChainShapes+1, err)
	}
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("x")), conformance.UDPFrame(w.mac, 10999, []byte("x")))
	var b packet.Batch
	c := n.Pool().Cache(0)
	conformance.Until(t, func() bool { l.Receive(c, &b); return b.Len() == 2 })
	c.FreeBatch(&b)
	must(t, l.Claim(conformance.Claims(t, "l0", rules[:1]...)))
}

// TestWithoutPrivileges opens a link on a thread that has put its capabilities down.
func TestWithoutPrivileges(t *testing.T) {
	w := newNetwork(t, 1)
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
		_, refused = n.OpenLink(nodeos.LinkSpec{Name: "jnl0", Driver: "xdp"})
		return unix.Capset(&head, &all[0])
	}))
	if errs.KindOf(refused) != errs.Permission || !strings.Contains(refused.Error(), "CAP_BPF") || !strings.Contains(refused.Error(), "jnl0") {
		t.Errorf("without privileges: %v", refused)
	}
	if program(t, w) != 0 {
		t.Error("the refused link leaves its program")
	}
	w.open(t, n, spec(nil))
}

// TestQueueCount changes the number of the interface's queues under an open link.
func TestQueueCount(t *testing.T) {
	w := newNetwork(t, 2)
	n := conformance.NewNode(t)
	must(t, setQueues(w.here, 1))
	l := w.open(t, n, spec(nil))
	l.Stats()
	if l.Err() != nil || len(l.queues) != 1 {
		t.Fatalf("%d queues, %v", len(l.queues), l.Err())
	}
	must(t, setQueues(w.here, 2))
	l.Stats()
	if err := l.Err(); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "had 1 receive queues") || !strings.Contains(err.Error(), "open it again") {
		t.Errorf("two queues now: %v", err)
	}
	must(t, n.CloseLink("l0"))
	if l = w.open(t, n, spec(nil)); len(l.queues) != 2 {
		t.Errorf("%d queues after opening again", len(l.queues))
	}
}

// TestGenericIsNoted opens an interface whose driver has no XDP.
func TestGenericIsNoted(t *testing.T) {
	w := newNetwork(t, 1)
	w.do(t, w.here, func(h *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "jnbr0"}}
		if err := h.LinkAdd(br); errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("this kernel has no bridges")
		} else if err != nil {
			return err
		}
		return h.LinkSetUp(br)
	})
	n := conformance.NewNode(t)
	must(t, w.here.Do(func() error {
		l, err := n.OpenLink(nodeos.LinkSpec{Name: "jnbr0", Driver: "xdp"})
		if err != nil {
			return err
		}
		if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "XDP is generic") || l.(*Link).Mode() != "generic" {
			t.Errorf("mode %s, notes %q", l.(*Link).Mode(), notes)
		}
		must(t, n.CloseLink("jnbr0"))
		_, err = n.OpenLink(nodeos.LinkSpec{Name: "jnbr0", Driver: "xdp", Opts: map[string]string{"mode": "native"}})
		if errs.KindOf(err) != errs.NotSupported || !strings.Contains(err.Error(), "mode native") {
			t.Errorf("native on a bridge: %v", err)
		}
		return nil
	}))
	l := w.open(t, n, spec(map[string]string{"zerocopy": "auto"}))
	if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "zero copy was refused") || l.ZeroCopy() {
		t.Errorf("zero copy %v, notes %q", l.ZeroCopy(), notes)
	}
}

// TestTags finds VLANs whose tags would be lost.
func TestTags(t *testing.T) {
	w := newNetwork(t, 1)
	must(t, w.here.Do(func() error {
		ctl, err := sys.OpenControl()
		if err != nil {
			return err
		}
		defer sys.CloseFD(ctl)
		if s, err := sys.VLANStripped(ctl, "jnl0"); err != nil || !s {
			return fmt.Errorf("stripped: %v, %v; a virtual Ethernet does", s, err)
		}
		if err := sys.OffloadsOff("jnl0"); err != nil {
			return err
		}
		if s, err := sys.VLANStripped(ctl, "jnl0"); err != nil || s {
			return fmt.Errorf("stripped after it was turned off: %v, %v", s, err)
		}
		if _, err := sys.VLANStripped(ctl, "jnnone0"); err == nil {
			return errors.New("an interface that is not there has flags")
		}
		return nil
	}))
	all := []netlink.Link{
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "d", ParentIndex: 7}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "v8", ParentIndex: 8}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "v7", ParentIndex: 7}},
	}
	l := &Link{device: "eth0"}
	if v := vlanOn(all, 7); v != "v7" || l.seesTags(false, v) != nil || vlanOn(all, 9) != "" || l.seesTags(true, "") != nil {
		t.Errorf("VLAN %q", v)
	}
	if err := l.seesTags(true, "v7"); errs.KindOf(err) != errs.NotSupported || !strings.Contains(err.Error(), "ethtool -K eth0 rxvlan off") {
		t.Errorf("%v", err)
	}
}
