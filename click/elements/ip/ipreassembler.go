package ip

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPReassembler", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &IPReassembler{} },
		Doc: click.Doc{
			Group: "ip", Title: "puts fragments together",
			Text: "Packets have their IP header marked and checked; those that are no fragments pass. A packet leaves when its last missing fragment has come, with the annotations, the IP header and what stands before that of the fragment with offset 0; " +
				"where fragments overlap, the bytes that came first hold. The whole packet must fit into one packet of the node; larger ones are dropped.\n\n" +
				"What has got no fragment for 30 seconds goes to output 1 if that is connected, as one packet that begins with the first fragment there is and has zeros in its gaps; else it is dropped. At a hot swap all goes on in the element of the same name.",
			Args: []string{
				"HIMEM: Bytes of memory for packets that are not complete; when there are more, the ones without a fragment for longest are dropped until a quarter is free; default 256K.",
				"MAX_MTU_ANNO: Offset of an annotation of two bytes that is set to the length of the longest fragment, in the byte order of the machine: 20 to 32, see SetAnnoByte; default none.",
			},
			Handlers: []string{"length (r): Packets that are not complete.", "drops (r): Fragments and packets that were dropped.", "memory (r): Bytes that packets take which are not complete."},
			Example:  "... -> CheckIPHeader -> r :: IPReassembler -> ...; r[1] -> ICMPError(10.0.0.1, timeexceeded, reassembly) -> ...;", See: []string{"IPFragmenter", "ICMPError"},
		},
	})
}

const (
	reassemblyTime = 30 * time.Second // RFC 1122 section 3.3.2 wants a minute or two of hosts
	headerRoom     = 60               // in front of the payload of a packet that is put together
	linkRoom       = 32               // in front of that, for the link header
)

// fragKey tells packets apart whose fragments are (RFC 791 section 3.2).
type fragKey struct {
	src, dst [4]byte
	id       uint16
	proto    uint8
}

// assembly is a packet that is not complete.
type assembly struct {
	key        fragKey
	p          *packet.Packet // headerRoom bytes, then the payload as far as it is known
	have       []span         // sorted, apart by gaps
	total      int            // of the payload, -1 while the last fragment is missing
	header     [headerRoom]byte
	headerLen  int // of the fragment with the least offset so far
	headerAt   int // that offset
	link       [linkRoom]byte
	linkLen    int // bytes before the IP header of that fragment, from the link header on
	front      int // how many of them are part of the packet
	longest    int
	seen       clock.Time
	prev, next *assembly
}

type span struct{ from, to int }

// IPReassembler puts fragments together.
type IPReassembler struct {
	click.Base
	himem   int
	anno    click.AnnoByte
	hasAnno bool
	table   map[fragKey]*assembly
	list    assembly // ring, the one without a fragment for longest is next
	spare   *assembly
	memory  int
	timer   *click.Timer
}

// Configure implements click.Element.
func (e *IPReassembler) Configure(a *click.Args) {
	e.himem = 256 << 10
	e.table = map[fragKey]*assembly{}
	e.list.prev, e.list.next = &e.list, &e.list
	a.Parse(click.Key("HIMEM", click.IntRange(&e.himem, 0, 1<<30)), click.Key("MAX_MTU_ANNO", func(s string, a *click.Args) error {
		var k, end click.AnnoByte
		err := click.AnnoByteOf(&k)(s, a)
		if err == nil {
			err = click.AnnoByteOf(&end)(strconv.Itoa(int(k)+1), nil)
		}
		if err != nil {
			return fmt.Errorf("expected the offset of an annotation of two bytes, 20 to 32, not '%s'", s)
		}
		e.anno = k
		return nil
	}).Given(&e.hasAnno))
}

// Initialize implements click.Initializer.
func (e *IPReassembler) Initialize() error {
	e.timer = e.NewTimer(e.expire)
	return nil
}

// Cleanup implements click.Cleaner.
func (e *IPReassembler) Cleanup() {
	for a := e.list.next; a != &e.list; a = e.list.next {
		e.drop(a)
	}
}

// Inherit implements click.Inheritor.
func (e *IPReassembler) Inherit(old click.Element) error {
	o, ok := old.(*IPReassembler)
	if !ok {
		return nil
	}
	for a := o.list.next; a != &o.list; a = o.list.next {
		o.unlink(a)
		e.link(a)
	}
	e.CountDrops(int(o.Drops()))
	e.shrink(nil)
	return nil
}

// queue puts a at the end of the ring.
func (e *IPReassembler) queue(a *assembly) {
	a.prev, a.next = e.list.prev, &e.list
	a.prev.next, e.list.prev = a, a
}

func (a *assembly) cut() { a.prev.next, a.next.prev = a.next, a.prev }

func (e *IPReassembler) link(a *assembly) {
	e.queue(a)
	e.table[a.key] = a
	e.memory += size(a.p)
	if !e.timer.Pending() {
		e.timer.SetAfter(time.Second)
	}
}

func (e *IPReassembler) unlink(a *assembly) {
	a.cut()
	delete(e.table, a.key)
	e.memory -= size(a.p)
}

// size returns what a packet takes of the node's memory.
func size(p *packet.Packet) int { return p.Headroom() + p.Len() + p.Tailroom() }

func (e *IPReassembler) drop(a *assembly) {
	e.unlink(a)
	e.DropOne(a.p)
	e.recycle(a)
}

func (e *IPReassembler) recycle(a *assembly) {
	have := a.have[:0]
	*a = assembly{have: have}
	e.spare = a
}

// shrink frees memory if there is too much in use, but not that of keep.
func (e *IPReassembler) shrink(keep *assembly) {
	if e.memory <= e.himem {
		return
	}
	for a := e.list.next; a != &e.list && e.memory > e.himem*3/4; {
		next := a.next
		if a != keep {
			e.drop(a)
		}
		a = next
	}
}

// Act implements click.Actor.
func (e *IPReassembler) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		h := Header(p)
		if h == nil {
			e.DropOne(p)
			continue
		}
		if binary.BigEndian.Uint16(h[6:])&0x3fff != 0 {
			if p = e.add(p, h); p == nil {
				continue
			}
		}
		b.Set(keep, p)
		keep++
	}
	b.Truncate(keep)
}

// add takes a fragment and returns the packet that it completes, or nil.
func (e *IPReassembler) add(p *packet.Packet, h []byte) *packet.Packet {
	hl, total, field := HeaderLen(h), int(binary.BigEndian.Uint16(h[2:])), binary.BigEndian.Uint16(h[6:])
	at, more := int(field&0x1fff)*8, field&0x2000 != 0
	n := total - hl
	if n <= 0 || total > len(h) || more && n%8 != 0 || at+n+hl > 0xffff {
		e.DropOne(p)
		return nil
	}
	k := fragKey{[4]byte(h[12:]), [4]byte(h[16:]), binary.BigEndian.Uint16(h[4:]), h[9]}
	a := e.table[k]
	if a == nil {
		if a = e.begin(k); a == nil {
			e.DropOne(p)
			return nil
		}
	}
	a.seen = e.Now()
	a.cut()
	e.queue(a)
	switch {
	case a.total >= 0 && (at+n > a.total || !more && at+n != a.total), !more && len(a.have) > 0 && a.have[len(a.have)-1].to > at+n:
		e.DropOne(p) // it says another length than others
		return nil
	case headerRoom+at+n > a.p.Len()+a.p.Tailroom(): // there is no room for such a packet
		e.DropOne(p)
		e.drop(a)
		return nil
	}
	if !more {
		a.total = at + n
	}
	a.longest = max(a.longest, total)
	if at < a.headerAt {
		a.headerAt, a.headerLen = at, copy(a.header[:], h[:hl])
		off, _ := p.NetworkOffset()
		before := off
		if mac, ok := p.MACOffset(); ok && mac < off {
			before = off - mac
		}
		a.front, a.linkLen = 0, 0
		if before > 0 && before <= linkRoom && off <= before {
			d := p.Data()
			if off < before {
				d = p.MAC()
			}
			a.front, a.linkLen = max(off, 0), copy(a.link[:], d[:before])
		}
		a.p.Anno = p.Anno
	}
	if need := headerRoom + at + n - a.p.Len(); need > 0 {
		old := a.p.Len()
		clear(a.p.Put(need)[old:])
	}
	a.fill(at, h[hl:total])
	e.Cache().Free(p)
	if a.total >= 0 && len(a.have) == 1 && a.have[0] == (span{0, a.total}) {
		e.unlink(a)
		q := e.finish(a)
		e.recycle(a)
		return q
	}
	e.shrink(a)
	return nil
}

// begin makes an empty assembly, or returns nil.
func (e *IPReassembler) begin(k fragKey) *assembly {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		return nil
	}
	if p.Put(headerRoom) == nil {
		e.Cache().Free(p)
		return nil
	}
	a := e.spare
	if a == nil {
		a = &assembly{}
	}
	e.spare = nil
	a.key, a.p, a.total, a.headerAt, a.seen = k, p, -1, 1<<16, e.Now()
	e.link(a)
	return a
}

// fill copies a fragment to where nothing is yet.
func (a *assembly) fill(at int, d []byte) {
	to := a.p.Data()[headerRoom:]
	from, end := at, at+len(d)
	i := 0
	for i < len(a.have) && a.have[i].to < at {
		i++
	}
	joined := span{at, end}
	j := i
	for ; j < len(a.have) && a.have[j].from <= end; j++ {
		if s := a.have[j]; from < s.from {
			copy(to[from:s.from], d[from-at:])
		}
		from = max(from, a.have[j].to)
		joined = span{min(joined.from, a.have[j].from), max(joined.to, a.have[j].to)}
	}
	if from < end {
		copy(to[from:end], d[from-at:])
	}
	a.have = slices.Replace(a.have, i, j, joined)
}

// finish makes a packet of an assembly.
func (e *IPReassembler) finish(a *assembly) *packet.Packet {
	p, first := a.p, min(a.headerAt, a.p.Len()-headerRoom)
	copy(p.Data()[headerRoom+first-a.headerLen:], a.header[:a.headerLen])
	p.Pull(headerRoom + first - a.headerLen)
	h := p.Data()
	field := uint16(first/8) | binary.BigEndian.Uint16(h[6:])&0x8000
	if a.total < 0 || len(a.have) != 1 || first > 0 {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	binary.BigEndian.PutUint16(h[6:], field)
	SetChecksum(h)
	if a.linkLen > 0 && p.Push(a.linkLen) != nil {
		copy(p.Data(), a.link[:a.linkLen])
		p.SetMAC(0)
		p.Pull(a.linkLen - a.front)
	}
	off := p.Len() - len(h)
	p.SetNetwork(off)
	p.SetTransport(off + a.headerLen)
	if e.hasAnno {
		var b [2]byte
		binary.NativeEndian.PutUint16(b[:], uint16(a.longest))
		e.anno.Set(p, b[0])
		(e.anno + 1).Set(p, b[1])
	}
	return p
}

// expire gives up what has got no fragment for too long.
func (e *IPReassembler) expire() {
	now := e.Now()
	for a := e.list.next; a != &e.list && now.Sub(a.seen) >= reassemblyTime; a = e.list.next {
		if e.Outputs() < 2 {
			e.drop(a)
			continue
		}
		e.unlink(a)
		p := e.finish(a)
		e.recycle(a)
		e.ForwardOne(1, p)
	}
	if len(e.table) > 0 {
		e.timer.SetAfter(time.Second)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *IPReassembler) AddHandlers(h *click.Handlers) {
	h.Read("length", func() string { return strconv.Itoa(len(e.table)) })
	h.Read("memory", func() string { return strconv.Itoa(e.memory) })
}
