package bench

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/threads" // StaticThreadSched
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func init() {
	register(Scenario{Name: "graph-threads", Tier: "memory", Title: "two independent paths on one worker and on two",
		Text: "Two sources, each with a filter of ten rules, a counter and a sink of its own, with StaticThreadSched on one worker or on two of one node. 'rate' is packets of both " +
			"paths by the clock, 'cost' processor time of the process per packet. On a machine that others use, the rate of two workers says less than their cost.",
		Open: openThreads})
}

// threadRig is a running graph of two paths.
type threadRig struct {
	name   string
	node   *nodeos.Node
	router *click.Router
}

type threadTrial struct {
	env  *Env
	rigs []*threadRig
}

func openThreads(e *Env) (Trial, error) {
	if runtime.NumCPU() < 2 {
		return nil, errs.New(errs.NotSupported, "two workers need two processors")
	}
	t := &threadTrial{env: e}
	for n := 1; n <= 2; n++ {
		name := "1 worker"
		if n > 1 {
			name = fmt.Sprintf("%d workers", n)
		}
		node, err := nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed, Workers: n})
		if err != nil {
			return nil, closeAfter(t, err)
		}
		g := &threadRig{name: name, node: node}
		t.rigs = append(t.rigs, g)
		config := fmt.Sprintf("StaticThreadSched(s1 0, s2 %d);", n-1)
		for i := 1; i <= 2; i++ {
			config += fmt.Sprintf("s%d :: BenchSource(32) -> MarkIPHeader(14) -> IPFilter(%s) -> c%d :: Counter -> Discard;\n", i, tenRules, i)
		}
		spec, err := click.Parse(name, config, click.ParseOptions{})
		if err != nil {
			return nil, closeAfter(t, err)
		}
		if g.router, err = click.New(spec, click.Env{Domain: node.Root(), Worker: 0, Threads: n, Output: io.Discard, Values: map[string]any{packetsValue: toOneNet(e.rand(0))}}); err != nil {
			return nil, closeAfter(t, err)
		}
	}
	return t, nil
}

// passed returns how many packets left the sources and reached the sinks.
func (g *threadRig) passed() (sent, got uint64, err error) {
	derr := g.router.Do(func() {
		for _, i := range []string{"1", "2"} {
			v, rerr := g.router.ReadHere("c"+i+".count", "")
			n, perr := strconv.ParseUint(v, 10, 64)
			err = firstError(err, rerr, perr)
			got += n
			sent += g.router.Element("s" + i).(*source).count
		}
	})
	return sent, got, firstError(derr, err)
}

func (g *threadRig) set(on bool) error {
	return g.router.Do(func() {
		for _, s := range []string{"s1", "s2"} {
			g.router.Element(s).(*source).set(on)
		}
	})
}

func (g *threadRig) measure(e *Env) (rate, cost float64, err error) {
	before, _, err := g.passed()
	if err != nil {
		return 0, 0, err
	}
	runtime.GC()
	start, used := e.Clock.Now(), processTime()
	if err := g.set(true); err != nil {
		return 0, 0, err
	}
	pause(e, 5*e.Time) // time for the kernel to find each worker a processor of its own
	err = g.set(false)
	took, spent := e.Clock.Now().Sub(start), processTime()-used
	sent, got, perr := g.passed()
	switch {
	case err != nil || perr != nil:
		return 0, 0, firstError(err, perr)
	case sent != got || sent == before:
		return 0, 0, errs.New(errs.Internal, "%s: of %d packets %d reached the sinks", g.name, sent-before, got-before)
	}
	n := float64(sent - before)
	return n / float64(took) * float64(time.Second) / 1e6, float64(spent) / n, nil
}

// Measure implements Trial.
func (t *threadTrial) Measure(r *Round) error {
	for _, g := range t.rigs {
		rate, cost, err := g.measure(t.env)
		if err != nil {
			return err
		}
		r.Add(g.name+" rate", "Mpps", rate)
		r.Add(g.name+" cost", "ns/packet", cost)
	}
	return firstError(r.Times("rate of 2 workers to 1", "2 workers rate", "1 worker rate"), r.Ratio("cost of 2 workers to 1", "2 workers cost", "1 worker cost"))
}

// Close implements Trial.
func (t *threadTrial) Close() error {
	var first error
	for _, g := range t.rigs {
		if g.router != nil {
			g.router.Close()
		}
		first = firstError(first, closeNode(g.node))
	}
	return first
}
