package element

import (
	"encoding/json"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// EE is the name of the *ants.EE in click.Env.Values.
const EE = "ants.EE"

func init() {
	click.Register(click.Class{
		Name: "ANTS", Ports: "1-/=", Processing: "h/h", Flow: "x/x", New: func() click.Element { return new(ANTS) },
		Doc: click.Doc{
			Group: "execution environments",
			Title: "capsules of the ANTS execution environment",
			Text: "Takes capsules, which begin with the ANEP header, and hands them off to the domains of their protocols. What the protocols send leaves by " +
				"the output of its link, with the addresses that a ToChannel behind it needs in its annotations.\n\n" +
				"Input and output i belong to the i-th link that is named or, without names, to the i-th link of the node.",
			Args: []string{"<LINK>: name of a link, such as eth0; as many as there are inputs, or none",
				"MTU: bytes that a packet may have from the ANEP header on; what the links take over IP and UDP is the default",
				"QUEUE: packets that wait for an output, 512 is the default"},
			Handlers: []string{"received (r): packets that came by links", "evaluated (r): capsules evaluated", "forwarded (r): copies sent on",
				"delivered (r): capsules given to applications", "stats (r): everything, as JSON"},
			Example: "FromChannel(eth0/ether/ip/udp, ADDRESS :3322) -> ants :: ANTS(eth0) -> ToChannel(eth0/ether/ip/udp, ADDRESS :3322)",
			See:     []string{"FromChannel", "ToChannel"},
		},
	})
}

// ANTS is the element.
type ANTS struct {
	click.Base
	links []string
	mtu   int
	queue int

	ee      *ants.EE
	worker  *nodeos.Worker
	numbers []uint16
	ports   []*ants.Port
}

// Configure implements click.Element.
func (e *ANTS) Configure(a *click.Args) {
	a.Parse(click.Key("MTU", click.IntRange(&e.mtu, ants.MaxOverhead, 1<<16-1)), click.Key("QUEUE", click.IntRange(&e.queue, 1, nodeos.MaxQuota)),
		click.Rest(func(links []string) { e.links = links }))
	if n := len(e.links); n > 0 && n != a.Inputs() {
		a.Errorf("%d links are named, and there are %d inputs", n, a.Inputs())
	}
	for _, name := range e.links {
		if _, err := e.Router().Domain().Node().Link(name); err != nil {
			a.Errorf("%v", err)
		}
	}
}

// Initialize implements click.Initializer.
func (e *ANTS) Initialize() error {
	e.ee, _ = e.Router().Value(EE).(*ants.EE)
	if e.ee == nil {
		return errs.New(errs.NotFound, "this node has no ANTS execution environment; give it one in the node file")
	}
	e.worker = e.Thread().Worker()
	node := e.Router().Domain().Node()
	if len(e.links) == 0 {
		for _, l := range node.Links() {
			e.links = append(e.links, l.Info().Name)
		}
		if len(e.links) < e.Inputs() {
			return errs.New(errs.Invalid, "there are %d inputs, and the node has %d links", e.Inputs(), len(e.links))
		}
		e.links = e.links[:e.Inputs()]
	}
	task := e.NewOutsideTask(e.run)
	for _, name := range e.links {
		l, err := node.Link(name)
		if err != nil {
			return err
		}
		info := l.Info()
		p, err := e.ee.NewPort(ants.PortSpec{Name: name, Link: info.Number, MTU: e.mtuOf(&info), Queue: e.queue, Domain: e.Router().Domain()})
		if err != nil {
			return err
		}
		e.numbers = append(e.numbers, info.Number)
		e.ports = append(e.ports, p)
		p.SetTask(e.Thread().Task())
	}
	task.Schedule()
	return nil
}

// mtuOf returns what a link takes of a packet from the ANEP header on.
func (e *ANTS) mtuOf(info *nodeos.LinkInfo) int {
	if e.mtu != 0 {
		return e.mtu
	}
	switch {
	case info.Base == demux.UDP:
		return info.MTU - demux.UDPLen
	case hasIPv4(info):
		return info.MTU - demux.IPv4Len - demux.UDPLen
	}
	return info.MTU - demux.IPv6Len - demux.UDPLen
}

func hasIPv4(info *nodeos.LinkInfo) bool {
	for _, p := range info.Prefixes {
		if p.Addr().Is4() {
			return true
		}
	}
	return len(info.Prefixes) == 0
}

// Push implements click.Pusher.
func (e *ANTS) Push(port int, b *packet.Batch) { e.ee.Input(e.worker, e.numbers[port], b) }

// run sends what the EE has for the links.
func (e *ANTS) run() (packets int, more bool) {
	b := e.Thread().Scratch()
	for i, p := range e.ports {
		n := p.Receive(e.worker, b)
		packets += n
		more = more || n == packet.MaxBatch
		e.Forward(i, b)
	}
	e.Thread().Release(b)
	return packets, more
}

// Cleanup implements click.Cleaner.
func (e *ANTS) Cleanup() {
	for _, p := range e.ports {
		p.Close()
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *ANTS) AddHandlers(h *click.Handlers) {
	count := func(name string, get func(c *ants.Counts) uint64) {
		h.Read(name, func() string {
			s := e.ee.StatsHere(e.worker)
			return strconv.FormatUint(get(&s.Counts), 10)
		})
	}
	count("received", func(c *ants.Counts) uint64 { return c.Received })
	count("evaluated", func(c *ants.Counts) uint64 { return c.Evaluated })
	count("forwarded", func(c *ants.Counts) uint64 { return c.Forwarded })
	count("delivered", func(c *ants.Counts) uint64 { return c.Delivered })
	h.Read("stats", func() string {
		b, err := json.Marshal(e.ee.StatsHere(e.worker))
		if err != nil {
			return "{}"
		}
		return string(b)
	})
}
