package device

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	handlers := []string{"count (r): Packets given to the channel.", "stats (r): The channel's counters."}
	click.Register(click.Class{
		Name: "ToChannel", Ports: "1/0", Processing: "a", New: func() click.Element { return &ToChannel{} },
		Doc: click.Doc{
			Group: "device", Title: "sends packets by a channel",
			Text: "The channel puts its protocols' headers before the packets; what is not said here must be in their annotations. Where its input pulls, packets are sent as they come.",
			Args: []string{
				"PROTOCOL: Protocol string with one link, such as eth0/ether/ip/udp.", "ADDRESS: Remote address of the topmost protocol, such as 10.0.0.2:3322.", "SOURCE: Local address of the topmost protocol; the link's own if not given.",
				"ETHER: Ethernet address to send to.", "TTL: Time to live.", "TOS: Type of service.", "BURST: Packets pulled at a time; default 32.",
			},
			Handlers: handlers, Example: "... -> ToChannel(eth0/ether/ip/udp, 10.0.0.2:3322, ETHER 2:0:0:0:0:2);", See: []string{"FromChannel", "ToDevice"},
		},
	})
	click.Register(click.Class{
		Name: "ToDevice", Ports: "1/0", Processing: "a", New: func() click.Element { return &ToChannel{device: true} },
		Doc: click.Doc{
			Group: "device", Title: "sends frames on a link",
			Text:     "It is ToChannel with a bare link: the packets must be complete frames.",
			Args:     []string{"DEVNAME: The link's name.", "BURST: Packets pulled at a time; default 32."},
			Handlers: handlers, Example: "... -> Queue(200) -> ToDevice(eth0);", See: []string{"FromDevice", "ToChannel"},
		},
	})
}

// ToChannel is an out-channel of a graph.
type ToChannel struct {
	click.Base
	device   bool
	spec     nodeos.OutChanSpec
	ttl, tos int
	burst    int
	count    uint64
	ch       *nodeos.OutChan
	intake   *click.Intake
}

// Configure implements click.Element.
func (e *ToChannel) Configure(a *click.Args) {
	e.burst = 32
	burst := click.Key("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch))
	if e.device {
		if a.Parse(click.Must("DEVNAME", click.String(&e.spec.Protocol)), burst) {
			e.checkLink(a)
		}
		return
	}
	ok := a.Parse(click.Must("PROTOCOL", click.String(&e.spec.Protocol)), click.May("ADDRESS", click.String(&e.spec.Address)), click.Key("SOURCE", click.String(&e.spec.Source)),
		click.Key("ETHER", click.Ether(&e.spec.LinkAddr)), click.Key("TTL", click.IntRange(&e.ttl, 1, 255)), click.Key("TOS", click.IntRange(&e.tos, 0, 255)), burst)
	e.spec.TTL, e.spec.TOS = uint8(e.ttl), uint8(e.tos)
	if ok {
		e.checkLink(a)
	}
}

func (e *ToChannel) checkLink(a *click.Args) {
	if err := linkOpen(&e.Base, e.spec.Protocol); err != nil {
		a.Errorf("%v", err)
	}
}

// Initialize implements click.Initializer.
func (e *ToChannel) Initialize() error {
	ch, err := e.Router().Domain().NewOutChan(e.spec)
	if err != nil {
		return err
	}
	e.ch = ch
	if e.InputKind(0) == click.PullKind {
		t := e.NewTask(e.run)
		e.intake = e.NewIntake(0, t)
		t.Schedule()
	}
	return nil
}

// Push implements click.Pusher.
func (e *ToChannel) Push(_ int, b *packet.Batch) {
	e.count += uint64(b.Len())
	e.ch.Send(e.Thread().Worker(), b)
}

func (e *ToChannel) run() (int, bool) {
	b := e.Thread().Scratch()
	n, more := e.intake.Pull(b, e.burst)
	if n > 0 {
		e.Push(0, b)
	}
	e.Thread().Release(b)
	return n, more
}

// AddHandlers implements click.HandlerAdder.
func (e *ToChannel) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("stats", func() string {
		s := e.ch.Stats()
		return "packets " + strconv.FormatUint(s.Packets, 10) + "\nbytes " + strconv.FormatUint(s.Bytes, 10) + "\ninvalid " + strconv.FormatUint(s.Invalid, 10) + "\n"
	})
}
