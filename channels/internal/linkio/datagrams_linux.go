package linkio

// The way of a datagram to be sent:
//
//  1. Put    copies it behind those to the same address, as part of the run that is open there, or begins a run
//  2. Flush  makes each run a message and sends all of them in one system call

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

const (
	maxPackets  = packet.MaxBatch // of a flush
	maxRunBytes = 65507           // of a run, a message that the kernel cuts into datagrams
)

const (
	arenaSize = 192 << 10
	// A run to one of several addresses has room reserved for so many more datagrams of its size, or bytes.
	reserveCount, reserveBytes = 8, 4096
)

// Datagrams collects packets, of which it keeps copies, and sends them as datagrams through a UDP socket with one system call. It belongs to the link's
// worker and allocates nothing after NewDatagrams.
//
// Copies stand one behind the other where they can, so that the kernel has one piece to copy for many datagrams: that takes
// less than looking at each of them.
type Datagrams struct {
	msgs     *sys.MsgQueue
	single   *sys.MsgQueue // for a run that was refused
	join, v6 bool
	most     int // datagrams of a run
	bundle   int // the length of bundles without a key; 0: each packet is a datagram unless peers know better
	peers    *Peers
	n        int // packets

	arena []byte
	tip   int // where the unused part begins

	runs   [sys.MaxMsgs]run
	nruns  int
	pieces [sys.MaxMsgs]piece
	nparts int

	// slots finds the newest run to an address: open addressing, 0 is free, others are a run's number plus 1.
	slots [2 * sys.MaxMsgs]uint8
	last  int // the run of the datagram before
}

// run is datagrams of one length to one address, the last of which may be shorter.
type run struct {
	to             netip.AddrPort
	segment, bytes int
	count          int // datagrams
	slot           uint8
	first, final   uint8 // pieces
	full           bool  // ended by a shorter one

	packets, payload int // what it carries, in packets and bytes
	start            int // in the arena, of the bundle that is open

	// Of a run of bundles; 0: each datagram is a packet.
	bundle int // their length
	head   int // of their bytes, how many before the first packet
	key    uint64
	inside int  // packets of the open one
	odd    bool // there are packets of different lengths, the first of which is size
	size   int
}

// piece is a part of the arena that belongs to a run.
type piece struct {
	from, to, end int // to is behind the last byte that is used, end behind what is reserved
	next          uint8
}

// NewDatagrams returns an empty collection for a socket of IPv6 if v6, which reaches IPv4 by mapped addresses, or of IPv4.
func NewDatagrams(v6 bool) *Datagrams {
	return &Datagrams{msgs: sys.NewMsgQueue(), single: sys.NewMsgQueue(), v6: v6, most: sys.UDPMaxSegments(), arena: make([]byte, arenaSize)}
}

// Join makes Put join datagrams of one length to one address to a run, or ends that. The socket must take what
// sys.MsgQueue.SetRun says. It must be empty. Joined or not, datagrams to different addresses may overtake each other, those to one
// address do not.
func (d *Datagrams) Join(on bool) { d.join = on }

// Bundle makes Put put several packets to one address into one datagram of at most so many bytes, a bundle. It must be empty, and all
// receivers must take bundles. With Join, a bundle that is at least half full is filled up where another one follows,
// for the kernel to take them as a run; without it, each bundle is a message.
func (d *Datagrams) Bundle(length int) { d.bundle = length }

// BundleFor makes Put put packets into bundles where peers says that the receiver takes them, and where that helps: where packets to one address are of different
// lengths, or cannot be joined to runs. What is too long for such a bundle is a datagram. It must be empty; nil ends it.
func (d *Datagrams) BundleFor(peers *Peers) { d.peers = peers }

// Put takes a copy of b, at most 65507 bytes, or with Bundle that length less BundleOverhead, which may be empty, to be sent to an address. It
// returns false, and takes nothing, if it has no room: then Flush must come first.
func (d *Datagrams) Put(b []byte, to netip.AddrPort) bool {
	if d.n == maxPackets {
		return false
	}
	r, slot := d.find(to)
	switch {
	case d.bundle > 0:
		return d.putBundled(r, b, to, slot, run{bundle: d.bundle, head: bundleHead})
	case r != nil && r.bundle == 0 && d.fits(r, len(b)):
		return d.extend(r, b)
	case d.peers != nil && len(b)+KeyedOverhead <= d.peers.length:
		if r != nil && r.bundle > 0 {
			return d.putBundled(r, b, to, slot, *r)
		}
		// A run that is only as long as runs may be is followed by another one.
		odd := r != nil && (!d.join || r.full || len(b) != r.segment)
		if key, ok := d.peers.bundles(to, odd); ok {
			return d.putBundled(nil, b, to, slot, run{bundle: d.peers.length, head: KeyedHead, key: key})
		}
	}
	return d.begin(b, to, slot)
}

// More is Put for a packet to the address of the last one that was put, if it is as long as those of its run and there is room beside them. It returns
// false, and takes nothing, otherwise.
func (d *Datagrams) More(b []byte) bool {
	r := &d.runs[d.last]
	n := len(b)
	if d.n == 0 || n != r.segment || r.bundle != 0 || n == 0 || r.count == d.most || r.full || !d.join || r.bytes+n > maxRunBytes || d.n == maxPackets {
		return false
	}
	p := &d.pieces[r.final]
	if n > p.end-p.to {
		if p.end != d.tip || p.to+n > len(d.arena) {
			return false
		}
		p.end = p.to + n
		d.tip = p.end
	}
	copy(d.arena[p.to:p.to+n], b)
	p.to += n
	r.bytes += n
	r.count++
	r.packets++
	r.payload += n
	d.n++
	return true
}

// find returns the newest run to an address, or nil, and the slot of the address.
func (d *Datagrams) find(to netip.AddrPort) (r *run, slot uint8) {
	if d.nruns > 0 && d.runs[d.last].to == to {
		r := &d.runs[d.last]
		return r, r.slot
	}
	slot = hash(to)
	for ; d.slots[slot] != 0; slot = (slot + 1) % uint8(len(d.slots)) {
		at := int(d.slots[slot]) - 1
		if r := &d.runs[at]; r.to == to {
			d.last = at
			return r, slot
		}
	}
	return nil, slot
}

// putBundled puts b into the bundle that is open in run r, which may be nil, or begins another one, of the form that kind has.
func (d *Datagrams) putBundled(r *run, b []byte, to netip.AddrPort, slot uint8, kind run) bool {
	if r != nil && !r.full {
		p := &d.pieces[r.final]
		used := p.to - r.start
		if used+lengthLen+len(b) <= r.bundle && r.inside < MostBundled {
			d.bundled(r, p, b)
			return true
		}
		if d.join && used >= r.bundle/2 && r.count < d.most && (r.count+1)*r.bundle <= maxRunBytes {
			end := r.start + r.bundle
			if p.end == d.tip && d.tip+r.bundle <= len(d.arena) {
				p.end += r.bundle
				d.tip = p.end
			} else {
				i, ok := d.take(r.bundle, r.bundle)
				if !ok {
					return false
				}
				p.next, r.final = i, i
			}
			fill(d.arena[p.to:end])
			p.to = end
			p = &d.pieces[r.final]
			r.count++
			d.open(r, p)
			d.bundled(r, p, b)
			return true
		}
		r.full = true
	}
	i, ok := d.first(kind.bundle)
	if !ok {
		return false
	}
	r = d.add(run{to: to, segment: kind.bundle, count: 1, slot: slot, first: i, final: i, bundle: kind.bundle, head: kind.head, key: kind.key, size: len(b)})
	d.open(r, &d.pieces[i])
	d.bundled(r, &d.pieces[i], b)
	return true
}

// open begins a bundle in a piece that has room for it.
func (d *Datagrams) open(r *run, p *piece) {
	r.start, r.inside = p.to, 0
	if r.head == KeyedHead {
		putHead(d.arena[p.to:], Keyed, r.key)
	} else {
		copy(d.arena[p.to:], bundleMagic[:])
	}
	p.to += r.head
}

// bundled adds b to the open bundle, which has room for it.
func (d *Datagrams) bundled(r *run, p *piece, b []byte) {
	binary.BigEndian.PutUint16(d.arena[p.to:], uint16(len(b)))
	p.to += lengthLen
	p.to += copy(d.arena[p.to:p.end], b)
	r.packets++
	r.inside++
	r.payload += len(b)
	r.odd = r.odd || len(b) != r.size
	d.n++
}

// fits reports whether a datagram of n bytes may be joined to a run.
func (d *Datagrams) fits(r *run, n int) bool {
	return d.join && !r.full && n > 0 && n <= r.segment && r.count < d.most && r.bytes+n <= maxRunBytes
}

// extend joins b to a run.
func (d *Datagrams) extend(r *run, b []byte) bool {
	p := &d.pieces[r.final]
	switch n := len(b); {
	case n <= p.end-p.to:
	case p.end == d.tip && p.to+n <= len(d.arena):
		p.end = p.to + n
		d.tip = p.end
	default:
		more := min(reserveCount*r.segment, reserveBytes)
		i, ok := d.take(n, max(n, more))
		if !ok {
			return false
		}
		p.next, r.final = i, i
		p = &d.pieces[i]
	}
	p.to += copy(d.arena[p.to:p.end], b)
	r.bytes += len(b)
	r.count++
	r.packets++
	r.payload += len(b)
	r.full = len(b) < r.segment
	d.n++
	return true
}

// begin makes b the first of a run, whose number stands in the given slot from now on.
func (d *Datagrams) begin(b []byte, to netip.AddrPort, slot uint8) bool {
	i, ok := d.first(len(b))
	if !ok {
		return false
	}
	p := &d.pieces[i]
	p.to += copy(d.arena[p.to:p.end], b)
	d.add(run{
		to: to, segment: len(b), bytes: len(b), count: 1, slot: slot, first: i, final: i, full: len(b) == 0,
		packets: 1, payload: len(b),
	})
	d.n++
	return true
}

// add makes r the newest run to its address.
func (d *Datagrams) add(r run) *run {
	d.last = d.nruns
	d.nruns++
	d.slots[r.slot] = uint8(d.nruns)
	d.runs[d.last] = r
	return &d.runs[d.last]
}

// first returns a piece of the arena for a run that is to begin, if there may be another one.
func (d *Datagrams) first(size int) (i uint8, ok bool) {
	if d.nruns == len(d.runs) {
		return 0, false
	}
	return d.take(size, size)
}

// take returns a piece of the arena of the wanted size, or of the least if there is no more.
func (d *Datagrams) take(least, wanted int) (i uint8, ok bool) {
	size := min(wanted, len(d.arena)-d.tip)
	if size < least || d.nparts == len(d.pieces) {
		return 0, false
	}
	d.pieces[d.nparts] = piece{from: d.tip, to: d.tip, end: d.tip + size}
	d.tip += size
	d.nparts++
	return uint8(d.nparts - 1), true
}

// Flush sends all packets and counts which went and which did not. refused is asked about every error of the
// kernel, with how many there were before in this call. sent is how many packets went; if there are none, nothing is called.
func (d *Datagrams) Flush(fd int, counts *Counters, refused func(err error, before int) Next) (sent int) {
	if d.n == 0 {
		return 0
	}
	part := 0
	for i := range d.runs[:d.nruns] {
		r := &d.runs[i]
		first := part
		for at := r.first; ; at = d.pieces[at].next {
			p := &d.pieces[at]
			d.msgs.SetPart(part, d.arena[p.from:p.to])
			if part++; at == r.final {
				break
			}
		}
		if r.count > 1 {
			d.msgs.SetRun(i, first, part-first, r.segment, r.to, d.v6)
		} else {
			d.msgs.SetOne(i, first, r.to, d.v6)
		}
	}
	bytes, failures := 0, 0
send:
	for at := 0; at < d.nruns; {
		n, err := d.msgs.Send(fd, at, d.nruns)
		for i := range d.runs[at : at+n] {
			r := &d.runs[at+i]
			sent += r.packets
			bytes += r.payload
		}
		if err == nil {
			break
		}
		at += n
		next := refused(err, failures)
		failures++
		switch next {
		case Skip:
			if r := &d.runs[at]; r.count > 1 {
				went, all := d.sendSingly(r, fd, &bytes, &failures, refused)
				if sent += went; !all {
					break send
				}
			}
			at++
		case Stop:
			break send
		}
	}
	counts.TxPackets.Add(uint64(sent))
	counts.TxBytes.Add(uint64(bytes))
	counts.TxDrops.Add(uint64(d.n - sent))
	for i := range d.runs[:d.nruns] {
		r := &d.runs[i]
		d.slots[r.slot] = 0
		if d.join && r.head == KeyedHead && r.packets > 1 && !r.odd { // runs do for these
			d.peers.even(r.to)
		}
	}
	d.n, d.nruns, d.nparts, d.tip, d.last = 0, 0, 0, 0, 0
	return sent
}

// sendSingly sends each datagram of a run alone; all is false when the rest of everything is to be given up.
func (d *Datagrams) sendSingly(r *run, fd int, bytes, failures *int, refused func(err error, before int) Next) (sent int, all bool) {
	for i := r.first; ; i = d.pieces[i].next {
		p := &d.pieces[i]
		for from := p.from; from < p.to; {
			end := min(from+r.segment, p.to)
			d.single.SetTo(0, d.arena[from:end], r.to, d.v6)
			_, err := d.single.Send(fd, 0, 1)
			if err == nil {
				packets, payload := r.carries(d.arena[from:end])
				sent += packets
				*bytes += payload
				from = end
				continue
			}
			next := refused(err, *failures)
			*failures++
			switch next {
			case Skip:
				from = end
			case Stop:
				return sent, false
			}
		}
		if i == r.final {
			return sent, true
		}
	}
}

// carries returns how many packets and bytes of them a datagram of a run has.
func (r *run) carries(b []byte) (packets, payload int) {
	if r.bundle == 0 {
		return 1, len(b)
	}
	for p, at, ok := NextInBundle(b, r.head); ok; p, at, ok = NextInBundle(b, at) {
		packets++
		payload += len(p)
	}
	return packets, payload
}

// hash returns the slot where the search for an address begins. Whoever finds addresses that share one makes a search look at no more
// than what there can be.
func hash(to netip.AddrPort) uint8 {
	return uint8(spread(to) >> 57) // 7 bits: the slots
}
