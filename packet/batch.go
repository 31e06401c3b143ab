package packet

// MaxBatch is the most packets in a batch.
const MaxBatch = 256

// Batch is an ordered set of packets. The zero value is empty. Functions that take the packets of
// a batch leave the batch itself empty and with the caller, to be used again.
type Batch struct {
	n    int
	pkts [MaxBatch]*Packet
}

// Len returns how many packets there are.
func (b *Batch) Len() int { return b.n }

// Room returns how many more fit.
func (b *Batch) Room() int { return MaxBatch - b.n }

// At returns packet i.
func (b *Batch) At(i int) *Packet { return b.pkts[:b.n][i] }

// Set replaces packet i.
func (b *Batch) Set(i int, p *Packet) { b.pkts[:b.n][i] = p }

// Packets returns the packets as a slice of the batch's own array, valid until the batch changes.
func (b *Batch) Packets() []*Packet { return b.pkts[:b.n] }

// Append adds p, and returns false when the batch is full.
func (b *Batch) Append(p *Packet) bool {
	if b.n == MaxBatch {
		return false
	}
	b.pkts[b.n] = p
	b.n++
	return true
}

// Reset makes the batch empty without freeing anything: the packets must have gone elsewhere.
func (b *Batch) Reset() { b.n = 0 }

// Truncate keeps the first n packets. The caller has taken the others.
func (b *Batch) Truncate(n int) {
	if n < b.n {
		b.n = n
	}
}

// Keep calls fn for every packet in order and keeps those for which it returns true; fn has taken the others, and must not change
// the batch.
func (b *Batch) Keep(fn func(p *Packet) bool) { b.KeepFrom(0, fn) }

// KeepFrom is Keep that keeps the first n packets without asking. Who can tell without a call that all of them stay up to some packet begins there.
func (b *Batch) KeepFrom(n int, fn func(p *Packet) bool) {
	for _, p := range b.pkts[n:b.n] {
		if fn(p) {
			b.pkts[n] = p
			n++
		}
	}
	b.n = n
}

// Drop1st removes the first n packets, which the caller has taken, and moves the rest up.
func (b *Batch) Drop1st(n int) {
	if n >= b.n {
		b.n = 0
		return
	}
	copy(b.pkts[:], b.pkts[n:b.n])
	b.n -= n
}

// MoveTo appends as many packets of b as fit to dst and keeps the rest; it returns how many moved.
func (b *Batch) MoveTo(dst *Batch) int {
	n := copy(dst.pkts[dst.n:], b.pkts[:b.n])
	dst.n += n
	b.Drop1st(n)
	return n
}
