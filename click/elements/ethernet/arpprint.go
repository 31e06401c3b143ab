package ethernet

import (
	"io"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ARPPrint", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &ARPPrint{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "prints ARP packets as a reader would like them",
			Text: "Packets have an Ethernet header. It is for looking, not for the fast path: it writes to the router's output, standard error as a rule. What is no ARP for IPv4 over Ethernet is printed as such.",
			Args: []string{
				"TAG: Begins each line.", "TIMESTAMP: Whether to print the timestamp annotation; default true.", "ETHER: Whether to print the addresses of the Ethernet header; default false.",
				"OUTFILE: File to write to instead; a dash is standard output.", "ACTIVE: Whether to print; default true.",
			},
			Handlers: []string{"active (rw): The ACTIVE argument."}, Example: "cl[0] -> ARPPrint(arp) -> ...;", See: []string{"ARPQuerier", "ARPResponder"},
		},
	})
}

// ARPPrint prints ARP packets.
type ARPPrint struct {
	click.Base
	label                 string
	stamps, ether, active bool
	file                  string
	out                   io.Writer
	closer                io.Closer
	buf                   []byte
}

// Configure implements click.Element.
func (e *ARPPrint) Configure(a *click.Args) {
	e.stamps, e.active = true, true
	a.Parse(click.May("TAG", click.String(&e.label)), click.Key("TIMESTAMP", click.Bool(&e.stamps)), click.Key("ETHER", click.Bool(&e.ether)),
		click.Key("OUTFILE", click.String(&e.file)), click.Key("ACTIVE", click.Bool(&e.active)))
}

// Initialize implements click.Initializer.
func (e *ARPPrint) Initialize() error {
	var err error
	e.out, e.closer, err = e.OpenOutput(e.file)
	return err
}

// Cleanup implements click.Cleaner.
func (e *ARPPrint) Cleanup() {
	if e.closer != nil {
		_ = e.closer.Close()
		e.closer = nil
	}
}

// Act implements click.Actor.
func (e *ARPPrint) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	for _, p := range b.Packets() {
		o := e.buf[:0]
		if e.label != "" {
			o = append(append(o, e.label...), ": "...)
		}
		if e.stamps {
			o = append(click.AppendTime(o, e.Router().WallOf(p.Anno.Time)), ": "...)
		}
		d := p.Data()
		if e.ether && len(d) >= 14 {
			o = append(appendEther(o, d[6:]), " > "...)
			o = append(appendEther(o, d), ": "...)
		}
		e.buf = append(appendARP(o, d), '\n')
		_, _ = e.out.Write(e.buf)
	}
}

// appendARP appends what a frame with an ARP packet says.
func appendARP(o, d []byte) []byte {
	m, ok := parseARP(d)
	switch {
	case !ok && len(d) < 42:
		return append(o, "truncated-arp"...)
	case !ok:
		return append(o, "not-arp"...)
	case m.op == arpRequest:
		o = append(appendIP(append(o, "arp who-has "...), m.tpa), " tell "...)
		return appendIP(o, m.spa)
	case m.op == arpReply:
		o = append(appendIP(append(o, "arp reply "...), m.spa), " is-at "...)
		return appendEther(o, m.sha[:])
	}
	return strconv.AppendUint(append(o, "arp op "...), uint64(m.op), 10)
}

func appendIP(o []byte, a [4]byte) []byte {
	for i, x := range a {
		if i > 0 {
			o = append(o, '.')
		}
		o = strconv.AppendUint(o, uint64(x), 10)
	}
	return o
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPPrint) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
