package bench

import (
	"encoding/binary"
	"slices"
	"time"
)

// The generator writes into each frame's payload which run it belongs to, its number and when it was sent; the sink says from what
// arrives what was lost, doubled, overtaken or damaged. Numbers are in the machine's order: eBPF programs write and read
// them too, and a stamp does not leave the machine for another.
//
//	42  magic, 2 bytes
//	44  run, 2 bytes
//	46  number, 4 bytes
//	50  when it was sent, 8 bytes, ns of CLOCK_MONOTONIC; 0: not known
//	58  number times stampFactor, xor run, 4 bytes: what was damaged on the way does not have it
const (
	tagAt       = 42
	tagLen      = 20
	tagMagic    = 0x4a4e
	stampFactor = 0x9e3779b1
)

// sampleMask selects the frames whose way is timed: those whose number has none of these bits.
const sampleMask = 15

// maxDelays is how many delays a run keeps; a longer one overwrites them.
const maxDelays = 8192

func stampCheck(run, number uint32) uint32 { return number*stampFactor ^ run }

// stamp marks a frame, which has at least 62 bytes.
func stamp(frame []byte, run uint16, number uint32, when uint64) {
	t := frame[tagAt : tagAt+tagLen]
	binary.NativeEndian.PutUint16(t, tagMagic)
	binary.NativeEndian.PutUint16(t[2:], run)
	binary.NativeEndian.PutUint32(t[4:], number)
	binary.NativeEndian.PutUint64(t[8:], when)
	binary.NativeEndian.PutUint32(t[16:], stampCheck(uint32(run), number))
}

// tag is what stamp wrote.
type tag struct {
	run    uint16
	number uint32
	when   uint64
	intact bool // its check is right
}

// readStamp is the inverse of stamp; it accepts anything.
func readStamp(frame []byte) (t tag, ok bool) {
	if len(frame) < tagAt+tagLen || binary.NativeEndian.Uint16(frame[tagAt:]) != tagMagic {
		return tag{}, false
	}
	b := frame[tagAt : tagAt+tagLen]
	t = tag{run: binary.NativeEndian.Uint16(b[2:]), number: binary.NativeEndian.Uint32(b[4:]), when: binary.NativeEndian.Uint64(b[8:])}
	t.intact = binary.NativeEndian.Uint32(b[16:]) == stampCheck(uint32(t.run), t.number)
	return t, true
}

// ledger keeps the account of one run's frames, numbered from 0 to less than its size.
type ledger struct {
	run        uint16
	seen       []uint64 // a bit for each number
	received   uint64   // different ones; at a sink that does not know one from another, all
	duplicates uint64
	overtaken  uint64 // that came after one with a higher number; at a sink that cannot tell, duplicates too
	corrupted  uint64
	foreign    uint64 // of another run, or beyond the size
	next       uint64 // one above the highest number that came

	delays []time.Duration // of frames that were timed, from generator to sink, in no order
	timed  uint64          // how many there were

	// The first and the last time that the sink looked at its clock, in ns, and received then.
	firstAt, lastAt             uint64
	firstReceived, lastReceived uint64
}

// begin prepares for a run of at most size frames.
func (l *ledger) begin(run uint16, size int) {
	words := (size + 63) / 64
	if cap(l.seen) < words {
		l.seen = make([]uint64, words)
	}
	if l.delays == nil {
		l.delays = make([]time.Duration, 0, maxDelays)
	}
	seen := l.seen[:words]
	clear(seen)
	*l = ledger{run: run, seen: seen, delays: l.delays[:0]}
}

// arrived enters a frame that came at a time.
func (l *ledger) arrived(frame []byte, now uint64) {
	t, ok := readStamp(frame)
	n := uint64(t.number)
	if !ok || t.run != l.run || n >= uint64(len(l.seen))*64 {
		l.foreign++
		return
	}
	if !t.intact {
		l.corrupted++
		return
	}
	bit := uint64(1) << (n & 63)
	if l.seen[n/64]&bit != 0 {
		l.duplicates++
		return
	}
	l.seen[n/64] |= bit
	l.received++
	if t.when != 0 && n&sampleMask == 0 && now >= t.when {
		l.delay(time.Duration(now - t.when))
	}
	if n < l.next {
		l.overtaken++
		return
	}
	l.next = n + 1
}

// delay enters how long a frame was on its way.
func (l *ledger) delay(d time.Duration) {
	if len(l.delays) < maxDelays {
		l.delays = append(l.delays, d)
	} else {
		l.delays[l.timed%maxDelays] = d
	}
	l.timed++
}

// looked enters what has arrived until now.
func (l *ledger) looked(now uint64) {
	if l.firstAt == 0 {
		l.firstAt, l.firstReceived = now, l.received
	}
	l.lastAt, l.lastReceived = now, l.received
}

// clean reports whether of sent frames each came once, whole and in order.
func (l *ledger) clean(sent uint64) bool {
	return l.received == sent && l.duplicates == 0 && l.overtaken == 0 && l.corrupted == 0
}

// goodput returns how many frames a second arrived between the sink's first look and its last; 0 if that is not known.
func (l *ledger) goodput() float64 {
	if l.lastAt <= l.firstAt {
		return 0
	}
	return float64(l.lastReceived-l.firstReceived) / (float64(l.lastAt-l.firstAt) / 1e9)
}

// quantile returns the delay that a part q of the frames that were timed did not exceed; 0 if none was.
func (l *ledger) quantile(q float64) time.Duration {
	n := len(l.delays)
	if n == 0 {
		return 0
	}
	slices.Sort(l.delays)
	return l.delays[min(int(q*float64(n)), n-1)]
}
