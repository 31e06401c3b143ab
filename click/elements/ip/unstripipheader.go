package ip

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "UnstripIPHeader", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Unstrip{} },
		Doc: click.Doc{
			Group: "ip", Title: "puts a removed IP header back",
			Text:    "The packet begins with its marked network header again, if that has been removed from it. Others, and those without a marked header, stay as they are.",
			Example: "... -> StripIPHeader -> ... -> UnstripIPHeader -> ...;", See: []string{"StripIPHeader", "StripToNetworkHeader"},
		},
	})
	click.Register(click.Class{
		Name: "StripToNetworkHeader", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Unstrip{both: true} },
		Doc: click.Doc{
			Group: "ip", Title: "makes the packet begin with its network header",
			Text:     "What precedes the marked network header is removed; a header that has been removed is put back. Packets without a marked header are dropped.",
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "... -> Classifier(12/0800) -> MarkIPHeader(14) -> StripToNetworkHeader -> ...;", See: []string{"MarkIPHeader", "UnstripIPHeader", "Strip"},
		},
	})
}

// Unstrip makes packets begin with their network headers.
type Unstrip struct {
	click.Base
	both bool // remove what precedes them too
}

// Configure implements click.Element.
func (e *Unstrip) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *Unstrip) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		switch off, ok := p.NetworkOffset(); {
		case !ok && e.both:
			e.DropOne(p)
			return false
		case !ok:
		case off < 0:
			// The bytes are still those that were removed, for whoever writes before a packet's start marks its own header.
			if p.Push(-off) == nil {
				e.DropOne(p)
				return false
			}
		case off > 0 && e.both:
			if !p.Pull(off) {
				e.DropOne(p)
				return false
			}
		}
		return true
	})
}
