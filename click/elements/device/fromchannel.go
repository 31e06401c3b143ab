package device

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	handlers := []string{"count (r): Packets pushed into the graph.", "stats (r): The channel's counters."}
	click.Register(click.Class{
		Name: "FromChannel", Ports: "0/1", Processing: "h", New: func() click.Element { return &FromChannel{} },
		Doc: click.Doc{
			Group: "device", Title: "pushes what arrives in a channel",
			Text: "The packets begin at the payload of the topmost protocol; with a bare link they are whole frames. The headers before it are marked. Packets in the channel's queue are charged to the router's domain.",
			Args: []string{
				"PROTOCOL: Protocol string, such as eth0/ether/ip/udp; if/... for any link.", "ADDRESS: Local address of the topmost protocol, such as :3322.", "KEY: Demultiplexing key over the payload.",
				"QUOTA: Packets that may wait; default 256.", "BURST: Packets pushed at a time; default 32.",
				"RATE: Packets per second that are taken at most; the others are dropped and counted. Default: any number.",
				"RATE_BURST: Packets that may come at once under RATE; default: what comes in 10 ms.",
			},
			Handlers: handlers, Example: "FromChannel(eth0/ether/ip/udp, :3322) -> ...;", See: []string{"ToChannel", "FromDevice"},
		},
	})
	click.Register(click.Class{
		Name: "FromDevice", Ports: "0/1", Processing: "h", New: func() click.Element { return &FromChannel{device: true} },
		Doc: click.Doc{
			Group: "device", Title: "pushes all frames of a link",
			Text: "It is FromChannel with a bare link. The host does not see what it takes, so that there is no SNIFFER true as in Click; nor does it see what the host sends.",
			Args: []string{
				"DEVNAME: The link's name.", "PROMISC: Whether frames for other hardware addresses are wanted, which the link must have been opened for; under cmd/click it is; default false.",
				"SNAPLEN: Bytes of a packet to keep; the extra length annotation says how many more there were; default all.", "SNIFFER: false; true only prints a warning.",
				"FORCE_IP: Whether to drop what is no IPv4 or IPv6 packet and to mark the header of the others; default false.", "PROTOCOL: Ethernet type of the frames to take; default 0, all.",
				"TIMESTAMP: Whether packets have their time annotation; default true.", "HEADROOM: Bytes that packets have free before their data, at least; default 28.",
				"OUTBOUND: false; frames that the host sends cannot be had.", "METHOD: Only prints a warning: the link's driver decides how packets are taken.",
				"QUOTA: Packets that may wait; default 256.", "BURST: Packets pushed at a time; default 32.",
			},
			Handlers: append(handlers, "reset_counts (w): Makes the count 0.", "kernel_drops (r): Packets dropped before the graph could take them.", "encap (r): What packets begin with, such as ETHER.", "drops (r): Packets left out by PROTOCOL and FORCE_IP."),
			Example:  "FromDevice(eth0, PROMISC true) -> Classifier(12/0800, -) ...;", See: []string{"ToDevice", "FromChannel"},
		},
	})
}

// FromChannel is an in-channel of a graph.
type FromChannel struct {
	click.Base
	device bool
	spec   nodeos.InChanSpec
	burst  int
	count  uint64
	ch     *nodeos.InChan
	rest   packet.Batch // received and not yet pushed
	pick   pick
}

// Configure implements click.Element.
func (e *FromChannel) Configure(a *click.Args) {
	e.burst = 32
	quota, burst := click.Key("QUOTA", click.IntRange(&e.spec.Quota, 1, nodeos.MaxQuota)), click.Key("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch))
	if e.device {
		e.pick.configure(a, &e.spec.Protocol, quota, burst)
	} else {
		a.Parse(click.Must("PROTOCOL", click.String(&e.spec.Protocol)), click.May("ADDRESS", click.String(&e.spec.Address)),
			click.May("KEY", func(s string, a *click.Args) error {
				var text string
				if err := click.String(&text)(s, a); err != nil {
					return err
				}
				k, err := demux.ParseKey(text)
				e.spec.Key = k
				return err
			}), quota, burst, click.Key("RATE", click.IntRange(&e.spec.Rate, 1, nodeos.MaxRate)), click.Key("RATE_BURST", click.IntRange(&e.spec.Burst, 1, nodeos.MaxBurst)))
	}
	if a.OK() {
		rule := demux.Rule{Key: e.spec.Key}
		var err error
		if rule.Protocol, err = demux.ParseProtocol(e.spec.Protocol); err == nil {
			rule.Local, err = demux.ParseAddress(rule.Protocol.Top(), e.spec.Address)
		}
		if err == nil {
			err = linkOpen(&e.Base, e.spec.Protocol)
		}
		if l, lerr := e.Router().Domain().Node().Link(rule.Protocol.Link); err == nil && lerr == nil {
			i := l.Info()
			e.pick.check(a, i, e.Router().Domain().Node().Pool().Spec().Headroom)
			_, err = demux.Compile(i.Base, i.Name, []demux.Rule{rule})
		}
		if err != nil {
			a.Errorf("%v", err)
		}
	}
}

// Initialize implements click.Initializer.
func (e *FromChannel) Initialize() error {
	e.spec.Worker = e.Thread().Worker().ID()
	if old, ok := e.Before().(*FromChannel); ok && e.same(old) {
		e.NewOutsideTask(e.run)
		return nil
	}
	ch, err := e.Router().Domain().NewInChan(e.spec)
	if err != nil {
		return err
	}
	e.ch = ch
	e.NewOutsideTask(e.run)
	ch.SetTask(e.Thread().Task())
	return nil
}

func (e *FromChannel) same(o *FromChannel) bool {
	a, b := &e.spec, &o.spec
	return o.ch != nil && a.Protocol == b.Protocol && a.Address == b.Address && a.Quota == b.Quota && a.Worker == b.Worker && a.Key.String() == b.Key.String()
}

// Inherit implements click.Inheritor: the channel stays, with what has come.
func (e *FromChannel) Inherit(old click.Element) error {
	o, ok := old.(*FromChannel)
	if !ok {
		return nil
	}
	e.count = o.count
	if !e.same(o) {
		return nil
	}
	e.ch, o.ch = o.ch, nil
	for _, p := range o.rest.Packets() {
		e.rest.Append(p)
	}
	o.rest.Reset()
	e.ch.SetTask(e.Thread().Task())
	e.Thread().Task().Wake()
	return nil
}

// linkOpen reports a link that is not there with what there is.
func linkOpen(e *click.Base, protocol string) error {
	p, err := demux.ParseProtocol(protocol)
	if err != nil || p.Link == demux.AnyLink {
		return err
	}
	node := e.Router().Domain().Node()
	if _, err := node.Link(p.Link); err != nil {
		var names []string
		for _, l := range node.Links() {
			names = append(names, l.Info().Name)
		}
		return errs.New(errs.NotFound, "link %s is not open on this node (open are %v)", p.Link, names)
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *FromChannel) Cleanup() {
	e.Cache().FreeBatch(&e.rest)
	if e.ch != nil {
		e.ch.Close()
		e.ch = nil
	}
}

func (e *FromChannel) run() (int, bool) {
	if e.rest.Len() == 0 {
		e.ch.Receive(&e.rest)
	}
	n := min(e.rest.Len(), e.burst)
	if n == 0 {
		return 0, false
	}
	b := e.Thread().Scratch()
	for _, p := range e.rest.Packets()[:n] {
		b.Append(p)
	}
	e.rest.Drop1st(n)
	e.count += uint64(n)
	if e.pick.active {
		e.pick.act(&e.Base, b)
	}
	e.Out(0).Push(b)
	e.Thread().Release(b)
	return n, true
}

// AddHandlers implements click.HandlerAdder.
func (e *FromChannel) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	if e.device {
		h.Write("reset_counts", func(string) error { e.count = 0; return nil })
		h.Read("kernel_drops", func() string {
			s := e.ch.Stats()
			return strconv.FormatUint(s.Full+s.Limited+s.Poor, 10)
		})
		h.Read("encap", func() string { return e.pick.encap })
	}
	h.Read("stats", func() string {
		s := e.ch.Stats()
		return "packets " + strconv.FormatUint(s.Packets, 10) + "\nbytes " + strconv.FormatUint(s.Bytes, 10) + "\nfull " + strconv.FormatUint(s.Full, 10) +
			"\nlimited " + strconv.FormatUint(s.Limited, 10) + "\npoor " + strconv.FormatUint(s.Poor, 10) + "\nheld " + strconv.Itoa(s.Held) + "\n"
	})
}
