package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	register(Scenario{Name: "idle", Tier: "kernel", Driver: "packet", Root: true, Title: "a node that has nothing to do: processor time, and how fast it is awake",
		Text: "A whole node (execution environment, routing that says hello five times a second, generated graph) on two virtual links by AF_PACKET, with nobody on the other side. " +
			"'busy' is processor time of the process through time on the clock while nothing arrives, with all that the program that measures has open beside it: an upper bound. " +
			"'wake' is from just before the system call that sends one frame of 64 bytes until the first line of the handler of its channel, " +
			"after 2 to 12 ms without traffic: link, ring, wake-up, dispatcher, demultiplexing. 'low' is the default, 'normal' option latency=normal.",
		Open: openIdle})
}

// idleRig is a node on a chain.
type idleRig struct {
	name   string
	chain  *chain
	node   *node.Node
	tester *tester
	woken  chan time.Duration
}

type idleTrial struct {
	env  *Env
	rigs []*idleRig
}

func openIdle(e *Env) (Trial, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	t := &idleTrial{env: e}
	for _, latency := range []string{"normal", "low"} {
		g := &idleRig{name: latency, woken: make(chan time.Duration, 1)}
		t.rigs = append(t.rigs, g)
		if err := g.open(e); err != nil {
			return nil, closeAfter(t, fmt.Errorf("latency %s: %w", latency, err))
		}
	}
	return t, nil
}

// etherTest is the local experimental Ethernet type of IEEE 802.
const etherTest = "0x88b5"

func (g *idleRig) open(e *Env) (err error) {
	if g.chain, err = newChain(); err != nil {
		return err
	}
	if err := g.chain.forward(); err != nil { // for its addresses
		return err
	}
	var links []node.Link
	for _, n := range []string{"r0", "r1"} {
		links = append(links, node.Link{Name: n, Driver: "packet", Options: map[string]string{"latency": g.name}})
	}
	if err := g.chain.router.Do(func() error {
		var err error
		g.node, err = node.Start(&node.Spec{Name: "bench", Addr: ants.NodeAddr(0x0aff0001), Seed: e.Seed, Links: links}, node.Env{Clock: e.Clock})
		return err
	}); err != nil {
		return err
	}
	f := frame64(macR0, macA0, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 1, 2)
	f[12], f[13] = 0x88, 0xb5
	if g.tester, err = newTester(e.Clock, g.chain.source, "a0", g.chain.sink, "b0", [][]byte{f}); err != nil {
		return err
	}
	_, err = g.node.OS().Root().NewInChan(nodeos.InChanSpec{Protocol: "r0/ether", Address: etherTest, Handler: func(w *nodeos.Worker, b *packet.Batch) {
		select {
		case g.woken <- time.Duration(e.Clock.Now()):
		default: // a frame that nobody waits for any more
		}
		w.Cache().FreeBatch(b)
	}})
	return err
}

func (g *idleRig) close() error {
	var first error
	if g.node != nil {
		first = g.node.Close()
	}
	if g.tester != nil {
		first = firstError(first, g.tester.close())
	}
	if g.chain != nil {
		first = firstError(first, g.chain.close())
	}
	return first
}

// wake sends one frame after a silence and returns how long it took to be handled.
func (g *idleRig) wake(e *Env, silence time.Duration) (time.Duration, error) {
	pause(e, silence)
	select {
	case <-g.woken:
	default:
	}
	start := e.Clock.Now()
	if err := g.tester.send(1); err != nil {
		return 0, err
	}
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	select {
	case at := <-g.woken:
		return at - time.Duration(start), nil
	case <-limit.C:
		return 0, errs.New(errs.Timeout, "a frame was not handled within ten seconds")
	}
}

// Measure implements Trial.
func (t *idleTrial) Measure(r *Round) error {
	e := t.env
	rnd := e.rand(8)
	span := 10 * e.Time
	t0, c0 := e.Clock.Now(), processTime()
	pause(e, span)
	busy := float64(processTime()-c0) / float64(e.Clock.Now().Sub(t0))
	r.Add("busy, two nodes", "%", 100*busy)
	n := max(20, int(2*e.Time/time.Millisecond)) // 200 in the default time
	for _, g := range t.rigs {
		g.tester.begin(n)
		us := make([]float64, n)
		for i := range us {
			d, err := g.wake(e, time.Duration(2000+rnd.IntN(10000))*time.Microsecond)
			if err != nil {
				return fmt.Errorf("latency %s: %w", g.name, err)
			}
			us[i] = float64(d) / 1e3
		}
		slices.Sort(us)
		r.Add(g.name+", wake p50", "us", us[n/2])
		r.Add(g.name+", wake p99", "us", us[(n*99+99)/100-1])
		r.Add(g.name+", wake worst", "us", us[n-1])
	}
	r.Note("%d frames a round.", n)
	return e.Context.Err()
}

// Close implements Trial.
func (t *idleTrial) Close() error {
	var first error
	for _, g := range t.rigs {
		first = firstError(first, g.close())
	}
	return first
}
