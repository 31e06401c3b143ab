package udphost

import (
	"net"
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/nodeosabi"
)

// Spec says what a host should be.
type Spec struct {
	Listen string      // local address, such as 127.0.0.1:3322; port 0: any free one
	Clock  clock.Clock // that of the engine; nil: a new real one
	Limits resctl.Amounts
}

// Host is a socket and a tree of domains. Its methods may be called from any goroutine.
type Host struct {
	clk   clock.Clock
	conn  *net.UDPConn
	local netip.AddrPort
	root  *domain

	mu    sync.Mutex // what follows, and the sinks and meters
	chans []*inChan  // the one that gets a datagram of several first
	age   uint64

	wake chan struct{} // the reader has something else to do
	out  chan struct{} // the sender has
	outs struct {
		sync.Mutex
		list []*outChan
	}
	closing atomic.Bool
	done    sync.WaitGroup
	lost    atomic.Uint64 // datagrams that were nobody's
}

// maxDatagram is longer than any.
const maxDatagram = 1 << 16

// New opens the socket and starts the host.
func New(spec Spec) (*Host, error) {
	if spec.Clock == nil {
		spec.Clock = clock.NewReal()
	}
	at, err := netip.ParseAddrPort(spec.Listen)
	if err != nil {
		return nil, errs.New(errs.Invalid, "udphost: %q is no local address such as 127.0.0.1:3322", spec.Listen)
	}
	acct, err := resctl.NewTree(resctl.Spec{Name: "host", Limit: spec.Limits}, spec.Clock, 1)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, errs.New(errs.NotSupported, "udphost: %w", err)
	}
	h := &Host{clk: spec.Clock, conn: conn, local: conn.LocalAddr().(*net.UDPAddr).AddrPort(), wake: make(chan struct{}, 1), out: make(chan struct{}, 1)}
	h.root = &domain{h: h, account: acct, path: "host", gone: make(chan struct{})}
	h.done.Add(2)
	go h.read()
	go h.send()
	return h, nil
}

// Local returns the address of the socket.
func (h *Host) Local() netip.AddrPort { return h.local }

// Unclaimed returns how many datagrams no channel wanted.
func (h *Host) Unclaimed() uint64 { return h.lost.Load() }

// NewDomain makes a domain for a guest, with limits of its own.
func (h *Host) NewDomain(name string, limit resctl.Amounts) (nodeosabi.Domain, error) {
	return h.root.New(nodeosabi.DomainSpec{Name: name, Limit: limit}, func() {})
}

// Account returns the root of the accounts.
func (h *Host) Account() *resctl.Account { return h.root.account }

// Close ends all domains with what is in them, waits for that, and closes the socket. It may be called twice.
func (h *Host) Close() error {
	if h.closing.Swap(true) {
		return nil
	}
	h.root.End(errs.New(errs.Dead, "the host closes"))
	<-h.root.gone
	err := h.conn.Close()
	poke(h.wake)
	poke(h.out)
	h.done.Wait()
	return err
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read takes datagrams from the socket. A deadline in the past interrupts it when a sink wants to be looked at.
func (h *Host) read() {
	defer h.done.Done()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := h.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			h.arrive(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			continue
		case h.closing.Load() && !isTimeout(err):
			return
		}
		h.conn.SetReadDeadline(time.Time{})
		select {
		case <-h.wake:
			h.pump()
		default: // an ICMP error of what was sent, or a deadline that came late
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// arrive gives a datagram to a channel.
func (h *Host) arrive(data []byte, from netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.chans {
		if !matches(c.key, data) {
			continue
		}
		meter := c.d.account.Meter(0)
		if !c.onTime(h.clk.Now()) {
			c.limited.Add(1)
			return
		}
		m := nodeosabi.Meta{Time: h.clk.Now(), Link: 1, Remote: nodeosabi.Remote{Addr: from}}
		ok := c.sink.Begin(meter)
		if ok {
			start := h.clk.Now()
			ok, _ = c.sink.Put(meter, data, &m)
			meter.Spend(resctl.CPU, int64(h.clk.Now().Sub(start)))
		}
		if ok {
			c.packets.Add(1)
			c.bytes.Add(uint64(len(data)))
		} else {
			c.full.Add(1)
		}
		meter.Fold()
		return
	}
	h.lost.Add(1)
}

// matches reports whether a payload has what a key asks for.
func matches(k demux.Key, data []byte) bool {
	for _, t := range k {
		if t.Offset+len(t.Value) > len(data) {
			return false
		}
		for i, v := range t.Value {
			m := byte(0xff)
			if t.Mask != nil {
				m = t.Mask[i]
			}
			if (data[t.Offset+i]^v)&m != 0 {
				return false
			}
		}
	}
	return true
}

// pump looks at all sinks: one of them serves since now.
func (h *Host) pump() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.chans {
		meter := c.d.account.Meter(0)
		c.sink.Begin(meter)
		meter.Fold()
	}
}

// send gives what guests send to the socket.
func (h *Host) send() {
	defer h.done.Done()
	for range h.out {
		if h.closing.Load() && h.root.over() {
			return
		}
		h.outs.Lock()
		for _, c := range h.outs.list {
			c.drain()
		}
		h.outs.Unlock()
	}
}

// inChan is an in-channel.
type inChan struct {
	d    *domain
	key  demux.Key
	bits int
	age  uint64
	sink nodeosabi.Sink

	interval, burst time.Duration // of its rate; 0: none
	next            clock.Time
	once            sync.Once

	packets, bytes, full, limited atomic.Uint64
}

// onTime says whether a packet may come now under the channel's rate: a token bucket kept as the time at which it is full again.
func (c *inChan) onTime(now clock.Time) bool {
	if c.interval == 0 {
		return true
	}
	at := max(c.next, now)
	if at.Sub(now) > c.burst {
		return false
	}
	c.next = at.Add(c.interval)
	return true
}

// top checks that a port is one of UDP at the host's address.
func (h *Host) top(p *nodeosabi.Port, address string) error {
	proto, err := demux.ParseProtocol(p.Protocol)
	if err != nil {
		return err
	}
	if proto.Top() != demux.UDP {
		return errs.New(errs.NotSupported, "udphost: channels of %s: there is UDP only", p.Protocol)
	}
	a, err := demux.ParseAddress(demux.UDP, address)
	if err != nil {
		return err
	}
	if a.Port != 0 && a.Port != h.local.Port() {
		return errs.New(errs.NotFound, "udphost: UDP port %d, the host has %d", a.Port, h.local.Port())
	}
	return nil
}

// Pump implements nodeosabi.Channel.
func (c *inChan) Pump() {
	poke(c.d.h.wake)
	c.d.h.conn.SetReadDeadline(time.Unix(1, 0))
}

// Stats implements nodeosabi.Channel.
func (c *inChan) Stats() nodeosabi.Counters {
	return nodeosabi.Counters{Packets: c.packets.Load(), Bytes: c.bytes.Load(), Full: c.full.Load(), Limited: c.limited.Load()}
}

// Close implements nodeosabi.Channel.
func (c *inChan) Close() {
	c.once.Do(func() {
		h := c.d.h
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := range h.chans {
			if h.chans[i] == c {
				h.chans = append(h.chans[:i:i], h.chans[i+1:]...)
				break
			}
		}
	})
}

// outChan is an out-channel.
type outChan struct {
	d    *domain
	q    *nodeosabi.Queue
	once sync.Once

	packets, bytes, invalid atomic.Uint64
}

// drain sends what waits. It is called by the sender, with outs locked.
func (c *outChan) drain() {
	some := false
	for {
		data, m := c.q.First()
		if data == nil {
			break
		}
		some = true
		if to := m.Remote.Addr; !to.IsValid() || to.Port() == 0 {
			c.invalid.Add(1)
		} else if _, err := c.d.h.conn.WriteToUDPAddrPort(data, to); err != nil {
			c.invalid.Add(1)
		} else {
			c.packets.Add(1)
			c.bytes.Add(uint64(len(data)))
		}
		c.q.Pop()
	}
	if some {
		c.q.Taken()
	}
}

// Pump implements nodeosabi.Channel.
func (c *outChan) Pump() { poke(c.d.h.out) }

// Stats implements nodeosabi.Channel.
func (c *outChan) Stats() nodeosabi.Counters {
	return nodeosabi.Counters{Packets: c.packets.Load(), Bytes: c.bytes.Load(), Invalid: c.invalid.Load()}
}

// Close implements nodeosabi.Channel: what waits is sent before.
func (c *outChan) Close() {
	c.once.Do(func() {
		o := &c.d.h.outs
		o.Lock()
		defer o.Unlock()
		c.drain()
		for i := range o.list {
			if o.list[i] == c {
				o.list = append(o.list[:i:i], o.list[i+1:]...)
				break
			}
		}
	})
}

// before says who of two channels gets a datagram that both want.
func (h *Host) sortChans() {
	sort.SliceStable(h.chans, func(i, j int) bool {
		a, b := h.chans[i], h.chans[j]
		return a.bits > b.bits || a.bits == b.bits && a.age < b.age
	})
}
