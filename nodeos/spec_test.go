package nodeos

import (
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// The effects of attributes that no other test is about.

func TestNodeNameSeedAndWorkers(t *testing.T) {
	draw := func(seed uint64) [2]uint64 {
		n, err := NewNode(NodeSpec{Name: "n", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Seed: seed, Workers: 3, Packets: packet.PoolSpec{Frames: 8}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if n.Name() != "n" || n.Workers() != 3 || n.Worker(2).ID() != 2 || n.Pool().Spec().Workers != 3 {
			t.Errorf("%s, %d workers", n.Name(), n.Workers())
		}
		return [2]uint64{n.NewRand().Uint64(), n.NewRand().Uint64()}
	}
	if a, b := draw(1), draw(2); a != draw(1) || a == b || a[0] == a[1] {
		t.Errorf("seed 1 gave %v, seed 2 %v", a, b)
	}
}

func TestNodePacketsAndRoot(t *testing.T) {
	for _, s := range []packet.PoolSpec{
		{Frames: 4, FrameSize: 2048, Headroom: 128, Packets: 8},
		{Frames: 6, FrameSize: 4096, Headroom: 256, Packets: 7},
	} {
		n, err := NewNode(NodeSpec{Name: "n", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Packets: s, Root: resctl.Spec{Limit: resctl.Amounts{resctl.Memory: 100}}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		c := n.Worker(0).Cache()
		var all []*packet.Packet
		for p := c.Alloc(packet.Node); p != nil; p = c.Alloc(packet.Node) {
			all = append(all, p)
		}
		if len(all) != s.Frames || all[0].Headroom() != s.Headroom || all[0].Tailroom() != s.FrameSize-s.Headroom {
			t.Errorf("%+v: %d frames with %d and %d bytes", s, len(all), all[0].Headroom(), all[0].Tailroom())
		}
		for p := c.Clone(all[0]); p != nil; p = c.Clone(all[0]) {
			all = append(all, p)
		}
		if len(all) != s.Packets {
			t.Errorf("%+v: %d packets", s, len(all))
		}
		for _, p := range all {
			c.Free(p)
		}
		d := domain(t, n.Root(), "d", 0)
		if d.Account().Take(resctl.Memory, 101) == nil || d.Account().Take(resctl.Memory, 100) != nil {
			t.Error("the root's limit does not hold")
		}
		d.Account().Return(resctl.Memory, 100)
	}
}

// Tasks, timers and channels run on the worker that their Spec names, or on that of their domain.
func TestWorkerOfEach(t *testing.T) {
	clk := clock.NewVirtual(time.Time{})
	n, err := NewNode(NodeSpec{Name: "n", Clock: clk, Stepped: true, Workers: 3, Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	d := domain(t, n.Root(), "d", 2)
	if d.Home() != n.Worker(2) {
		t.Errorf("home is %d", d.Home().ID())
	}
	ran := make(map[string]int)
	for name, worker := range map[string]int{"home": -1, "other": 1} {
		task, err := d.NewTask(TaskSpec{Name: name, Worker: worker, Run: RunFunc(func(b Budget) Used { ran[name] = b.Worker.ID(); return Used{} })})
		if err != nil {
			t.Fatal(err)
		}
		if task.Name() != name || task.Stats().Name != name {
			t.Errorf("task %q is called %q", name, task.Name())
		}
		task.Wake()
		in, err := d.NewInChan(InChanSpec{HandOffOnly: true, Worker: worker, Handler: func(w *Worker, b *packet.Batch) {
			ran["channel "+name] = w.ID()
			w.Cache().FreeBatch(b)
		}})
		if err != nil {
			t.Fatal(err)
		}
		var b packet.Batch
		b.Append(n.Worker(0).Cache().Alloc(packet.Node))
		in.HandOff(n.Worker(0), &b)
	}
	if !Settle(100, n) {
		t.Fatal("no rest")
	}
	for name, want := range map[string]int{"home": 2, "other": 1, "channel home": 2, "channel other": 1} {
		if got, ok := ran[name]; !ok || got != want {
			t.Errorf("%s ran on worker %d (%v), want %d", name, got, ok, want)
		}
	}
}

func TestInChanKey(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	key, err := demux.ParseKey("0/" + "61") // a
	if err != nil {
		t.Fatal(err)
	}
	chans := make(map[string]*InChan)
	for name, spec := range map[string]InChanSpec{
		"key":  {Protocol: "eth0/ether/ip/udp", Address: ":7", Key: key},
		"rest": {Protocol: "eth0/ether/ip/udp", Address: ":7"},
	} {
		if chans[name], err = d.NewInChan(spec); err != nil {
			t.Fatal(err)
		}
	}
	l.feed(udp(t, 7, "a1"), udp(t, 7, "b1"), udp(t, 7, "a2"))
	r.settle()
	if k, rest := chans["key"].Stats().Packets, chans["rest"].Stats().Packets; k != 2 || rest != 1 {
		t.Errorf("the key got %d, the rest %d", k, rest)
	}
}

func TestOutChanHeaders(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	send := func(s OutChanSpec) []byte {
		c, err := d.NewOutChan(s)
		if err != nil {
			t.Fatal(err)
		}
		w := r.node.Worker(0)
		var b packet.Batch
		b.Append(w.Cache().AllocFrom(d.Owner(), []byte("payload")))
		l.out = nil
		c.Send(w, &b)
		if len(l.out) != 1 {
			t.Fatalf("%+v: %d frames", s, len(l.out))
		}
		return l.out[0]
	}
	addr := func(f []byte, at int) netip.Addr { return netip.AddrFrom4([4]byte(f[at : at+4])) }
	port := func(f []byte, at int) int { return int(f[at])<<8 | int(f[at+1]) }

	s := OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.7:700", LinkAddr: [6]byte{2, 7}}
	f := send(s)
	if [6]byte(f[:6]) != s.LinkAddr || f[15] != 0 || f[22] != demux.DefaultTTL || addr(f, 26) != netip.MustParseAddr("10.0.0.9") || addr(f, 30) != netip.MustParseAddr("10.0.0.7") || port(f, 34) != 700 || port(f, 36) != 700 {
		t.Errorf("defaults: %x", f)
	}
	s.Source, s.TTL, s.TOS = "10.0.0.8:800", 3, 0x28
	f = send(s)
	if f[15] != 0x28 || f[22] != 3 || addr(f, 26) != netip.MustParseAddr("10.0.0.8") || port(f, 34) != 800 || port(f, 36) != 700 {
		t.Errorf("set: %x", f)
	}
}

// A driver gets what the Spec says, and the link runs on the worker that it names.
func TestLinkSpecReachesItsDriver(t *testing.T) {
	n, err := NewNode(NodeSpec{Name: "n", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Workers: 2, Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var got LinkSpec
	RegisterDriver("nodeos-test", 0, func(_ *Node, number uint16, spec LinkSpec) (Link, error) {
		got = spec
		return &pipe{info: LinkInfo{Name: spec.Name, Number: number, Base: demux.Ether, MTU: 1500}}, nil
	})
	l, err := n.OpenLink(LinkSpec{Name: "l", Driver: "nodeos-test", Device: "dev", Worker: 1, Ring: 99, Opts: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "l" || got.Driver != "nodeos-test" || got.Device != "dev" || got.Worker != 1 || got.Ring != 99 || got.Opts["a"] != "b" {
		t.Errorf("the driver got %+v", got)
	}
	if named, err := n.Link("l"); err != nil || named != l || l.(*pipe).rx.Worker() != n.Worker(1) {
		t.Errorf("%v, on worker %d", err, l.(*pipe).rx.Worker().ID())
	}
}

func TestHandOffOnlyClaimsNothing(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	for claims, only := range []bool{true, false} {
		in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether", HandOffOnly: only})
		if err != nil {
			t.Fatal(err)
		}
		l.feed(udp(t, 7, "x"))
		r.settle()
		if l.claims != claims || in.Stats().Packets != uint64(claims) {
			t.Errorf("hand-off only %v: %d claims, %+v", only, l.claims, in.Stats())
		}
	}
}

// The task of a channel is woken by packets, by those that were there before it too, and another one takes its place.
func TestInChanSetTask(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	task := func(name string) *Task {
		task, err := d.NewTask(TaskSpec{Name: name, Worker: -1, Run: RunFunc(func(b Budget) Used {
			var batch packet.Batch
			got[name] += in.Receive(&batch)
			b.Worker.Cache().FreeBatch(&batch)
			return Used{}
		})})
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	l.feed(udp(t, 7, "x"), udp(t, 7, "y"))
	r.settle()
	in.SetTask(task("first"))
	r.settle()
	l.feed(udp(t, 7, "x"))
	r.settle()
	in.SetTask(task("second"))
	l.feed(udp(t, 7, "x"))
	r.settle()
	if got["first"] != 3 || got["second"] != 1 {
		t.Errorf("%v", got)
	}
}
