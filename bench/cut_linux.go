package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

func init() {
	register(Scenario{Name: "cut-through", Tier: "kernel", Driver: "xdp", Root: true,
		Title: "cut-through channels in the kernel, beside a bare XDP redirect and ip_forward",
		Text: "Three namespaces in a row with virtual links; UDP frames of 64 bytes of 1,024 flows, numbered, from the kernel (XDP live frames, calls of 65,536). 'redirect' is an XDP program of five instructions " +
			"that sends every frame to the other interface through a devmap. '1 key' is a cut-through channel for IPv4 frames, with its counters; '16 keys' are sixteen channels by UDP port that share the load, each with a limit of " +
			"bit rate that is not reached, so that its token bucket is used; '1 key, hop' writes hardware addresses anew and lowers the TTL. Neither of the others changes frames. 'ip_forward' is the kernel's own forwarding. " +
			"The sink is an eBPF program that counts, checks content and order, and drops: by XDP where frames come by redirect, at tc ingress behind ip_forward, which makes socket buffers. " +
			"'chain' is processor time per delivered packet of generator, device and sink, all on one processor, with its ksoftirqd, the least of three in turn. " +
			"'rate' is how many times the rate of another a device has in the chain. 'loss-free' and what follows is as in xdp-l2fwd.",
		Open: openCut})
}

type cutTrial struct {
	env     *Env
	devices []*device
	cuts    map[*device]*nodeos.CutChan // one of each device
	cpus    []int
	soft    int
}

const (
	cutWindow = 1 << 16
	cutKeys   = 16
	cutTurns  = 3
)

func openCut(e *Env) (Trial, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	if err := ownNetwork(e); err != nil {
		return nil, err
	}
	if !slices.Contains(nodeos.Drivers(), "xdp") {
		return nil, errs.New(errs.NotSupported, "this program has no link driver %q", "xdp")
	}
	t := &cutTrial{env: e, cuts: map[*device]*nodeos.CutChan{}}
	var err error
	if t.cpus, err = processors(); err != nil {
		return nil, err
	}
	t.soft = softirqThread(t.last())
	for _, name := range []string{"redirect", "ip_forward", "1 key", "16 keys", "1 key, hop"} {
		d := &device{name: name}
		t.devices = append(t.devices, d)
		if err := t.open(d); err != nil {
			return nil, closeAfter(t, fmt.Errorf("%s: %w", name, err))
		}
	}
	return t, nil
}

// ownNetwork refuses the user's own interfaces, for a scenario that makes its network itself.
func ownNetwork(e *Env) error {
	if e.In != "" {
		return errs.New(errs.NotSupported, "it makes a network of its own: --in and --out are for packet-l2fwd and xdp-l2fwd")
	}
	return nil
}

func (t *cutTrial) last() int { return t.cpus[len(t.cpus)-1] }

func (t *cutTrial) open(d *device) error {
	l := loads{to: macR0, ports: cutKeys, sink: hookXDP, live: true, chunk: cutWindow}
	if d.name == "ip_forward" {
		l.sink, l.merges = hookTC, true
	}
	if err := d.open(t.env, l); err != nil {
		return err
	}
	switch d.name {
	case "ip_forward":
		return d.chain.forward()
	case "redirect":
		return d.chain.router.Do(func() error {
			closer, err := openRedirect("r0", "r1")
			if err == nil {
				d.later(closer)
			}
			return err
		})
	}
	n, err := d.startNode(t.env, "xdp", l2fwdRing)
	if err != nil {
		return err
	}
	dom, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "cut"}})
	if err != nil {
		return err
	}
	// Over whole frames: the Ethernet type, and the destination port of UDP over IPv4 without options.
	ip := demux.Tuple{Offset: 12, Value: []byte{8, 0}}
	in, out := nodeos.InChanSpec{Protocol: "r0", Key: demux.Key{ip}, Quota: l2fwdRing}, nodeos.OutChanSpec{Protocol: "r1"}
	specs := []nodeos.CutChanSpec{{In: in, Out: out}}
	switch d.name {
	case "1 key, hop":
		specs[0] = nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "r0/ether", Address: "0x0800", Quota: l2fwdRing},
			Out: nodeos.OutChanSpec{Protocol: "r1/ether", LinkAddr: macOther}, DecTTL: true}
	case "16 keys":
		specs = nil
		for i := range uint16(cutKeys) {
			p := chainPort + i
			in.Key = demux.Key{ip, {Offset: dportAt, Value: []byte{byte(p >> 8), byte(p)}}}
			specs = append(specs, nodeos.CutChanSpec{In: in, Out: out, BitRate: 100e9, Burst: time.Second})
		}
	}
	for _, s := range specs {
		c, err := dom.NewCutThrough(s)
		if err != nil {
			return err
		}
		t.cuts[d] = c
	}
	return nil
}

// Measure implements Trial.
func (t *cutTrial) Measure(r *Round) error {
	best := make(map[*device]cost)
	for i := range cutTurns { // in turn, and the least of each: differences of a few ns count
		for _, d := range t.devices {
			c, err := t.cost(r, d)
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			if i == 0 || c.whole < best[d].whole {
				best[d] = c
			}
		}
	}
	for _, d := range t.devices {
		best[d].add(r, d)
	}
	for _, of := range []struct{ name, base string }{{"1 key", "redirect"}, {"16 keys", "redirect"}, {"1 key, hop", "redirect"}, {"1 key", "ip_forward"}, {"16 keys", "ip_forward"}, {"1 key, hop", "ip_forward"}} {
		if err := r.Times(of.name+" rate through "+of.base, of.base+" chain", of.name+" chain"); err != nil {
			return err
		}
	}
	if len(t.cpus) < 2 {
		r.Note("There is one processor only: no search for a loss-free rate.")
	} else {
		for _, d := range t.devices {
			if err := d.deviceCore(t.cpus[0], t.last(), func() error { return d.throughput(t.env, r) }); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
	}
	for _, d := range t.devices {
		r.Add(d.name+" lost in closed loop", "lost", float64(d.lost))
		d.lost = 0
	}
	return nil
}

// cost is that of the closed loop, a third of Env.Time of it.
func (t *cutTrial) cost(r *Round, d *device) (cost, error) {
	window, n := cutWindow, max(int(t.env.Time/cutTurns/(150*time.Nanosecond)), 2*cutWindow)
	if c := t.cuts[d]; c != nil {
		if where, why := c.Where(); where != "kernel" {
			r.Note("%s: in user space, because %s. Closed loop with %d frames on their way.", d.name, why, xdpWindow)
			window, n = xdpWindow, max(int(t.env.Time/cutTurns/(2*time.Microsecond)), 4*xdpWindow)
		}
	}
	return d.oneCore(t.last(), t.soft, n, window)
}

// Close implements Trial.
func (t *cutTrial) Close() error {
	var first error
	for _, d := range t.devices {
		first = firstError(first, d.close())
	}
	return first
}
