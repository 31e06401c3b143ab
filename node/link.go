package node

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// LinkState says how a link of the node file is: what was tried to open it, and what became of it.
type LinkState struct {
	Name    string      `json:"name"`
	Device  string      `json:"device"`
	Asked   string      `json:"asked"` // driver in the node file; auto: the degradation order
	Driver  string      `json:"driver,omitempty"`
	Mode    string      `json:"mode,omitempty"` // of driver xdp: native or generic
	State   string      `json:"state"`          // up; faulty: open, and the driver reports what is wrong; gone: the interface is; failed: it could not be opened again
	Why     string      `json:"why,omitempty"`
	Tried   []LinkTried `json:"tried,omitempty"` // drivers that refused, in order
	Notes   []string    `json:"notes,omitempty"` // what the driver had to do without
	Opened  int         `json:"opened"`          // how often it was
	Retried int         `json:"retried"`         // attempts to open it again since it is gone or failed
}

// LinkTried is a driver that could not open a link.
type LinkTried struct {
	Driver string `json:"driver"`
	Why    string `json:"why"`
}

// States of a link.
const (
	linkUp     = "up"
	linkFaulty = "faulty"
	linkGone   = "gone"
	linkFailed = "failed"
)

// LinkEvent tells that a link's interface went, came back, or could not be opened again.
type LinkEvent struct {
	Kind   string        `json:"kind"` // link-up, link-gone, link-failed
	Node   string        `json:"node"`
	Time   time.Duration `json:"t"` // of the node's clock
	Link   string        `json:"link"`
	Driver string        `json:"driver,omitempty"`
	Reason string        `json:"reason,omitempty"`
}

// String says in one line what was tried, what was refused and why, and what runs.
func (s *LinkState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link %s on %s: ", s.Name, s.Device)
	for _, t := range s.Tried {
		fmt.Fprintf(&b, "%s refused (%s), ", t.Driver, t.Why)
	}
	switch {
	case s.State == linkGone || s.State == linkFailed:
		fmt.Fprintf(&b, "%s: %s", s.State, s.Why)
		return b.String()
	case s.Mode != "":
		fmt.Fprintf(&b, "runs %s, %s", s.Driver, s.Mode)
	default:
		fmt.Fprintf(&b, "runs %s", s.Driver)
	}
	if s.Asked != "auto" {
		b.WriteString(", as the node file says")
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "; without: %s", n)
	}
	if s.Why != "" {
		fmt.Fprintf(&b, "; %s: %s", s.State, s.Why)
	}
	return b.String()
}

// LinkStates returns how the links of the node file are, in its order.
func (n *Node) LinkStates() []LinkState {
	n.mu.Lock()
	spec := n.spec
	out := make([]LinkState, 0, len(spec.Links))
	for _, l := range spec.Links {
		if s := n.states[l.Name]; s != nil {
			out = append(out, *s)
		}
	}
	n.mu.Unlock()
	for i := range out {
		if err := n.fault(out[i].Name); err != nil && out[i].State == linkUp {
			out[i].State, out[i].Why = linkFaulty, err.Error()
		}
	}
	return out
}

// fault returns what a link's driver reports to be wrong with its interface. Reading the statistics makes it look.
func (n *Node) fault(link string) error {
	if _, err := n.os.LinkStats(link); err != nil {
		return nil // not open
	}
	l, err := n.os.Link(link)
	if err != nil {
		return nil
	}
	if e, ok := l.(interface{ Err() error }); ok {
		return e.Err()
	}
	return nil
}

// openLink opens a link, with what the surroundings have or with a registered driver, and says what became of it.
func (n *Node) openLink(l *Link) error {
	link, err := n.open(l)
	if err != nil {
		return err
	}
	info := link.Info()
	s := &LinkState{Name: l.Name, Device: l.device(), Asked: l.Driver, Driver: info.Driver, State: linkUp, Notes: info.Notes, Opened: 1}
	if s.Asked == "" {
		s.Asked = "auto"
	}
	if m, ok := link.(interface{ Mode() string }); ok {
		s.Mode = m.Mode()
	}
	for _, r := range n.os.LinkRefusals(l.Name) {
		s.Tried = append(s.Tried, LinkTried{r.Driver, r.Err.Error()})
	}
	n.mu.Lock()
	if old := n.states[l.Name]; old != nil {
		s.Opened += old.Opened
	}
	n.states[l.Name] = s
	n.mu.Unlock()
	n.links[l.Name] = *l
	if len(s.Tried)+len(s.Notes) > 0 {
		n.env.Log.Warn(s.String())
	} else {
		n.env.Log.Info(s.String())
	}
	return nil
}

func (n *Node) open(l *Link) (nodeos.Link, error) {
	if n.env.OpenLink != nil {
		link, err := n.env.OpenLink(n.os, *l)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", l.Name, err)
		}
		if err := n.os.AddLink(link, l.Worker); err != nil {
			return nil, errors.Join(err, link.Close())
		}
		return link, nil
	}
	link, err := n.os.OpenLink(nodeos.LinkSpec{Name: l.Name, Driver: l.Driver, Device: l.Device, Worker: l.Worker, Workers: l.Workers, Ring: l.Ring, Opts: l.Options})
	if err != nil {
		return nil, err
	}
	if err := n.keeper.add(l, link.Info().Driver); err != nil {
		return nil, errors.Join(err, n.os.CloseLink(l.Name))
	}
	return link, nil
}

// closeLink gives a link and its interface up. What stands on it is gone already, or will be made anew.
func (n *Node) closeLink(name string) {
	if err := n.os.CloseLink(name); err != nil && errs.KindOf(err) != errs.NotFound {
		n.env.Log.Debug("closing a link", "link", name, "error", err) // its interface may be gone
	}
}

// setLink changes what is known of a link and returns it as it was.
func (n *Node) setLink(name string, fn func(*LinkState)) (was LinkState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.states[name]
	if s == nil {
		return was
	}
	was = *s
	c := *s
	fn(&c)
	n.states[name] = &c
	return was
}

// reopen replaces a link by a new one on the interface that now has its name, and then what stands on links: the neighbours on it
// and the element graphs. The EE, its protocols and their state stay. Until the interface could be opened, the other links' traffic goes on.
// n.change is held.
func (n *Node) reopen(l *Link) error {
	n.closeLink(l.Name)
	if err := n.openLink(l); err != nil {
		return err
	}
	if n.router != nil {
		if err := n.router.RemoveLink(l.Name); err != nil && errs.KindOf(err) != errs.NotFound {
			return err
		}
		if err := n.router.AddLink(l.routing()); err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	n.closeGraph()
	n.closeDomains(func(*live) bool { return true })
	if err := n.startGraph(); err != nil {
		return err
	}
	return n.makeDomains(n.spec)
}

// closeDomains ends the domains of the node file that are chosen.
func (n *Node) closeDomains(chosen func(*live) bool) {
	for name, l := range n.domains {
		if !chosen(l) {
			continue
		}
		if l.graph != nil {
			l.graph.Close()
		}
		n.endDomain(l.domain)
		delete(n.domains, name)
	}
}
