package ants

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// stateKey names a soft-state value of a protocol:
//
//	0  space of the manifest   4
//	4  1 for an explicit key   1   values under those are in a space of their own
//	5  length of the key       1
//	8  the key                32
type stateKey [8 + abi.KeyMax]byte

func (k *stateKey) set(space uint32, explicit bool, key []byte) {
	*k = stateKey{5: uint8(len(key))}
	binary.NativeEndian.PutUint32(k[:], space)
	if explicit {
		k[4] = 1
	}
	copy(k[8:], key)
}

// stateEntry is one value. Entries are in a hash chain and in the list of use.
type stateEntry struct {
	key          stateKey
	value        [abi.StateMax]byte
	n            uint8
	expires      clock.Time
	chain        int32 // next in the chain, or in the free list; -1: none
	newer, older int32
}

const (
	statePage  = 32              // entries that are allocated together
	stateBytes = 144 * statePage // what a page is charged, with its share of the buckets
	stateNone  = int32(-1)
)

// store is the soft state of one protocol: values under keys, each with a lifetime, the
// least recently used given up when there is no room. Memory is taken from the protocol's account a page at a time. It
// belongs to the protocol's worker, and allocates only when it grows by a page.
type store struct {
	account *resctl.Account
	max     int
	seed    maphash.Seed
	buckets []int32
	pages   []*[statePage]stateEntry
	free    int32
	newest  int32
	oldest  int32
	used    int

	puts, evicted, expired, refused uint64
}

func newStore(account *resctl.Account, max int) *store {
	return &store{account: account, max: max, seed: maphash.MakeSeed(), free: stateNone, newest: stateNone, oldest: stateNone}
}

func (s *store) at(i int32) *stateEntry { return &s.pages[i/statePage][i%statePage] }

func (s *store) bucket(k *stateKey) *int32 {
	return &s.buckets[maphash.Bytes(s.seed, k[:])&uint64(len(s.buckets)-1)]
}

func (s *store) find(k *stateKey) int32 {
	if len(s.buckets) == 0 {
		return stateNone
	}
	i := *s.bucket(k)
	for i != stateNone && s.at(i).key != *k {
		i = s.at(i).chain
	}
	return i
}

// get returns the value under k, which is valid until the next put or delete, or nil. A hit makes it recently used.
func (s *store) get(k *stateKey, now clock.Time) []byte {
	i := s.find(k)
	if i == stateNone {
		return nil
	}
	e := s.at(i)
	if now >= e.expires {
		s.expired++
		s.remove(i)
		return nil
	}
	s.unlink(i)
	s.link(i)
	return e.value[:e.n]
}

// put stores a value, which must not be longer than abi.StateMax. It reports whether there was memory.
func (s *store) put(k *stateKey, value []byte, expires, now clock.Time) bool {
	s.puts++
	i := s.find(k)
	if i != stateNone {
		s.unlink(i)
	} else {
		if s.free == stateNone && !s.grow() && !s.reclaim(now) {
			s.refused++
			return false
		}
		i = s.free
		s.free = s.at(i).chain
		b := s.bucket(k)
		e := s.at(i)
		e.key, e.chain = *k, *b
		*b = i
		s.used++
	}
	e := s.at(i)
	e.n = uint8(copy(e.value[:], value))
	e.expires = expires
	s.link(i)
	return true
}

func (s *store) delete(k *stateKey) {
	if i := s.find(k); i != stateNone {
		s.remove(i)
	}
}

// grow adds a page of free entries.
func (s *store) grow() bool {
	have := len(s.pages) * statePage
	if have >= s.max || s.account.Take(resctl.Memory, stateBytes) != nil {
		return false
	}
	if s.buckets == nil {
		n := statePage
		for n < s.max {
			n *= 2
		}
		// The buckets are small beside the pages and are paid with the first ones.
		if s.account.Take(resctl.Memory, int64(4*n)) != nil {
			s.account.Return(resctl.Memory, stateBytes)
			return false
		}
		s.buckets = make([]int32, n)
		for i := range s.buckets {
			s.buckets[i] = stateNone
		}
	}
	p := new([statePage]stateEntry)
	s.pages = append(s.pages, p)
	for i := min(statePage, s.max-have) - 1; i >= 0; i-- {
		p[i].chain = s.free
		s.free = int32(have + i)
	}
	return true
}

// reclaim frees the least recently used entry. An expired one counts as such, wherever it is found.
func (s *store) reclaim(now clock.Time) bool {
	i := s.oldest
	if i == stateNone {
		return false
	}
	if now >= s.at(i).expires {
		s.expired++
	} else {
		s.evicted++
	}
	s.remove(i)
	return true
}

func (s *store) remove(i int32) {
	e := s.at(i)
	p := s.bucket(&e.key)
	for *p != i {
		p = &s.at(*p).chain
	}
	*p = e.chain
	s.unlink(i)
	e.chain = s.free
	s.free = i
	s.used--
}

func (s *store) link(i int32) {
	e := s.at(i)
	e.newer, e.older = stateNone, s.newest
	if s.newest != stateNone {
		s.at(s.newest).newer = i
	} else {
		s.oldest = i
	}
	s.newest = i
}

func (s *store) unlink(i int32) {
	e := s.at(i)
	if e.newer != stateNone {
		s.at(e.newer).older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != stateNone {
		s.at(e.older).newer = e.newer
	} else {
		s.oldest = e.newer
	}
}

// close returns the memory to the account.
func (s *store) close() {
	if s.buckets != nil {
		s.account.Return(resctl.Memory, int64(4*len(s.buckets))+int64(len(s.pages))*stateBytes)
	}
	*s = store{account: s.account, free: stateNone, newest: stateNone, oldest: stateNone, puts: s.puts, evicted: s.evicted, expired: s.expired, refused: s.refused}
}

// StateStats are counts of a protocol's soft state.
type StateStats struct {
	Entries int    `json:"entries"`
	Puts    uint64 `json:"puts"`
	Evicted uint64 `json:"evicted"` // given up for newer ones
	Expired uint64 `json:"expired"`
	Refused uint64 `json:"refused"` // no memory
}

func (s *store) stats() StateStats {
	return StateStats{Entries: s.used, Puts: s.puts, Evicted: s.evicted, Expired: s.expired, Refused: s.refused}
}
