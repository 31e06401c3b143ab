package host

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// CutSpec says what a cut-through channel takes, and whither.
type CutSpec struct {
	// Chan is the channel. Of Chan.Out the link's name and LinkAddr are filled in; its protocol string has any name there, or is empty for "ether".
	Chan nodeos.CutChanSpec
	To   netip.Addr // destination whose next hop the packets take
	Hash uint32     // which of several next hops, see Route.Next

	Link   func(device string) string // the node's link on an interface; nil: of the same name
	OnNews func(way Way)              // called on the channel's goroutine when the way has changed; may be nil
}

// Way is where a cut-through channel leads.
type Way struct {
	Link    string     `json:"link,omitempty"` // empty: nowhere, for the reason Why
	NextHop netip.Addr `json:"next_hop"`
	MAC     [6]byte    `json:"mac"`
	Why     string     `json:"why,omitempty"` // it leads nowhere, or still where it led before
}

// Cut is a cut-through channel that leaves by the host's route to a destination. When the route or the next hop's hardware address changes, the
// channel is redirected at one moment, so that each packet goes the old way or the new one. A new next hop whose address the host does not
// know yet is asked for first; the old way is kept meanwhile, for holdOld at most, if it can still be used.
//
// While there is no way (no route, or a route to the host itself, to nowhere, or to an interface without a link of the node; the next hop does not
// answer; its interface is down) packets are dropped in user space and counted as Invalid in the channel's statistics.
type Cut struct {
	t      *Table
	spec   CutSpec
	ch     *nodeos.CutChan
	in     string // its link
	cancel func()
	news   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu  sync.Mutex
	way Way

	// The goroutine's.
	neighbor *Neighbor // by which it leaves
	since    time.Time // when the new way was first missed
	asked    time.Time
	packets  uint64
}

const (
	holdOld    = 3 * time.Second
	lookAtCuts = time.Second // at a cut that waits for its next hop, or that has to be confirmed
)

// NewCut makes a channel of a domain. It leads where the table says from the start, if the next hop is known. The caller closes it; it does not end with
// its domain, but does no harm after it.
func NewCut(d *nodeos.Domain, t *Table, spec CutSpec) (*Cut, error) {
	if !spec.To.IsValid() {
		return nil, errs.New(errs.Invalid, "cut-through channel %s: it follows the route to a destination; name one", spec.Chan.In.Protocol)
	}
	if spec.Link == nil {
		spec.Link = func(device string) string { return device }
	}
	in, _, _ := strings.Cut(spec.Chan.In.Protocol, "/")
	c := &Cut{t: t, spec: spec, in: in, news: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	w, n, err := c.find()
	made := spec.Chan
	if err == nil {
		made.Out = c.out(w.Link, w.MAC)
		if c.ch, err = d.NewCutThrough(made); err == nil {
			c.way, c.neighbor = w, n
		} else if errs.KindOf(err) != errs.NotFound {
			return nil, err
		}
	}
	if c.ch == nil {
		w.Link, w.Why = "", err.Error()
		c.way = w
		made.Out = c.out(in, [6]byte{})
		if c.ch, err = d.NewCutThrough(made); err != nil {
			return nil, err
		}
	}
	c.cancel = t.Watch(func() {
		select {
		case c.news <- struct{}{}:
		default:
		}
	})
	c.news <- struct{}{} // what has changed meanwhile
	go c.run()
	return c, nil
}

// Chan returns the channel, for its statistics. It must not be redirected or closed by others.
func (c *Cut) Chan() *nodeos.CutChan { return c.ch }

// Way returns where the channel leads now.
func (c *Cut) Way() Way {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.way
}

// Close ends the channel. It waits, and must not be called from a worker or from OnNews.
func (c *Cut) Close() {
	c.once.Do(func() {
		c.cancel()
		close(c.stop)
		<-c.done
		c.ch.Close()
	})
}

// out returns the out-channel's spec for a link and a hardware address; the zero address makes packets be dropped.
func (c *Cut) out(link string, mac [6]byte) nodeos.OutChanSpec {
	o := c.spec.Chan.Out
	_, rest, ok := strings.Cut(o.Protocol, "/")
	if !ok {
		rest = "ether"
	}
	o.Protocol, o.LinkAddr = link+"/"+rest, mac
	return o
}

// find looks where the table leads. The way has the next hop also if its address is not known; then the error says so.
func (c *Cut) find() (w Way, n *Neighbor, err error) {
	r := c.t.Lookup(c.spec.To)
	if r == nil {
		return w, nil, fmt.Errorf("there is no route to %v", c.spec.To)
	}
	if k := r.Kind(); k != Unicast {
		return w, nil, fmt.Errorf("the route to %v is of type %v", c.spec.To, k)
	}
	hop := r.Next(c.spec.Hash)
	if hop == nil {
		return w, nil, fmt.Errorf("the interfaces of the route to %v are down", c.spec.To)
	}
	i := c.t.Interface(hop.Ifindex)
	if i == nil {
		return w, nil, fmt.Errorf("the interface of the route to %v is gone", c.spec.To)
	}
	w.Link, w.NextHop = c.spec.Link(i.Name), hop.Gateway
	if !w.NextHop.IsValid() {
		w.NextHop = c.spec.To
	}
	n = c.t.Neighbor(hop.Ifindex, w.NextHop)
	ok := false
	if n != nil {
		w.MAC, ok = n.HWAddr()
	}
	if !ok {
		if now := time.Now(); now.Sub(c.asked) >= askAgain {
			c.asked = now
			c.t.Resolve(hop.Ifindex, w.NextHop)
		}
		return w, n, fmt.Errorf("the hardware address of %v on %s is not known", w.NextHop, i.Name)
	}
	return w, n, nil
}

// askAgain is the least time between two requests for a next hop.
const askAgain = time.Second

func (c *Cut) run() {
	defer close(c.done)
	tick := time.NewTicker(lookAtCuts)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.news:
			c.turn()
		case <-tick.C:
			if c.Way().Why != "" {
				c.turn()
			} else if n := c.ch.Stats().Packets; n != c.packets {
				c.packets = n
				c.neighbor.Use()
			}
		}
	}
}

// turn makes the channel lead where the table says.
func (c *Cut) turn() {
	was := c.Way()
	w, n, err := c.find()
	if err == nil {
		if w == was {
			c.neighbor, c.since = n, time.Time{}
			return
		}
		if err = c.ch.Redirect(c.out(w.Link, w.MAC)); err == nil {
			n.Use()
			c.neighbor, c.since = n, time.Time{}
			c.set(w)
			return
		}
	}
	now := time.Now()
	if c.since.IsZero() {
		c.since = now
	}
	if was.Link != "" && w.NextHop.IsValid() && c.oldHolds(was) && now.Sub(c.since) < holdOld {
		was.Why = err.Error()
		c.set(was)
		return
	}
	nowhere := Way{NextHop: w.NextHop, Why: err.Error()}
	if was.Link != "" {
		if err := c.ch.Redirect(c.out(c.in, [6]byte{})); err != nil {
			nowhere.Why += "; " + err.Error() // the channel or its link is closed: nothing passes either
		}
		c.neighbor = nil
	}
	c.set(nowhere)
}

// oldHolds reports whether the way that the channel leads now can still be used, though the route is another.
func (c *Cut) oldHolds(was Way) bool {
	if c.neighbor == nil {
		return false
	}
	i := c.t.Interface(c.neighbor.Ifindex)
	mac, ok := c.neighbor.HWAddr()
	return ok && mac == was.MAC && i != nil && i.Up
}

func (c *Cut) set(w Way) {
	c.mu.Lock()
	changed := c.way != w
	c.way = w
	c.mu.Unlock()
	if changed && c.spec.OnNews != nil {
		c.spec.OnNews(w)
	}
}
