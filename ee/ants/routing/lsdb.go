package routing

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/janos-os/janos/clock"
)

// minLifetime is what a piece must have left to be passed on or accepted, and hopAge what each hop takes from it, so
// that no piece can be kept alive by going round.
const (
	minLifetime = 100 * time.Millisecond
	hopAge      = 10 * time.Millisecond
)

// minArrival is the least time between two versions of a piece that are accepted. Origins keep a larger one.
const minArrival = 5 * time.Millisecond

// stored is a piece in the database.
type stored struct {
	lsa     LSA // Lifetime is not kept up to date
	key     key
	hash    uint64
	expires clock.Time
	arrived clock.Time
}

// remaining returns the piece with the lifetime that it has at now.
func (s *stored) remaining(now clock.Time) (l LSA, ok bool) {
	l = s.lsa
	l.Lifetime = s.expires.Sub(now) - hopAge
	return l, l.Lifetime >= minLifetime
}

// database has the newest version of each piece, in the order of keys. It belongs to the router's worker.
type database struct {
	pieces  []*stored
	byKey   map[key]*stored
	digest  uint64 // sum over the pieces: independent of the order in which they came
	max     int
	scratch []byte
}

func newDatabase(max int) *database {
	return &database{byKey: make(map[key]*stored), max: max}
}

// hash is over everything but the lifetime.
func (d *database) hash(l *LSA) uint64 {
	c := *l
	c.Lifetime = 0
	d.scratch = appendLSA(d.scratch[:0], &c)
	h := fnv.New64a()
	h.Write(d.scratch)
	return h.Sum64()
}

// newer reports whether version (seq, hash) replaces s. The hash decides between pieces that lie about being the same.
func (s *stored) newer(seq, hash uint64) bool {
	return seq > s.lsa.Seq || seq == s.lsa.Seq && hash > s.hash
}

// verdict is what put did with a piece.
type verdict uint8

const (
	putNew   verdict = iota // it is in the database now
	putSame                 // it was there already
	putOld                  // there is a newer one
	putFull                 // no room
	putEarly                // the version before came a moment ago
	putDying                // not enough lifetime left
)

// put stores l if it is newer. Of a node's own pieces neither number nor pace is bounded here. changed says whether what
// l says, beside its number, is new.
func (d *database) put(l *LSA, own bool, now clock.Time) (s *stored, v verdict, changed bool) {
	k, h := l.key(), d.hash(l)
	old := d.byKey[k]
	switch {
	case old != nil && old.lsa.Seq == l.Seq && old.hash == h:
		return old, putSame, false
	case old != nil && !old.newer(l.Seq, h):
		return old, putOld, false
	case l.Lifetime < minLifetime:
		return old, putDying, false
	case old == nil && !own && len(d.pieces) >= d.max:
		return nil, putFull, false
	case old != nil && !own && now.Sub(old.arrived) < minArrival:
		return old, putEarly, false
	}
	s = &stored{lsa: *l, key: k, hash: h, arrived: now, expires: now.Add(l.Lifetime)}
	i, found := d.search(k)
	if found {
		d.digest -= d.pieces[i].hash
		d.pieces[i] = s
		changed = old.lsa.Host != l.Host || !slices.Equal(old.lsa.Adj, l.Adj) || !slices.Equal(old.lsa.Prefixes, l.Prefixes)
	} else {
		d.pieces = slices.Insert(d.pieces, i, s)
		changed = true
	}
	d.byKey[k] = s
	d.digest += h
	return s, putNew, changed
}

func (d *database) search(k key) (int, bool) {
	return slices.BinarySearchFunc(d.pieces, k, func(s *stored, k key) int { return cmp.Compare(s.key, k) })
}

// span returns the pieces whose keys are at least first and at most last.
func (d *database) span(first, last key) []*stored {
	i, _ := d.search(first)
	j, found := d.search(last)
	if found {
		j++
	}
	if j < i {
		return nil
	}
	return d.pieces[i:j]
}

// drop takes a piece out.
func (d *database) drop(s *stored) {
	if i, found := d.search(s.key); found {
		d.pieces = slices.Delete(d.pieces, i, i+1)
		delete(d.byKey, s.key)
		d.digest -= s.hash
	}
}

// expire drops what has come to its end, and returns whether anything had.
func (d *database) expire(now clock.Time) bool {
	n := len(d.pieces)
	d.pieces = slices.DeleteFunc(d.pieces, func(s *stored) bool {
		if s.expires > now {
			return false
		}
		delete(d.byKey, s.key)
		d.digest -= s.hash
		return true
	})
	return len(d.pieces) != n
}

// keySet is a set of keys in order.
type keySet []key

func (s *keySet) add(k key) {
	if i, found := slices.BinarySearch(*s, k); !found {
		*s = slices.Insert(*s, i, k)
	}
}

func (s *keySet) remove(k key) {
	if i, found := slices.BinarySearch(*s, k); found {
		*s = slices.Delete(*s, i, i+1)
	}
}
