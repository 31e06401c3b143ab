package analysis

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AggregateIPAddrPair", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateIPAddrPair{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sets the aggregate annotation to a number for each pair of addresses",
			Text: "The numbers count from 1. Answers have the number of what they answer. The paint annotation is 0 for packets in the direction of the pair's first, 1 for the others. At most 1,048,576 pairs are known; beyond that the one used least " +
				"recently is forgotten. What is not IPv4 goes to output 1 or is dropped.",
			Args:     []string{"TIMEOUT: Time without packets after which a pair is forgotten; default 0, never.", "REAP: How often pairs that can be forgotten are looked for, in packet time; default 20min."},
			Handlers: []string{"clear (w): Forgets all pairs.", "length (r): Pairs that are known."}, Example: "... -> AggregateIPAddrPair -> AggregateCounter -> ...;", See: []string{"AggregateIPFlows", "AggregateCounter"},
		},
	})
	click.Register(click.Class{
		Name: "AggregateIPFlows", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateIPFlows{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sets the aggregate annotation to a number for each flow of TCP and UDP",
			Text: "A flow is two addresses, two ports and the protocol; answers belong to it. The numbers count from 1. The paint annotation is 0 for packets in the direction of the flow's first, 1 for the others. A flow that has timed out gets a " +
				"new number. What is no flow's goes to output 1 or is dropped. At most 1,048,576 flows are known; beyond that the one used least recently ends.\n\n" +
				"Fragments without ports are held until the first fragment comes, and with them everything between the same addresses, so that it stays in order; after FRAGMENT_TIMEOUT they go to output 1. At most 1,024 packets are " +
				"held for two addresses, 16,384 in all. Times are packets' timestamps.",
			Args: []string{
				"TRACEINFO: File for a description of each flow, in XML.", "SOURCE: Element whose handlers filename and packet_filepos are noted in it.", "TCP_TIMEOUT: For TCP; default 24h.", "TCP_DONE_TIMEOUT: For TCP with a FIN in both directions; default 30s.",
				"UDP_TIMEOUT: For UDP; default 1min.", "FRAGMENT_TIMEOUT: For fragments; default 30s.", "REAP: How often flows that have timed out are looked for, in packet time; default 20min.",
				"ICMP: Whether ICMP errors get the number of the flow that they are about, and its paint and 2; default false.", "FRAGMENTS: Whether fragments are held; default true where packets are pushed. It cannot be where they are pulled.",
			},
			Handlers: []string{"clear (w): Ends all flows, and lets go what is held.", "length (r): Flows that are known.", "held (r): Packets held."},
			Example:  "FromDump(trace.pcap, STOP true, FORCE_IP true) -> af :: AggregateIPFlows -> AggregateCounter -> Discard; DriverManager(wait, write af.clear);",
			See:      []string{"AggregateIPAddrPair", "AggregateIP", "AggregateCounter", "AggregateFirst"},
		},
	})
}

// AggregateIPAddrPair numbers pairs of addresses.
type AggregateIPAddrPair struct {
	click.Base
	flowTable
}

// Configure implements click.Element.
func (e *AggregateIPAddrPair) Configure(a *click.Args) {
	e.init()
	var timeout, reap time.Duration = 0, 20 * time.Minute
	a.Parse(click.Key("TIMEOUT", click.Duration(&timeout)), click.Key("REAP", click.Duration(&reap)))
	for i := range e.timeouts {
		if e.timeouts[i] = int64(timeout); timeout == 0 {
			e.timeouts[i] = math.MaxInt64
		}
	}
	e.reap = int64(reap)
}

// timeOf returns a packet's time, or now if it has none.
func timeOf(e *click.Base, p *packet.Packet) int64 {
	t := p.Anno.Time
	if t == 0 {
		t = e.Now()
	}
	return e.Router().WallOf(t)
}

func (e *AggregateIPAddrPair) mark(p *packet.Packet) bool {
	d := p.Network()
	if len(d) < 20 || d[0]>>4 != 4 {
		return false
	}
	k, swapped := keyOf(binary.BigEndian.Uint32(d[12:]), binary.BigEndian.Uint32(d[16:]), 0, 0, 0)
	f, _ := e.use(k, swapped, 0, timeOf(&e.Base, p))
	click.SetAggregate(p, f.number)
	p.Anno.Paint = direction(f, swapped)
	return true
}

// direction is the paint of a packet of a flow.
func direction(f *flow, swapped bool) uint8 {
	if swapped != f.swapped {
		return 1
	}
	return 0
}

// Push implements click.Pusher.
func (e *AggregateIPAddrPair) Push(_ int, b *packet.Batch) { pushMarked(&e.Base, b, e.mark) }

// Pull implements click.Puller.
func (e *AggregateIPAddrPair) Pull(_ int, b *packet.Batch, n int) {
	pullMarked(&e.Base, b, n, e.mark)
}

// Inherit implements click.Inheritor.
func (e *AggregateIPAddrPair) Inherit(old click.Element) error {
	if o, ok := old.(*AggregateIPAddrPair); ok {
		e.inherit(&o.flowTable)
	}
	return nil
}

// inherit takes over the flows of another table, whose numbers go on.
func (t *flowTable) inherit(o *flowTable) {
	t.number, t.reaped = o.number, o.reaped
	for i := range o.lists {
		for h := &o.lists[i]; h.next != h; {
			f := h.next
			f.unlink()
			t.flows[f.key] = f
			t.link(f)
		}
	}
	clear(o.flows)
}

// AddHandlers implements click.HandlerAdder.
func (e *AggregateIPAddrPair) AddHandlers(h *click.Handlers) {
	h.Write("clear", func(string) error {
		e.clear()
		return nil
	})
	h.Read("length", func() string { return strconv.Itoa(len(e.flows)) })
}

// Bounds of what is held for fragments.
const (
	heldPair  = 1024
	heldAll   = 16384
	maxFirsts = 16384 // first fragments that are remembered
)

// pair is two addresses, the lesser first.
type pair struct{ a, b uint32 }

// fragment names the fragments of one packet.
type fragment struct {
	src, dst uint32
	id       uint16
	proto    uint8
}

// firstFragment is what a first fragment said.
type firstFragment struct {
	number uint32
	paint  uint8
	at     int64
}

// AggregateIPFlows numbers flows.
type AggregateIPFlows struct {
	click.Base
	flowTable
	icmp, fragments bool
	mustHold        bool // FRAGMENTS was given, and is true
	fragTimeout     int64
	info, source    string

	held   map[pair][]*packet.Packet // in order, the first waits for its first fragment
	nHeld  int
	looked int64 // when held was looked through
	firsts map[fragment]firstFragment
	order  []fragment // of firsts
	out    outFile
}

// Configure implements click.Element.
func (e *AggregateIPFlows) Configure(a *click.Args) {
	e.init()
	e.held, e.firsts = make(map[pair][]*packet.Packet), make(map[fragment]firstFragment)
	tcp, done, udp, frag, reap := 24*time.Hour, 30*time.Second, time.Minute, 30*time.Second, 20*time.Minute
	var given bool
	a.Parse(click.Key("TRACEINFO", click.String(&e.info)), click.Key("SOURCE", click.String(&e.source)), click.Key("TCP_TIMEOUT", click.Duration(&tcp)), click.Key("TCP_DONE_TIMEOUT", click.Duration(&done)),
		click.Key("UDP_TIMEOUT", click.Duration(&udp)), click.Key("FRAGMENT_TIMEOUT", click.Duration(&frag)), click.Key("REAP", click.Duration(&reap)), click.Key("ICMP", click.Bool(&e.icmp)),
		click.Key("FRAGMENTS", click.Bool(&e.fragments)).Given(&given))
	e.timeouts = [flowKinds]int64{flowTCP: int64(tcp), flowDone: int64(done), flowUDP: int64(udp)}
	e.fragTimeout, e.reap = int64(frag), int64(reap)
	if !given {
		e.fragments = true
	}
	if e.source != "" && a.Element(e.source) == nil {
		a.Errorf("SOURCE: no element named '%s'", e.source)
	}
	e.mustHold = given && e.fragments
}

// Initialize implements click.Initializer.
func (e *AggregateIPFlows) Initialize() error {
	if e.InputKind(0) == click.PullKind {
		if e.mustHold {
			return fmt.Errorf("FRAGMENTS: fragments cannot be held where packets are pulled")
		}
		e.fragments = false
	}
	if e.info == "" {
		return nil
	}
	if err := e.out.open(&e.Base, e.info); err != nil {
		return err
	}
	file := ""
	if e.source != "" {
		file, _ = e.ReadHandler(e.source+".filename", "")
	}
	fmt.Fprintf(e.out, "<?xml version='1.0' standalone='yes'?>\n<trace")
	if file != "" {
		fmt.Fprintf(e.out, " file='%s'", escapeXML(file))
	}
	fmt.Fprintf(e.out, ">\n")
	e.onEnd = e.describe
	return nil
}

// describe writes what TRACEINFO is to have of a flow.
func (e *AggregateIPFlows) describe(f *flow) {
	src, sport := f.src()
	dst, dport := f.dst()
	addr := func(a uint32) string { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))).String() }
	fmt.Fprintf(e.out, "<flow aggregate='%d' src='%s' sport='%d' dst='%s' dport='%d' proto='%d' begin='%s' duration='%s'", f.number, addr(src), sport, addr(dst), dport, f.key.proto, stamp(f.first), stamp(f.last-f.first))
	if f.filepos != "" {
		fmt.Fprintf(e.out, " filepos='%s'", escapeXML(f.filepos))
	}
	fmt.Fprintf(e.out, ">\n")
	for i := range f.packets {
		fmt.Fprintf(e.out, "  <stream dir='%d' packets='%d' bytes='%d' />\n", i, f.packets[i], f.bytes[i])
	}
	fmt.Fprintf(e.out, "</flow>\n")
}

func escapeXML(s string) string {
	var b []byte
	for _, c := range []byte(s) {
		switch {
		case c == '<' || c == '>' || c == '&' || c == '\'' || c < ' ' || c > '~':
			b = fmt.Appendf(b, "&#%d;", c)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// What can be said of a packet at once.
const (
	isFlow = iota
	isNone
	isWaiting
)

// header is what is looked at in a packet.
type header struct {
	d     []byte // from the IP header on
	frag  fragment
	off   uint16 // of the fragment, with the flag for more
	hl    int
	total int
}

func (h *header) read(d []byte) bool {
	if len(d) < 20 || d[0]>>4 != 4 {
		return false
	}
	h.hl = int(d[0]&15) * 4
	be := binary.BigEndian
	h.d, h.off, h.total = d, be.Uint16(d[6:])&0x3fff, int(be.Uint16(d[2:]))
	h.frag = fragment{be.Uint32(d[12:]), be.Uint32(d[16:]), be.Uint16(d[4:]), d[9]}
	return h.hl >= 20
}

// ports returns the ports of a packet of TCP or UDP that has them.
func (h *header) ports() (sport, dport uint16, ok bool) {
	if h.frag.proto != protoTCP && h.frag.proto != protoUDP || len(h.d) < h.hl+4 || h.off&0x1fff != 0 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(h.d[h.hl:]), binary.BigEndian.Uint16(h.d[h.hl+2:]), true
}

// mark sets the annotations of a packet if its flow is known or can be, and counts it.
func (e *AggregateIPFlows) mark(p *packet.Packet) int { return e.look(p, false) }

// look is mark, or only learns from a first fragment what others need.
func (e *AggregateIPFlows) look(p *packet.Packet, learn bool) int {
	var h header
	if !h.read(p.Network()) {
		return isNone
	}
	now := timeOf(&e.Base, p)
	if e.icmp && h.frag.proto == protoICMP && h.off&0x1fff == 0 {
		return e.markICMP(p, &h, now)
	}
	if h.frag.proto != protoTCP && h.frag.proto != protoUDP {
		return isNone
	}
	if h.off&0x1fff != 0 {
		if f, ok := e.firsts[h.frag]; ok && now-f.at <= e.fragTimeout {
			click.SetAggregate(p, f.number)
			p.Anno.Paint = f.paint
			return isFlow
		}
		return isWaiting
	}
	sport, dport, ok := h.ports()
	if !ok {
		return isNone
	}
	k, swapped := keyOf(h.frag.src, h.frag.dst, sport, dport, h.frag.proto)
	kind := flowTCP
	if h.frag.proto == protoUDP {
		kind = flowUDP
	}
	f, fresh := e.use(k, swapped, kind, now)
	if fresh && e.source != "" && e.onEnd != nil {
		f.filepos, _ = e.ReadHandler(e.source+".packet_filepos", "")
	}
	paint := direction(f, swapped)
	if h.off != 0 {
		e.remember(h.frag, firstFragment{f.number, paint, now})
	}
	if learn {
		return isFlow
	}
	f.packets[paint] += 1 + uint64(click.ExtraPackets(p))
	f.bytes[paint] += uint64(h.total)
	if kind == flowTCP && len(h.d) >= h.hl+14 && h.d[h.hl+13]&1 != 0 { // FIN
		f.closed[paint] = true
		if f.closed[1-paint] && f.kind == flowTCP {
			e.move(f, flowDone)
		}
	}
	click.SetAggregate(p, f.number)
	p.Anno.Paint = paint
	return isFlow
}

// remember notes a first fragment.
func (e *AggregateIPFlows) remember(k fragment, f firstFragment) {
	if _, ok := e.firsts[k]; !ok {
		for len(e.order) > 0 && (len(e.order) >= maxFirsts || f.at-e.firsts[e.order[0]].at > e.fragTimeout) {
			delete(e.firsts, e.order[0])
			e.order = e.order[1:]
		}
		e.order = append(e.order, k)
	}
	e.firsts[k] = f
}

// markICMP marks an error with the flow of the packet that it quotes.
func (e *AggregateIPFlows) markICMP(p *packet.Packet, h *header, now int64) int {
	if len(h.d) < h.hl+8 {
		return isNone
	}
	switch h.d[h.hl] {
	case 3, 4, 5, 11, 12:
	default:
		return isNone
	}
	var in header
	if !in.read(h.d[h.hl+8:]) {
		return isNone
	}
	sport, dport, ok := in.ports()
	if !ok {
		return isNone
	}
	k, swapped := keyOf(in.frag.src, in.frag.dst, sport, dport, in.frag.proto)
	f := e.find(k, now)
	if f == nil {
		return isNone
	}
	click.SetAggregate(p, f.number)
	p.Anno.Paint = 2 + direction(f, swapped)
	return isFlow
}

// Push implements click.Pusher.
func (e *AggregateIPFlows) Push(_ int, b *packet.Batch) {
	if !e.fragments {
		pushMarked(&e.Base, b, func(p *packet.Packet) bool { return e.mark(p) == isFlow })
		return
	}
	o := outputs{e: &e.Base, b: [2]*packet.Batch{e.Thread().Scratch(), e.Thread().Scratch()}}
	for _, p := range b.Packets() {
		e.take(p, &o)
	}
	b.Reset()
	o.end()
}

// outputs collects packets for two outputs.
type outputs struct {
	e *click.Base
	b [2]*packet.Batch
}

func (o *outputs) add(port int, p *packet.Packet) {
	if o.b[port].Room() == 0 {
		o.e.Forward(port, o.b[port])
	}
	o.b[port].Append(p)
}

func (o *outputs) end() {
	for port, b := range o.b {
		o.e.Forward(port, b)
	}
	o.e.Thread().Release(o.b[1])
	o.e.Thread().Release(o.b[0])
}

// take handles a packet, with those that wait for the same addresses.
func (e *AggregateIPFlows) take(p *packet.Packet, o *outputs) {
	now := timeOf(&e.Base, p)
	if e.nHeld > 0 && now-e.looked >= int64(time.Second) {
		e.expire(now, o)
	}
	var h header
	if !h.read(p.Network()) {
		o.add(1, p)
		return
	}
	k := pair{min(h.frag.src, h.frag.dst), max(h.frag.src, h.frag.dst)}
	waiting := e.held[k]
	if len(waiting) == 0 {
		switch e.mark(p) {
		case isFlow:
			o.add(0, p)
		case isNone:
			o.add(1, p)
		default:
			if e.nHeld >= heldAll {
				o.add(1, p)
				return
			}
			e.held[k] = append(waiting, p)
			e.nHeld++
		}
		return
	}
	if len(waiting) >= heldPair || e.nHeld >= heldAll {
		e.release(k, 1, o) // the one that they all wait for has no more hope
	}
	e.held[k] = append(e.held[k], p)
	e.nHeld++
	// What a first fragment says helps those before it.
	if h.off&0x1fff == 0 && h.off != 0 {
		e.look(p, true)
	}
	e.drain(k, o)
}

// drain emits what need not wait any more.
func (e *AggregateIPFlows) drain(k pair, o *outputs) {
	list := e.held[k]
	n := 0
	for ; n < len(list); n++ {
		port := e.mark(list[n])
		if port == isWaiting {
			break
		}
		o.add(port, list[n])
	}
	e.drop(k, n)
}

// release emits the first n packets of a pair, those that wait by output 1, and then what need not wait any more.
func (e *AggregateIPFlows) release(k pair, n int, o *outputs) {
	for _, p := range e.held[k][:n] {
		port := e.mark(p)
		if port == isWaiting {
			port = 1
		}
		o.add(port, p)
	}
	e.drop(k, n)
	e.drain(k, o)
}

// drop forgets the first n packets of a pair, which have gone.
func (e *AggregateIPFlows) drop(k pair, n int) {
	e.nHeld -= n
	if list := e.held[k][n:]; len(list) > 0 {
		e.held[k] = list
	} else {
		delete(e.held, k)
	}
}

// waiting returns the addresses for which something is held, in the order of the times since when.
func (e *AggregateIPFlows) waiting() []pair {
	list := make([]pair, 0, len(e.held))
	for k := range e.held {
		list = append(list, k)
	}
	since := func(k pair) int64 { return timeOf(&e.Base, e.held[k][0]) }
	slices.SortFunc(list, func(x, y pair) int {
		return cmp.Or(cmp.Compare(since(x), since(y)), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	return list
}

// expire releases what has waited for too long.
func (e *AggregateIPFlows) expire(now int64, o *outputs) {
	e.looked = now
	for _, k := range e.waiting() {
		for len(e.held[k]) > 0 && now-timeOf(&e.Base, e.held[k][0]) > e.fragTimeout {
			e.release(k, 1, o)
		}
	}
}

// Pull implements click.Puller.
func (e *AggregateIPFlows) Pull(_ int, b *packet.Batch, n int) {
	pullMarked(&e.Base, b, n, func(p *packet.Packet) bool { return e.mark(p) == isFlow })
}

// Inherit implements click.Inheritor.
func (e *AggregateIPFlows) Inherit(old click.Element) error {
	o, ok := old.(*AggregateIPFlows)
	if !ok {
		return nil
	}
	e.inherit(&o.flowTable)
	e.firsts, o.firsts = o.firsts, e.firsts
	e.order, o.order = o.order, nil
	if e.fragments {
		e.held, o.held = o.held, nil
		e.nHeld, o.nHeld = o.nHeld, 0
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *AggregateIPFlows) Cleanup() {
	for _, list := range e.held {
		e.Cache().FreeAll(list)
	}
	e.held = nil
	if e.out.Writer == nil {
		return
	}
	e.clear()
	fmt.Fprintf(e.out, "</trace>\n")
	e.out.report(&e.Base, e.out.close())
}

// AddHandlers implements click.HandlerAdder.
func (e *AggregateIPFlows) AddHandlers(h *click.Handlers) {
	h.Write("clear", func(string) error {
		o := outputs{e: &e.Base, b: [2]*packet.Batch{e.Thread().Scratch(), e.Thread().Scratch()}}
		for _, k := range e.waiting() {
			e.release(k, len(e.held[k]), &o)
		}
		o.end()
		e.clear()
		clear(e.firsts)
		e.order = nil
		if e.out.Writer != nil {
			return e.out.Flush()
		}
		return nil
	})
	h.Read("length", func() string { return strconv.Itoa(len(e.flows)) })
	h.Read("held", func() string { return strconv.Itoa(e.nHeld) })
}
