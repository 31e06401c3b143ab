package nodeos

import (
	"errors"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is a link whose frames the test puts in and takes out on the worker.
type pipe struct {
	info   LinkInfo
	rx     *Task
	in     [][]byte
	out    [][]byte
	claims int
	refuse error
}

func (l *pipe) Info() LinkInfo { return l.info }
func (l *pipe) Attach(w *Worker, rx *Task) error {
	l.rx = rx
	return nil
}
func (l *pipe) Receive(c *packet.Cache, b *packet.Batch) bool {
	for len(l.in) > 0 && b.Room() > 0 {
		if p := c.AllocFrom(packet.Node, l.in[0]); p != nil {
			b.Append(p)
		}
		l.in = l.in[1:]
	}
	return len(l.in) > 0
}
func (l *pipe) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		l.out = append(l.out, append([]byte(nil), p.Data()...))
	}
	c.FreeBatch(b)
}
func (l *pipe) Flush(*packet.Cache) {}
func (l *pipe) Claim(c Claims) error {
	if l.refuse != nil {
		return l.refuse
	}
	l.claims = c.Program.Rules()
	return nil
}
func (l *pipe) Stats() LinkStats     { return LinkStats{} }
func (l *pipe) Detach(*packet.Cache) {}
func (l *pipe) Close() error         { return nil }

// feed puts frames in, on the link's worker.
func (l *pipe) feed(frames ...[]byte) {
	l.in = append(l.in, frames...)
	l.rx.Wake()
}

var (
	hostA = netip.MustParseAddr("10.0.0.1")
	hostB = netip.MustParseAddr("10.0.0.2")
)

// udp returns an Ethernet frame with a UDP datagram from hostA to hostB.
func udp(t testing.TB, port uint16, payload string) []byte {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	p := pool.Cache(0).AllocFrom(packet.Node, []byte(payload))
	if !demux.PushUDP(p, netip.AddrPortFrom(hostA, 1000), netip.AddrPortFrom(hostB, port)) ||
		!demux.PushIPv4(p, &demux.IPHeader{Src: hostA, Dst: hostB, Proto: demux.ProtoUDP}) ||
		!demux.PushEther(p, [6]byte{2, 2}, [6]byte{2, 1}, demux.EtherTypeIPv4) {
		t.Fatal("cannot build a frame")
	}
	return append([]byte(nil), p.Data()...)
}

type rig struct {
	*testing.T
	node *Node
	clk  *clock.Virtual
}

// stepped returns a node that the test drives.
func stepped(t *testing.T, root resctl.Spec) *rig {
	t.Helper()
	clk := clock.NewVirtual(time.Time{})
	n, err := NewNode(NodeSpec{Name: "t", Clock: clk, Stepped: true, Root: root, Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t, n, clk}
}

func (r *rig) settle() {
	r.Helper()
	for range 10000 {
		if !r.node.Step() {
			return
		}
	}
	r.Fatal("the node does not come to rest")
}

// until lets virtual time pass until at.
func (r *rig) until(at clock.Time) {
	r.Helper()
	for {
		r.settle()
		next := r.node.NextEvent()
		if next > at {
			r.clk.AdvanceTo(at)
			r.settle()
			return
		}
		r.clk.AdvanceTo(next)
	}
}

func (r *rig) domain(parent *Domain, spec resctl.Spec) *Domain {
	r.Helper()
	d, err := parent.NewDomain(DomainSpec{Account: spec})
	if err != nil {
		r.Fatal(err)
	}
	return d
}

func (r *rig) link(name string) *pipe {
	r.Helper()
	l := &pipe{info: LinkInfo{
		Name: name, Driver: "test", Number: r.node.NextLinkNumber(), Base: demux.Ether, MTU: 1500, HWAddr: [6]byte{2, 9},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24")},
	}}
	if err := r.node.AddLink(l, 0); err != nil {
		r.Fatal(err)
	}
	return l
}

func TestTasksTimersAndOrder(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	var log []string
	runs := 0
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(b Budget) Used {
		runs++
		log = append(log, "task")
		if runs == 1 {
			return Used{Next: IdleUntil, Until: b.Now.Add(5 * time.Millisecond)}
		}
		return Used{}
	})})
	if err != nil {
		t.Fatal(err)
	}
	t1 := d.NewTimer(-1, func(clock.Time) { log = append(log, "one") })
	t2 := d.NewTimer(-1, func(clock.Time) { log = append(log, "two") })
	never := d.NewTimer(-1, func(clock.Time) { log = append(log, "never") })
	t1.Set(clock.Time(3 * time.Millisecond))
	t2.Set(clock.Time(3 * time.Millisecond))
	never.Set(clock.Time(3 * time.Millisecond))
	never.Stop()
	task.Wake()
	task.Wake()
	r.until(clock.Time(time.Second))
	want := []string{"task", "one", "two", "task"}
	if len(log) != len(want) {
		t.Fatalf("log %v, want %v", log, want)
	}
	for i := range want {
		if log[i] != want[i] {
			t.Fatalf("log %v, want %v", log, want)
		}
	}
	if u := d.Account().Use(resctl.CPU); u < VirtualNanosPerRun*3 {
		t.Fatalf("the domain was charged %d ns", u)
	}
}

func TestInAndOutChannels(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":77", Source: ":3322"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":3322", Worker: -1, Handler: func(w *Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			got = append(got, string(p.Data()))
			if w.Cache().Owner(p) != d.Owner() {
				t.Error("a packet in the handler is not charged to the domain")
			}
			p.Anno.Dst = hostA
			p.Anno.LinkAddr, p.Anno.HasLink = [6]byte{2, 1}, true
		}
		out.Send(w, b)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if l.claims != 1 {
		t.Fatalf("the link was asked to claim %d rules", l.claims)
	}
	l.feed(udp(t, 3322, "hello"), udp(t, 9, "other"), udp(t, 3322, "again"))
	r.settle()
	if len(got) != 2 || got[0] != "hello" || got[1] != "again" {
		t.Fatalf("the handler got %q", got)
	}
	st, err := r.node.LinkStats("eth0")
	if err != nil || st.Unclaimed != 1 {
		t.Fatalf("unclaimed %d, %v", st.Unclaimed, err)
	}
	if len(l.out) != 2 || string(l.out[0][42:]) != "hello" || l.out[0][0] != 2 || l.out[0][1] != 1 {
		t.Fatalf("sent %d frames, first %x", len(l.out), l.out)
	}
	if s := in.Stats(); s.Packets != 2 || s.Held != 0 {
		t.Fatalf("in-channel %+v", s)
	}
	if u := d.Account().Use(resctl.Frames); u != 0 {
		t.Fatalf("%d frames still charged", u)
	}
	in.Close()
	r.settle()
	if l.claims != 0 {
		t.Fatalf("after close the link still claims %d rules", l.claims)
	}
}

func TestQuotaAndPoverty(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d", Limit: resctl.Amounts{resctl.Frames: 6}})
	full, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":1", Quota: 4, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	poor, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":2", Quota: 10, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		l.feed(udp(t, 1, "x"), udp(t, 2, "y"))
	}
	r.settle()
	f, p := full.Stats(), poor.Stats()
	if f.Held > 4 || f.Packets+f.Full+f.Poor != 10 || p.Packets+p.Full+p.Poor != 10 || f.Held+p.Held != 6 || p.Poor == 0 {
		t.Fatalf("quota 4: %+v; account of 6: %+v", f, p)
	}
	if u := d.Account().Use(resctl.Frames); u != 6 {
		t.Fatalf("account says %d frames", u)
	}
	var b packet.Batch
	if n := full.Receive(&b); n != f.Held {
		t.Fatalf("received %d", n)
	}
	r.node.Worker(0).Cache().FreeBatch(&b)
}

func TestBadChannels(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	for _, c := range []struct {
		spec InChanSpec
		kind errs.Kind
	}{
		{InChanSpec{Protocol: "eth0/ether/ipx"}, errs.Invalid},
		{InChanSpec{Protocol: "eth7/ether"}, errs.NotFound},
		{InChanSpec{Protocol: "eth0/ether/ip/udp", Address: "nowhere"}, errs.Invalid},
		{InChanSpec{Protocol: "eth0/ether", Quota: MaxQuota + 1}, errs.Invalid},
		{InChanSpec{Protocol: "eth0/ether", Worker: 3}, errs.Invalid},
	} {
		if _, err := d.NewInChan(c.spec); errs.KindOf(err) != c.kind {
			t.Errorf("%+v: %v, want %v", c.spec, err, c.kind)
		}
	}
	l.refuse = errors.New("no such program")
	if _, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether"}); !errors.Is(err, l.refuse) {
		t.Errorf("a refused claim gave %v", err)
	}
	l.refuse = nil
	if n := len(r.node.InChans()); n != 0 {
		t.Errorf("%d channels left behind", n)
	}
	for _, s := range []OutChanSpec{
		{Protocol: "eth0/ether/ip/ip/udp"}, {Protocol: "eth0/ip/udp"}, {Protocol: "eth9/ether"}, {Protocol: "eth0/ether/ip/udp", Address: "x"},
	} {
		if _, err := d.NewOutChan(s); err == nil {
			t.Errorf("out-channel %q was made", s.Protocol)
		}
	}
}

func TestOutChanCountsWhatItCannotSend(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp"})
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	add := func(size int, edit func(*packet.Packet)) {
		p := w.Cache().AllocFrom(d.Owner(), make([]byte, size))
		edit(p)
		b.Append(p)
	}
	good := func(p *packet.Packet) {
		p.Anno.Dst, p.Anno.DstPort, p.Anno.HasLink = hostB, 9, true
	}
	add(10, good)
	add(10, func(p *packet.Packet) {})                                                       // no destination
	add(10, func(p *packet.Packet) { good(p); p.Anno.HasLink = false })                      // no hardware address
	add(10, func(p *packet.Packet) { good(p); p.Anno.DstPort = 0 })                          // no port
	add(1500, good)                                                                          // above the MTU with its headers
	add(1472, good)                                                                          // just fits
	add(10, func(p *packet.Packet) { good(p); p.Anno.Dst = netip.MustParseAddr("fd00::1") }) // no such source
	out.Send(w, &b)
	if b.Len() != 0 || len(l.out) != 2 || out.Stats().Invalid != 5 {
		t.Fatalf("batch %d, sent %d, %+v", b.Len(), len(l.out), out.Stats())
	}
	r.settle()
	if u := d.Account().Use(resctl.Frames); u != 0 {
		t.Fatalf("%d frames leaked", u)
	}
}

func TestCutThrough(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	a, b := r.link("eth0"), r.link("eth1")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	c, err := d.NewCutChan(
		InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":5", Worker: -1},
		OutChanSpec{Protocol: "eth1/ether/ip/udp", Address: "10.0.0.7:6", LinkAddr: [6]byte{2, 7}})
	if err != nil {
		t.Fatal(err)
	}
	a.feed(udp(t, 5, "through"), udp(t, 6, "not"))
	r.settle()
	if len(b.out) != 1 || string(b.out[0][42:]) != "through" || b.out[0][37] != 6 {
		t.Fatalf("out: %x", b.out)
	}
	if st := c.Stats(); st != (CutStats{Packets: 1, Bytes: 7}) {
		t.Fatalf("%+v", st)
	}
	if where, why := c.Where(); where != "user" || why != "driver test of link eth0 has no other form" {
		t.Fatalf("%s, because %s", where, why)
	}
}

func TestHandOffMovesTheCharge(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	a := r.domain(r.node.Root(), resctl.Spec{Name: "a"})
	b := r.domain(r.node.Root(), resctl.Spec{Name: "b", Limit: resctl.Amounts{resctl.Frames: 2}})
	in, err := b.NewInChan(InChanSpec{HandOffOnly: true, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var batch packet.Batch
	shared := w.Cache().AllocFrom(a.Owner(), []byte("s"))
	batch.Append(w.Cache().Clone(shared))
	for range 3 {
		batch.Append(w.Cache().AllocFrom(a.Owner(), []byte("x")))
	}
	if n := in.HandOff(w, &batch); n != 2 || batch.Len() != 0 {
		t.Fatalf("%d were handed off", n)
	}
	r.settle()
	if a.Account().Use(resctl.Frames) != 1 || b.Account().Use(resctl.Frames) != 2 {
		t.Fatalf("a pays %d, b pays %d", a.Account().Use(resctl.Frames), b.Account().Use(resctl.Frames))
	}
	in.Receive(&batch)
	if w.Cache().Shared(batch.At(0)) {
		t.Fatal("a reference crossed domains")
	}
	w.Cache().FreeBatch(&batch)
	w.Cache().Free(shared)
}

func TestTerminateTakesEverythingBack(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	var exits []string
	onExit := func(e Exit) { exits = append(exits, e.Domain) }
	top, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "top"}, OnExit: onExit})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := top.NewDomain(DomainSpec{Account: resctl.Spec{Name: "sub", Reserve: resctl.Amounts{resctl.Memory: 100}}, OnExit: onExit})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":1", Worker: -1}); err != nil {
		t.Fatal(err)
	}
	ran := 0
	spin, err := sub.NewTask(TaskSpec{Name: "spin", Worker: -1, Run: RunFunc(func(Budget) Used { ran++; return Used{Next: More} })})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Account().Take(resctl.Memory, 50); err != nil {
		t.Fatal(err)
	}
	sub.OnDestroy(func() { sub.Account().Return(resctl.Memory, 50) })
	sub.NewTimer(-1, func(clock.Time) { t.Error("a timer fired after its domain ended") }).Set(clock.Time(time.Second))
	w := r.node.Worker(0)
	for range 10 { // lost packets: nobody holds a pointer to them
		w.Cache().Clone(w.Cache().Alloc(sub.Owner()))
	}
	l.feed(udp(t, 1, "x"), udp(t, 1, "y"))
	spin.Wake()
	for range 3 {
		r.node.Step()
	}
	if ran == 0 {
		t.Fatal("the task did not run")
	}
	reason := errors.New("enough")
	top.Terminate(reason)
	top.Terminate(errors.New("too late"))
	before := ran
	r.settle()
	if ran != before {
		t.Fatal("the task ran after termination")
	}
	if len(exits) != 2 || exits[0] != "node/top/sub" || exits[1] != "node/top" {
		t.Fatalf("exits %v: want the descendant first, each once", exits)
	}
	if top.State() != Dead || !errors.Is(top.Reason(), reason) || !sub.Account().Closed() {
		t.Fatalf("state %v, reason %v, account closed %v", top.State(), top.Reason(), sub.Account().Closed())
	}
	if l.claims != 0 {
		t.Fatalf("the link still claims %d rules", l.claims)
	}
	st := r.node.Pool().Stats()
	if st.ByState[packet.Free] != 1024 {
		t.Fatalf("frames %v", st.ByState)
	}
	root := r.node.Root().Account()
	if root.Use(resctl.Memory) != 0 || root.Use(resctl.Frames) != 0 {
		t.Fatalf("root holds %d bytes, %d frames", root.Use(resctl.Memory), root.Use(resctl.Frames))
	}
	r.until(clock.Time(2 * time.Second))
	if _, err := top.NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}}); errs.KindOf(err) != errs.Dead {
		t.Fatalf("a dead domain bore a child: %v", err)
	}
	if again := r.domain(r.node.Root(), resctl.Spec{Name: "top"}); again.State() != Active {
		t.Fatal("the name was not free again")
	}
}

// keeper is a link that keeps what it is given to send, as a driver does until the kernel is done with it.
type keeper struct {
	*pipe
	kept packet.Batch
}

func (k *keeper) Send(_ *packet.Cache, b *packet.Batch) { b.MoveTo(&k.kept) }

func TestFramesBeingSentOutliveTheirDomain(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	k := &keeper{pipe: l}
	r.node.links["eth0"].ports[0].port = k
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:9", LinkAddr: [6]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	b.Append(w.Cache().AllocFrom(d.Owner(), []byte("under way")))
	out.Send(w, &b)
	d.Terminate(nil)
	r.settle()
	if d.State() != Dead || d.Account().Use(resctl.Frames) != 0 || k.kept.Len() != 1 {
		t.Fatalf("state %v, %d frames charged, %d kept", d.State(), d.Account().Use(resctl.Frames), k.kept.Len())
	}
	if p := k.kept.At(0); string(p.Data()[42:]) != "under way" || w.Cache().Owner(p) != packet.Node {
		t.Fatal("the frame was taken from the driver")
	}
	w.Cache().FreeBatch(&k.kept)
	if st := r.node.Pool().Stats(); st.ByState[packet.Free] != 1024 {
		t.Fatalf("frames %v", st.ByState)
	}
}

func TestTerminateFromInside(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	task, err := d.NewTask(TaskSpec{Name: "suicide", Worker: -1, Run: RunFunc(func(Budget) Used {
		d.Terminate(errs.New(errs.Limit, "own wish"))
		return Used{Next: More}
	})})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	r.settle()
	if d.State() != Dead || errs.KindOf(d.Reason()) != errs.Limit {
		t.Fatalf("%v, %v", d.State(), d.Reason())
	}
}

func TestLeakedAccountIsReported(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	if err := d.Account().Take(resctl.Memory, 10); err != nil {
		t.Fatal(err)
	}
	d.Terminate(nil)
	r.settle()
	if errs.KindOf(d.Reason()) != errs.Internal {
		t.Fatalf("a leak of ten bytes gave %v", d.Reason())
	}
	d.Account().Return(resctl.Memory, 10)
}

func TestSharesOnAWorker(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	runs := make(map[string]int)
	for name, share := range map[string]resctl.Share{"one": 100, "three": 300} {
		d := r.domain(r.node.Root(), resctl.Spec{Name: name, Share: share})
		task, err := d.NewTask(TaskSpec{Name: name, Worker: -1, Run: RunFunc(func(Budget) Used { runs[name]++; return Used{Next: More} })})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
	}
	for range 200 {
		r.node.Step()
	}
	if ratio := float64(runs["three"]) / float64(runs["one"]); ratio < 2.85 || ratio > 3.15 {
		t.Fatalf("runs %v: ratio %.2f, want 3", runs, ratio)
	}
}

// Two real workers: packets cross by hand-off and by another worker's link while domains come and go.
func TestWorkersUnderChurn(t *testing.T) {
	n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewReal(), Workers: 2, Packets: packet.PoolSpec{Frames: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	l := &pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24")}}}
	if err := n.AddLink(l, 1); err != nil {
		t.Fatal(err)
	}
	var delivered atomic.Int64
	frame := udp(t, 7, "payload")
	for round := range 20 {
		a, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "a"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "b"}, Worker: 1})
		if err != nil {
			t.Fatal(err)
		}
		out, err := b.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:9", LinkAddr: [6]byte{2}})
		if err != nil {
			t.Fatal(err)
		}
		enough := make(chan struct{})
		var got atomic.Int64
		sink, err := b.NewInChan(InChanSpec{HandOffOnly: true, Worker: -1, Handler: func(w *Worker, batch *packet.Batch) {
			delivered.Add(int64(batch.Len()))
			if got.Add(int64(batch.Len())) >= 100 {
				select {
				case <-enough:
				default:
					close(enough)
				}
			}
			out.Send(w, batch)
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: func(w *Worker, batch *packet.Batch) {
			sink.HandOff(w, batch)
		}}); err != nil {
			t.Fatal(err)
		}
		for fed := false; !fed; {
			n.Worker(1).Call(func() {
				for range 50 {
					l.feed(frame)
				}
			})
			select {
			case <-enough:
				fed = true
			default:
			}
		}
		if round%2 == 0 {
			b.Terminate(nil) // the receiver goes first, with packets under way
		}
		a.Terminate(nil)
		b.Terminate(nil)
		<-a.Done()
		<-b.Done()
	}
	if delivered.Load() < 2000 {
		t.Fatalf("only %d packets arrived", delivered.Load())
	}
	var st packet.Stats
	for i := range 2 {
		n.Worker(i).Call(func() { n.Worker(i).cache.Flush() })
	}
	n.Worker(1).Call(func() { l.in = nil })
	n.Worker(0).Call(func() {})
	st = n.Pool().Stats()
	if st.ByState[packet.Held] != 0 && len(st.Charged) != 0 {
		t.Fatalf("frames %v charged %v", st.ByState, st.Charged)
	}
	if u := n.Root().Account().Use(resctl.Frames); u != 0 {
		t.Fatalf("%d frames charged at the end", u)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// A channel that is closed takes its handler's task along.
func TestClosedChannelsLeaveNoTasks(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	for range 3 {
		c, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: func(w *Worker, b *packet.Batch) { w.Cache().FreeBatch(b) }})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(d.Tasks()); n != 1 {
			t.Fatalf("%d tasks with one channel", n)
		}
		c.Close()
		r.node.Step()
	}
	if n := len(d.Tasks()); n != 0 {
		t.Errorf("%d tasks of closed channels", n)
	}
}

func TestPathDoesNotAllocate(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:9", LinkAddr: [6]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := d.NewInChan(InChanSpec{HandOffOnly: true, Worker: -1, Handler: func(w *Worker, b *packet.Batch) { out.Send(w, b) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: func(w *Worker, b *packet.Batch) {
		sink.HandOff(w, b)
	}}); err != nil {
		t.Fatal(err)
	}
	frame := udp(t, 7, "payload")
	frames := make([][]byte, 64)
	for i := range frames {
		frames[i] = frame
	}
	l.out = make([][]byte, 0, 1<<20)
	quiet := &quietPipe{pipe: l}
	r.node.links["eth0"].ports[0].port = quiet
	if n := testing.AllocsPerRun(50, func() {
		l.in = frames
		l.rx.Wake()
		for r.node.Step() {
		}
	}); n != 0 {
		t.Fatalf("%v allocations for 64 packets", n)
	}
	if quiet.sent == 0 {
		t.Fatal("nothing was sent")
	}
}

// quietPipe counts instead of keeping what is sent.
type quietPipe struct {
	*pipe
	sent int
}

func (q *quietPipe) Send(c *packet.Cache, b *packet.Batch) {
	q.sent += b.Len()
	c.FreeBatch(b)
}

func BenchmarkHandOff(b *testing.B) {
	n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewVirtual(time.Time{}), Stepped: true})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	from, _ := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "from"}})
	to, _ := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "to"}})
	in, err := to.NewInChan(InChanSpec{HandOffOnly: true, Worker: -1})
	if err != nil {
		b.Fatal(err)
	}
	w := n.Worker(0)
	var batch packet.Batch
	b.ReportAllocs()
	for i := 0; i < b.N; i += 64 {
		for range 64 {
			batch.Append(w.Cache().Alloc(from.Owner()))
		}
		in.HandOff(w, &batch)
		in.Receive(&batch)
		w.Cache().FreeBatch(&batch)
	}
}

func TestSimulateRunsNodesOnOneClock(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	before := runtime.NumGoroutine()
	other, err := NewNode(NodeSpec{Name: "u", Clock: r.clk, Stepped: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines with a node that is stepped, %d without", n, before)
	}
	var log []string
	ticks := func(n *Node, name string, every time.Duration) {
		d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		var timer *Timer
		timer = d.NewTimer(-1, func(now clock.Time) {
			log = append(log, name)
			timer.Set(now.Add(every))
		})
		timer.Set(clock.Time(every))
	}
	ticks(r.node, "a", 20*time.Millisecond)
	ticks(other, "b", 30*time.Millisecond)
	if !Simulate(r.clk, clock.Time(60*time.Millisecond), r.node, other) {
		t.Fatal("no rest")
	}
	// At 60 ms both are due; the node that was named first goes first.
	want := []string{"a", "b", "a", "a", "b"}
	if len(log) != len(want) {
		t.Fatalf("log %v, want %v", log, want)
	}
	for i := range want {
		if log[i] != want[i] {
			t.Fatalf("log %v, want %v", log, want)
		}
	}
	if r.clk.Now() != clock.Time(60*time.Millisecond) {
		t.Fatalf("clock at %v", r.clk.Now())
	}
}
