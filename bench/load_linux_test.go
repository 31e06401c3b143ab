package bench

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

func testEnv() *Env {
	return &Env{Context: context.Background(), Clock: clock.NewReal(), Seed: 1, Time: 10 * time.Millisecond, Quick: true}
}

// redirected is a chain whose router redirects, with the kernel's generator before it.
func redirected(t *testing.T, ports int) *device {
	t.Helper()
	root(t)
	d := &device{name: "redirect"}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.open(testEnv(), loads{to: macR0, ports: ports, sink: hookXDP, live: true, chunk: 1024}); err != nil {
		t.Fatal(err)
	}
	if err := d.chain.router.Do(func() error {
		closer, err := openRedirect("r0", "r1")
		if err == nil {
			d.later(closer)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLiveFramesArriveOnceAndInOrder(t *testing.T) {
	d := redirected(t, 1)
	x := d.closed
	if err := pinned(0, func() error { return x.closed(4000, 1024) }); err != nil {
		t.Fatal(err)
	}
	if !x.ledger.clean(4000) || x.sent != 4000 || x.ledger.foreign != 0 || x.ledger.timed != 0 {
		t.Errorf("closed: sent %d, %+v", x.sent, x.ledger)
	}
	// By schedule: how many deadlines are kept depends on the machine, what arrives does not.
	var reached float64
	if err := pinned(0, func() (err error) { reached, err = x.paced(50e3, 50*time.Millisecond); return err }); err != nil {
		t.Fatal(err)
	}
	if !x.ledger.clean(2500) || x.sent != 2500 || x.ledger.timed != 2500/16+1 || x.ledger.goodput() <= 0 || x.ledger.quantile(.5) <= 0 {
		t.Errorf("paced: sent %d, %+v", x.sent, x.ledger)
	}
	// With bounded waits it cannot be faster than its schedule, but for what a hundred microseconds of lateness may be made up for.
	if reached <= 0 || reached > 50e3*1.01 {
		t.Errorf("%v frames a second, wanted 50,000; %d deadlines missed", reached, x.missed)
	}
	if err := pinned(0, func() error { return x.flood(3000) }); err != nil || x.sent != 3000 || x.ledger.received == 0 {
		t.Errorf("flood: %v, sent %d, %+v", err, x.sent, x.ledger)
	}
}

// TestThreadedNAPI moves reception to a thread of the kernel and back.
func TestThreadedNAPI(t *testing.T) {
	d := redirected(t, 16)
	before := len(napiThreads("r0"))
	cpus, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	during := 0
	if err := d.deviceCore(cpus[0], cpus[len(cpus)-1], func() error {
		during = len(napiThreads("r0"))
		_, err := d.rates.paced(50e3, 20*time.Millisecond)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if during <= before || d.rates.ledger.received != 1000 {
		t.Errorf("%d threads before, %d during; %+v", before, during, d.rates.ledger)
	}
}

// TestSinkSeesWhatIsWrong gives the sink's program frames directly.
func TestSinkSeesWhatIsWrong(t *testing.T) {
	root(t)
	for _, at := range []hook{hookXDP, hookTC} {
		c := &countIn{}
		var err error
		if c.state, c.words, err = sharedState("jnb_sink", inSize); err != nil {
			t.Fatal(err)
		}
		sort := ebpf.XDP
		if at == hookTC {
			sort = ebpf.SchedCLS
		}
		if c.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jnb_sink", Type: sort, License: "GPL", Instructions: countCode(c.state.FD(), at)}); err != nil {
			t.Fatal(err)
		}
		var l ledger
		c.begin(9)
		l.begin(9, 0)
		run := func(number uint32, when uint64, damage int) uint32 {
			f := frame64(macB0, macR1, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, 1, 2)
			stamp(f, 9, number, when)
			if damage >= 0 {
				f[damage] ^= 1
			}
			ret, err := c.prog.Run(&ebpf.RunOptions{Data: f})
			if err != nil {
				t.Fatal(err)
			}
			return ret
		}
		drop, pass := uint32(xdpDrop), uint32(xdpPass)
		if at == hookTC {
			next := int32(tcxNext)
			drop, pass = tcxDrop, uint32(next)
		}
		for _, n := range []uint32{0, 1, 2, 5, 4, 16} { // 3 lost, 4 overtaken
			if ret := run(n, 1, -1); ret != drop {
				t.Errorf("hook %d: verdict %d on frame %d", at, ret, n)
			}
		}
		run(15, 1, dportAt+1) // of another port: in order
		run(16, 1, -1)        // twice
		run(17, 1, tagAt+5)   // its number
		run(18, 1, tagAt+16)  // its check
		run(19, 1, tagAt+2)   // its run
		if ret := run(20, 1, tagAt); ret != pass {
			t.Errorf("hook %d: a frame that is not stamped: verdict %d", at, ret)
		}
		if short, err := c.prog.Run(&ebpf.RunOptions{Data: make([]byte, tagAt)}); err != nil || short != pass {
			t.Errorf("hook %d: a short frame: verdict %d, %v", at, short, err)
		}
		if !c.drain(&l) || c.drain(&l) {
			t.Error("drain does not say what is new")
		}
		if l.received != 8 || l.overtaken != 2 || l.corrupted != 2 || l.foreign != 1 || l.timed != 2 || l.clean(7) {
			t.Errorf("hook %d: %+v", at, l)
		}
		c.begin(10)
		l.begin(10, 0)
		if c.drain(&l) || l.received+l.overtaken+l.foreign != 0 {
			t.Errorf("hook %d: begin leaves %+v", at, l)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGeneratorWritesEveryFrameAnew runs the program on memory that the former use has changed.
func TestGeneratorWritesEveryFrameAnew(t *testing.T) {
	root(t)
	d := redirected(t, 16)
	o := d.rates.out.(*liveOut)
	o.words.At(outRun).Store(3)
	o.words.At(outNumber).Store(1025)
	o.words.At(outLimit).Store(1027)
	for _, want := range []uint32{1025, 1026} {
		dirty := make([]byte, 64)
		for i := range dirty {
			dirty[i] = 0xff
		}
		out := make([]byte, 64)
		if _, err := o.flood.Run(&ebpf.RunOptions{Data: dirty, DataOut: out}); err != nil {
			t.Fatal(err)
		}
		f := frame64(macR0, macA0, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, uint16(1024+want%1024), uint16(chainPort+want%16))
		stamp(f, 3, want, 0)
		binary.BigEndian.PutUint16(f[40:], 0xeacc) // not 0x1533, the sum of the pseudo-header, by which unfinished checksums are known
		if string(out) != string(f) {
			t.Errorf("frame %d\n got %x\nwant %x", want, out, f)
		}
	}
	if ret, err := o.flood.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil || ret != xdpDrop {
		t.Errorf("beyond the limit: verdict %d, %v", ret, err)
	}
}

func TestXSKGenerator(t *testing.T) {
	root(t)
	c := bridged(t)
	x := &tester{clock: clock.NewReal(), stall: stall}
	defer func() {
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := c.source.Do(func() error {
		o, err := openXSKOut("a0", chainTraffic(macOther))
		if err == nil {
			x.out = o
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.sink.Do(func() error {
		i, err := openCountIn("b0", hookTC)
		if err != nil {
			return err
		}
		x.in = i
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := x.closed(5000, 512); err != nil || !x.ledger.clean(5000) {
		t.Errorf("%v: %+v", err, x.ledger)
	}
	if _, err := x.paced(20e3, 50*time.Millisecond); err != nil || x.sent == 0 || x.sent > 1000 || x.ledger.received == 0 || x.ledger.timed == 0 {
		t.Errorf("%v: sent %d, %+v", err, x.sent, x.ledger)
	}
}

func TestSinkLeavesAForeignProgramAlone(t *testing.T) {
	root(t)
	d := redirected(t, 1)
	if err := d.chain.router.Do(func() error { _, err := openCountIn("r0", hookXDP); return err }); errs.KindOf(err) != errs.Exists {
		t.Errorf("an interface with a program: %v", err)
	}
	if err := d.closed.closed(100, 100); err != nil || !d.closed.ledger.clean(100) {
		t.Errorf("%v: %+v", err, d.closed.ledger)
	}
}

func TestSpareInterfaces(t *testing.T) {
	if err := spare("lo", false); errs.KindOf(err) != errs.Invalid {
		t.Errorf("loopback: %v", err)
	}
	if err := spare("lo", true); err != nil {
		t.Errorf("loopback, forced: %v", err)
	}
	if err := spare("jnnone0", true); errs.KindOf(err) != errs.NotFound {
		t.Errorf("an interface that is not there: %v", err)
	}
	v4 := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"eth2\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\nrubbish\n"
	if by := routesOf4(v4); len(by) != 1 || !by["eth0"] {
		t.Errorf("%v", by)
	}
	zero := "00000000000000000000000000000000"
	v6 := zero + " 00 " + zero + " 00 " + zero + " 00000400 00000001 00000000 00000003 eth3\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200 lo\n" +
		"fe800000000000000000000000000000 40 " + zero + " 00 " + zero + " 00000100 00000001 00000000 00000001 eth4\nrubbish\n"
	if by := routesOf6(v6); len(by) != 1 || !by["eth3"] {
		t.Errorf("%v", by)
	}
}
