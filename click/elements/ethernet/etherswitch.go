package ethernet

import (
	"slices"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

func init() {
	args := []string{"TIMEOUT: How long the place of a station is remembered after its last packet; default 300s. 0 learns nothing, so that all packets go everywhere."}
	handlers := []string{"table (r): A line for each station: Ethernet address, port.", "timeout (rw): The TIMEOUT argument, in seconds.", "drops (r): Packets that were too short, for their own port, or had no port to go to."}
	click.Register(click.Class{
		Name: "EtherSwitch", Ports: "1-/=", Processing: "h", New: func() click.Element { return &EtherSwitch{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "is a learning Ethernet switch",
			Text: "Input and output of one number are a port. The source address of a packet tells at which port that station is. A packet goes to the port of its destination; if that is unknown, broadcast or multicast, to all ports but its own. " +
				"65,536 stations are remembered; beyond that the one that was silent longest is forgotten. At a hot swap the table of the element of the same name is taken over.",
			Args: args, Handlers: handlers, Example: "FromDevice(eth0) -> [0] sw :: EtherSwitch [0] -> ToDevice(eth0); FromDevice(eth1) -> [1] sw [1] -> ToDevice(eth1);", See: []string{"ListenEtherSwitch"},
		},
	})
	click.Register(click.Class{
		Name: "ListenEtherSwitch", Ports: "1-/2-", Processing: "h", New: func() click.Element { return &EtherSwitch{listen: true} },
		Doc: click.Doc{
			Group: "ethernet", Title: "is a learning Ethernet switch with a port to listen at",
			Text: "It is an EtherSwitch with one output more than inputs, which all packets are copied to.",
			Args: args, Handlers: handlers, Example: "FromDevice(eth0) -> [0] sw :: ListenEtherSwitch [0] -> ToDevice(eth0); FromDevice(eth1) -> [1] sw [1] -> ToDevice(eth1); sw[2] -> Print -> Discard;", See: []string{"EtherSwitch"},
		},
	})
}

const (
	maxStations    = 1 << 16
	stationTimeout = 300 * time.Second
)

// station is where an Ethernet address was seen. Stations are in a ring, those that were silent longest first.
type station struct {
	addr       [6]byte
	port       int
	seen       clock.Time
	prev, next *station
}

// EtherSwitch forwards to where it has seen the destination.
type EtherSwitch struct {
	click.Base
	listen  bool
	timeout time.Duration
	byAddr  map[[6]byte]*station
	list    station
}

// Configure implements click.Element.
func (e *EtherSwitch) Configure(a *click.Args) {
	e.timeout = stationTimeout
	e.byAddr = map[[6]byte]*station{}
	e.list.prev, e.list.next = &e.list, &e.list
	if a.Parse(click.Key("TIMEOUT", click.Duration(&e.timeout))) && e.listen && a.Outputs() != a.Inputs()+1 {
		a.Errorf("%d outputs, expected one more than inputs: %d", a.Outputs(), a.Inputs()+1)
	}
}

// Inherit implements click.Inheritor.
func (e *EtherSwitch) Inherit(old click.Element) error {
	o, ok := old.(*EtherSwitch)
	if !ok {
		return nil
	}
	for s := o.list.next; s != &o.list; s = s.next {
		if s.port < e.Inputs() {
			e.learn(s.addr, s.port, s.seen)
		}
	}
	e.CountDrops(int(o.Drops()))
	return nil
}

func (s *station) unlink() { s.prev.next, s.next.prev = s.next, s.prev }

// learn notes where a station is.
func (e *EtherSwitch) learn(a [6]byte, port int, now clock.Time) {
	s := e.byAddr[a]
	switch {
	case s != nil:
		s.unlink()
	case len(e.byAddr) >= maxStations:
		s = e.list.next
		s.unlink()
		delete(e.byAddr, s.addr)
		e.byAddr[a] = s
	default:
		s = &station{}
		e.byAddr[a] = s
	}
	s.addr, s.port, s.seen = a, port, now
	s.prev, s.next = e.list.prev, &e.list
	s.prev.next, e.list.prev = s, s
}

// expire forgets stations that were silent for too long.
func (e *EtherSwitch) expire(now clock.Time) {
	for s := e.list.next; s != &e.list && (e.timeout == 0 || now.Sub(s.seen) > e.timeout); s = e.list.next {
		s.unlink()
		delete(e.byAddr, s.addr)
	}
}

// The ways of a packet that no port has the number of.
const (
	toAll  = 1<<16 - 1
	toNone = 1<<16 - 2
)

// Push implements click.Pusher.
func (e *EtherSwitch) Push(port int, b *packet.Batch) {
	now := e.Now()
	e.expire(now)
	if e.listen {
		e.copyTo(e.Outputs()-1, b.Packets())
	}
	var ways [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ways[i] = e.way(port, p.Data(), now)
	}
	s := e.Thread().Scratch()
	list := b.Packets()
	for i, p := range list { // packets for all leave in their order among the others
		s.Append(p)
		if i+1 == len(list) || ways[i+1] != ways[i] {
			e.send(port, ways[i], s)
		}
	}
	e.Thread().Release(s)
	b.Reset()
}

// way returns where a frame that came in at port goes.
func (e *EtherSwitch) way(port int, d []byte, now clock.Time) uint16 {
	if len(d) < 12 {
		return toNone
	}
	if e.timeout == 0 {
		return toAll
	}
	if d[6]&1 == 0 {
		e.learn([6]byte(d[6:]), port, now)
	}
	s := e.byAddr[[6]byte(d)]
	switch {
	case d[0]&1 != 0 || s == nil:
		return toAll
	case s.port == port:
		return toNone
	}
	return uint16(s.port)
}

func (e *EtherSwitch) send(port int, w uint16, s *packet.Batch) {
	switch w {
	case toNone:
		e.Drop(s)
		return
	case toAll:
		last := e.Inputs() - 1
		if last == port {
			last--
		}
		if last < 0 {
			e.Drop(s)
			return
		}
		for out := range last {
			if out != port {
				e.copyTo(out, s.Packets())
			}
		}
		w = uint16(last)
	}
	e.Forward(int(w), s)
}

// copyTo sends clones.
func (e *EtherSwitch) copyTo(out int, list []*packet.Packet) {
	c := e.Thread().Scratch()
	for _, p := range list {
		if q := e.Cache().Clone(p); q != nil {
			c.Append(q)
		} else {
			e.CountDrops(1)
		}
	}
	e.Forward(out, c)
	e.Thread().Release(c)
}

// AddHandlers implements click.HandlerAdder.
func (e *EtherSwitch) AddHandlers(h *click.Handlers) {
	h.Read("table", func() string {
		e.expire(e.Now())
		list := make([]*station, 0, len(e.byAddr))
		for _, s := range e.byAddr {
			list = append(list, s)
		}
		slices.SortFunc(list, func(x, y *station) int { return slices.Compare(x.addr[:], y.addr[:]) })
		var b []byte
		for _, s := range list {
			b = append(appendEther(b, s.addr[:]), ' ')
			b = append(strconv.AppendInt(b, int64(s.port), 10), '\n')
		}
		return string(b)
	})
	h.Value("timeout", func() string { return strconv.FormatFloat(e.timeout.Seconds(), 'g', -1, 64) }, click.Duration(&e.timeout))
}
