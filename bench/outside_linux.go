package bench

import (
	"net"
	"os"
	"strings"

	"github.com/janos-os/janos/errs"
)

// outsideTrial measures what lies between two interfaces of the user's.
type outsideTrial struct {
	env    *Env
	tester *tester
	found  float64
}

// openOutside opens the tester on the user's interfaces. Frames carry packets from 10.0.0.0/24 to 10.0.1.2. Nothing of the interfaces is changed that would
// outlive the process: sockets, a promiscuous mode that belongs to a socket, and a program whose link the kernel removes with its descriptor.
func openOutside(e *Env, driver string) (Trial, error) {
	for _, name := range []string{e.In, e.Out} {
		if err := spare(name, e.Force); err != nil {
			return nil, err
		}
	}
	traffic := chainTraffic(e.To)
	t := &outsideTrial{env: e}
	var err error
	if driver == "packet" {
		t.tester, err = newTester(e.Clock, nil, e.In, nil, e.Out, traffic)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
	t.tester = &tester{clock: e.Clock, stall: stall}
	in, err := openCountIn(e.Out, hookXDP)
	if err != nil {
		return nil, err
	}
	t.tester.in = in
	out, err := openXSKOut(e.In, traffic)
	if err != nil {
		return nil, closeAfter(t, err)
	}
	t.tester.out = out
	return t, nil
}

// spare refuses an interface that the host itself needs, unless it is forced: loopback, and those that a default route goes by.
func spare(name string, force bool) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return errs.New(errs.NotFound, "interface %s: %w", name, err)
	}
	if force {
		return nil
	}
	if i.Flags&net.FlagLoopback != 0 {
		return errs.New(errs.Invalid, "interface %s is the host's loopback: choose another, or force it (--force)", name)
	}
	routed, err := defaultRoutes()
	if err != nil {
		return err
	}
	if routed[name] {
		return errs.New(errs.Invalid, "a default route of this machine goes by interface %s, which the load would cut off: choose another, or force it (--force)", name)
	}
	return nil
}

// defaultRoutes returns the interfaces that default routes go by.
func defaultRoutes() (map[string]bool, error) {
	b, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, err
	}
	by := routesOf4(string(b))
	if b, err := os.ReadFile("/proc/net/ipv6_route"); err == nil { // a kernel without IPv6 has none
		for name := range routesOf6(string(b)) {
			by[name] = true
		}
	}
	return by, nil
}

// routesOf4 reads /proc/net/route: name, destination, ..., mask the eighth.
func routesOf4(table string) map[string]bool {
	by := map[string]bool{}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			by[f[0]] = true
		}
	}
	return by
}

// routesOf6 reads /proc/net/ipv6_route: destination, its prefix length, ..., flags the ninth, name the tenth.
func routesOf6(table string) map[string]bool {
	by := map[string]bool{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == "00" && strings.Trim(f[0], "0") == "" && f[9] != "lo" {
			by[f[9]] = true
		}
	}
	return by
}

// Measure implements Trial.
func (t *outsideTrial) Measure(r *Round) error {
	if _, err := t.tester.paced(1000, trialTime(t.env)); err != nil {
		return err
	}
	if t.tester.ledger.received == 0 {
		return errs.New(errs.Unreachable, "no frame that was sent by %s came out at %s: what is between them must forward frames to %x, or packets to 10.0.1.2",
			t.env.In, t.env.Out, t.env.To)
	}
	f, err := search(t.found/2, t.env.tries(), func(rate float64) (point, error) {
		reached, err := t.tester.paced(rate, trialTime(t.env))
		if err == nil {
			err = t.env.Context.Err()
		}
		return point{reached, t.tester.ledger.clean(t.tester.sent)}, err
	})
	if err != nil {
		return err
	}
	t.found = f.rate
	r.bounded("outside loss-free", "packets/s", f.rate, f.bound)
	// How long frames are on their way at half that rate, and what happens at twice.
	l := &t.tester.ledger
	if _, err := t.tester.paced(max(f.rate, 2000)/2, trialTime(t.env)); err != nil {
		return err
	}
	r.Add("delay p50", "us", float64(l.quantile(.5))/1e3)
	r.Add("delay p99", "us", float64(l.quantile(.99))/1e3)
	r.Add("delay worst", "us", float64(l.quantile(1))/1e3)
	got := 0.0
	x, err := overload(2*max(f.rate, 1000), func(rate float64) (reached, delivered float64, err error) {
		got, err = t.tester.paced(rate, 2*trialTime(t.env))
		return got, l.goodput(), firstError(err, t.env.Context.Err())
	})
	if err != nil {
		return err
	}
	r.Add("offered at twice the rate", "packets/s", got)
	r.bounded("goodput at twice the rate", "packets/s", x.goodput, x.bound)
	r.Add("lost at twice the rate", "%", 100*(1-float64(l.received)/float64(max(t.tester.sent, 1))))
	r.Add("late or doubled at twice the rate", "frames", float64(l.duplicates+l.overtaken))
	r.Add("damaged", "frames", float64(l.corrupted))
	r.Note("The user's interfaces: frames go out by %s and are expected at %s; what is between them is measured, and no processor time of it is known.", t.env.In, t.env.Out)
	return nil
}

// Close implements Trial.
func (t *outsideTrial) Close() error { return t.tester.close() }
