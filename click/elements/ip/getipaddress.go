package ip

import (
	"fmt"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "GetIPAddress", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &GetIPAddress{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the destination annotation from the packet's bytes",
			Text:     "One of OFFSET and IP has to be given. Packets that are too short, or whose network header is not marked where IP is given, are dropped.",
			Args:     []string{"OFFSET: Where the address is, in bytes; 16 is the IP destination of a packet that begins with its IP header.", annoArg, "IP: src or dst, of the marked IP header."},
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "... -> GetIPAddress(16) -> ARPQuerier(...);", See: []string{"SetIPAddress", "StoreIPAddress"},
		},
	})
}

// GetIPAddress sets the destination annotation.
type GetIPAddress struct {
	click.Base
	header bool // offset counts from the IP header
	offset int
}

// Configure implements click.Element.
func (e *GetIPAddress) Configure(a *click.Args) {
	var byOffset bool
	if a.Parse(click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)).Given(&byOffset), click.May("ANNO", dstAnno), click.Key("IP", func(s string, _ *click.Args) error {
		off, ok := map[string]int{"src": 12, "dst": 16}[strings.ToLower(lang.Unquote(s))]
		if !ok {
			return fmt.Errorf("expected src or dst, not '%s'", s)
		}
		e.header, e.offset = true, off
		return nil
	})) && byOffset == e.header {
		a.Errorf("set one of OFFSET, IP")
	}
}

// Act implements click.Actor.
func (e *GetIPAddress) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		if e.header {
			d = p.Network()
		}
		if len(d) < e.offset+4 {
			e.DropOne(p)
			return false
		}
		annotate(p, [4]byte(d[e.offset:e.offset+4]))
		return true
	})
}
