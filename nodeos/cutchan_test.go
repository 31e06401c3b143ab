package nodeos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// frame puts headers in front of a payload.
func frame(t testing.TB, payload []byte, push ...func(p *packet.Packet) bool) []byte {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	p := pool.Cache(0).AllocFrom(packet.Node, payload)
	for _, f := range push {
		if !f(p) {
			t.Fatal("cannot build a frame")
		}
	}
	return append([]byte(nil), p.Data()...)
}

func ether(typ uint16) func(p *packet.Packet) bool {
	return func(p *packet.Packet) bool { return demux.PushEther(p, [6]byte{2, 2}, [6]byte{2, 1}, typ) }
}

func ip4(ttl uint8) func(p *packet.Packet) bool {
	return func(p *packet.Packet) bool {
		return demux.PushIPv4(p, &demux.IPHeader{Src: hostA, Dst: hostB, Proto: 99, TTL: ttl, ID: 7})
	}
}

func ip6(ttl uint8) func(p *packet.Packet) bool {
	a := netip.MustParseAddr("fd00::1")
	return func(p *packet.Packet) bool {
		return demux.PushIPv6(p, &demux.IPHeader{Src: a, Dst: a, Proto: 99, TTL: ttl})
	}
}

// cutRig is a cut-through channel between two links.
type cutRig struct {
	*rig
	a, b *pipe
	d    *Domain
	c    *CutChan
}

func newCut(t *testing.T, spec CutChanSpec) *cutRig {
	t.Helper()
	r := stepped(t, resctl.Spec{})
	x := &cutRig{rig: r, a: r.link("eth0"), b: r.link("eth1"), d: r.domain(r.node.Root(), resctl.Spec{Name: "d"})}
	var err error
	if x.c, err = x.d.NewCutThrough(spec); err != nil {
		t.Fatal(err)
	}
	return x
}

// pass returns what leaves for a frame, nil for nothing.
func (x *cutRig) pass(f []byte) []byte {
	x.Helper()
	x.b.out = nil
	x.a.feed(f)
	x.settle()
	switch len(x.b.out) {
	case 0:
		return nil
	case 1:
		return x.b.out[0]
	}
	x.Fatalf("%d frames left for one", len(x.b.out))
	return nil
}

var next = [6]byte{2, 7}

func TestOutChanTags(t *testing.T) {
	x := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next, VLAN: []uint16{5, 0xe006}}})
	want := "020700000000" + "020900000000" + "88a80005" + "8100e006" + "0800"
	if f := x.pass(frame(t, []byte("payload"), ether(0x0800))); fmt.Sprintf("%x", f[:min(len(f), 22)]) != want || string(f[22:]) != "payload" {
		t.Errorf("two tags: %x, want %s", f, want)
	}
	if err := x.c.Redirect(OutChanSpec{Protocol: "eth1/ether", LinkAddr: next, VLAN: []uint16{0x2007}}); err != nil {
		t.Fatal(err)
	}
	tagged := frame(t, []byte("payload"), ether(0x86dd), func(p *packet.Packet) bool { return demux.PushVLAN(p, 9) })
	if f := x.pass(tagged); fmt.Sprintf("%x", f[12:18]) != "8100200786dd" || string(f[18:]) != "payload" {
		t.Errorf("another tag: %x", f)
	}
	if err := x.c.Redirect(OutChanSpec{Protocol: "eth1/ether", LinkAddr: next}); err != nil {
		t.Fatal(err)
	}
	if f := x.pass(tagged); fmt.Sprintf("%x", f[12:14]) != "86dd" || string(f[14:]) != "payload" {
		t.Errorf("no tag: %x", f)
	}
	for _, s := range []OutChanSpec{
		{Protocol: "eth1/ether", VLAN: []uint16{1, 2, 3}}, {Protocol: "eth1", VLAN: []uint16{1}},
		{Protocol: "eth1/ether", NoChecksum: true}, {Protocol: "eth1/ether/ip6/udp", NoChecksum: true},
	} {
		if _, err := x.d.NewOutChan(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestOutChanNoChecksum(t *testing.T) {
	x := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:6", LinkAddr: next}})
	f := frame(t, []byte("payload"), ether(0x0800))
	if got := x.pass(f); len(got) != 49 || got[40] == 0 && got[41] == 0 {
		t.Errorf("with a checksum: %x", got)
	}
	if err := x.c.Redirect(OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:6", LinkAddr: next, NoChecksum: true}); err != nil {
		t.Fatal(err)
	}
	if got := x.pass(f); len(got) != 49 || got[40] != 0 || got[41] != 0 || demux.Checksum(got[14:34]) != 0 {
		t.Errorf("without: %x", got)
	}
}

func TestCutDecTTL(t *testing.T) {
	x := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next}, DecTTL: true})
	for ttl := range 256 {
		for _, c := range []struct {
			f       []byte
			at, len int
		}{
			{frame(t, []byte("x"), ip4(uint8(max(ttl, 1))), ether(0x0800)), 22, 20},
			{frame(t, []byte("x"), ip6(uint8(max(ttl, 1))), ether(0x86dd)), 21, 0},
		} {
			c.f[c.at] = byte(ttl)
			if c.len > 0 {
				binary.BigEndian.PutUint16(c.f[24:], 0)
				binary.BigEndian.PutUint16(c.f[24:], demux.Checksum(c.f[14:34]))
			}
			want := bytes.Clone(c.f)
			copy(want, next[:])
			copy(want[6:], []byte{2, 9, 0, 0, 0, 0})
			want[c.at]--
			got := x.pass(c.f)
			if ttl <= 1 {
				if got != nil {
					t.Fatalf("ttl %d left: %x", ttl, got)
				}
				continue
			}
			if c.len > 0 {
				if demux.Checksum(got[14:34]) != 0 {
					t.Fatalf("ttl %d: wrong checksum: %x", ttl, got)
				}
				copy(want[24:26], got[24:26])
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("ttl %d:\n%x, want\n%x", ttl, got, want)
			}
		}
	}
	wrong := frame(t, []byte("x"), ip4(9), ether(0x0806))
	short := frame(t, []byte("x"), ip4(9), ether(0x0800))[:33]
	if x.pass(wrong) != nil || x.pass(short) != nil {
		t.Error("what is no IP packet left")
	}
	if st := x.c.Stats(); st.TTL != 4 || st.Invalid != 2 || st.Packets != 508 {
		t.Errorf("%+v", st)
	}
}

func TestCutBitRate(t *testing.T) {
	x := newCut(t, CutChanSpec{
		In: InChanSpec{Protocol: "eth0/ether", Quota: 4096}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next},
		BitRate: 8_000_000, Burst: 20 * time.Millisecond, // 1000 frames of 1000 bytes a second
	})
	f := frame(t, make([]byte, 986), ether(0x0800))
	flood := func(n int) int {
		x.b.out = nil
		for range n {
			x.a.in = append(x.a.in, f)
		}
		x.a.rx.Wake()
		x.settle()
		return len(x.b.out)
	}
	x.until(clock.Time(time.Hour))
	if n := flood(100); n != 20 {
		t.Errorf("burst of %d frames, want 20", n)
	}
	total := 0
	for i := range 100 {
		x.until(clock.Time(time.Hour + time.Duration(i+1)*5*time.Millisecond))
		total += flood(20)
	}
	if total != 500 {
		t.Errorf("%d frames in half a second, want 500", total)
	}
	if st := x.c.Stats(); st.Rate != 80+2000-500 || st.Packets != 520 {
		t.Errorf("%+v", st)
	}
	x.until(clock.Time(3 * time.Hour))
	// The longest frame leaves however low the rate is.
	slow := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next}, BitRate: 1})
	if slow.pass(frame(t, make([]byte, 1500), ether(0x0800))) == nil {
		t.Error("a full frame never leaves at a low rate")
	}
	if slow.pass(frame(t, make([]byte, 1501), ether(0x0800))) != nil || slow.c.Stats().TooBig != 1 {
		t.Errorf("a frame above the MTU: %+v", slow.c.Stats())
	}
}

func TestCutRefuses(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	in, out := InChanSpec{Protocol: "eth0/ether"}, OutChanSpec{Protocol: "eth0/ether", LinkAddr: next}
	for _, c := range []struct {
		name string
		spec CutChanSpec
		want errs.Kind
	}{
		{"handler", CutChanSpec{In: InChanSpec{Protocol: "eth0/ether", Handler: func(*Worker, *packet.Batch) {}}, Out: out}, errs.Invalid},
		{"burst", CutChanSpec{In: in, Out: out, Burst: -1}, errs.Invalid},
		{"long burst", CutChanSpec{In: in, Out: out, Burst: MaxCutBurst + 1}, errs.Invalid},
		{"TTL of whole frames", CutChanSpec{In: InChanSpec{Protocol: "eth0"}, Out: out, DecTTL: true}, errs.Invalid},
		{"no type", CutChanSpec{In: InChanSpec{Protocol: "eth0/ether/ip/udp"}, Out: out}, errs.Invalid},
		{"no link", CutChanSpec{In: in, Out: OutChanSpec{Protocol: "eth1/ether"}}, errs.NotFound},
		{"no module", CutChanSpec{In: InChanSpec{Protocol: "eth0/nonsense"}, Out: out}, errs.Invalid},
	} {
		if _, err := d.NewCutThrough(c.spec); errs.KindOf(err) != c.want {
			t.Errorf("%s: %v, want kind %v", c.name, err, c.want)
		}
	}
	if n := len(r.node.InChans()); n != 0 || len(d.Tasks()) != 0 {
		t.Errorf("%d channels and %d tasks are left", n, len(d.Tasks()))
	}
	c, err := d.NewCutChan(in, out)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Redirect(OutChanSpec{Protocol: "eth7/ether"}); !errors.Is(err, errs.NotFound) || c.Out().Protocol() != "eth0/ether" {
		t.Errorf("redirect to a link that is not there: %v, now %s", err, c.Out().Protocol())
	}
	c.Close()
	if err := c.Redirect(out); !errors.Is(err, errs.Dead) {
		t.Errorf("redirect of a closed channel: %v", err)
	}
}

// cutterLink is a link that does cut-through channels by itself, as far as telling.
type cutterLink struct {
	*pipe
	refuse error
	now    []*cutterEntry
}

type cutterEntry struct {
	link    *cutterLink
	cut     Cut
	changes int
	closed  bool
}

func (l *cutterLink) Cut(c Cut) (CutEntry, error) {
	if l.refuse != nil {
		return nil, l.refuse
	}
	e := &cutterEntry{link: l, cut: c}
	l.now = append(l.now, e)
	return e, nil
}

func (e *cutterEntry) Change(c Cut) error {
	if e.link.refuse != nil {
		return e.link.refuse
	}
	e.cut = c
	e.changes++
	return nil
}
func (e *cutterEntry) Stats() CutStats { return CutStats{Packets: 10, Bytes: 100, TTL: 1, Up: 2} }
func (e *cutterEntry) Close()          { e.closed = true }

// TestCutterTakesOver follows a channel from user space to its link and back.
func TestCutterTakesOver(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	open := func(name string) *cutterLink {
		l := &cutterLink{pipe: &pipe{info: LinkInfo{Name: name, Driver: "cutter", Number: r.node.NextLinkNumber(), Base: demux.Ether, MTU: 1500, HWAddr: [6]byte{2, 9}}}}
		if err := r.node.AddLink(l, 0); err != nil {
			t.Fatal(err)
		}
		return l
	}
	a := open("eth0")
	open("eth1")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	spec := CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next, VLAN: []uint16{5}}, DecTTL: true, BitRate: 1e6, Burst: time.Second}
	c, err := d.NewCutThrough(spec)
	if err != nil {
		t.Fatal(err)
	}
	is := func(step, where, why string) {
		t.Helper()
		if w, y := c.Where(); w != where || y != why {
			t.Errorf("%s: %s because %q, want %s because %q", step, w, y, where, why)
		}
	}
	is("made", "kernel", "")
	e := a.now[0]
	if cut := e.cut; cut.Chan != c.In() || cut.Out.Info().Name != "eth1" || !cut.Typed || !cut.KeepType || !cut.DecTTL || cut.Dst != next || cut.Src != [6]byte{2, 9} ||
		len(cut.VLAN) != 1 || cut.VLAN[0] != 5 || cut.Most != 1500 || cut.BitRate != 1e6 || cut.Burst != time.Second || cut.IP != nil || cut.UDP || cut.Whole {
		t.Errorf("asked for %+v", cut)
	}
	redirect := func(s OutChanSpec) {
		t.Helper()
		if err := c.Redirect(s); err != nil {
			t.Fatal(err)
		}
	}
	tunnel := OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:6", Source: "10.0.0.9:7", LinkAddr: next, TTL: 9, TOS: 4, NoChecksum: true}
	redirect(tunnel)
	is("redirected", "kernel", "")
	if cut := e.cut; e.changes != 1 || cut.KeepType || cut.EtherType != 0x0800 || cut.IP == nil || cut.IP.Proto != 17 || cut.IP.TTL != 9 || cut.IP.TOS != 4 || !cut.UDP || cut.SrcPort != 7 || cut.DstPort != 6 || cut.Most != 1472 {
		t.Errorf("asked for %+v", cut)
	}
	tunnel.NoChecksum = false
	redirect(tunnel)
	is("checksum", "user", "the checksum of UDP is over the whole payload (NoChecksum, in a node file no-checksum: true, leaves it out over IPv4)")
	if !e.closed {
		t.Error("the entry stays")
	}
	for _, s := range []struct {
		out OutChanSpec
		why string
	}{
		{OutChanSpec{Protocol: "eth1/ether"}, "no hardware address to send to is known"},
		{OutChanSpec{Protocol: "eth1/ether/ip,", LinkAddr: next}, ""},
		{OutChanSpec{Protocol: "eth1/ether/ip", LinkAddr: next}, "no pair of addresses for ip is known"},
		{OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:", Source: "10.0.0.9:", LinkAddr: next, NoChecksum: true}, "no port to send to is known"},
		{OutChanSpec{Protocol: "eth1"}, "what leaves is a part of a frame"},
		{OutChanSpec{Protocol: "eth1/ether", LinkAddr: next, BitRate: 1e6}, ""},
		{OutChanSpec{Protocol: "eth1/ether/udp", LinkAddr: next}, ""},
		{OutChanSpec{Protocol: "eth1/ether/ip/ip", Address: "10.0.0.7,4", Source: "10.0.0.9", LinkAddr: next, Tunnels: []Tunnel{{Remote: hostB, Local: hostA}}}, "the kernel writes one layer of IP and no ANEP"},
		{OutChanSpec{Protocol: "eth1/ether/ip/udp/anep", Address: "7", Peer: "10.0.0.7:8", Source: "10.0.0.9:8", LinkAddr: next}, "the kernel writes one layer of IP and no ANEP"},
	} {
		if s.why == "" {
			if err := c.Redirect(s.out); err == nil {
				t.Errorf("%s was accepted", s.out.Protocol)
			}
			continue
		}
		redirect(s.out)
		is(s.out.Protocol, "user", s.why)
	}
	a.refuse = errs.New(errs.Limit, "it has too many")
	redirect(spec.Out)
	is("refused", "user", a.refuse.Error())
	a.refuse = nil
	redirect(spec.Out)
	is("taken again", "kernel", "")
	for _, set := range []func(rate uint64) error{c.Out().SetBitRate, c.Out().SetReserve, func(rate uint64) error { return r.node.SetLinkRate("eth1", rate) }} {
		if err := set(1e6); err != nil && errs.KindOf(err) != errs.Limit {
			t.Fatal(err)
		} else if err != nil {
			continue // no room for a reserve: nothing has changed
		}
		if where, why := c.Where(); where != "user" || why == "" {
			t.Errorf("with a rate: %s, %s", where, why)
		}
		if err := set(0); err != nil {
			t.Fatal(err)
		}
		is("without a rate", "kernel", "")
	}
	if st := c.Stats(); st.Packets != 40 || st.Kernel != 40 || st.TTL != 4 || st.Up != 8 {
		t.Errorf("two entries have counted %+v", st)
	}

	for _, name := range []string{"eth0", "eth1"} { // either link goes and comes back
		if err := r.node.CloseLink(name); err != nil {
			t.Fatal(err)
		}
		is("closed", "user", "link "+name+" is closed")
		for _, e := range a.now {
			if !e.closed {
				t.Error("an entry stays")
			}
		}
		if l := open(name); name == "eth0" {
			a = l
		}
		is("open again", "kernel", "")
	}
	last := a.now[len(a.now)-1]
	if last.cut.Out.Info().Number != c.Out().link.info.Number || last.closed {
		t.Error("the new link is not used")
	}
	d.Terminate(nil)
	r.settle()
	if !last.closed {
		t.Error("the entry outlives its domain")
	}
	is("dead", "user", "the channel is closed")
	if st := c.Stats(); st.Packets != 60 {
		t.Errorf("counters of the dead: %+v", st)
	}

	root := r.node.Root()
	for _, s := range []struct {
		spec CutChanSpec
		why  string
	}{
		{CutChanSpec{In: spec.In, Out: spec.Out, User: true}, "the channel's Spec wants it"},
		{CutChanSpec{In: InChanSpec{Protocol: "if/ether"}, Out: spec.Out}, "the channel is on every link"},
		{CutChanSpec{In: InChanSpec{Protocol: "x", HandOffOnly: true}, Out: OutChanSpec{Protocol: "eth1/ether", Address: "0x800", LinkAddr: next}}, "only hand-offs fill the channel"},
	} {
		if c, err = root.NewCutThrough(s.spec); err != nil {
			t.Fatal(err)
		}
		is(s.spec.In.Protocol, "user", s.why)
		c.Close()
	}
}

func TestCutThroughDoesNotAllocate(t *testing.T) {
	x := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:6", LinkAddr: next, VLAN: []uint16{5}, NoChecksum: true}, DecTTL: true, BitRate: 1e12})
	w := x.node.Worker(0)
	x.node.links["eth1"].ports[0].port = &quietPipe{pipe: x.b}
	f := frame(t, []byte("x"), ip4(9), ether(0x0800))
	var b packet.Batch
	if n := testing.AllocsPerRun(100, func() {
		for range 32 {
			p := w.cache.AllocFrom(x.d.owner, f)
			p.Pull(14)
			b.Append(p)
		}
		x.c.forward(w, &b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if st := x.c.Stats(); st.Packets != 32*101 {
		t.Errorf("%+v", st)
	}
}

func TestChannelLists(t *testing.T) {
	x := newCut(t, CutChanSpec{In: InChanSpec{Protocol: "eth0/ether"}, Out: OutChanSpec{Protocol: "eth1/ether", LinkAddr: next}})
	out, err := x.d.NewOutChan(OutChanSpec{Protocol: "eth1/ether", TTL: 3})
	if err != nil {
		t.Fatal(err)
	}
	if cs := x.node.CutChans(); len(cs) != 1 || cs[0] != x.c || cs[0].Spec().Out.LinkAddr != next || x.c.In().Spec().Protocol != "eth0/ether" {
		t.Errorf("cut-through channels %v", cs)
	}
	if cs := x.d.OutChans(); len(cs) != 1 || cs[0] != out || out.Spec().TTL != 3 {
		t.Errorf("out-channels %v", cs)
	}
	for range 100 { // nobody keeps these
		if _, err := x.d.NewOutChan(OutChanSpec{Protocol: "eth1/ether"}); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if n := len(x.d.outChans); n > 16 {
			t.Fatalf("%d out-channels are remembered", n)
		}
	}
	out.Close()
	if cs := x.d.OutChans(); slices.Contains(cs, out) {
		t.Error("a closed out-channel is listed")
	}
}
