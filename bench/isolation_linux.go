package bench

import (
	"fmt"
	"slices"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	register(Scenario{Name: "channel-isolation", Tier: "kernel", Driver: "xdp", Root: true,
		Title: "a channel with a limit is flooded: what its neighbour loses",
		Text: "Two domains on one node, one worker, on a chain of namespaces as in xdp-l2fwd, but reception, where the limit is kept, on the generator's processor and only the worker and the sink on the last one: the neighbour forwards frames of one UDP port from one interface to the other, the attacked domain has a channel for the next port " +
			"that accepts 100,000 packets a second and frees them. 'capacity' is the neighbour's loss-free rate alone. Then half of that is offered to the neighbour: 'quiet' without other traffic, 'flooded' with a million or more packets a second to the " +
			"attacked channel in between. 'lost' are the neighbour's frames, delays are from generator to sink, of one frame in sixteen; each is the best of some tries, taken in turn. " +
			"'accepted' is what the attacked channel got, through its limit.",
		Open: openIsolation})
}

const (
	attackedRate = 100_000
	floodRate    = 1e6 // at least
)

type isolationTrial struct {
	env  *Env
	dev  *device
	near *nodeos.InChan // the neighbour's
	at   *nodeos.InChan // the attacked
	in   nodeos.Link
	out  nodeos.Link
	cpus []int
}

func openIsolation(e *Env) (Trial, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	if err := ownNetwork(e); err != nil {
		return nil, err
	}
	if !slices.Contains(nodeos.Drivers(), "xdp") {
		return nil, errs.New(errs.NotSupported, "this program has no link driver %q", "xdp")
	}
	cpus, err := processors()
	if err != nil {
		return nil, err
	}
	if len(cpus) < 2 {
		return nil, errs.New(errs.NotSupported, "it takes two processors, one for the generator")
	}
	t := &isolationTrial{env: e, dev: &device{name: "neighbour"}, cpus: cpus}
	if err := t.open(); err != nil {
		return nil, closeAfter(t, err)
	}
	return t, nil
}

func (t *isolationTrial) open() error {
	d := t.dev
	if err := d.open(t.env, loads{to: macR0, ports: 1, sink: hookTC, live: true, chunk: xdpWindow}); err != nil {
		return err
	}
	n, err := d.startNode(t.env, "xdp", l2fwdRing)
	if err != nil {
		return err
	}
	domain := func(name string, port uint16, rate int, handler func(w *nodeos.Worker, b *packet.Batch)) (*nodeos.InChan, error) {
		dom, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: name}})
		if err != nil {
			return nil, err
		}
		if handler == nil {
			out, err := dom.NewOutChan(nodeos.OutChanSpec{Protocol: "r1"})
			if err != nil {
				return nil, err
			}
			handler = func(w *nodeos.Worker, b *packet.Batch) { out.Send(w, b) }
		}
		key := demux.Key{{Offset: dportAt, Value: []byte{byte(port >> 8), byte(port)}}} // destination port of UDP over IPv4 without options
		return dom.NewInChan(nodeos.InChanSpec{Protocol: "r0", Key: key, Quota: l2fwdRing / 2, Rate: rate, Handler: handler})
	}
	if t.in, err = n.Link("r0"); err != nil {
		return err
	}
	if t.out, err = n.Link("r1"); err != nil {
		return err
	}
	if t.near, err = domain("neighbour", chainPort, 0, nil); err != nil {
		return err
	}
	t.at, err = domain("attacked", chainPort+1, attackedRate, func(w *nodeos.Worker, b *packet.Batch) { w.Cache().FreeBatch(b) })
	return err
}

// Measure implements Trial.
func (t *isolationTrial) Measure(r *Round) error {
	d := t.dev
	return d.twoCores(t.cpus[0], t.cpus[len(t.cpus)-1], func() error {
		f, err := d.lossFree(t.env, t.env.tries())
		if err != nil {
			return err
		}
		r.bounded("neighbour capacity", "packets/s", f.rate, f.bound)
		rate := max(f.rate, 2*searchLeast) / 2
		live := d.rates.out.(*liveOut)
		mix := 1 + int(floodRate/rate+.999)
		type seen struct{ lost, p50, p99, accepted, reached float64 }
		quiet, flooded := seen{lost: -1}, seen{lost: -1}
		for range t.env.tries() {
			for _, c := range []struct {
				mix  int
				best *seen
			}{{1, &quiet}, {mix, &flooded}} {
				live.mix = c.mix
				before, near, in, out := t.at.Stats().Packets, t.near.Stats(), t.in.Stats(), t.out.Stats()
				reached, err := d.rates.paced(rate, 2*trialTime(t.env))
				live.mix = 1
				if err != nil {
					return err
				}
				l := &d.rates.ledger
				if l.received > d.rates.sent || l.overtaken+l.corrupted > 0 {
					return errs.New(errs.Internal, "of %d frames %d arrived, %d overtaken, %d damaged", d.rates.sent, l.received, l.overtaken, l.corrupted)
				}
				now := seen{lost: float64(d.rates.sent - l.received), p50: float64(l.quantile(.5)) / 1e3, p99: float64(l.quantile(.99)) / 1e3, reached: reached}
				if span := float64(d.rates.sent) / reached; reached > 0 {
					now.accepted = float64(t.at.Stats().Packets-before) / span
				}
				if after := t.near.Stats(); now.lost > 0 && c.mix > 1 {
					lost, full, link, sent := int64(now.lost), after.Full-near.Full, t.in.Stats().RxDrops-in.RxDrops, t.out.Stats().TxDrops-out.TxDrops
					r.Note("A try while flooded lost %d: its channel was full for %d; of both channels, the link dropped %d on arrival and %d on leaving. The others were lost before the program on the interface: its ring holds 256.",
						lost, full, link, sent)
				}
				if b := c.best; b.lost < 0 {
					*b = now
				} else {
					b.lost, b.p50, b.p99 = min(b.lost, now.lost), min(b.p50, now.p50), min(b.p99, now.p99)
					b.accepted, b.reached = max(b.accepted, now.accepted), max(b.reached, now.reached)
				}
			}
		}
		short := flooded.reached < searchReached*rate
		r.Add("quiet lost", "lost", quiet.lost)
		r.Add("flooded lost", "lost", flooded.lost)
		r.Add("quiet delay p50", "us", quiet.p50)
		r.Add("flooded delay p50", "us", flooded.p50)
		r.Add("quiet delay p99", "us", quiet.p99)
		r.Add("flooded delay p99", "us", flooded.p99)
		if quiet.p99 > 0 {
			r.Add("delay p99, flooded to quiet", "x", flooded.p99/quiet.p99)
		} else {
			return errs.New(errs.Internal, "no frame of the neighbour arrived")
		}
		r.bounded("flood", "packets/s", flooded.reached*float64(mix-1), short)
		r.Add("accepted, through the limit", "of limit", flooded.accepted/attackedRate)
		r.Note("Best of %d tries; rings of %d frames.", t.env.tries(), l2fwdRing)
		if t.env.Quick {
			r.Note("A short measurement lets the attacked channel have its burst beside its rate.")
		}
		return t.env.Context.Err()
	})
}

// Close implements Trial.
func (t *isolationTrial) Close() error {
	if err := t.dev.close(); err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	return nil
}
