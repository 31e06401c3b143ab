package icmp

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ICMPPingSource", Ports: "0-1/1", Processing: "h/a", Flow: "x/y", New: func() click.Element { return &ICMPPingSource{} },
		Doc: click.Doc{
			Group: "icmp", Title: "sends echo requests and counts the replies",
			Text: "Requests are IPv4 packets with the destination annotation set; their sequence numbers count from 0. A pulled output yields a request whenever it is asked. " +
				"The input takes replies: each is reported and counted once, with the time since its request left. What is no reply to a request of the element is dropped. At a hot swap the element of the same name goes on.",
			Args: []string{
				"SRC: Source address.", "DST: Destination address.", "INTERVAL: Time between two requests; default 1s.", "IDENTIFIER: Of the requests; default 0.", "LIMIT: Requests to send; below 0, the default, is no limit.",
				"STOP: Whether to stop the router after LIMIT; default false.", "DATA: What the requests carry; default nothing.", "ACTIVE: Whether to send; default true.",
				"MIRROR: Whether to send the next request when a reply comes, with the reply's data, and not by INTERVAL and LIMIT after the first one; only with a push output; default false.", "VERBOSE: Whether to print a line for each reply; default true.",
			},
			Handlers: []string{
				"active (rw): The ACTIVE argument.", "count (r): Requests sent.", "limit (rw): The LIMIT argument.", "interval (rw): The INTERVAL argument, in seconds.", "reset_counts (w): Makes all counts 0.", "src (rw): The SRC argument.", "dst (rw): The DST argument.",
				"summary (r): Requests, replies, loss and times, in two lines; like the next three only with an input.", "rtt_min (r): The shortest time of a reply, in seconds, 0 without one.", "rtt_max (r): The longest one.", "rtt_avg (r): The mean.",
				"drops (r): Requests that could not be made and packets that were no replies.",
			},
			Example: "p :: ICMPPingSource(10.0.0.1, 10.0.1.2, INTERVAL 0.2s, LIMIT 10) -> rt; replies -> p;", See: []string{"ICMPPingEncap", "ICMPPingResponder", "ICMPPingRewriter"},
		},
	})
}

// pingWindow is how many of the last requests may still be answered.
const pingWindow = 1 << 12

// ICMPPingSource sends echo requests.
type ICMPPingSource struct {
	click.Base
	src, dst netip.Addr
	interval time.Duration
	id       int
	limit    int
	stop     bool
	data     []byte
	active   bool
	mirror   bool
	verbose  bool

	count    uint64 // requests
	seq      uint16 // of the next one
	timer    *click.Timer
	note     click.Notifier         // of a pulled output
	sent     [pingWindow]clock.Time // by sequence number; 0: not sent, or answered
	replies  uint64
	min, max time.Duration
	sum      float64 // nanoseconds
	squares  float64
}

// Configure implements click.Element.
func (e *ICMPPingSource) Configure(a *click.Args) {
	e.interval, e.limit, e.active, e.verbose = time.Second, -1, true, true
	a.Parse(click.Must("SRC", click.Addr4(&e.src)), click.Must("DST", click.Addr4(&e.dst)), click.Key("INTERVAL", e.setInterval), click.Key("IDENTIFIER", click.IntRange(&e.id, 0, 65535)),
		click.Key("LIMIT", click.IntRange(&e.limit, math.MinInt32, math.MaxInt32)), click.Key("STOP", click.Bool(&e.stop)), click.Key("DATA", click.Bytes(&e.data)), click.Key("ACTIVE", click.Bool(&e.active)),
		click.Key("MIRROR", click.Bool(&e.mirror)), click.Key("VERBOSE", click.Bool(&e.verbose)))
	if len(e.data) > 1400 {
		a.Errorf("DATA: %d bytes, there can be 1400", len(e.data))
	}
	if e.mirror && e.Inputs() == 0 {
		a.Errorf("MIRROR needs an input for replies")
	}
}

func (e *ICMPPingSource) setInterval(s string, a *click.Args) error {
	var d time.Duration
	if err := click.Duration(&d)(s, a); err != nil {
		return err
	}
	if d < time.Microsecond {
		return fmt.Errorf("expected a time of at least 1us, not '%s'", s)
	}
	e.interval = d
	return nil
}

// Initialize implements click.Initializer.
func (e *ICMPPingSource) Initialize() error {
	e.timer = e.NewTimer(e.tick)
	if e.OutputKind(0) == click.PullKind && e.mirror {
		return fmt.Errorf("MIRROR needs a push output")
	}
	return nil
}

// Start implements click.Starter.
func (e *ICMPPingSource) Start() { e.resume() }

// more reports whether another request may be sent.
func (e *ICMPPingSource) more() bool {
	return e.active && (e.limit < 0 || e.count < uint64(e.limit))
}

// resume goes on after what decides whether to send has changed.
func (e *ICMPPingSource) resume() {
	if e.OutputKind(0) == click.PullKind {
		e.note.Set(e.more())
		return
	}
	if e.more() && !e.timer.Pending() {
		e.timer.Set(e.Now())
	}
}

func (e *ICMPPingSource) tick() {
	if !e.more() {
		return
	}
	if p := e.request(e.data); p != nil {
		e.ForwardOne(0, p)
	}
	if e.more() && !e.mirror && !e.timer.Pending() {
		e.timer.SetAfter(e.interval)
	}
	e.over()
}

// over stops the router when that is wanted.
func (e *ICMPPingSource) over() {
	if e.stop && e.limit >= 0 && e.count >= uint64(e.limit) {
		e.Router().RequestStop()
	}
}

// Pull implements click.Puller.
func (e *ICMPPingSource) Pull(_ int, b *packet.Batch, n int) {
	for i := 0; i < n && e.more(); i++ {
		p := e.request(e.data)
		if p == nil {
			return
		}
		b.Append(p)
	}
	if !e.more() {
		e.note.Set(false)
		e.over()
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *ICMPPingSource) EmptyNotifier(int) *click.Notifier { return &e.note }

// request makes a request, or returns nil.
func (e *ICMPPingSource) request(data []byte) *packet.Packet {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		e.CountDrops(1)
		return nil
	}
	d := p.Put(28 + len(data))
	if d == nil {
		e.DropOne(p)
		return nil
	}
	clear(d[:28])
	d[0], d[8], d[9] = 0x45, 255, 1
	binary.BigEndian.PutUint16(d[2:], uint16(len(d)))
	binary.BigEndian.PutUint16(d[4:], uint16(e.count+1))
	s, to := e.src.As4(), e.dst.As4()
	copy(d[12:], s[:])
	copy(d[16:], to[:])
	ip.SetChecksum(d)
	m := d[20:]
	m[0] = 8
	binary.BigEndian.PutUint16(m[4:], uint16(e.id))
	binary.BigEndian.PutUint16(m[6:], e.seq)
	copy(m[8:], data)
	binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
	p.SetNetwork(0)
	p.SetTransport(20)
	p.Anno.Dst, p.Anno.Time = e.dst, e.Now()
	e.sent[e.seq%pingWindow] = max(e.Now(), 1)
	e.seq++
	e.count++
	return p
}

// Push implements click.Pusher.
func (e *ICMPPingSource) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		m, ok := e.reply(p)
		if !ok {
			e.DropOne(p)
			continue
		}
		if e.mirror && e.active {
			if q := e.request(m[8:]); q != nil {
				e.ForwardOne(0, q)
			}
		}
		e.Cache().Free(p)
	}
	b.Reset()
}

// reply takes the reply to a request and returns its ICMP message.
func (e *ICMPPingSource) reply(p *packet.Packet) ([]byte, bool) {
	h := ip.Header(p)
	if h == nil || h[9] != 1 || binary.BigEndian.Uint16(h[6:])&0x3fff != 0 || ip.Src(h) != e.dst {
		return nil, false
	}
	hl, total := ip.HeaderLen(h), int(binary.BigEndian.Uint16(h[2:]))
	if total > len(h) || total < hl+8 {
		return nil, false
	}
	m := h[hl:total]
	seq := binary.BigEndian.Uint16(m[6:])
	at := &e.sent[seq%pingWindow]
	if m[0] != 0 || int(binary.BigEndian.Uint16(m[4:])) != e.id || *at == 0 || e.seq-seq-1 >= pingWindow {
		return nil, false
	}
	rtt := max(e.Now().Sub(*at), 0)
	*at = 0
	if e.replies == 0 || rtt < e.min {
		e.min = rtt
	}
	e.max = max(e.max, rtt)
	e.sum += float64(rtt)
	e.squares += float64(rtt) * float64(rtt)
	e.replies++
	if e.verbose {
		fmt.Fprintf(e.Output(), "%s: %d bytes from %v: icmp_seq=%d ttl=%d time=%.3f ms\n", e.Name(), len(m), e.dst, seq, h[8], rtt.Seconds()*1e3)
	}
	return m, true
}

// Inherit implements click.Inheritor.
func (e *ICMPPingSource) Inherit(old click.Element) error {
	o, ok := old.(*ICMPPingSource)
	if !ok {
		return nil
	}
	e.count, e.seq, e.sent, e.replies, e.min, e.max, e.sum, e.squares = o.count, o.seq, o.sent, o.replies, o.min, o.max, o.sum, o.squares
	e.CountDrops(int(o.Drops()))
	if e.OutputKind(0) == click.PushKind && o.timer != nil && o.timer.Pending() && e.more() {
		e.timer.Set(o.timer.At())
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

func (e *ICMPPingSource) mean() time.Duration {
	return time.Duration(e.sum / math.Max(float64(e.replies), 1))
}

// AddHandlers implements click.HandlerAdder.
func (e *ICMPPingSource) AddHandlers(h *click.Handlers) {
	set := func(v click.Value) click.Value {
		return func(s string, a *click.Args) error {
			err := v(s, a)
			if err == nil {
				e.resume()
			}
			return err
		}
	}
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, set(click.Bool(&e.active)))
	h.Count("count", &e.count)
	h.Value("limit", func() string { return strconv.Itoa(e.limit) }, set(click.IntRange(&e.limit, math.MinInt32, math.MaxInt32)))
	h.Value("interval", func() string { return strconv.FormatFloat(e.interval.Seconds(), 'g', -1, 64) }, e.setInterval)
	h.Value("src", func() string { return e.src.String() }, click.Addr4(&e.src))
	h.Value("dst", func() string { return e.dst.String() }, click.Addr4(&e.dst))
	h.Write("reset_counts", func(string) error {
		e.count, e.replies, e.min, e.max, e.sum, e.squares = 0, 0, 0, 0, 0, 0
		e.resume()
		return nil
	})
	if e.Inputs() == 0 {
		return
	}
	h.Read("rtt_min", func() string { return seconds(e.min) })
	h.Read("rtt_max", func() string { return seconds(e.max) })
	h.Read("rtt_avg", func() string { return seconds(e.mean()) })
	h.Read("summary", func() string {
		lost := 0.0
		if e.count > 0 {
			lost = 100 * (1 - math.Min(float64(e.replies)/float64(e.count), 1))
		}
		mean, ms := e.mean(), func(d time.Duration) float64 { return d.Seconds() * 1e3 }
		dev := math.Sqrt(math.Max(e.squares/math.Max(float64(e.replies), 1)-float64(mean)*float64(mean), 0))
		return fmt.Sprintf("%d packets transmitted, %d received, %.0f%% packet loss\nrtt min/avg/max/dev = %.3f/%.3f/%.3f/%.3f ms\n",
			e.count, e.replies, lost, ms(e.min), ms(mean), ms(e.max), dev/1e6)
	})
}
