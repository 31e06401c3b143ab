package rewrite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

// The way of a packet, in the order of this file (all of it on the worker; nothing is shared with other threads):
//
//  1. Push asks handle for the output of each packet and splits the batch by that
//  2. handle reads what the packet is (identify) and looks for its flow
//  3. a packet of no flow is up to its input's specification: create makes a flow, or there is none and the packet is dropped or passed
//  4. forward changes the packet, its checksums and annotations, and notes in the flow what it says about the flow's state

// kind is what a rewriter goes by.
type kind uint8

const (
	flows    kind = iota // TCP and UDP flows
	tcpFlows             // TCP alone, with sequence numbers
	anyFlows             // TCP and UDP, not told apart
	addrs                // the source address, and the destination of replies
	pairs                // both addresses
	pings                // ICMP echo: both addresses and the identifier
)

// rewriter is what all rewriters are.
type rewriter struct {
	click.Base
	kind     kind
	specs    []spec
	table    *table
	set      *flowSet // the capacity that it shares
	own      flowSet
	capacity struct {
		text string
		from click.Element
	}
	times    times
	interval time.Duration
	dstAnno  bool
	anno     annotation
	failures uint64
	timer    *click.Timer
}

// sharer is an element whose capacity others may share.
type sharer interface{ core() *rewriter }

func (e *rewriter) core() *rewriter { return e }

const (
	defaultCapacity = 1 << 20
	maxCapacity     = 1 << 30
	reapAtOnce      = 4096 // flows; the rest follows a little later
	reapPause       = time.Millisecond
)

// flip are the bits of keys' tags that differ between the directions.
func (k kind) flip() uint32 {
	if k == addrs || k == pings {
		return tagReply
	}
	return 0
}

// Configure implements click.Element.
func (e *rewriter) Configure(a *click.Args) {
	e.table = newTable(e.kind.flip())
	e.own.capacity = defaultCapacity
	e.interval, e.dstAnno = 15*time.Minute, true
	e.capacity.text = ""
	const sec = time.Second
	e.times = times{tcp: 24 * time.Hour, tcpDone: 240 * sec, tcpNoData: 300 * sec, tcpSafe: 5 * sec, udp: 300 * sec, udpSafe: 5 * sec}
	var specs []string
	var general, generalSafe, udp, udpSafe, tcp, tcpSafe, stream, stream2 optional
	params := []click.Param{
		click.Rest(func(args []string) { specs = args }),
		click.Key("MAPPING_CAPACITY", click.String(&e.capacity.text)), click.Key("CAPACITY", click.String(&e.capacity.text)),
		click.Key("REAP_INTERVAL", click.Duration(&e.interval)), click.Key("REPLY_ANNO", e.anno.value()),
		general.key("TIMEOUT"), generalSafe.key("GUARANTEE"),
	}
	if e.kind == flows || e.kind == tcpFlows {
		params = append(params, tcp.key("TCP_TIMEOUT"), tcpSafe.key("TCP_GUARANTEE"),
			click.Key("TCP_DONE_TIMEOUT", click.Duration(&e.times.tcpDone)), click.Key("TCP_NODATA_TIMEOUT", click.Duration(&e.times.tcpNoData)))
	}
	if e.kind == flows || e.kind == anyFlows {
		params = append(params, udp.key("UDP_TIMEOUT"), udpSafe.key("UDP_GUARANTEE"), stream.key("UDP_STREAMING_TIMEOUT"))
	}
	if e.kind == anyFlows {
		params = append(params, stream2.key("STREAMING_TIMEOUT"))
	}
	if e.kind != addrs && e.kind != pairs {
		params = append(params, click.Key("DST_ANNO", click.Bool(&e.dstAnno)))
	}
	if !a.Parse(params...) {
		return
	}
	set(&e.times.tcp, general, tcp)
	set(&e.times.tcpSafe, generalSafe, tcpSafe)
	if e.kind != flows { // where they are TCP's
		set(&e.times.udp, general)
		set(&e.times.udpSafe, generalSafe)
	}
	set(&e.times.udp, udp)
	set(&e.times.udpSafe, udpSafe)
	e.times.udpStream = e.times.udp
	set(&e.times.udpStream, stream, stream2)
	e.table.times = e.times
	if t := e.capacity.text; t != "" {
		if n, err := strconv.Atoi(t); err == nil && n >= 0 && n <= maxCapacity {
			e.own.capacity = n
		} else if e.capacity.from = a.Element(t); e.capacity.from == nil {
			a.Errorf("bad MAPPING_CAPACITY")
		} else if _, ok := e.capacity.from.(sharer); !ok {
			a.Errorf("bad MAPPING_CAPACITY: '%s' is no rewriter", t)
		}
	}
	if len(specs) != a.Inputs() {
		a.Errorf("need %d arguments, one per input port", a.Inputs())
		return
	}
	for i, text := range specs {
		s, err := e.parseSpec(text, a)
		if err != nil {
			a.Errorf("input spec %d: %v", i, err)
		}
		e.specs = append(e.specs, s)
	}
}

// optional is a duration that may not be given.
type optional struct {
	d     time.Duration
	given bool
}

func (o *optional) key(name string) click.Param {
	return click.Key(name, click.Duration(&o.d)).Given(&o.given)
}

// set sets a time to the last of those that were given.
func set(d *time.Duration, from ...optional) {
	for _, o := range from {
		if o.given {
			*d = o.d
		}
	}
}

// Initialize implements click.Initializer.
func (e *rewriter) Initialize() error {
	owner := e
	for hops := 0; owner.capacity.from != nil; hops++ {
		owner = owner.capacity.from.(sharer).core()
		if hops > len(e.Router().Elements()) {
			return errors.New("MAPPING_CAPACITY: elements share their capacity in a circle")
		}
	}
	e.set = &owner.own
	e.set.tables = append(e.set.tables, e)
	var list []string
	for i := range e.specs {
		for _, err := range e.checkMapper(i, &e.specs[i]) {
			list = append(list, err.Error())
		}
	}
	e.timer = e.NewTimer(e.reap)
	if len(list) > 0 {
		return errors.New(strings.Join(list, "\n  "))
	}
	return nil
}

// Start implements click.Starter.
func (e *rewriter) Start() {
	if e.interval > 0 {
		e.timer.SetAfter(e.interval)
	}
}

func (e *rewriter) checkMapper(i int, s *spec) (list []error) {
	if s.kind == specMapper {
		for _, err := range s.mapper.checkOutputs(e) {
			list = append(list, fmt.Errorf("input spec %d: %w", i, err))
		}
	}
	return list
}

// reap ends flows that have timed out.
func (e *rewriter) reap() {
	if e.table.reap(e.Now(), reapAtOnce) {
		e.timer.SetAfter(reapPause)
	} else {
		e.timer.SetAfter(e.interval)
	}
}

// Inherit implements click.Inheritor: flows go on, as far as their inputs and outputs exist. Whether the specifications would make them now does not
// matter, as it does not for the old ones.
func (e *rewriter) Inherit(old click.Element) error {
	s, ok := old.(sharer)
	if !ok || s.core().kind != e.kind {
		return nil
	}
	o := s.core()
	t := o.table
	o.table = newTable(o.kind.flip())
	t.times = e.times
	t.each(func(i uint32, f *flow) {
		if f.input != byHandler && int(f.input) >= e.Inputs() || int(f.out[0]) >= e.Outputs() || int(f.out[1]) >= e.Outputs() {
			t.remove(i)
		}
	})
	t.rebuild()
	e.table = t
	e.failures += o.failures
	for i := range min(len(e.specs), len(o.specs)) {
		if n, p := e.specs[i].pattern, o.specs[i].pattern; n != nil && p != nil && p.order == inTurn && p.next < n.span {
			n.next = p.next
		}
	}
	e.set.shrink(e.Now())
	return nil
}

// Cleanup implements click.Cleaner.
func (e *rewriter) Cleanup() { e.table = newTable(e.kind.flip()) }

// Push implements click.Pusher.
func (e *rewriter) Push(port int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	now := e.Now()
	keep := 0
	for _, p := range b.Packets() {
		out := e.handle(port, p, now)
		if out < 0 {
			e.DropOne(p)
			continue
		}
		b.Set(keep, p)
		ports[keep] = uint16(out)
		keep++
	}
	b.Truncate(keep)
	e.Split(b, &ports)
}

// handle returns the output that a packet leaves by, or a negative number.
func (e *rewriter) handle(port int, p *packet.Packet, now clock.Time) int {
	h := ip.Header(p)
	k, ok := e.identify(h)
	if !ok {
		return e.strange(port)
	}
	i, dir, ok := e.table.find(k)
	if !ok && e.kind == addrs {
		i, dir, ok = e.table.find(newKey(0, binary.BigEndian.Uint32(h[16:]), 0, 0, tagReply))
	}
	if !ok {
		if s := &e.specs[port]; s.kind == specPass {
			return s.forward
		} else if s.kind == specDrop || e.kind == pings && k.tag() != 0 {
			return -1 // also replies to a ping that nobody sent
		}
		if i, ok = e.create(port, k, now); !ok {
			return -1
		}
		e.table.flow(i).anno = e.anno.get(p)
		dir = 0
	}
	return e.forward(p, h, i, dir, now)
}

// strange is where packets go that are none of this rewriter's business.
func (e *rewriter) strange(port int) int {
	if s := &e.specs[port]; s.kind == specPass {
		return s.forward
	}
	return -1
}

// identify returns the key of a packet with header h (nil for no header), or false where it has none.
func (e *rewriter) identify(h []byte) (key, bool) {
	if h == nil {
		return key{}, false
	}
	src, dst := binary.BigEndian.Uint32(h[12:]), binary.BigEndian.Uint32(h[16:])
	switch e.kind {
	case addrs:
		return newKey(src, 0, 0, 0, 0), true
	case pairs:
		return newKey(src, dst, 0, 0, 0), true
	}
	if binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return key{}, false
	}
	return e.identify4(src, dst, h[9], h[ip.HeaderLen(h):], false)
}

// identify4 is identify for keys that depend on what follows the IP header. In an ICMP error that is cut off after eight bytes.
func (e *rewriter) identify4(src, dst uint32, proto byte, b []byte, cut bool) (key, bool) {
	if len(b) < 8 {
		return key{}, false
	}
	tag := uint32(0)
	switch {
	case e.kind == pings:
		if proto != 1 || b[0] != 8 && b[0] != 0 {
			return key{}, false
		}
		if b[0] == 0 {
			tag = tagReply
		}
		id := binary.BigEndian.Uint16(b[4:])
		return newKey(src, dst, id, id, tag), true
	case proto == tagTCP && (len(b) >= 20 || cut):
	case proto == tagUDP && e.kind != tcpFlows:
	default:
		return key{}, false
	}
	if e.kind == flows {
		tag = uint32(proto)
	}
	return newKey(src, dst, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), tag), true
}

// create makes a flow for a packet of an input.
func (e *rewriter) create(port int, k key, now clock.Time) (uint32, bool) {
	s := &e.specs[port]
	var rev key
	forward, reply := s.forward, s.reply
	ok := false
	switch s.kind {
	case specKeep:
		rev = k.reverse(e.table.flip)
		ok = !e.table.has(rev)
	case specPattern:
		rev, ok = s.pattern.apply(e, k)
	case specMapper:
		rev, forward, reply, ok = s.mapper.choose(e, k)
	}
	if !ok || !e.set.room(now) {
		e.failures++
		return 0, false
	}
	return e.insert(k, rev, port, forward, reply, 0, now), true
}

func (e *rewriter) insert(k, rev key, input, forward, reply int, state uint8, now clock.Time) uint32 {
	i := e.table.add(k, rev, now)
	f := e.table.flow(i)
	f.input, f.out, f.state = uint16(input), [2]uint16{uint16(forward), uint16(reply)}, state
	if e.kind == tcpFlows || e.kind == flows && k.tag() == tagTCP {
		f.state |= stTCP
	}
	if e.kind == pings {
		f.l4 = [2]uint16{fold(change16(k.sport(), rev.sport())), fold(change16(rev.sport(), k.sport()))}
	}
	e.table.track(i)
	return i
}

// forward makes a packet look like its flow on the other side and returns its output.
func (e *rewriter) forward(p *packet.Packet, h []byte, i uint32, dir int, now clock.Time) int {
	t := e.table
	f := t.flow(i)
	to := f.key[1-dir].reverse(t.flip)
	var seqs *[2]steps
	if len(t.seqs) > 0 {
		seqs = t.seqs[i]
	}
	if to != f.key[dir] || seqs != nil {
		if !e.Cache().Unshare(p) {
			return -1
		}
		h = p.Network()
		e.change(h, f, to, dir)
		if seqs != nil {
			rewriteSeq(h[ip.HeaderLen(h):], &seqs[dir], &seqs[1-dir])
		}
	}
	f.last = now
	if f.state&stTCP != 0 {
		t.noteTCP(i, f, h, dir)
	} else if e.kind != addrs && e.kind != pairs {
		t.noteUDP(i, f, dir)
	}
	if e.dstAnno {
		p.Anno.Dst = ip.Dst(h)
	}
	if dir == 1 {
		e.anno.set(p, f.anno)
	}
	return int(f.out[dir])
}

// change writes what a flow changes into a packet's headers.
func (e *rewriter) change(h []byte, f *flow, to key, dir int) {
	if e.kind != addrs || dir == 0 {
		binary.BigEndian.PutUint32(h[12:], to.src())
	}
	if e.kind != addrs || dir == 1 {
		binary.BigEndian.PutUint32(h[16:], to.dst())
	}
	binary.BigEndian.PutUint16(h[10:], adjust(binary.BigEndian.Uint16(h[10:]), uint64(f.ip[dir])))
	if binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return
	}
	b := h[ip.HeaderLen(h):]
	switch e.kind {
	case pings:
		binary.BigEndian.PutUint16(b[4:], to.sport())
		sum := adjust(binary.BigEndian.Uint16(b[2:]), uint64(f.l4[dir]))
		if sum == 0 {
			sum = 0xffff // the other zero, which is the right one for a message that is all zero
		}
		binary.BigEndian.PutUint16(b[2:], sum)
		return
	case flows, tcpFlows, anyFlows:
		binary.BigEndian.PutUint16(b, to.sport())
		binary.BigEndian.PutUint16(b[2:], to.dport())
	}
	adjustL4(h[9], b, uint64(f.l4[dir]))
}

// adjustL4 adjusts the checksum of a TCP or UDP header, if it is there.
func adjustL4(proto byte, b []byte, growth uint64) {
	switch {
	case proto == tagTCP && len(b) >= 18:
		binary.BigEndian.PutUint16(b[16:], adjust(binary.BigEndian.Uint16(b[16:]), growth))
	case proto == tagUDP && len(b) >= 8:
		old := binary.BigEndian.Uint16(b[6:])
		if old == 0 {
			return // the sender computes none
		}
		sum := adjust(old, growth)
		if sum == 0 {
			sum = 0xffff // as zero says that there is none
		}
		binary.BigEndian.PutUint16(b[6:], sum)
	}
}

// noteTCP follows the state of a connection.
func (t *table) noteTCP(i uint32, f *flow, h []byte, dir int) {
	hl := ip.HeaderLen(h)
	b := h[hl:]
	flags := b[13]
	state := f.state
	if flags&(tcpSYN|tcpACK) == tcpSYN && f.done() {
		state &^= 3*stData | 3*stFin | stReset // the ports are used again
	}
	if int(binary.BigEndian.Uint16(h[2:])) > hl+int(b[12]>>4)*4 {
		state |= stData << dir
	}
	if flags&tcpFIN != 0 {
		state |= stFin << dir
	}
	if flags&tcpRST != 0 {
		state |= stReset
	}
	if state != f.state {
		f.state = state
		t.lower(i)
	}
}

// noteUDP follows whether a flow is more than question and answer.
func (t *table) noteUDP(i uint32, f *flow, dir int) {
	if f.streaming() {
		return
	}
	f.state |= stData << dir
	f.count = min(f.count+1, 3)
	if f.streaming() {
		t.lower(i)
	}
}
