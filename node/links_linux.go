package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
)

// lookEvery is how often the interfaces beneath links are looked at.
const lookEvery = time.Second

// Between two attempts to open a link again: the first pause, and the longest.
const (
	firstPause   = lookEvery
	longestPause = 30 * time.Second
)

// keeper looks after the interfaces that a node's links are on: that no other node has them, and that a link whose
// interface was removed and made again, with another number and hardware address, or has other queues now, is opened anew.
type keeper struct {
	n    *Node
	stop chan struct{}
	done chan struct{} // nil until watch

	// What follows is guarded by Node.change.
	space  *netns.Namespace // where the first link was opened
	handle *netlink.Handle
	kept   map[string]*kept // by link
}

// kept is a link's interface.
type kept struct {
	index int
	lock  *net.UnixConn
	pause time.Duration // until the next attempt, after one that failed
	next  time.Time
}

func newKeeper(n *Node) *keeper {
	return &keeper{n: n, kept: make(map[string]*kept), stop: make(chan struct{})}
}

// add begins to keep the interface of a link that was opened by a driver, in the network namespace of the calling thread. Node.change is held.
func (k *keeper) add(l *Link, driver string) (err error) {
	if driver != "packet" && driver != "xdp" {
		return nil
	}
	if k.handle == nil {
		if k.space, err = netns.Open("/proc/thread-self/ns", "net"); err != nil {
			return err
		}
		if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return errs.New(errs.NotSupported, "looking after interfaces: %w", err)
		}
	}
	i, err := k.handle.LinkByName(l.device())
	if err != nil {
		return errs.New(errs.NotFound, "link %s: %w", l.Name, err)
	}
	if old := k.kept[l.Name]; old != nil { // opened again
		*old = kept{index: i.Attrs().Index, lock: old.lock}
		return nil
	}
	c, err := reserve(l)
	if err != nil {
		return err
	}
	k.kept[l.Name] = &kept{index: i.Attrs().Index, lock: c}
	return nil
}

// drop gives the interface of a link up. Node.change is held.
func (k *keeper) drop(link string) {
	if i := k.kept[link]; i != nil {
		_ = i.lock.Close() // nothing was written
		delete(k.kept, link)
	}
}

// reserve reserves an interface by a name that belongs to the network namespace and goes with the process, however that ends.
func reserve(l *Link) (*net.UnixConn, error) {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: "@janos/interface/" + l.device()})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errs.New(errs.Exists, "link %s: another node runs on interface %s; end it first, or leave the interface out of one of the node files", l.Name, l.device())
	}
	if err != nil {
		return nil, errs.New(errs.NotSupported, "link %s: reserving interface %s: %w", l.Name, l.device(), err)
	}
	return c, nil
}

// within runs fn in the network namespace of the node's interfaces.
func (k *keeper) within(fn func() error) error {
	if k.space == nil {
		return fn()
	}
	return k.space.Do(fn)
}

// watch begins to look for interfaces that go and come back.
func (k *keeper) watch() {
	if k.n.env.OpenLink != nil || k.n.env.Stepped {
		return
	}
	k.done = make(chan struct{})
	go k.run()
}

func (k *keeper) run() {
	defer close(k.done)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-t.C:
		}
		k.n.change.Lock()
		for i := range k.n.spec.Links {
			l := &k.n.spec.Links[i]
			if at := k.kept[l.Name]; at != nil && !k.n.closing {
				k.look(l, at)
			}
		}
		k.n.change.Unlock()
	}
}

// look opens the link anew if its interface is another one than it was, is up, and has an address where neighbours are looked for.
func (k *keeper) look(l *Link, at *kept) {
	i, err := k.handle.LinkByName(l.device())
	is := func(state string) bool {
		s := k.n.setLink(l.Name, func(*LinkState) {})
		return s.State == state
	}
	why := "the interface was removed; the link waits for one of its name that is up"
	if err == nil && i.Attrs().Index == at.index && is(linkUp) {
		fault := k.n.fault(l.Name)
		if errs.KindOf(fault) != errs.Invalid { // what a driver says of an interface that has changed: open it anew
			return
		}
		why = fault.Error()
	}
	if is(linkUp) {
		k.report(l, linkGone, why)
	}
	if err != nil || i.Attrs().Flags&net.FlagUp == 0 || time.Now().Before(at.next) {
		return
	}
	if as, err := k.handle.AddrList(i, netlink.FAMILY_ALL); !k.n.spec.Routing.Off && (err != nil || len(as) == 0) {
		return
	}
	if err := k.within(func() error { return k.n.reopen(l) }); err != nil {
		at.pause = min(max(2*at.pause, firstPause), longestPause)
		at.next = time.Now().Add(at.pause)
		k.n.setLink(l.Name, func(s *LinkState) { s.Retried++ })
		k.report(l, linkFailed, fmt.Sprintf("%v; next attempt in %v", err, at.pause))
		return
	}
	k.report(l, linkUp, "")
}

// report notes what has become of a link and tells it.
func (k *keeper) report(l *Link, state, why string) {
	driver := ""
	was := k.n.setLink(l.Name, func(s *LinkState) {
		s.State, s.Why = state, why
		driver = s.Driver
	})
	log := k.n.env.Log.With("link", l.Name, "interface", l.device())
	switch {
	case state == linkUp:
		log.Info("interface is back", "driver", driver)
	case state == linkGone:
		log.Warn("link is out of use", "reason", why)
	case was.State != state || was.Retried <= 1:
		log.Error("link could not be opened again", "reason", why)
	default:
		log.Debug("link could not be opened again", "reason", why)
	}
	k.n.event(LinkEvent{"link-" + state, k.n.os.Name(), time.Duration(k.n.os.Clock().Now()), l.Name, driver, why})
}

// end ends the goroutine. Node.change must not be held.
func (k *keeper) end() {
	if k.done != nil {
		close(k.stop)
		<-k.done
	}
}

// close gives the interfaces free.
func (k *keeper) close() {
	for link := range k.kept {
		k.drop(link)
	}
	if k.handle != nil {
		k.handle.Close()
	}
	if k.space != nil {
		_ = k.space.Close() // a handle
	}
}
