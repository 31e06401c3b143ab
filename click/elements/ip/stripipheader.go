package ip

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "StripIPHeader", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &StripIPHeader{} },
		Doc: click.Doc{Group: "ip", Title: "removes everything up to the end of the IP header", Text: "Packets without a marked IP header are dropped.", Example: "... -> StripIPHeader -> ...;"},
	})
}

// StripIPHeader removes IP headers.
type StripIPHeader struct{ click.Base }

// Configure implements click.Element.
func (e *StripIPHeader) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *StripIPHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		h := Header(p)
		off, _ := p.NetworkOffset()
		if h == nil || off < 0 || !p.Pull(off+HeaderLen(h)) {
			e.DropOne(p)
			return false
		}
		return true
	})
}
