package analysis

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// maker collects what a line says of a packet, and makes it.
type maker struct {
	ns, firstNS   int64 // since 1970
	src, dst      uint32
	frag, id, sum uint16
	tos, ttl      uint8
	proto         uint8
	ipLen         int
	hasLen        bool
	capture       int
	hasCapture    bool
	hl            uint8 // least length of the IP header in bytes
	ipOpt         []byte

	sport, dport       uint16
	seq, ack           uint32
	off                uint8 // in words; 0: what the options need
	flags, window, urp uint16
	tcpOpt             []byte
	udpLen             uint16
	hasUDPLen          bool
	icmpType, icmpCode uint8
	icmpID, icmpSeq    uint16
	payload            []byte
	payloadLen         int
	hasPayloadLen      bool
	count, aggregate   uint32
	paint              uint8
	ether              bool
	ethSrc, ethDst     [6]byte
}

// defaults are what lines leave open.
type defaults struct {
	proto        uint8
	src, dst     uint32
	sport, dport uint16
	aggregate    uint32
}

func (m *maker) reset(d *defaults) {
	*m = maker{ttl: 100, count: 1, proto: d.proto, src: d.src, dst: d.dst, sport: d.sport, dport: d.dport, aggregate: d.aggregate,
		ipOpt: m.ipOpt[:0], tcpOpt: m.tcpOpt[:0], payload: m.payload[:0]}
}

func padded(n int) int { return (n + 3) &^ 3 }

// build returns the packet, or nil if there is no frame for it. With full set it has all bytes that its length field says, as far as a frame
// holds them, and right checksums; the bytes that nothing says are zero, or random.
func (m *maker) build(e *click.Base, full, zero bool) *packet.Packet {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		return nil
	}
	hl := max(20+padded(len(m.ipOpt)), int(m.hl))
	first := m.frag&0x1fff == 0
	thl := 0
	if first {
		switch m.proto {
		case protoTCP:
			thl = max(20+padded(len(m.tcpOpt)), int(m.off)*4)
		case protoUDP, protoICMP:
			thl = 8
		}
	}
	room := p.Tailroom()
	size := min(hl+thl+len(m.payload), room)
	total := hl + thl + max(len(m.payload), m.payloadLen)
	if m.hasLen {
		total = max(m.ipLen, hl)
	}
	total = min(total, 65535)
	if full {
		size = min(max(size, total), room)
	}
	if m.hasCapture {
		size = max(min(size, m.capture), hl)
	}
	size = min(size, total)

	off := 0
	if m.ether {
		off = 14
		size = min(size, room-off)
		h := p.Put(off)
		copy(h, m.ethDst[:])
		copy(h[6:], m.ethSrc[:])
		h[12], h[13] = 8, 0
		p.SetMAC(0)
	}
	b := p.Put(size)[off:]
	clear(b)
	if !zero {
		rnd := e.Rand()
		for i := min(hl+thl+len(m.payload), size); i < size; i++ {
			b[i] = byte(rnd.Uint64())
		}
	}
	// The headers may be longer than what is kept of them: they are written to memory of their own first.
	var head [20 + maxOptions + 20 + maxOptions]byte
	m.writeIP(head[:hl], total)
	if thl > 0 {
		m.writeTransport(head[hl:hl+thl], total-hl)
	}
	n := copy(b, head[:hl+thl])
	copy(b[n:], m.payload)
	if full {
		m.checksums(b, hl, total)
	}
	if m.ether {
		p.SetNetwork(14)
	} else {
		p.SetNetwork(0)
	}
	if size >= hl {
		p.SetTransport(off + hl)
	}
	p.Anno.Dst = netip.AddrFrom4([4]byte(head[16:20]))
	p.Anno.Paint = m.paint
	p.Anno.Time = e.Router().TimeOf(m.ns)
	click.SetFirstTime(p, e.Router().TimeOf(m.firstNS))
	click.SetAggregate(p, m.aggregate)
	click.SetExtraLength(p, uint32(total-size))
	return p
}

func (m *maker) writeIP(h []byte, total int) {
	h[0] = 4<<4 | uint8(len(h)/4)
	h[1] = m.tos
	binary.BigEndian.PutUint16(h[2:], uint16(total))
	binary.BigEndian.PutUint16(h[4:], m.id)
	binary.BigEndian.PutUint16(h[6:], m.frag)
	h[8], h[9] = m.ttl, m.proto
	binary.BigEndian.PutUint16(h[10:], m.sum)
	binary.BigEndian.PutUint32(h[12:], m.src)
	binary.BigEndian.PutUint32(h[16:], m.dst)
	copy(h[20:], m.ipOpt)
}

// writeTransport writes the header of a datagram of n bytes.
func (m *maker) writeTransport(h []byte, n int) {
	switch m.proto {
	case protoTCP:
		binary.BigEndian.PutUint16(h, m.sport)
		binary.BigEndian.PutUint16(h[2:], m.dport)
		binary.BigEndian.PutUint32(h[4:], m.seq)
		binary.BigEndian.PutUint32(h[8:], m.ack)
		off := uint16(m.off)
		if off == 0 {
			off = uint16(len(h) / 4)
		}
		binary.BigEndian.PutUint16(h[12:], off<<12|m.flags)
		binary.BigEndian.PutUint16(h[14:], m.window)
		binary.BigEndian.PutUint16(h[18:], m.urp)
		copy(h[20:], m.tcpOpt)
	case protoUDP:
		binary.BigEndian.PutUint16(h, m.sport)
		binary.BigEndian.PutUint16(h[2:], m.dport)
		if !m.hasUDPLen {
			m.udpLen = uint16(max(n, 8))
		}
		binary.BigEndian.PutUint16(h[4:], m.udpLen)
	case protoICMP:
		h[0], h[1] = m.icmpType, m.icmpCode
		binary.BigEndian.PutUint16(h[4:], m.icmpID)
		binary.BigEndian.PutUint16(h[6:], m.icmpSeq)
	}
}

// checksums fills in those of a packet that begins with its IP header of hl bytes.
func (m *maker) checksums(b []byte, hl, total int) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], demux.Checksum(b[:hl]))
	if m.frag&0x3fff != 0 {
		return // it is over all fragments
	}
	t := b[hl:]
	at := map[uint8]int{protoTCP: 16, protoUDP: 6, protoICMP: 2}[m.proto]
	if at == 0 || len(t) < at+2 || len(b) < total {
		return
	}
	t[at], t[at+1] = 0, 0
	sum := demux.Checksum(t)
	if m.proto != protoICMP {
		src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		sum = demux.Fold(demux.Sum(demux.PseudoSum(src, dst, m.proto, len(t)), t))
		if sum == 0 && m.proto == protoUDP {
			sum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(t[at:], sum)
}
