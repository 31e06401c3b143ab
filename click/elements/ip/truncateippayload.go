package ip

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "TruncateIPPayload", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &TruncateIPPayload{} },
		Doc: click.Doc{
			Group: "ip", Title: "cuts packets behind the first bytes of their payload",
			Text:    "The payload begins behind the header of TCP, UDP or ICMP, as far as that is there, and else behind the IP header. Lengths and checksums in headers stay as they are. Packets without a marked IPv4 header are cut to LENGTH bytes.",
			Args:    []string{"LENGTH: Most bytes of payload; default 0.", "TRANSPORT: Whether a transport header is no payload; default true.", "EXTRA_LENGTH: Whether to count what was cut in the extra length annotation; default true."},
			Example: "... -> CheckIPHeader -> TruncateIPPayload(64) -> ToIPSummaryDump(-, FIELDS src dst len);", See: []string{"Truncate"},
		},
	})
}

// TruncateIPPayload cuts packets.
type TruncateIPPayload struct {
	click.Base
	n         int
	transport bool
	extra     bool
}

// Configure implements click.Element.
func (e *TruncateIPPayload) Configure(a *click.Args) {
	e.transport, e.extra = true, true
	a.Parse(click.May("LENGTH", click.IntRange(&e.n, 0, 1<<16)), click.May("TRANSPORT", click.Bool(&e.transport)), click.Key("EXTRA_LENGTH", click.Bool(&e.extra)))
}

// headers returns how many bytes of an IPv4 packet are headers, and may be more than there are.
func headers(h []byte, transport bool) int {
	n := HeaderLen(h)
	if !transport || binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return n
	}
	switch t := h[n:]; h[9] {
	case 6:
		if len(t) < 13 {
			return n + 20
		}
		return n + max(int(t[12]>>4)*4, 20)
	case 1, 17:
		return n + 8
	}
	return n
}

// Act implements click.Actor.
func (e *TruncateIPPayload) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		keep := e.n
		if h := Header(p); h != nil {
			off, _ := p.NetworkOffset()
			keep += off + headers(h, e.transport)
		}
		if cut := p.Len() - keep; cut > 0 {
			p.Take(min(cut, p.Len()))
			if e.extra {
				click.SetExtraLength(p, click.ExtraLength(p)+uint32(cut))
			}
		}
	}
}
