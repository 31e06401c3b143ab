package linkio

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/janos-os/janos/clock"
)

// Two ends agree on bundles by datagrams that begin as bundles do, with a kind in place of the 0 behind the version, and have these lengths:
//
//	'J' 'B' 2 1 | question | 0       20 bytes: do you take bundles?
//	'J' 'B' 2 2 | question | key     20 bytes: yes, with this key
//	'J' 'B' 2 3 | key                12 bytes: a bundle had this key, which is not mine
//
// Question and key are eight bytes. The key is a secret of the receiver's socket, the same for all senders; the question is the sender's, and another one each time. So an answer or a
// refusal is believed only if it has what was sent to its sender, which somebody who does not see the datagrams does not know. An answer is no longer
// than its question.
const (
	// Keyed is the kind of bundles with a key; see Kind.
	Keyed = iota
	Question
	Answer
	Refusal
	Plain = -1 // no kind: a packet

	keyLen      = 8
	questionLen = bundleHead + 2*keyLen
	refusalLen  = bundleHead + keyLen

	// FirstByte is that of all these datagrams.
	FirstByte = 'J'
)

// Kind returns which datagram of bundles with keys b is, by its first bytes and its length, or Plain.
func Kind(b []byte) int {
	if len(b) < refusalLen || b[0] != FirstByte || b[1] != 'B' || b[2] != 2 {
		return Plain
	}
	switch k := int(b[3]); k {
	case Keyed:
		if len(b) >= KeyedOverhead {
			return k
		}
	case Question:
		if len(b) == questionLen && binary.BigEndian.Uint64(b[bundleHead+keyLen:]) == 0 {
			return k
		}
	case Answer:
		if len(b) == questionLen {
			return k
		}
	case Refusal:
		if len(b) == refusalLen {
			return k
		}
	}
	return Plain
}

// putHead writes the first KeyedHead bytes of a datagram.
func putHead(b []byte, kind byte, word uint64) {
	copy(b, bundleMagic[:2])
	b[2], b[3] = 2, kind
	binary.BigEndian.PutUint64(b[bundleHead:], word)
}

const (
	peerSets, peerWays = 256, 4

	askEvery  = time.Second      // while there is no answer, askFirst times
	askSeldom = 30 * time.Second // after that
	askFirst  = 3
	askAgain  = 10 * time.Second // while it is agreed
	agreedFor = 35 * time.Second // after an answer

	mostReplies  = 100 // in repliesEach, to whoever asks
	repliesEach  = 100 * time.Millisecond
	mostToBeSent = 8 // questions of a flush
)

// Peers is what a link knows of the addresses it sends to: which of them take bundles. It belongs to the link's worker, keeps the last 1,024 or so, and allocates nothing.
type Peers struct {
	// Key is this end's: what bundles to it must have.
	Key uint64

	length int // of bundles
	now    func() clock.Time
	at     clock.Time // what now returned in this turn; 0: it was not asked
	sets   [peerSets][peerWays]peer
	some   bool // there are any

	ask   [mostToBeSent]netip.AddrPort
	asks  int
	out   [questionLen]byte
	since clock.Time // when replies began to be counted
	sent  int        // of them since then
}

type peer struct {
	to       netip.AddrPort // none: free
	question uint64         // the last one
	key      uint64
	asked    clock.Time // last
	answered clock.Time // last
	used     clock.Time
	tries    int  // questions without an answer
	agreed   bool // there was an answer
	mixed    bool // bundles helped in the last flush, or would have
}

// NewPeers returns what knows nobody. Bundles have at most so many bytes; now is the time, by a clock that is never 0.
func NewPeers(length int, now func() clock.Time) *Peers {
	p := &Peers{length: length, now: now}
	p.Key = p.random()
	return p
}

// random returns a word that cannot be guessed.
func (p *Peers) random() uint64 {
	_, _ = rand.Read(p.out[:keyLen]) // which never fails, crypto/rand says
	return binary.BigEndian.Uint64(p.out[:])
}

// time returns that of this turn.
func (p *Peers) time() clock.Time {
	if p.at == 0 {
		p.at = p.now()
	}
	return p.at
}

// find returns what is known of an address, or nil, and the set where it would be.
func (p *Peers) find(to netip.AddrPort) (found *peer, set *[peerWays]peer) {
	set = &p.sets[spread(to)>>56] // of 256
	for i := range set {
		if set[i].to == to {
			return &set[i], set
		}
	}
	return nil, set
}

// bundles returns the key for bundles to an address; ok is false if packets are to go alone. wanted says that they would help now; then the address is to be asked.
func (p *Peers) bundles(to netip.AddrPort, wanted bool) (key uint64, ok bool) {
	if !wanted && !p.some {
		return 0, false
	}
	e, set := p.find(to)
	if e == nil {
		if !wanted {
			return 0, false
		}
		e = &set[0]
		for i := range set {
			if !set[i].to.IsValid() {
				e = &set[i]
				break
			}
			if set[i].used < e.used {
				e = &set[i]
			}
		}
		*e = peer{to: to}
		p.some = true
	}
	if e.mixed = e.mixed || wanted; !e.mixed {
		return 0, false
	}
	now := p.time()
	e.used = now
	if e.agreed && now.Sub(e.answered) > agreedFor {
		e.agreed, e.tries = false, 0
	}
	wait := askEvery
	switch {
	case e.agreed:
		wait = askAgain
	case e.tries >= askFirst:
		wait = askSeldom
	}
	if (e.asked == 0 || now.Sub(e.asked) >= wait) && p.asks < len(p.ask) {
		e.asked = now
		e.question = p.random()
		e.tries++
		p.ask[p.asks] = to
		p.asks++
	}
	return e.key, e.agreed
}

// even says that bundles to an address did not help: packets are of one length there.
func (p *Peers) even(to netip.AddrPort) {
	if e, _ := p.find(to); e != nil {
		e.mixed = false
	}
}

// Questions calls send for each address that is to be asked, with what it is to be sent, which is good until send returns, and ends the turn.
func (p *Peers) Questions(send func(b []byte, to netip.AddrPort)) {
	for _, to := range p.ask[:p.asks] {
		if e, _ := p.find(to); e != nil {
			putHead(p.out[:], Question, e.question)
			clear(p.out[KeyedHead:])
			send(p.out[:questionLen], to)
		}
	}
	p.asks, p.at = 0, 0
}

// Reply takes a datagram of a kind other than Plain, in which a bundle is one with another key than ours, and returns what is to be sent to its sender, nil for nothing. It is good until the
// next call.
func (p *Peers) Reply(b []byte, from netip.AddrPort) []byte {
	word := binary.BigEndian.Uint64(b[bundleHead:])
	switch Kind(b) {
	case Question:
		if p.mayReply() {
			putHead(p.out[:], Answer, word)
			binary.BigEndian.PutUint64(p.out[KeyedHead:], p.Key)
			return p.out[:questionLen]
		}
	case Keyed:
		if p.mayReply() {
			putHead(p.out[:], Refusal, word)
			return p.out[:refusalLen]
		}
	case Answer:
		if e, _ := p.find(from); e != nil && e.asked != 0 && e.question == word {
			e.key, e.agreed, e.tries, e.answered = binary.BigEndian.Uint64(b[KeyedHead:]), true, 0, p.now()
		}
	case Refusal:
		if e, _ := p.find(from); e != nil && e.agreed && e.key == word {
			e.agreed, e.tries, e.asked = false, 0, 0
		}
	}
	return nil
}

// mayReply counts replies, of which there are so many in a time at most.
func (p *Peers) mayReply() bool {
	if now := p.now(); p.since == 0 || now.Sub(p.since) >= repliesEach {
		p.since, p.sent = now, 0
	}
	p.sent++
	return p.sent <= mostReplies
}

// spread returns a number for an address, of which the first bits depend on all of it.
func spread(to netip.AddrPort) uint64 {
	a := to.Addr().As16()
	h := binary.NativeEndian.Uint64(a[:8]) ^ binary.NativeEndian.Uint64(a[8:])*0x9e3779b97f4a7c15 ^ uint64(to.Port())<<32
	return h * 0x9e3779b97f4a7c15
}
