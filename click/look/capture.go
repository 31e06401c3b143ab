package look

import (
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

// Sight is a packet that a Capture saw.
type Sight struct {
	Time   time.Time
	Length int    // of the packet
	Data   []byte // as much of it as was asked for
	IP     bool   // begins with the IP header, else with the link's
}

const (
	// MaxSnap is how many bytes of a packet are captured at most.
	MaxSnap  = 65_535
	captured = 4096 // packets that wait to be fetched
)

// Capture has the packets at one place.
type Capture struct {
	router *click.Router
	probe  *click.Probe
	place  Place
	snap   int
	out    chan Sight
	lost   atomic.Uint64
}

// NewCapture begins to capture up to snap bytes of each packet at a place; 0 is MaxSnap.
func NewCapture(r *click.Router, place Place, snap int) (*Capture, error) {
	if snap <= 0 || snap > MaxSnap {
		snap = MaxSnap
	}
	c := &Capture{router: r, place: place, snap: snap, out: make(chan Sight, captured)}
	var err error
	c.probe, err = r.NewProbe(c.see)
	return c, err
}

// see runs on the workers, and never waits.
func (c *Capture) see(e lang.Edge, ps []*packet.Packet) {
	if !c.place.on(e) || len(ps) == 0 {
		return
	}
	now := c.router.Wall()
	for _, p := range ps {
		if len(c.out) == cap(c.out) {
			c.lost.Add(1)
			continue
		}
		d := p.Data()
		off, ok := p.NetworkOffset()
		s := Sight{Time: now, Length: len(d), Data: append([]byte(nil), d[:min(len(d), c.snap)]...),
			IP: ok && off == 0 || !ok && len(d) >= 20 && plausible(d)}
		select {
		case c.out <- s:
		default:
			c.lost.Add(1)
		}
	}
}

// Packets receives what was captured. It is not closed.
func (c *Capture) Packets() <-chan Sight { return c.out }

// Lost returns how many packets nobody fetched in time.
func (c *Capture) Lost() uint64 { return c.lost.Load() }

// Close ends the capture.
func (c *Capture) Close() { c.probe.Close() }
