package nodeos

import (
	"net/netip"
	"slices"

	"github.com/janos-os/janos/errs"
)

// own returns the link's addresses as they are now. The caller does not change them.
func (s *linkState) own() []netip.Prefix {
	if p := s.addrs.Load(); p != nil {
		return *p
	}
	return s.info.Prefixes
}

// Prefixes returns a link's own addresses with their prefix lengths, as they are now; none if it is not open. It may be called from anywhere.
func (n *Node) Prefixes(link string) []netip.Prefix {
	n.mu.Lock()
	s := n.links[link]
	n.mu.Unlock()
	if s == nil {
		return nil
	}
	return slices.Clone(s.own())
}

// SetPrefixes says what a link's own addresses are from now on: those of an interface that is shared with the host, who changes them as
// it likes. Out-channels take their source addresses from them, with the next packet, and cut-through channels with them. LinkInfo keeps those that the
// link was opened with. It must not be called from a worker.
func (n *Node) SetPrefixes(link string, ps []netip.Prefix) error {
	n.feeding.Lock()
	defer n.feeding.Unlock()
	n.mu.Lock()
	s := n.links[link]
	n.mu.Unlock()
	if s == nil {
		return errs.New(errs.NotFound, "link %s is not open", link)
	}
	ps = slices.Clone(ps)
	s.addrs.Store(&ps)
	for _, c := range n.cuts() {
		if c.out.Load().link == s {
			c.settle()
		}
	}
	return nil
}
