package node

import (
	"slices"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click/elements/hostip"
	"github.com/janos-os/janos/errs"
)

// follower has the node's links keep the addresses that the host gives their interfaces, and the table that graphs route by.
type follower struct {
	n      *Node
	table  *host.Table
	cancel func()
	news   chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// onHost reports whether a link is on an interface of the host that both use.
func (n *Node) onHost(link string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.states[link]
	return s != nil && (s.Driver == "packet" || s.Driver == "xdp")
}

// followHost begins to follow the host's addresses, routes and neighbours, if the node has a link on an interface of the host and does not yet.
// n.change is held.
func (n *Node) followHost() error {
	if n.follower != nil || n.spec.Host.Off || n.env.OpenLink != nil || n.env.Stepped ||
		!slices.ContainsFunc(n.spec.Links, func(l Link) bool { return n.onHost(l.Name) }) {
		return nil
	}
	f := &follower{n: n, news: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	err := n.keeper.within(func() (err error) {
		f.table, err = host.Follow(host.Spec{Table: n.spec.Host.Table})
		return err
	})
	if err != nil {
		return errs.New(errs.KindOf(err), "%w; \"host: {off: true}\" in the node file does without", err)
	}
	if s := f.table.Status(); s.Rules > 0 && n.spec.Host.Table == 0 {
		n.env.Log.Warn("the host has policy rules, which graphs that route as the host does do not follow", "rules", s.Rules)
	}
	f.cancel = f.table.Watch(func() {
		select {
		case f.news <- struct{}{}:
		default:
		}
	})
	f.news <- struct{}{} // what has changed since the links were opened
	n.mu.Lock()
	n.follower = f
	n.mu.Unlock()
	go f.run()
	return nil
}

// Host returns what the node follows of the host, or nil.
func (n *Node) Host() *host.Table {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.follower == nil {
		return nil
	}
	return n.follower.table
}

// hostEnv is what elements get.
func (n *Node) hostEnv() *hostip.Env {
	devices := make(map[string]string)
	for _, l := range n.spec.Links {
		devices[l.Name] = l.device()
	}
	return &hostip.Env{Table: n.Host(), Device: func(link string) string {
		if d, ok := devices[link]; ok {
			return d
		}
		return link
	}}
}

// addressLater reports whether neighbours cannot be looked for on a link until its interface has an address.
func (n *Node) addressLater(l *Link) bool {
	return n.Host() != nil && n.onHost(l.Name) && len(n.os.Prefixes(l.Name)) == 0
}

func (f *follower) run() {
	defer close(f.done)
	for seen := f.table.LinkChanges() - 1; ; {
		select {
		case <-f.stop:
			return
		case <-f.news:
		}
		if now := f.table.LinkChanges(); now != seen {
			seen = now
			f.addresses()
		}
	}
}

// addresses gives the links the addresses of their interfaces.
func (f *follower) addresses() {
	n := f.n
	for _, l := range n.Spec().Links {
		i := f.table.InterfaceByName(l.device())
		if i == nil || !n.onHost(l.Name) || slices.Equal(i.Prefixes, n.os.Prefixes(l.Name)) {
			continue
		}
		if err := n.os.SetPrefixes(l.Name, i.Prefixes); err != nil {
			continue // gone since; whoever opens it again reads them
		}
		n.env.Log.Info("interface has other addresses", "link", l.Name, "addresses", i.Prefixes)
		r := n.Router()
		if r == nil {
			continue
		}
		err := r.AddressesChanged(l.Name)
		if errs.KindOf(err) == errs.NotFound && len(i.Prefixes) > 0 {
			err = r.AddLink(l.routing())
		}
		if err != nil && len(i.Prefixes) > 0 {
			n.env.Log.Warn("neighbours are not looked for", "link", l.Name, "error", err)
		}
	}
}

// close ends following.
func (f *follower) close() error {
	f.cancel()
	close(f.stop)
	<-f.done
	return f.table.Close()
}
