package rewrite

import "encoding/binary"

// steps say by how much the sequence numbers of one direction of a TCP flow differ behind the rewriter, because elements before it made the stream longer
// or shorter. A step holds from its sequence number on, until the next step. The oldest are forgotten; numbers before the first
// one that is left differ by base.
type steps struct {
	n    int
	base uint32
	s    [maxSteps]step
}

const maxSteps = 16

// step: numbers from at on, as the sender counts, are changed by delta.
type step struct{ at, delta uint32 }

// add makes numbers from at on differ by change more than they do. A repeated step is ignored.
func (p *steps) add(at, change uint32) {
	delta := change
	for i := p.n - 1; i >= 0; i-- {
		if p.s[i].at == at {
			return
		}
	}
	if p.n > 0 {
		if last := p.s[p.n-1]; int32(at-last.at) < 0 {
			return // behind what was changed already: an old packet that came again
		}
		delta += p.s[p.n-1].delta
	}
	if p.n == maxSteps {
		p.base = p.s[0].delta
		copy(p.s[:], p.s[1:])
		p.n--
	}
	p.s[p.n] = step{at, delta}
	p.n++
}

// out returns a sender's number as the receiver is to see it.
func (p *steps) out(seq uint32) uint32 {
	for i := p.n - 1; i >= 0; i-- {
		if int32(seq-p.s[i].at) >= 0 {
			return seq + p.s[i].delta
		}
	}
	return seq + p.base
}

// back is the inverse of out, for acknowledgements.
func (p *steps) back(ack uint32) uint32 {
	for i := p.n - 1; i >= 0; i-- {
		if s := p.s[i]; int32(ack-(s.at+s.delta)) >= 0 {
			return ack - s.delta
		}
	}
	return ack - p.base
}

// rewriteSeq changes the sequence numbers of a TCP segment whose header has at least 20 bytes, and keeps its checksum right. own are the steps of the
// segment's direction, other those of the opposite one, which its acknowledgements are about.
func rewriteSeq(tcp []byte, own, other *steps) {
	grow := uint64(0)
	set := func(b []byte, v uint32) {
		grow += change32(binary.BigEndian.Uint32(b), v)
		binary.BigEndian.PutUint32(b, v)
	}
	set(tcp[4:], own.out(binary.BigEndian.Uint32(tcp[4:])))
	if tcp[13]&tcpACK != 0 || binary.BigEndian.Uint32(tcp[8:]) != 0 {
		set(tcp[8:], other.back(binary.BigEndian.Uint32(tcp[8:])))
	}
	if n := int(tcp[12]>>4) * 4; n > 20 && n <= len(tcp) {
		grow += rewriteSACK(tcp[20:n], other)
	}
	binary.BigEndian.PutUint16(tcp[16:], adjust(binary.BigEndian.Uint16(tcp[16:]), grow))
}

// rewriteSACK changes the blocks of selective acknowledgements (RFC 2018) and returns the growth of the checksum's sum.
func rewriteSACK(opt []byte, other *steps) (grow uint64) {
	for i := 0; i < len(opt) && opt[i] != 0; {
		if opt[i] == 1 {
			i++
			continue
		}
		if i+1 >= len(opt) || opt[i+1] < 2 || i+int(opt[i+1]) > len(opt) {
			break
		}
		n := int(opt[i+1])
		if opt[i] == 5 {
			for j := i + 2; j+4 <= i+n; j += 4 {
				old := binary.BigEndian.Uint32(opt[j:])
				v := other.back(old)
				if j&1 != 0 { // the checksum's words lie across these
					grow += change32(old<<8|old>>24, v<<8|v>>24)
				} else {
					grow += change32(old, v)
				}
				binary.BigEndian.PutUint32(opt[j:], v)
			}
		}
		i += n
	}
	return grow
}

// TCP flags.
const (
	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpACK = 1 << 4
)
