package ethernet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IP6NDAdvertiser", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &IP6NDAdvertiser{} },
		Doc: click.Doc{
			Group: "ip6", Title: "answers neighbour solicitations of IPv6",
			Text: "Packets have an Ethernet header. The longest prefix with the solicited address decides. Solicitations without a source address, which ask whether an address is taken, are answered to all nodes. " +
				"Other packets, solicitations for other addresses, and those that RFC 4861 calls invalid go to output 1 or are dropped.",
			Args:     []string{"<PREFIX ETHER>...: IPv6 addresses or prefixes, and the Ethernet address to answer with. Of several entries for one prefix the first holds."},
			Handlers: []string{"table (r): The entries, the longest prefixes first.", "count (r): Answers sent.", "drops (r): Packets not answered that had nowhere to go."},
			Example:  "cl[0] -> IP6NDAdvertiser(2001:db8::1/128 2:0:0:0:0:1, 2001:db8:1::/64 2:0:0:0:0:1) -> out;", See: []string{"IP6NDSolicitor"},
		},
	})
}

// IP6NDAdvertiser answers solicitations.
type IP6NDAdvertiser struct {
	click.Base
	entries []arpAnswer // the longest prefix first
	count   uint64
}

// Configure implements click.Element.
func (e *IP6NDAdvertiser) Configure(a *click.Args) {
	if len(a.List()) > maxARPAnswers {
		a.Errorf("%d entries, there can be %d", len(a.List()), maxARPAnswers)
		return
	}
	for _, arg := range a.List() {
		n, err := parseNDAnswer(arg, a)
		if err != nil {
			a.Errorf("%v", err)
			continue
		}
		if i, ok := slices.BinarySearchFunc(e.entries, n, compareAnswers); !ok {
			e.entries = slices.Insert(e.entries, i, n)
		}
	}
}

func parseNDAnswer(s string, a *click.Args) (n arpAnswer, err error) {
	w := lang.SplitWords(s)
	if len(w) != 2 {
		return n, errs.New(errs.Invalid, "expected 'PREFIX ETHER', not '%s'", s)
	}
	px, err := a.ParsePrefix(w[0])
	if err == nil && !px.Addr().Is6() {
		px, err = a.ParsePrefix(w[0] + ":ip6")
	}
	if err != nil || !px.Addr().Is6() {
		return n, errs.New(errs.Invalid, "expected an IPv6 address or prefix, not '%s'", w[0])
	}
	m, err := a.ParseEther(w[1])
	return arpAnswer{px.Masked(), m}, err
}

// Inherit implements click.Inheritor.
func (e *IP6NDAdvertiser) Inherit(old click.Element) error {
	if o, ok := old.(*IP6NDAdvertiser); ok {
		e.count = o.count
		e.CountDrops(int(o.Drops()))
	}
	return nil
}

// answer makes the answer to a frame, or returns nil and whether it should have been one.
func (e *IP6NDAdvertiser) answer(p *packet.Packet) (q *packet.Packet, mine bool) {
	m, ok := parseND(p.Data())
	if !ok || m.typ != solicitation {
		return nil, false
	}
	target := netip.AddrFrom16(m.target)
	for i := range e.entries {
		if !e.entries[i].prefix.Contains(target) {
			continue
		}
		r := ndMessage{typ: advertisement, flags: flagSolicited | flagOverride, src: m.target, dst: m.src, target: m.target, option: optionTarget, link: e.entries[i].ether}
		to := [6]byte(p.Data()[6:])
		if m.hasLink {
			to = m.link
		}
		if m.src == ([16]byte{}) {
			r.flags, r.dst = flagOverride, [16]byte{0xff, 2, 15: 1}
			to = multicast6(r.dst)
		}
		if q = newND(&e.Base, r.link, to, &r); q != nil {
			q.Anno.Link, q.Anno.VLAN, q.Anno.HasVLAN = p.Anno.Link, p.Anno.VLAN, p.Anno.HasVLAN
		}
		return q, true
	}
	return nil, false
}

// Act implements click.Actor.
func (e *IP6NDAdvertiser) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		q, mine := e.answer(p)
		if !mine {
			e.ForwardOne(1, p)
			continue
		}
		e.Cache().Free(p)
		if q == nil {
			e.CountDrops(1)
			continue
		}
		e.count++
		b.Set(keep, q)
		keep++
	}
	b.Truncate(keep)
}

// AddHandlers implements click.HandlerAdder.
func (e *IP6NDAdvertiser) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("table", func() string {
		var b strings.Builder
		for _, n := range e.entries {
			fmt.Fprintf(&b, "%v %s\n", n.prefix, DashedEther(n.ether))
		}
		return b.String()
	})
}
