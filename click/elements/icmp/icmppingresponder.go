package icmp

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ICMPPingResponder", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &PingResponder{} },
		Doc: click.Doc{
			Group: "icmp", Title: "answers echo requests",
			Text:     "Echo requests become replies with source and destination exchanged; the destination annotation is set and the paint is cleared. Other packets go to output 1, or are dropped.",
			Handlers: []string{"count (r): Replies.", "drops (r): Other packets that had nowhere to go."},
			Example:  "... -> IPClassifier(icmp type echo) -> ICMPPingResponder -> rt;",
		},
	})
}

// PingResponder answers echo requests.
type PingResponder struct {
	click.Base
	count uint64
}

// Configure implements click.Element.
func (e *PingResponder) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *PingResponder) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !e.reply(p) {
			e.ForwardOne(1, p)
			return false
		}
		e.count++
		return true
	})
}

func (e *PingResponder) reply(p *packet.Packet) bool {
	h := ip.Header(p)
	if h == nil || h[9] != 1 || binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return false
	}
	n := ip.HeaderLen(h)
	if len(h) < n+8 || h[n] != 8 || !e.Cache().Unshare(p) {
		return false
	}
	h = ip.Header(p)
	var a [4]byte
	copy(a[:], h[12:16])
	copy(h[12:16], h[16:20])
	copy(h[16:20], a[:])
	h[8] = 255
	ip.SetChecksum(h)
	m := h[n:]
	m[0] = 0
	sum := demux.Update16(binary.BigEndian.Uint16(m[2:]), 8<<8|uint16(m[1]), uint16(m[1]))
	if sum == 0 {
		sum = 0xffff // the other zero, which is the right one for a message that is all zero
	}
	binary.BigEndian.PutUint16(m[2:], sum)
	p.Anno.Dst = ip.Dst(h)
	p.Anno.Kind, p.Anno.Paint = packet.ToHost, 0 // the reply is ours, and came in by no interface
	return true
}

// AddHandlers implements click.HandlerAdder.
func (e *PingResponder) AddHandlers(h *click.Handlers) { h.Count("count", &e.count) }
