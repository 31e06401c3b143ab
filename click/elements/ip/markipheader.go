package ip

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "MarkIPHeader", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &MarkIPHeader{} },
		Doc: click.Doc{
			Group: "ip", Title: "marks the IP header without checking it",
			Text: "The network header annotation is set, and the transport header behind the length that the header claims.",
			Args: []string{"OFFSET: Where the header begins; default 0."}, Example: "... -> MarkIPHeader(14) -> IPFilter(...) -> ...;", See: []string{"CheckIPHeader"},
		},
	})
}

// MarkIPHeader marks IP headers.
type MarkIPHeader struct {
	click.Base
	offset int
}

// Configure implements click.Element.
func (e *MarkIPHeader) Configure(a *click.Args) {
	a.Parse(click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))
}

// Act implements click.Actor.
func (e *MarkIPHeader) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		p.SetNetwork(e.offset)
		if d := p.Data(); len(d) > e.offset {
			p.SetTransport(e.offset + HeaderLen(d[e.offset:]))
		}
	}
}
