package ethernet

import (
	"net/netip"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ARPFaker", Ports: "0/1", Processing: "h", New: func() click.Element { return &ARPFaker{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "sends an ARP reply every ten seconds that nobody asked for",
			Text:     "The first one leaves at the start. It tells one station the Ethernet address of another one.",
			Args:     []string{"DSTIP: Address of the station to tell.", "DSTETH: Ethernet address of the station to tell.", "SRCIP: Address to claim.", "SRCETH: Ethernet address to claim it for."},
			Handlers: []string{"count (r): Replies sent."},
			Example:  "ARPFaker(10.0.0.1, 2:0:0:0:0:1, 10.0.0.9, 2:0:0:0:0:9) -> ToDevice(eth0);", See: []string{"ARPResponder"},
		},
	})
	click.Register(click.Class{
		Name: "CheckARPHeader", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckARPHeader{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "checks ARP packets",
			Text: "A good packet has a whole ARP header for hardware and protocol addresses of any kind, and the four addresses that it announces; for Ethernet and IPv4 these have six and four bytes. Bad packets go to output 1 if that is connected.",
			Args: append([]string{"OFFSET: Where the ARP header begins; default 0."}, ip.FaultArgs...), Handlers: ip.FaultHandlers,
			Example: "cl[0] -> CheckARPHeader(14) -> ARPResponder(10.0.1.1 2:0:0:0:0:1) -> ...;", See: []string{"ARPPrint", "ARPQuerier", "ARPResponder", "ARPFaker"},
		},
	})
}

const fakePause = 10 * time.Second

// ARPFaker sends replies.
type ARPFaker struct {
	click.Base
	dst, src       netip.Addr
	dstMAC, srcMAC [6]byte
	timer          *click.Timer
	count          uint64
}

// Configure implements click.Element.
func (e *ARPFaker) Configure(a *click.Args) {
	a.Parse(click.Must("DSTIP", click.Addr4(&e.dst)), click.Must("DSTETH", click.Ether(&e.dstMAC)), click.Must("SRCIP", click.Addr4(&e.src)), click.Must("SRCETH", click.Ether(&e.srcMAC)))
}

// Initialize implements click.Initializer.
func (e *ARPFaker) Initialize() error {
	e.timer = e.NewTimer(e.send)
	return nil
}

// Start implements click.Starter.
func (e *ARPFaker) Start() { e.timer.Set(e.Now()) }

func (e *ARPFaker) send() {
	p := newARP(&e.Base, e.dstMAC, &arpMessage{op: arpReply, sha: e.srcMAC, spa: e.src.As4(), tha: e.dstMAC, tpa: e.dst.As4()})
	if p != nil {
		p.Anno.Time = e.Now()
		e.count++
		e.ForwardOne(0, p)
	}
	e.timer.SetAfter(fakePause)
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPFaker) AddHandlers(h *click.Handlers) { h.Count("count", &e.count) }

// CheckARPHeader checks ARP packets.
type CheckARPHeader struct {
	click.Base
	offset int
	faults ip.Faults
	who    string
}

const (
	shortARP = iota
	badHardware
	badProtocol
)

// Configure implements click.Element.
func (e *CheckARPHeader) Configure(a *click.Args) {
	e.faults.Init("ARP", "bad packet length", "bad hardware address length", "bad protocol address length")
	e.who = e.Name() + " :: " + e.Class().Name
	a.Parse(e.faults.Params(click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))...)
}

// check returns the reason against an ARP packet, or -1.
func checkARP(d []byte) int {
	if len(d) < 8 || len(d) < 8+2*int(d[4])+2*int(d[5]) {
		return shortARP
	}
	if d[0] == 0 && d[1] == 1 && d[4] != 6 { // RFC 826: Ethernet
		return badHardware
	}
	if d[2] == 8 && d[3] == 0 && d[5] != 4 {
		return badProtocol
	}
	return -1
}

// Act implements click.Actor.
func (e *CheckARPHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		if why := checkARP(d[min(e.offset, len(d)):]); why >= 0 {
			e.faults.Note(&e.Base, e.who, why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *CheckARPHeader) Inherit(old click.Element) error {
	if o, ok := old.(*CheckARPHeader); ok {
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckARPHeader) AddHandlers(h *click.Handlers) { e.faults.AddHandlers(h) }
