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
		Name: "ARPResponder", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &ARPResponder{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "answers ARP requests",
			Text: "The longest prefix with the requested address decides. Answers have the link and VLAN annotations of their requests, and no time. " +
				"Other packets, and requests for other addresses, go to output 1 or are dropped.",
			Args: []string{"<PREFIX... ETHER>...: IPv4 addresses or prefixes, and the Ethernet address to answer with. A single name may stand for an address and an Ethernet address. Of several entries for one prefix the first holds."},
			Handlers: []string{
				"config (rw): The arguments; to write it replaces all entries.", "table (r): The entries, the longest prefixes first.", "add (w): PREFIX... ETHER, which replaces entries of the same prefixes.", "remove (w): A prefix.",
				"lookup (r): The answer for the address given as parameter, or nothing.", "count (r): Answers sent.", "drops (r): Packets not answered that had nowhere to go.",
			},
			Example: "cl[0] -> ARPResponder(10.0.1.1 2:0:0:0:0:1) -> out;", See: []string{"ARPQuerier", "ARPFaker"},
		},
	})
}

// maxARPAnswers bounds the entries.
const maxARPAnswers = 1 << 16

// ARPResponder answers requests.
type ARPResponder struct {
	click.Base
	entries []arpAnswer // the longest prefix first, then by address
	count   uint64
}

type arpAnswer struct {
	prefix netip.Prefix
	ether  [6]byte
}

// Configure implements click.Element.
func (e *ARPResponder) Configure(a *click.Args) {
	for _, arg := range a.List() {
		list, err := parseARPAnswer(arg, a)
		if err != nil {
			a.Errorf("%v", err)
		}
		twice := false
		for _, n := range list {
			if i, ok := slices.BinarySearchFunc(e.entries, n, compareAnswers); !ok {
				e.entries = slices.Insert(e.entries, i, n)
			} else if !twice {
				twice = true // one message for each argument is enough
				a.Messagef("warning: multiple entries for %v", n.prefix)
			}
		}
	}
	if len(e.entries) > maxARPAnswers {
		a.Errorf("%d entries, there can be %d", len(e.entries), maxARPAnswers)
	}
}

// compareAnswers orders entries as they are searched.
func compareAnswers(x, y arpAnswer) int {
	if d := y.prefix.Bits() - x.prefix.Bits(); d != 0 {
		return d
	}
	return x.prefix.Addr().Compare(y.prefix.Addr())
}

// parseARPAnswer takes "PREFIX... ETHER" or a name for both.
func parseARPAnswer(s string, a *click.Args) (list []arpAnswer, err error) {
	words := lang.SplitWords(s)
	if len(words) == 0 {
		return nil, errs.New(errs.Invalid, "expected 'PREFIX... ETHER', not '%s'", s)
	}
	last := words[len(words)-1]
	m, err := a.ParseEther(last)
	if err != nil {
		return nil, errs.New(errs.Invalid, "expected 'PREFIX... ETHER', not '%s'", s)
	}
	if len(words) > 1 {
		words = words[:len(words)-1]
	}
	for _, w := range words {
		px, err := a.ParsePrefix(w)
		if err == nil && !px.Addr().Is4() {
			px, err = a.ParsePrefix(w + ":ip")
		}
		if err != nil || !px.Addr().Is4() {
			return nil, errs.New(errs.Invalid, "expected an IPv4 address or prefix, not '%s'", w)
		}
		list = append(list, arpAnswer{px.Masked(), m})
	}
	return list, nil
}

// Reconfigure implements click.Reconfigurer.
func (e *ARPResponder) Reconfigure(from click.Element) error {
	e.entries = from.(*ARPResponder).entries
	return nil
}

// Inherit implements click.Inheritor.
func (e *ARPResponder) Inherit(old click.Element) error {
	if o, ok := old.(*ARPResponder); ok {
		e.count = o.count
		e.CountDrops(int(o.Drops()))
	}
	return nil
}

// find returns the answer with the longest prefix.
func (e *ARPResponder) find(a netip.Addr) (m [6]byte, ok bool) {
	for i := range e.entries {
		if e.entries[i].prefix.Contains(a) {
			return e.entries[i].ether, true
		}
	}
	return m, false
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
		if q != nil {
			q.Anno.Link, q.Anno.VLAN, q.Anno.HasVLAN = p.Anno.Link, p.Anno.VLAN, p.Anno.HasVLAN
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
func (e *ARPResponder) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("table", func() string {
		var b strings.Builder
		for _, n := range e.entries {
			fmt.Fprintf(&b, "%v %s\n", n.prefix, DashedEther(n.ether))
		}
		return b.String()
	})
	h.Write("add", func(s string) error {
		var list []arpAnswer
		if err := h.Parse(func(s string, a *click.Args) (err error) {
			list, err = parseARPAnswer(s, a)
			return err
		}, s); err != nil {
			return err
		}
		if len(e.entries)+len(list) > maxARPAnswers {
			return errs.New(errs.Limit, "there can be %d entries", maxARPAnswers)
		}
		for _, n := range list {
			i, ok := slices.BinarySearchFunc(e.entries, n, compareAnswers)
			if ok {
				e.entries[i] = n
			} else {
				e.entries = slices.Insert(e.entries, i, n)
			}
		}
		return nil
	})
	h.Write("remove", func(s string) error {
		var px netip.Prefix
		if err := h.Parse(click.Prefix(&px), strings.TrimSpace(s)); err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		i, ok := slices.BinarySearchFunc(e.entries, arpAnswer{prefix: px.Masked()}, compareAnswers)
		if !ok {
			return errs.New(errs.NotFound, "no entry for %v", px.Masked())
		}
		e.entries = slices.Delete(e.entries, i, i+1)
		return nil
	})
	h.Add(click.Handler{Name: "lookup", Read: func(param string) (string, error) {
		var a netip.Addr
		if err := h.Parse(click.Addr4(&a), strings.TrimSpace(param)); err != nil {
			return "", errs.New(errs.Invalid, "%v", err)
		}
		if m, ok := e.find(a); ok {
			return DashedEther(m), nil
		}
		return "", nil
	}})
}
