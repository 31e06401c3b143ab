package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	_ "github.com/janos-os/janos/channels/all" // the drivers
	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/device" // FromDevice, ToDevice
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func init() {
	for _, d := range []struct{ driver, by string }{{"packet", "AF_PACKET"}, {"xdp", "AF_XDP"}} {
		register(Scenario{Name: d.driver + "-l2fwd", Tier: "kernel", Driver: d.driver, Root: true,
			Title: "a node forwards frames between two interfaces by " + d.by + ", beside the kernel's ip_forward", Text: l2fwdText, Open: openL2fwd(d.driver)})
	}
}

const l2fwdText = "Three namespaces in a row with virtual links, UDP frames of 64 bytes, 1,024 distinct ones with numbers: an AF_PACKET generator (sendmmsg of 64, no queueing " +
	"discipline), the device, and a sink that checks loss, duplicates and order. " +
	"'chain' is processor time per delivered packet of generator, device, sink and the processor's ksoftirqd, all bound to one processor and never more than " +
	"2,048 frames on their way; it is the figure to compare, for all devices pay for the same generator and sink. 'node' is the part of it that the node's worker thread " +
	"has: reading, deciding, sending, and what the kernel does in its name up to the sink's ring; reception up to the node's ring is done in the generator's name. " +
	"'loss-free' is the highest rate of a search (doubling, then four halvings) that lost, doubled and overtook nothing in one of two tries, the generator on the first " +
	"processor and the node on the last; 'goodput at twice' is what was delivered at twice that rate, as a part of it. ip_forward runs in the generator's name and routes by IP."

// window is how many frames the closed loop has on their way; less than any ring.
const window = 2048

// device is what forwards in a chain. A node of ours, or the kernel.
type device struct {
	name   string
	chain  *chain
	tester *tester
	node   *nodeos.Node // nil: the kernel
	router *click.Router
	lost   uint64 // in closed loops, where nothing should be
}

type l2fwdTrial struct {
	env     *Env
	driver  string
	devices []*device
	cpus    []int
	soft    int // ksoftirqd of the processor of the chain
}

func openL2fwd(driver string) func(*Env) (Trial, error) {
	return func(e *Env) (Trial, error) {
		if err := needRoot(); err != nil {
			return nil, err
		}
		if e.In != "" {
			if driver != "packet" {
				return nil, errs.New(errs.NotSupported, "generator and sink on one's own interfaces are AF_PACKET sockets: packet-l2fwd has them")
			}
			return openOutside(e)
		}
		if !slices.Contains(nodeos.Drivers(), driver) {
			return nil, errs.New(errs.NotSupported, "this program has no link driver %q", driver)
		}
		t := &l2fwdTrial{env: e, driver: driver}
		var err error
		if t.cpus, err = processors(); err != nil {
			return nil, err
		}
		t.soft = softirqThread(t.last())
		for _, kind := range []string{"ip_forward", "cut-through", "graph"} {
			d := &device{name: kind}
			t.devices = append(t.devices, d)
			if err := d.open(e, driver); err != nil {
				return nil, closeAfter(t, fmt.Errorf("%s: %w", kind, err))
			}
		}
		return t, nil
	}
}

func (t *l2fwdTrial) first() int { return t.cpus[0] }
func (t *l2fwdTrial) last() int  { return t.cpus[len(t.cpus)-1] }

func (d *device) open(e *Env, driver string) (err error) {
	if d.chain, err = newChain(); err != nil {
		return err
	}
	traffic := toOneNet(e.rand(3))
	for i, f := range traffic {
		traffic[i] = frame64(macR0, macA0, [4]byte{10, 0, 0, f[14+15]}, [4]byte{10, 0, 1, 2}, uint16(1024+i), 5678)
	}
	if d.tester, err = newTester(e.Clock, d.chain.source, "a0", d.chain.sink, "b0", traffic); err != nil {
		return err
	}
	if d.name == "ip_forward" {
		return d.chain.forward()
	}
	if d.node, err = nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed}); err != nil {
		return err
	}
	if err := d.chain.router.Do(func() error {
		for _, l := range []string{"r0", "r1"} {
			if _, err := d.node.OpenLink(nodeos.LinkSpec{Name: l, Driver: driver, Ring: 4096}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if d.name == "cut-through" {
		_, err = d.node.Root().NewCutChan(nodeos.InChanSpec{Protocol: "r0", Quota: 4096}, nodeos.OutChanSpec{Protocol: "r1"})
		return err
	}
	spec, err := click.Parse(d.name, "FromDevice(r0, QUOTA 4096) -> Queue(4096) -> ToDevice(r1);", click.ParseOptions{})
	if err != nil {
		return err
	}
	d.router, err = click.New(spec, click.Env{Domain: d.node.Root(), Worker: -1, Output: io.Discard})
	return err
}

func (d *device) close() error {
	var first error
	if d.router != nil {
		d.router.Close()
	}
	if d.node != nil {
		first = closeNode(d.node)
	}
	if d.tester != nil {
		first = firstError(first, d.tester.close())
	}
	if d.chain != nil {
		first = firstError(first, d.chain.close())
	}
	return first
}

// onWorker runs fn on the node's worker, if there is a node.
func (d *device) onWorker(fn func() error) (err error) {
	if d.node == nil {
		return nil
	}
	if !d.node.Worker(0).Call(func() { err = fn() }) {
		return errs.New(errs.Dead, "the node has ended")
	}
	return err
}

// place binds the node's worker to a processor until the function it returns is called.
func (d *device) place(cpu int) (undo func() error, err error) {
	all, err := processors()
	if err != nil {
		return nil, err
	}
	return func() error { return d.onWorker(func() error { return allow(all) }) }, d.onWorker(func() error { return bindTo(cpu) })
}

func (d *device) workerTime() (t time.Duration, err error) {
	err = d.onWorker(func() error { t = threadTime(); return nil })
	return t, err
}

// cost runs the closed loop with n frames on one processor and returns processor time per delivered packet, of everything and of
// the node's worker.
func (d *device) cost(cpu, soft, n int) (whole, node float64, err error) {
	undo, err := d.place(cpu)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = firstError(err, undo()) }()
	err = pinned(cpu, func() error {
		if err := d.tester.closed(4*window, window); err != nil { // fills caches and rings after the move
			return err
		}
		w0, err := d.workerTime()
		if err != nil {
			return err
		}
		t0, s0 := threadTime(), timeOf(soft)
		if err := d.tester.closed(n, window); err != nil {
			return err
		}
		t1, s1 := threadTime(), timeOf(soft)
		w1, err := d.workerTime()
		if err != nil {
			return err
		}
		l := &d.tester.ledger
		d.lost += uint64(n) - l.received
		if l.received < uint64(n)*9/10 || l.duplicates > 0 || l.overtaken > 0 {
			return errs.New(errs.Internal, "of %d frames %d arrived, %d twice, %d overtaken", n, l.received, l.duplicates, l.overtaken)
		}
		node = float64(w1-w0) / float64(l.received)
		whole = float64(t1-t0+s1-s0)/float64(l.received) + node
		return nil
	})
	return whole, node, err
}

// lossFree searches the highest rate at which nothing is lost. atLeast says that the generator was the limit.
func (d *device) lossFree(e *Env, generator, cpu int) (rate float64, atLeast bool, err error) {
	undo, err := d.place(cpu)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = firstError(err, undo()) }()
	err = pinned(generator, func() error {
		rate, atLeast, err = search(e, d.tester.paced, func() bool { return d.tester.ledger.clean(d.tester.sent) })
		return err
	})
	return rate, atLeast, err
}

// overload offers a rate and returns how many packets a second were delivered; short says that the generator did not reach it.
func (d *device) overload(e *Env, rate float64, generator, cpu int) (good float64, short bool, err error) {
	undo, err := d.place(cpu)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = firstError(err, undo()) }()
	err = pinned(generator, func() error {
		got, err := d.tester.paced(rate, e.Time)
		if err != nil || d.tester.sent == 0 {
			return err
		}
		short = got < 0.97*rate
		good = got * float64(d.tester.ledger.received) / float64(d.tester.sent)
		return nil
	})
	return good, short, err
}

// search finds the highest rate at which clean holds after try, between 10,000 and 20 million frames a second.
func search(e *Env, try func(rate float64, d time.Duration) (float64, error), clean func() bool) (rate float64, atLeast bool, err error) {
	pass := func(want float64) (ok, short bool, err error) {
		for range 2 {
			got, err := try(want, e.Time)
			if err != nil {
				return false, false, err
			}
			if e.Context.Err() != nil {
				return false, false, e.Context.Err()
			}
			if clean() {
				rate = max(rate, min(got, want))
				return true, got < 0.97*want, nil
			}
		}
		return false, false, nil
	}
	lo, hi := 0.0, math.Inf(1)
	for want := 10e3; want <= 20e6; want *= 2 {
		ok, short, err := pass(want)
		if err != nil {
			return 0, false, err
		}
		if short { // all that could be sent was delivered
			return rate, true, nil
		}
		if !ok {
			hi = want
			break
		}
		lo = want
	}
	if math.IsInf(hi, 1) {
		return rate, true, nil
	}
	for range 4 {
		want := (lo + hi) / 2
		ok, short, err := pass(want)
		if err != nil {
			return 0, false, err
		}
		if short {
			return rate, true, nil
		}
		if ok {
			lo = want
		} else {
			hi = want
		}
	}
	return rate, false, nil
}

// Measure implements Trial.
func (t *l2fwdTrial) Measure(r *Round) error {
	// About a microsecond or two a packet for the whole chain.
	n := max(int(t.env.Time/(2*time.Microsecond)), 4*window)
	for _, d := range t.devices {
		whole, node, err := d.cost(t.last(), t.soft, n)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		r.Add(d.name+" chain", "ns/packet", whole)
		if d.node != nil {
			r.Add(d.name+" node", "ns/packet", node)
			if err := r.Ratio(d.name+" chain to ip_forward chain", d.name+" chain", "ip_forward chain"); err != nil {
				return err
			}
		}
	}
	if t.soft == 0 {
		r.Note("ksoftirqd is not visible here: what it did is missing from 'chain'.")
	}
	if len(t.cpus) < 2 {
		r.Note("There is one processor only: no search for a loss-free rate.")
	} else {
		for _, d := range t.devices {
			rate, atLeast, err := d.lossFree(t.env, t.first(), t.last())
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			name := d.name + " loss-free"
			r.Add(name, "packets/s", rate)
			if atLeast {
				r.GeneratorBound(name)
			}
			good, short, err := d.overload(t.env, 2*rate, t.first(), t.last())
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			name = d.name + " goodput at twice loss-free"
			r.Add(name, "of loss-free", good/max(rate, 1))
			if short {
				r.GeneratorBound(name)
			}
		}
	}
	r.Note("Rings of 4,096 frames, one worker; reception is not spread over processors (no RPS).")
	for _, d := range t.devices {
		r.Add(d.name+" lost in closed loop", "lost", float64(d.lost))
		d.lost = 0
	}
	return nil
}

// Close implements Trial.
func (t *l2fwdTrial) Close() error {
	var first error
	for _, d := range t.devices {
		first = firstError(first, d.close())
	}
	return first
}
