package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
)

// lookEvery is how often the interfaces beneath links are looked at.
const lookEvery = time.Second

// keeper looks after the interfaces that a node's links are on: that no other node has them, and that a link whose
// interface was removed and made again, with another number and hardware address, is opened anew.
type keeper struct {
	n      *Node
	space  *netns.Namespace // where Start was called
	handle *netlink.Handle
	index  map[string]int // of interfaces, by link
	locks  []*net.UnixConn
	lost   map[string]bool
	stop   chan struct{}
	done   chan struct{} // nil until watch
}

// keepLinks reserves the interfaces of the node's links, in the network namespace of the calling thread. It returns nil
// if there are none.
func (n *Node) keepLinks() (_ *keeper, err error) {
	k := &keeper{n: n, index: make(map[string]int), lost: make(map[string]bool), stop: make(chan struct{})}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	for _, l := range n.spec.Links {
		link, err := n.os.Link(l.Name)
		if err != nil {
			return nil, err
		}
		if d := link.Info().Driver; d != "packet" && d != "xdp" {
			continue
		}
		if k.handle == nil {
			if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
				return nil, errs.New(errs.NotSupported, "looking after interfaces: %w", err)
			}
			if k.space, err = netns.Open("/proc/thread-self/ns", "net"); err != nil {
				return nil, err
			}
		}
		if err := k.lock(&l); err != nil {
			return nil, err
		}
		i, err := k.handle.LinkByName(l.device())
		if err != nil {
			return nil, errs.New(errs.NotFound, "link %s: %w", l.Name, err)
		}
		k.index[l.Name] = i.Attrs().Index
	}
	if k.handle == nil {
		return nil, nil
	}
	return k, nil
}

// watch begins to look for interfaces that go and come back.
func (k *keeper) watch() {
	k.done = make(chan struct{})
	go k.run()
}

// lock reserves an interface by a name that belongs to the network namespace and goes with the process, however that ends.
func (k *keeper) lock(l *Link) error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: "@janos/interface/" + l.device()})
	if errors.Is(err, syscall.EADDRINUSE) {
		return errs.New(errs.Exists, "link %s: another node runs on interface %s; end it first, or leave the interface out of one of the node files", l.Name, l.device())
	}
	if err != nil {
		return errs.New(errs.NotSupported, "link %s: reserving interface %s: %w", l.Name, l.device(), err)
	}
	k.locks = append(k.locks, c)
	return nil
}

func (k *keeper) run() {
	defer close(k.done)
	if here, err := os.Stat("/proc/self/ns/net"); err == nil {
		if ino, err := k.space.Inode(); err == nil && here.Sys().(*syscall.Stat_t).Ino != ino {
			runtime.LockOSThread() // for good: the thread ends with this goroutine
			if err := k.space.Enter(); err != nil {
				k.n.env.Log.Warn("interfaces that come back will not be noticed", "error", err)
				return
			}
		}
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-t.C:
		}
		for i := range k.n.spec.Links {
			l := &k.n.spec.Links[i]
			if _, ok := k.index[l.Name]; ok {
				k.look(l)
			}
		}
	}
}

// look opens the link anew if its interface is another one than it was, is up, and has an address.
func (k *keeper) look(l *Link) {
	log := k.n.env.Log.With("link", l.Name, "interface", l.device())
	i, err := k.handle.LinkByName(l.device())
	if err == nil && i.Attrs().Index == k.index[l.Name] && !k.lost[l.Name] {
		return
	}
	if !k.lost[l.Name] {
		k.lost[l.Name] = true
		log.Warn("interface is gone; the link waits for it")
	}
	if err != nil || i.Attrs().Flags&net.FlagUp == 0 {
		return
	}
	if as, err := k.handle.AddrList(i, netlink.FAMILY_ALL); err != nil || len(as) == 0 {
		return
	}
	if err := k.n.reopen(l); err != nil {
		log.Error("interface is back, and the link could not be opened again", "error", err)
		return
	}
	k.index[l.Name] = i.Attrs().Index
	delete(k.lost, l.Name)
	log.Info("interface is back")
}

// close ends the goroutine and gives the interfaces free.
func (k *keeper) close() {
	if k.done != nil {
		close(k.stop)
		<-k.done
	}
	for _, c := range k.locks {
		_ = c.Close() // nothing was written
	}
	if k.handle != nil {
		k.handle.Close()
	}
	if k.space != nil {
		_ = k.space.Close() // a handle
	}
}

// reopen replaces a link by a new one on the interface that now has its name, and what stands on links: the neighbours on it
// and the element graph. The EE, its protocols and their state stay.
func (n *Node) reopen(l *Link) error {
	n.closeGraph()
	if n.router != nil {
		if err := n.router.RemoveLink(l.Name); err != nil && errs.KindOf(err) != errs.NotFound {
			return err
		}
	}
	if err := n.os.CloseLink(l.Name); err != nil && errs.KindOf(err) != errs.NotFound {
		n.env.Log.Debug("closing the former link", "link", l.Name, "error", err) // its interface is gone
	}
	if err := n.openLink(l); err != nil {
		return err
	}
	if n.router != nil {
		if err := n.router.AddLink(l.routing()); err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	return n.startGraph()
}
