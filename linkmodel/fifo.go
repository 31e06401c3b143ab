package linkmodel

// Fifo is a first-in first-out list in a ring that grows to what was once needed. Both ends cost constant time however long it
// is. The zero value is empty. It is not safe for concurrent use.
type Fifo[T any] struct {
	ring    []T // its length is zero or a power of two
	head, n int
}

// Len returns how many entries the list has.
func (q *Fifo[T]) Len() int { return q.n }

// At returns the entry that i others are before, in place, with i from 0 to Len()-1. It is valid until the next Push or Pop.
func (q *Fifo[T]) At(i int) *T { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// Push appends an entry. It allocates only when the list is longer than it ever was.
func (q *Fifo[T]) Push(v T) {
	if q.n == len(q.ring) {
		bigger := make([]T, max(64, 2*len(q.ring)))
		k := copy(bigger, q.ring[q.head:])
		copy(bigger[k:], q.ring[:q.head])
		q.ring, q.head = bigger, 0
	}
	q.n++
	*q.At(q.n - 1) = v
}

// Pop removes the first entry and returns it. The list must not be empty.
func (q *Fifo[T]) Pop() T {
	var zero T
	first := q.At(0)
	v := *first
	*first = zero // so that what it refers to is not kept
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return v
}
