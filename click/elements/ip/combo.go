package ip

import (
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPInputCombo", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &InputCombo{} },
		Doc: click.Doc{
			Group: "ip", Title: "does what a router does with every frame that comes in",
			Text: "It is Paint(COLOR), Strip(14), CheckIPHeader and GetIPAddress(16) in one. Frames without a good IP header are dropped.",
			Args: []string{
				"COLOR: Paint for the packets, 0 to 255.", "<BADSRC>: Addresses that may not be sources, apart by spaces, with 0.0.0.0 and 255.255.255.255 added.",
				"INTERFACES: As for CheckIPHeader.", "BADSRC: As for CheckIPHeader.", "GOODDST: As for CheckIPHeader.",
			},
			Handlers: []string{"drops (r): Frames dropped."},
			Example:  "FromDevice(eth0) -> Classifier(12/0800) -> IPInputCombo(1, INTERFACES 18.26.4.24/24) -> rt;", See: []string{"IPOutputCombo", "CheckIPHeader"},
		},
	})
	click.Register(click.Class{
		Name: "IPOutputCombo", Ports: "1/5", Processing: "h/h", Merging: click.Merged, New: func() click.Element { return &OutputCombo{} },
		Doc: click.Doc{
			Group: "ip", Title: "does what a router does with every packet that goes out",
			Text: "It is DropBroadcasts, PaintTee(COLOR), IPGWOptions(IPADDR), FixIPSrc(IPADDR), DecIPTTL and CheckLength(MTU) in one. Output 1 has copies of packets with the paint COLOR, " +
				"output 2 packets with bad options, output 3 those whose time is over, output 4 those that are longer than MTU; all others go to output 0.",
			Args:     []string{"COLOR: Paint, 0 to 255.", "IPADDR: Address of the interface.", "MTU: Most bytes of a packet."},
			Handlers: []string{"drops (r): Broadcasts, packets without a marked IP header, and copies for which there was no memory."},
			Example:  "rt -> o :: IPOutputCombo(1, 18.26.4.24, 1500); o[1] -> ICMPError(18.26.4.24, redirect, host) -> rt;", See: []string{"IPInputCombo", "IPFragmenter"},
		},
	})
}

// InputCombo paints, strips and checks.
type InputCombo struct {
	CheckIPHeader
	color int
}

// Configure implements click.Element.
func (e *InputCombo) Configure(a *click.Args) {
	e.faults.Init("IP", checkReasons...)
	e.checksum, e.offset = true, 0
	a.Parse(append([]click.Param{click.Must("COLOR", click.IntRange(&e.color, 0, 255)), click.May("BADSRC2", e.sources.short)}, e.sources.params()...)...)
}

// Act implements click.Actor.
func (e *InputCombo) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		why := tooShort
		if p.Pull(14) {
			why = e.check(p)
		}
		if why >= 0 {
			e.faults.Note(&e.Base, e.Name(), why)
			e.DropOne(p)
			return false
		}
		p.Anno.Paint = uint8(e.color)
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *InputCombo) Inherit(old click.Element) error {
	if o, ok := old.(*InputCombo); ok {
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *InputCombo) AddHandlers(h *click.Handlers) { e.faults.AddHandlers(h) }

// OutputCombo is the way out of a router.
type OutputCombo struct {
	click.Base
	color   int
	mtu     int
	addr    [4]byte
	options options
}

// Configure implements click.Element.
func (e *OutputCombo) Configure(a *click.Args) {
	x := netip.IPv4Unspecified()
	a.Parse(click.Must("COLOR", click.IntRange(&e.color, 0, 255)), click.Must("IPADDR", click.Addr4(&x)), click.Must("MTU", click.IntRange(&e.mtu, 0, 65535)))
	e.addr = x.As4()
	e.options.init(e.addr)
}

// The outputs.
const (
	outGood = iota
	outPainted
	outOptions
	outExpired
	outLong
	outNowhere // no element has it
)

// Push implements click.Pusher.
func (e *OutputCombo) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ports[i] = uint16(e.pass(p))
	}
	e.Split(b, &ports)
}

// pass does the work for one packet and returns its output.
func (e *OutputCombo) pass(p *packet.Packet) int {
	h := p.Network()
	if p.Anno.Kind == packet.ToBroadcast || p.Anno.Kind == packet.ToMulticast || len(h) < 20 {
		return outNowhere
	}
	if int(p.Anno.Paint) == e.color {
		if q := e.Cache().Clone(p); q != nil {
			e.ForwardOne(outPainted, q)
		} else {
			e.CountDrops(1)
		}
	}
	if !e.Cache().Unshare(p) {
		return outNowhere
	}
	if h = p.Network(); h[0]&15 > 5 {
		if bad := e.options.process(p, e.Router()); bad >= 0 {
			SetParam(p, bad)
			return outOptions
		}
	}
	if FixSrc(p) {
		SetFixSrc(p, false)
		setAddr(h, 12, e.addr)
	}
	if h[8] <= 1 {
		return outExpired
	}
	decrement(h)
	if p.Len() > e.mtu {
		return outLong
	}
	return outGood
}
