package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/linkmodel"
)

// reporter is told every error of a topology, with its place.
type reporter func(pos errs.Pos, format string, args ...any)

// Check returns all errors of the topology as one, or nil. Load has done it already.
func (t *Topology) Check() error {
	var l errs.List
	t.check(l.Addf)
	return l.Err()
}

func (t *Topology) check(report reporter) {
	if msg := badName(t.Name, MaxLabName); t.Name != "" && msg != "" {
		report(t.pos("", 0, "name"), "name of the lab: %s", msg)
	} else if t.Name == "" && t.file == "" {
		report(errs.Pos{}, "the lab has no name; give it one")
	}
	nodes := t.checkNodes(report)
	links := t.checkLinks(nodes, report)
	t.checkAddresses(report)
	for i, p := range t.Protocols {
		for _, at := range p.At {
			if _, ok := nodes[at]; !ok {
				report(t.pos("protocols", i, "at"), "protocol at unknown node %q; %s", at, suggest(at, nodes, "add it under nodes"))
			}
		}
		if p.File == "" && t.file == "" {
			report(errs.Pos{}, "protocol number %d has no file", i+1)
		}
	}
	t.checkActions(nodes, links, report)
}

func (t *Topology) checkNodes(report reporter) map[string]int {
	if _, there := t.place[placeKey{"", 0, "nodes"}]; len(t.Nodes) == 0 && (there || t.file == "") {
		report(t.pos("", 0, "nodes"), "no nodes; add at least one under nodes")
	}
	if len(t.Nodes) > MaxNodes {
		report(errs.Pos{}, "%d nodes are more than %d; use fewer", len(t.Nodes), MaxNodes)
	}
	byName := make(map[string]int, len(t.Nodes))
	for i, n := range t.Nodes {
		pos := t.pos("nodes", i, "name")
		if n.Name == "" && t.file != "" {
			continue // reported as missing
		}
		if msg := badName(n.Name, MaxNodeName); msg != "" {
			report(pos, "name of node: %s", msg)
		}
		if first, dup := byName[n.Name]; dup {
			report(pos, "a second node named %q, the first is%s; rename one", n.Name, at(t.pos("nodes", first, "name"), first))
			continue
		}
		byName[n.Name] = i
		if n.Kind != Host && n.Kind != Router {
			report(pos, "node %s is neither host nor router; set its kind", n.Name)
		}
	}
	return byName
}

func (t *Topology) checkLinks(nodes map[string]int, report reporter) map[string]int {
	if len(t.Links) > MaxLinks {
		report(errs.Pos{}, "%d links are more than %d; use fewer", len(t.Links), MaxLinks)
	}
	byName := make(map[string]int, len(t.Links))
	degree := make(map[string]int)
	for i, name := range t.linkNames() {
		l := &t.Links[i]
		known := true
		for e, end := range l.Ends {
			if _, ok := nodes[end]; !ok {
				known = false
				if end != "" || t.file == "" {
					report(t.pos("links", i, endField(e)), "link to unknown node %q; %s", end, suggest(end, nodes, "add it under nodes"))
				}
				continue
			}
			if degree[end]++; degree[end] == MaxInterfaces+1 {
				report(t.pos("links", i, endField(e)), "node %s has more than %d links; use fewer", end, MaxInterfaces)
			}
		}
		if known && l.Ends[0] == l.Ends[1] {
			report(t.pos("links", i, endField(1)), "a link from %s to itself; a link joins two nodes", l.Ends[0])
		}
		if l.Name != "" {
			if msg := badName(l.Name, MaxLinkName); msg != "" {
				report(t.pos("links", i, "name"), "name of link: %s", msg)
			}
		}
		if first, dup := byName[name]; dup && known {
			report(t.pos("links", i, "name"), "a second link named %q, the first is%s; rename one", name, at(t.pos("links", first, "name"), first))
		} else if known {
			byName[name] = i
		}
		if err := l.Impair.Check(); err != nil {
			report(t.pos("links", i, ""), "link %s: %v", name, err)
		}
		if l.MTU != 0 && (l.MTU < MinMTU || l.MTU > MaxMTU) {
			report(t.pos("links", i, ""), "link %s: MTU %d is outside %d to %d", name, l.MTU, MinMTU, MaxMTU)
		}
		if l.Direct && l.Impair != (linkmodel.Impairment{}) {
			report(t.pos("links", i, ""), "link %s is direct, so nothing can delay or drop on it; remove direct, or delay, loss, rate and queue", name)
		}
	}
	return byName
}

// linkNames returns the name of every link: its own, or "a-b", with a number from the second one between the same nodes on.
func (t *Topology) linkNames() []string {
	names := make([]string, len(t.Links))
	used := make(map[string]bool, len(t.Links))
	for i, l := range t.Links {
		if l.Name != "" {
			names[i] = l.Name
			used[l.Name] = true
		}
	}
	seen := make(map[[2]string]int)
	for i, l := range t.Links {
		if l.Name != "" {
			continue
		}
		for {
			seen[l.Ends]++
			name := l.Ends[0] + "-" + l.Ends[1]
			if k := seen[l.Ends]; k > 1 {
				name = fmt.Sprintf("%s.%d", name, k)
			}
			if !used[name] {
				used[name] = true
				names[i] = name
				break
			}
		}
	}
	return names
}

// claim is a part of the address space that the file gives to somebody.
type claim struct {
	prefix netip.Prefix
	owner  string
	pos    errs.Pos
	index  int // order in the file, for the report
}

// checkAddresses reports addresses that do not fit their link, and any two claims that overlap.
func (t *Topology) checkAddresses(report reporter) {
	claims := t.claims(report)
	// Sorted by first address, a prefix overlaps an earlier one exactly if it lies in the last one that reaches furthest.
	slices.SortStableFunc(claims, func(a, b claim) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	var wide claim
	for _, c := range claims {
		if wide.prefix.IsValid() && wide.prefix.Overlaps(c.prefix) {
			first, second := wide, c
			if second.index < first.index {
				first, second = second, first
			}
			report(second.pos, "%s of %s overlaps %s of %s; choose another", second.prefix, second.owner, first.prefix, first.owner)
			continue
		}
		wide = c
	}
	for _, p := range []struct {
		prefix netip.Prefix
		field  string
		least  int
	}{{t.LinkPool, "linkpool", 30}, {t.NodePool, "nodepool", 32}} {
		if p.prefix.IsValid() && (!p.prefix.Addr().Is4() || p.prefix.Bits() > p.least) {
			report(t.pos("", 0, p.field), "pool %s is too small or not IPv4; use a prefix of at most /%d", p.prefix, p.least)
		}
	}
}

// claims returns what the file says about addresses. What is wrong by itself is reported and left out.
func (t *Topology) claims(report reporter) []claim {
	var claims []claim
	add := func(p netip.Prefix, owner string, pos errs.Pos) {
		claims = append(claims, claim{p, owner, pos, len(claims)})
	}
	for i, n := range t.Nodes {
		if n.Addr.IsValid() {
			pos := t.pos("nodes", i, "addr")
			if msg := unusable(n.Addr); msg != "" {
				report(pos, "address %s of node %s %s; choose another", n.Addr, n.Name, msg)
				continue
			}
			add(netip.PrefixFrom(n.Addr, 32), "node "+n.Name, pos)
		}
	}
	names := t.linkNames()
	for i := range t.Links {
		l := &t.Links[i]
		net := l.network()
		if !net.IsValid() {
			if l.Addrs[0].IsValid() != l.Addrs[1].IsValid() {
				report(t.pos("links", i, "addr0"), "link %s has an address at one end only; give both or none", names[i])
			}
			continue
		}
		pos := t.pos("links", i, "prefix")
		if l.Addrs[0].IsValid() {
			pos = t.pos("links", i, "addr0")
		}
		if !net.Addr().Is4() || net.Bits() > 31 || net.Bits() < 8 {
			report(pos, "network %s of link %s: use an IPv4 prefix from /8 to /31", net, names[i])
			continue
		}
		if msg := unusable(net.Addr()); msg != "" {
			report(pos, "network %s of link %s %s; choose another", net, names[i], msg)
			continue
		}
		ok := true
		for e, a := range l.Addrs {
			switch {
			case !a.IsValid():
				continue
			case a.Masked() != net:
				report(t.pos("links", i, addrField(e)), "%s is not in the link's network %s; the ends of a link share one", a, net)
			case net.Bits() < 31 && (a.Addr() == net.Addr() || a.Addr() == last(net)):
				report(t.pos("links", i, addrField(e)), "%s is the network's own or its broadcast address; use one between", a)
			default:
				continue
			}
			ok = false
		}
		if ok && l.Addrs[0].IsValid() != l.Addrs[1].IsValid() {
			report(pos, "link %s has an address at one end only; give both or none", names[i])
		}
		if ok && l.Addrs[0].IsValid() && l.Addrs[0].Addr() == l.Addrs[1].Addr() {
			report(t.pos("links", i, "addr1"), "both ends of link %s have the address %s; change one", names[i], l.Addrs[1].Addr())
		}
		add(net, "link "+names[i], pos)
	}
	return claims
}

// network returns the network that the file gives to the link; it is invalid when the file gives none.
func (l *Link) network() netip.Prefix {
	if l.Prefix.IsValid() {
		return l.Prefix.Masked()
	}
	if l.Addrs[0].IsValid() {
		return l.Addrs[0].Masked()
	}
	return netip.Prefix{}
}

// unusable says why an address cannot be a node's, or returns "".
func unusable(a netip.Addr) string {
	switch {
	case a.IsMulticast():
		return "is a multicast address"
	case a.IsLoopback():
		return "is a loopback address"
	case a.As4()[0] == 0 || a.As4()[0] >= 240:
		return "is reserved"
	}
	return ""
}

// last returns the broadcast address of a network.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

func (t *Topology) checkActions(nodes, links map[string]int, report reporter) {
	for i, a := range t.Actions {
		switch a.Do {
		case "":
			continue // reported by the reader
		case Kill, Stop, Start, Exec:
			if _, ok := nodes[a.Node]; !ok && (a.Node != "" || t.file == "") {
				report(t.pos("actions", i, "node"), "%s of unknown node %q; %s", a.Do, a.Node, suggest(a.Node, nodes, "add it under nodes"))
			}
			if a.Do == Exec && len(a.Command) == 0 && t.file == "" {
				report(t.pos("actions", i, ""), "exec has no command; add command: [program, argument]")
			}
		case LinkDown, LinkUp, Impair:
			l, ok := links[a.Link]
			if !ok && (a.Link != "" || t.file == "") {
				report(t.pos("actions", i, "link"), "%s of unknown link %q; %s", a.Do, a.Link, suggest(a.Link, links, "links are called by their name, or a-b by their ends"))
			}
			if a.Do == Impair {
				if err := a.Impair.Check(); err != nil {
					report(t.pos("actions", i, ""), "%v", err)
				}
				if ok && t.Links[l].Direct {
					report(t.pos("actions", i, "link"), "link %s is direct, so nothing can delay or drop on it; remove direct", a.Link)
				}
			}
		case Send, Probe:
			for _, n := range []struct{ field, name string }{{"node", a.Node}, {"to", a.Capsule.To}} {
				if _, ok := nodes[n.name]; !ok && (n.name != "" || t.file == "") {
					report(t.pos("actions", i, n.field), "%s with unknown node %q; %s", a.Do, n.name, suggest(n.name, nodes, "add it under nodes"))
				}
			}
			if (a.Capsule.Protocol == "" || a.Capsule.Class == "") && t.file == "" {
				report(errs.Pos{}, "%s without protocol or class; name both", a.Do)
			}
			if a.Capsule.SeqAt < 0 || a.Capsule.SeqAt > 0 && a.Capsule.SeqAt-1 > len(a.Capsule.Payload)-4 {
				report(t.pos("actions", i, ""), "no room for a 32-bit number at offset %d of a payload of %d bytes", a.Capsule.SeqAt-1, len(a.Capsule.Payload))
			}
		default:
			report(t.pos("actions", i, ""), "%q is not an action; use one of %s", string(a.Do), verbs)
		}
		if a.At < 0 {
			report(t.pos("actions", i, ""), "action at %s, before the start; use 0s or later", a.At)
		}
	}
}

// Warnings returns what is probably not meant, though it can be built: parts of the network that nothing connects.
func (t *Topology) Warnings() []string {
	if len(t.Nodes) == 0 {
		return nil
	}
	next := make(map[string][]string)
	for _, l := range t.Links {
		next[l.Ends[0]] = append(next[l.Ends[0]], l.Ends[1])
		next[l.Ends[1]] = append(next[l.Ends[1]], l.Ends[0])
	}
	seen := map[string]bool{t.Nodes[0].Name: true}
	for todo := []string{t.Nodes[0].Name}; len(todo) > 0; {
		n := todo[0]
		todo = todo[1:]
		for _, m := range next[n] {
			if !seen[m] {
				seen[m] = true
				todo = append(todo, m)
			}
		}
	}
	var out []string
	for i, n := range t.Nodes {
		if !seen[n.Name] {
			out = append(out, (&errs.At{Pos: t.pos("nodes", i, "name"),
				Err: fmt.Errorf("warning: node %s cannot be reached from %s; add a link if that is not meant", n.Name, t.Nodes[0].Name)}).Error())
		}
	}
	return out
}

// badName says why s cannot be a name of at most max bytes, or returns "". Names become parts of file names, of interface names and
// of words in reports, so they are plain.
func badName(s string, max int) string {
	if s == "" {
		return "it is empty; use letters, digits and dashes"
	}
	if len(s) > max {
		return fmt.Sprintf("%q has %d characters; use at most %d", clip(s), len(s), max)
	}
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case (c == '-' || c == '.' || c == '_') && i > 0:
		default:
			return fmt.Sprintf("%q has the character %q; use letters, digits, and after the first one also - . _", clip(s), c)
		}
	}
	return ""
}

// at says where the first of two equals is.
func at(p errs.Pos, index int) string {
	if p.Line == 0 {
		return fmt.Sprintf(" number %d", index+1)
	}
	return fmt.Sprintf(" in line %d", p.Line)
}

// suggest returns what to do about a name that is not in set.
func suggest(name string, set map[string]int, otherwise string) string {
	for k := range set {
		if strings.EqualFold(k, name) {
			return "did you mean " + k + "?"
		}
	}
	if 0 < len(set) && len(set) <= 12 {
		keys := make([]string, 0, len(set))
		for k := range set {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return otherwise + ", or use one of " + strings.Join(keys, ", ")
	}
	return otherwise
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
