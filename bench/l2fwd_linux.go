package bench

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	_ "github.com/janos-os/janos/channels/all" // the drivers
	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/device" // FromDevice, ToDevice
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	register(Scenario{Name: "packet-l2fwd", Tier: "kernel", Driver: "packet", Root: true, Given: true,
		Title: "a node forwards frames between two interfaces by AF_PACKET, beside ip_forward and Click",
		Text: "'channels' is an in-channel whose handler sends by an out-channel, 'graph' is FromDevice -> Queue -> ToDevice, 'ip_forward' the kernel's own forwarding, which routes by IP, " +
			"and 'click' (option --click) a Click program with its fastest packet-socket driver, FromDevice(METHOD PCAP) -> Queue -> ToDevice(METHOD LINUX), whose frames have an address that is not the router's, so " +
			"that the kernel drops its copies early. The generator of the closed loop is an AF_PACKET socket (sendmmsg of 64). " + l2fwdText,
		Open: openL2fwd("packet")})
	register(Scenario{Name: "xdp-l2fwd", Tier: "kernel", Driver: "xdp", Root: true, Given: true,
		Title: "a node forwards frames between two interfaces by AF_XDP, beside a bare AF_XDP loop and ip_forward",
		Text: "'bare' is a loop that moves descriptors from a receive ring to a transmit ring and nothing else, with sockets set up as ours are; 'channels' is an in-channel whose handler sends by an out-channel, " +
			"'graph' is FromDevice -> Queue -> ToDevice, 'ip_forward' the kernel's own forwarding, which routes by IP. The generator of the closed loop is the kernel's (XDP live frames, calls of 2,048). " + l2fwdText,
		Open: openL2fwd("xdp")})
}

const l2fwdText = "Three namespaces in a row with virtual links; UDP frames of 64 bytes of 1,024 flows, numbered. The sink is an eBPF program at tc ingress that counts, checks content and order, and drops. " +
	"'chain' is processor time per delivered packet of generator, device, sink and the processor's ksoftirqd, all bound to one processor with a bounded number of frames on their " +
	"way; it is the figure to compare, for all devices pay for the same generator and sink. 'thread' is the part of it that the device's own thread or process " +
	"has: reading, deciding, sending, and what the kernel does in its name up to the sink. " +
	"'loss-free' is the highest rate of a search (doubling, then four halvings: at most a sixteenth too low) that lost, doubled, overtook and damaged nothing in one of some tries; frames come from the kernel by " +
	"schedule, the generator on the first processor; reception (threaded NAPI), device and sink are on the last, real-time at one priority. 'goodput at twice' is what was delivered at twice that rate, as a part " +
	"of it, and 'reception first' the same where reception displaces the device; delays are of one frame in sixteen at half the loss-free rate."

// Frames on their way in the closed loop. The window of AF_PACKET is less than any ring on the way, Click's among them; AF_XDP's is a call of the generator.
const (
	packetWindow = 512
	xdpWindow    = 2048
	l2fwdRing    = 4096
)

type l2fwdTrial struct {
	env     *Env
	driver  string
	window  int
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
			return openOutside(e, driver)
		}
		if !slices.Contains(nodeos.Drivers(), driver) {
			return nil, errs.New(errs.NotSupported, "this program has no link driver %q", driver)
		}
		t := &l2fwdTrial{env: e, driver: driver, window: packetWindow}
		kinds := []string{"ip_forward", "channels", "graph"}
		if driver == "xdp" {
			t.window = xdpWindow
			kinds = []string{"ip_forward", "bare", "channels", "graph"}
		} else if e.Click != "" {
			kinds = append(kinds, "click")
		}
		var err error
		if t.cpus, err = processors(); err != nil {
			return nil, err
		}
		t.soft = softirqThread(t.last())
		for _, kind := range kinds {
			d := &device{name: kind}
			t.devices = append(t.devices, d)
			if err := t.open(d); err != nil {
				return nil, closeAfter(t, fmt.Errorf("%s: %w", kind, err))
			}
		}
		return t, nil
	}
}

func (t *l2fwdTrial) last() int { return t.cpus[len(t.cpus)-1] }

func (t *l2fwdTrial) open(d *device) error {
	xdp := t.driver == "xdp"
	l := loads{to: macR0, ports: 1, sink: hookTC, live: xdp, chunk: xdpWindow, merges: !xdp || d.name == "ip_forward"}
	if d.name == "click" {
		l.to = macOther
	}
	if err := d.open(t.env, l); err != nil {
		return err
	}
	switch d.name {
	case "ip_forward":
		return d.chain.forward()
	case "bare":
		return d.chain.router.Do(func() error {
			b, err := openBareLoop("r0", "r1", 1<<bits.Len(l2fwdRing+xdpSlack-1), l2fwdRing+xdpSlack)
			if err != nil {
				return err
			}
			d.worker = b
			d.later(b.close)
			return nil
		})
	case "click":
		return d.openClick(t.env)
	}
	return d.openNode(t.env, t.driver, d.name)
}

// xdpSlack is how many frames driver xdp lends beyond its credit.
const xdpSlack = 128

// openNode starts a node on the router that forwards in user space.
func (d *device) openNode(e *Env, driver, kind string) error {
	n, err := d.startNode(e, driver, l2fwdRing)
	if err != nil {
		return err
	}
	if kind == "channels" {
		out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "r1"})
		if err != nil {
			return err
		}
		_, err = n.Root().NewInChan(nodeos.InChanSpec{Protocol: "r0", Quota: l2fwdRing, Handler: func(w *nodeos.Worker, b *packet.Batch) { out.Send(w, b) }})
		return err
	}
	spec, err := click.Parse(kind, fmt.Sprintf("FromDevice(r0, QUOTA %d) -> Queue(%d) -> ToDevice(r1);", l2fwdRing, l2fwdRing), click.ParseOptions{})
	if err != nil {
		return err
	}
	r, err := click.New(spec, click.Env{Domain: n.Root(), Worker: -1, Output: io.Discard})
	if err != nil {
		return err
	}
	d.later(func() error { r.Close(); return nil })
	return nil
}

// startNode starts a node on the router's two interfaces.
func (d *device) startNode(e *Env, driver string, ring int) (*nodeos.Node, error) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed})
	if err != nil {
		return nil, err
	}
	d.worker = nodeWorker{n}
	d.later(func() error { return closeNode(n) })
	return n, d.chain.router.Do(func() error {
		for _, l := range []string{"r0", "r1"} {
			if _, err := n.OpenLink(nodeos.LinkSpec{Name: l, Driver: driver, Ring: ring}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Measure implements Trial.
func (t *l2fwdTrial) Measure(r *Round) error {
	// About a microsecond or two a packet for the whole chain.
	n := max(int(t.env.Time/(2*time.Microsecond)), 4*t.window)
	for _, d := range t.devices {
		c, err := d.oneCore(t.last(), t.soft, n, t.window)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		c.add(r, d)
	}
	if err := t.compare(r); err != nil {
		return err
	}
	if t.soft == 0 {
		r.Note("ksoftirqd is not visible here: what it did is missing from 'chain'.")
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
	r.Note("Rings of %d frames, one worker; at most %d frames on their way in the closed loop.", l2fwdRing, t.window)
	for _, d := range t.devices {
		r.Add(d.name+" lost in closed loop", "lost", float64(d.lost))
		d.lost = 0
	}
	return nil
}

// compare enters what one device costs beside another.
func (t *l2fwdTrial) compare(r *Round) error {
	for _, d := range t.devices {
		if d.name != "channels" && d.name != "graph" {
			continue
		}
		for _, base := range t.devices {
			switch base.name {
			case "ip_forward", "click":
				if err := r.Ratio(d.name+" chain to "+base.name+" chain", d.name+" chain", base.name+" chain"); err != nil {
					return err
				}
			case "bare":
				r.Add(d.name+" chain over bare chain", unitMore, r.now[d.name+" chain"]-r.now["bare chain"])
			}
		}
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
