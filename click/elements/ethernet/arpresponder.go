package ethernet

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ARPResponder", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &ARPResponder{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "answers ARP requests",
			Text:     "Other packets, and requests for other addresses, go to output 1 or are dropped.",
			Args:     []string{"<PREFIX... ETHER>...: Addresses or prefixes, and the Ethernet address to answer with."},
			Handlers: []string{"table (r): The entries.", "add (w): An entry.", "remove (w): A prefix.", "lookup (r): The answer for the address given as parameter.", "count (r): Answers sent."},
			Example:  "cl[0] -> ARPResponder(10.0.1.1 2:0:0:0:0:1) -> out;", See: []string{"ARPQuerier"},
		},
	})
}

// ARPResponder answers requests.
type ARPResponder struct {
	click.Base
	entries []arpAnswer
	count   uint64
}

type arpAnswer struct {
	prefix netip.Prefix
	ether  [6]byte
}

// Configure implements click.Element.
func (e *ARPResponder) Configure(a *click.Args) {
	for _, arg := range a.List() {
		if err := e.add(arg); err != nil {
			a.Errorf("%v", err)
		}
	}
}

// add takes "PREFIX... ETHER".
func (e *ARPResponder) add(s string) error {
	words := lang.SplitWords(s)
	var m [6]byte
	if len(words) < 2 || click.Ether(&m)(words[len(words)-1], nil) != nil {
		return errs.New(errs.Invalid, "expected 'PREFIX... ETHER', not '%s'", s)
	}
	var list []arpAnswer
	for _, w := range words[:len(words)-1] {
		px, err := click.ParsePrefix(w)
		if err != nil || !px.Addr().Is4() {
			return errs.New(errs.Invalid, "expected an IPv4 address or prefix, not '%s'", w)
		}
		list = append(list, arpAnswer{px.Masked(), m})
	}
	for _, n := range list {
		e.remove(n.prefix)
		e.entries = append(e.entries, n)
	}
	return nil
}

func (e *ARPResponder) remove(px netip.Prefix) bool {
	for i := range e.entries {
		if e.entries[i].prefix == px {
			e.entries = append(e.entries[:i], e.entries[i+1:]...)
			return true
		}
	}
	return false
}

// find returns the answer with the longest prefix.
func (e *ARPResponder) find(a netip.Addr) (m [6]byte, ok bool) {
	best := -1
	for _, n := range e.entries {
		if n.prefix.Contains(a) && n.prefix.Bits() > best {
			best, m = n.prefix.Bits(), n.ether
		}
	}
	return m, best >= 0
}

// Act implements click.Actor.
func (e *ARPResponder) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		m, ok := parseARP(p.Data())
		var mac [6]byte
		if ok && m.op == arpRequest {
			mac, ok = e.find(netip.AddrFrom4(m.tpa))
		} else {
			ok = false
		}
		if !ok {
			e.ForwardOne(1, p)
			continue
		}
		q := newARP(&e.Base, m.sha, &arpMessage{op: arpReply, sha: mac, spa: m.tpa, tha: m.sha, tpa: m.spa})
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
func (e *ARPResponder) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("table", func() string {
		var b strings.Builder
		for _, n := range e.entries {
			fmt.Fprintf(&b, "%v\t%s\n", n.prefix, FormatEther(n.ether))
		}
		return b.String()
	})
	h.Write("add", e.add)
	h.Write("remove", func(s string) error {
		px, err := click.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		if !e.remove(px.Masked()) {
			return errs.New(errs.NotFound, "no entry for %v", px.Masked())
		}
		return nil
	})
	h.Add(click.Handler{Name: "lookup", Read: func(param string) (string, error) {
		a, err := netip.ParseAddr(strings.TrimSpace(param))
		if err != nil {
			return "", errs.New(errs.Invalid, "expected an IP address, not '%s'", param)
		}
		if m, ok := e.find(a); ok {
			return FormatEther(m), nil
		}
		return "", errs.New(errs.NotFound, "no entry for %v", a)
	}})
}
