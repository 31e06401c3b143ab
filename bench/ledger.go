package bench

import "encoding/binary"

// The generator writes into each frame's payload which run it belongs to and its number; the ledger says from what
// arrives what was lost, doubled or overtaken.
//
//	42  magic, 4 bytes
//	46  run, 4 bytes
//	50  number, 8 bytes
const (
	tagAt    = 42
	tagLen   = 16
	tagMagic = 0x4a4e4f53
)

// stamp marks a frame, which has at least 58 bytes.
func stamp(frame []byte, run uint32, number uint64) {
	binary.BigEndian.PutUint32(frame[tagAt:], tagMagic)
	binary.BigEndian.PutUint32(frame[tagAt+4:], run)
	binary.BigEndian.PutUint64(frame[tagAt+8:], number)
}

// readStamp is the inverse of stamp; it accepts anything.
func readStamp(frame []byte) (run uint32, number uint64, ok bool) {
	if len(frame) < tagAt+tagLen || binary.BigEndian.Uint32(frame[tagAt:]) != tagMagic {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(frame[tagAt+4:]), binary.BigEndian.Uint64(frame[tagAt+8:]), true
}

// ledger keeps the account of one run's frames, numbered from 0 to less than its size.
type ledger struct {
	run        uint32
	seen       []uint64 // a bit for each number
	received   uint64   // different ones
	duplicates uint64
	overtaken  uint64 // that came after one with a higher number
	foreign    uint64 // of another run, or beyond the size
	next       uint64 // one above the highest number that came
}

// begin prepares for a run of at most size frames.
func (l *ledger) begin(run uint32, size int) {
	words := (size + 63) / 64
	if cap(l.seen) < words {
		l.seen = make([]uint64, words)
	}
	seen := l.seen[:words]
	clear(seen)
	*l = ledger{run: run, seen: seen}
}

// arrived enters a frame.
func (l *ledger) arrived(frame []byte) {
	run, n, ok := readStamp(frame)
	if !ok || run != l.run || n >= uint64(len(l.seen))*64 {
		l.foreign++
		return
	}
	bit := uint64(1) << (n & 63)
	if l.seen[n/64]&bit != 0 {
		l.duplicates++
		return
	}
	l.seen[n/64] |= bit
	l.received++
	if n < l.next {
		l.overtaken++
		return
	}
	l.next = n + 1
}

// clean reports whether of sent frames each came once and in order.
func (l *ledger) clean(sent uint64) bool {
	return l.received == sent && l.duplicates == 0 && l.overtaken == 0
}
