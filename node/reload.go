package node

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// Reload gives a running node another node file: links that are the same in both stay attached, with their drivers' programs and
// the host's traffic on the interface; the others are closed and opened. Weights and limits change in place; graphs, domains and
// pools that differ end and are made anew, with what they held; protocols stay where both files have them.
//
// A file that cannot be had is refused, and the node is then what it was before: a file that is not valid, or that changes what a
// running node cannot change, before anything is touched; anything else by going back. It waits, and must not be called from a worker.
// A stepped node refuses it with errs.NotSupported.
func (n *Node) Reload(spec *Spec) error {
	if n.env.Stepped {
		return errs.New(errs.NotSupported, "node %s: a stepped node cannot be given another file", n.os.Name())
	}
	if err := spec.Check(); err != nil {
		return err
	}
	if err := spec.CheckGraph(); err != nil {
		return err
	}
	if err := spec.CheckProtocols(); err != nil {
		return err
	}
	n.change.Lock()
	defer n.change.Unlock()
	if n.closing {
		return errs.New(errs.Dead, "node %s is closed", n.os.Name())
	}
	old := n.spec
	if keys := fixedKeys(old, spec); len(keys) > 0 {
		return errs.New(errs.Refused, "node %s: a running node cannot change %s: end it and run it with the new file, or leave them as they are", old.Name, strings.Join(keys, ", "))
	}
	return n.keeper.within(func() error {
		err := n.become(spec)
		if err == nil {
			n.env.Log.Info("node has another configuration")
			return nil
		}
		back := n.become(old)
		if back != nil {
			return errs.New(errs.Internal, "%w; and going back to the configuration before failed, the node is between both: %v", err, back)
		}
		return fmt.Errorf("the configuration before is in force again: %w", err)
	})
}

// CheckProtocols reads the protocols that the node is to register and reports every one that cannot be read.
func (s *Spec) CheckProtocols() error {
	var list errs.List
	for i, path := range s.ANTS.Protocols {
		if _, err := ants.LoadProtocol(s.path(path)); err != nil {
			if i < len(s.protocolsAt) {
				list.Addf(s.protocolsAt[i], "protocol %s: %w", path, err)
				continue
			}
			list.Add(fmt.Errorf("protocol %s: %w", path, err))
		}
	}
	return list.Err()
}

// fixedKeys returns the keys of the node file in which two specs differ that cannot change while the node runs.
func fixedKeys(a, b *Spec) (keys []string) {
	add := func(key string, differs bool) {
		if differs {
			keys = append(keys, key)
		}
	}
	add("node", a.Name != b.Name)
	add("kind", a.Kind != b.Kind)
	add("address", a.Addr != b.Addr)
	add("workers", max(a.Workers, 1) != max(b.Workers, 1))
	add("frames", a.Frames != b.Frames)
	add("seed", a.Seed != b.Seed)
	add("control", a.Control != b.Control)
	add("events", a.Events != b.Events)
	add("code-store", a.Code != b.Code)
	add("jails", !slices.EqualFunc(a.Jails, b.Jails, func(a, b Jail) bool { return reflect.DeepEqual(a, b) }) || a.ANTS.Jail != b.ANTS.Jail)
	add("ants", a.ANTS.Off != b.ANTS.Off || a.ANTS.Budget != b.ANTS.Budget || a.ANTS.Strikes != b.ANTS.Strikes ||
		a.ANTS.Protocol != b.ANTS.Protocol || a.ANTS.Each != b.ANTS.Each || !reflect.DeepEqual(a.ANTS.fixed(), b.ANTS.fixed()) ||
		!samePoolOf(a, b, a.ANTS.Pool))
	add("routing.off", a.Routing.Off != b.Routing.Off)
	add("host", a.Host != b.Host)
	return keys
}

// samePoolOf reports whether a pool and those that it is a part of are the same in two specs, but for limits and weights.
func samePoolOf(a, b *Spec, name string) bool {
	for name != "" {
		p, _ := a.pool(name)
		q, ok := b.pool(name)
		if !ok || !samePool(p, q) {
			return false
		}
		name = p.Parent
	}
	return true
}

// become makes what runs what s says, whatever it is: also when an earlier call failed halfway. n.change is held.
func (n *Node) become(s *Spec) error {
	was := n.spec
	n.mu.Lock()
	n.spec = s
	n.mu.Unlock()

	// From the top down: what stands on links or in pools that go, or is another now.
	fresh := n.newLinks(s)
	links := len(fresh) > 0 || len(n.links) != len(s.Links)
	n.closeDomains(func(l *live) bool {
		i := slices.IndexFunc(s.Domains, func(d Domain) bool { return d.Name == l.spec.Name })
		return links || i < 0 || !l.spec.sameWork(&s.Domains[i]) || !samePoolOf(was, s, l.spec.Pool) || l.domain.Reason() != nil
	})
	regraph := links || n.GraphText() != s.GraphText() || !reflect.DeepEqual(was.GraphDomain.fixed(), s.GraphDomain.fixed()) ||
		!samePoolOf(was, s, was.GraphDomain.Pool) || !n.graphRuns()
	if regraph {
		n.closeGraph()
	}
	reroute := links || !reflect.DeepEqual(was.Routing, s.Routing) || n.Router() == nil
	if reroute {
		if err := n.stopRouting(); err != nil {
			n.env.Log.Warn("routes of the host", "error", err)
		}
	}
	for name := range n.links {
		if !slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name }) || slices.Contains(fresh, name) {
			n.closeLink(name)
			n.keeper.drop(name)
			delete(n.links, name)
			n.mu.Lock()
			delete(n.states, name)
			n.mu.Unlock()
		}
	}
	if err := n.closePools(was, s); err != nil {
		return err
	}

	// And up again.
	for i := range s.Links {
		if l := &s.Links[i]; slices.Contains(fresh, l.Name) {
			if err := n.openLink(l); err != nil {
				return err
			}
		} else {
			n.links[l.Name] = *l
		}
	}
	if err := n.followHost(); err != nil {
		return err
	}
	if err := n.makePools(s); err != nil {
		return err
	}
	if err := n.adjustAll(s); err != nil {
		return err
	}
	if reroute {
		if err := n.startRouting(); err != nil {
			return err
		}
	}
	if regraph {
		if err := n.startGraph(); err != nil {
			return err
		}
	}
	if err := n.makeDomains(s); err != nil {
		return err
	}
	if n.ee == nil {
		return nil
	}
	for path, id := range maps.Clone(n.loaded) {
		if !slices.Contains(s.ANTS.Protocols, path) {
			if err := n.ee.Unregister(id); err != nil && errs.KindOf(err) != errs.NotFound { // ended for its faults
				return err
			}
			delete(n.loaded, path)
		}
	}
	return n.registerProtocols()
}

// graphRuns reports whether there is a graph, and its domain was not ended for what it did.
func (n *Node) graphRuns() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.graph != nil && n.graphDom.Reason() == nil
}

// newLinks returns the names of the links of s that have to be opened: they are new, or another driver's or device's, or with other options.
func (n *Node) newLinks(s *Spec) (names []string) {
	for _, l := range s.Links {
		old, ok := n.links[l.Name]
		if ok {
			old.Cost, old.Peers = l.Cost, l.Peers // of routing
			ok = reflect.DeepEqual(old, l)
		}
		if !ok {
			names = append(names, l.Name)
		}
	}
	return names
}

// closePools closes the pools that s does not have, or has otherwise, parts before what they are parts of.
func (n *Node) closePools(was, s *Spec) error {
	for again := true; again; {
		again = false
		for name, p := range n.pools {
			q, ok := s.pool(name)
			if ok && samePool(p.spec, q) && samePoolOf(was, s, p.spec.Parent) {
				continue
			}
			hasParts := false
			for _, other := range n.pools {
				hasParts = hasParts || other.spec.Parent == name
			}
			if hasParts { // they go too, in a later round
				again = true
				continue
			}
			if err := p.pool.Close(); err != nil {
				return err
			}
			delete(n.pools, name)
			again = true
		}
	}
	return nil
}

// adjustAll gives what runs and stays the weights and limits of s.
func (n *Node) adjustAll(s *Spec) error {
	all := []error{adjust(n.os.Root().Account(), s.Share, s.Limits)}
	if n.eeDom != nil {
		all = append(all, adjust(n.eeDom.Account(), s.ANTS.Share, s.ANTS.Limits))
	}
	n.mu.Lock()
	g := n.graphDom
	n.mu.Unlock()
	if g != nil {
		all = append(all, adjust(g.Account(), s.GraphDomain.Share, s.GraphDomain.Limits))
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		if l := n.domains[d.Name]; l != nil {
			all = append(all, adjust(l.domain.Account(), d.Share, d.Limits))
			l.spec = *d
		}
	}
	for _, p := range s.Pools {
		if l := n.pools[p.Name]; l != nil && l.spec != p {
			l.pool.Account().SetShare(max(p.Share, 0))
			if p.Share == 0 {
				l.pool.Account().SetShare(resctl.DefaultShare)
			}
			all = append(all, l.pool.SetLimit(p.Limit))
			l.spec = p
		}
	}
	return errors.Join(all...)
}
