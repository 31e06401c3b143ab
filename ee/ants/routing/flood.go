package routing

import (
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
)

// What is sent in one go on one link, and when the rest follows.
const (
	burst     = 8 // messages
	burstPace = 10 * time.Millisecond
)

// flood has a piece sent on all links but the one it came by, where everybody has heard it.
func (r *Router) flood(k key, from *port) {
	for _, p := range r.ports {
		if p != from && p.inUse() {
			p.floods.add(k)
		}
	}
	r.flush.Wake()
}

// inUse reports whether anybody is adjacent on p.
func (p *port) inUse() bool {
	for _, n := range p.neighbours {
		if n.adjacent {
			return true
		}
	}
	return false
}

// learn handles a piece that n sent.
func (r *Router) learn(p *port, n *neighbour, l *LSA, now clock.Time) {
	k := l.key()
	if l.Origin == r.spec.Addr {
		r.own(n, l, now)
		return
	}
	if old := r.db.byKey[k]; (old == nil || l.Seq > old.lsa.Seq) && !p.pieces.allow(pieceRate, now) {
		r.stats.Refused++
		return
	}
	_, v, changed := r.db.put(l, false, now)
	switch v {
	case putNew:
		n.owed.remove(k)
		r.flood(k, p)
		if changed {
			r.changed(now)
		}
	case putSame:
		n.owed.remove(k)
	case putOld:
		n.owed.add(k)
		r.flush.Wake()
	case putFull:
		r.stats.Refused++
		r.complain(now, Event{Kind: Overflow, Neighbour: n.hop.Node, Reason: "the database is full: raise MaxPieces if the network is that large"})
	case putEarly:
		r.stats.Refused++
	}
}

// own handles a piece that names this node as its origin. One that is not in the database is from a former life, or
// somebody else's who uses the same address: it is answered with a higher number.
func (r *Router) own(n *neighbour, l *LSA, now clock.Time) {
	mine := r.db.byKey[l.key()]
	switch {
	case mine != nil && mine.lsa.Seq == l.Seq && mine.hash == r.db.hash(l):
		n.owed.remove(l.key())
		return
	case mine != nil && !mine.newer(l.Seq, r.db.hash(l)):
		n.owed.add(l.key())
		r.flush.Wake()
		return
	case l.Seq >= maxSeq:
		r.stats.Refused++
		return
	}
	r.fights++
	if r.fights > MaxFragments {
		r.complain(now, Event{Kind: DuplicateAddress, Neighbour: n.hop.Node, Reason: "somebody says other things in this node's name"})
	}
	r.seq = max(r.seq, l.Seq)
	r.fragments = max(r.fragments, int(l.Fragment)+1)
	if mine != nil {
		r.db.drop(mine)
	}
	r.originateSoon(now)
}

// compare handles a summary: n is owed what it lacks, and asked, with a summary of ours, for what it has
// and we do not.
func (r *Router) compare(n *neighbour, s *summary) {
	mine := r.db.span(s.first, s.last)
	ask := false
	i := 0
	for _, e := range s.entries {
		for i < len(mine) && mine[i].key < e.key {
			n.owed.add(mine[i].key)
			i++
		}
		if i == len(mine) || mine[i].key != e.key {
			ask = true
			continue
		}
		switch m := mine[i]; {
		case m.newer(e.seq, e.hash):
			ask = true
		case m.lsa.Seq != e.seq || m.hash != e.hash:
			n.owed.add(m.key)
		default:
			n.owed.remove(m.key)
		}
		i++
	}
	for ; i < len(mine); i++ {
		n.owed.add(mine[i].key)
	}
	if len(n.owed) > 0 {
		r.flush.Wake()
	}
	if ask {
		r.summariseSoon(n, r.spec.Hello/4)
	}
}

// send is the task that sends what has been put off.
func (r *Router) send(b nodeos.Budget) nodeos.Used {
	u := nodeos.Used{}
	left := false
	for _, p := range r.ports {
		n := burst
		n -= r.sendUpdates(p, nil, &p.floods, n, b.Now)
		left = left || len(p.floods) > 0
		for _, nb := range p.neighbours {
			if !nb.adjacent {
				continue
			}
			n -= r.sendSummaries(p, nb, n, b.Now)
			n -= r.sendUpdates(p, nb, &nb.owed, n, b.Now)
			left = left || nb.summaries || len(nb.owed) > 0
		}
		u.Packets += burst - n
	}
	if left {
		u.Next, u.Until = nodeos.IdleUntil, b.Now.Add(burstPace)
	}
	return u
}

// sendUpdates sends the pieces in keys, in at most max messages, takes them out of keys and returns the number
// of messages.
func (r *Router) sendUpdates(p *port, to *neighbour, keys *keySet, max int, now clock.Time) int {
	sent, used := 0, 0
	for used < len(*keys) && sent < max {
		msg := appendHeader(r.buf[:0], r.header(typeUpdate))
		msg = append(msg, 0, 0, 0, 0)
		for ; used < len(*keys); used++ {
			s := r.db.byKey[(*keys)[used]]
			if s == nil {
				continue
			}
			l, ok := s.remaining(now)
			if !ok {
				continue
			}
			size := len(msg)
			if msg = appendLSA(msg, &l); len(msg) > MaxMessage {
				msg = msg[:size]
				break
			}
			msg[16]++
		}
		r.buf = msg
		if msg[16] == 0 {
			break
		}
		r.transmit(p, finish(msg), to)
		r.stats.UpdatesOut++
		sent++
	}
	*keys = append((*keys)[:0], (*keys)[used:]...)
	return sent
}

// sendSummaries sends the rest of a summary to n, in at most max messages, and returns their number.
func (r *Router) sendSummaries(p *port, n *neighbour, max int, now clock.Time) int {
	sent := 0
	for n.summaries && now >= n.notBefore && sent < max {
		s := summary{header: r.header(typeSummary), first: n.next, last: ^key(0)}
		pieces := r.db.span(n.next, s.last)
		if len(pieces) > maxEntries {
			s.last = pieces[maxEntries].key - 1
			pieces = pieces[:maxEntries]
		}
		for _, x := range pieces {
			s.entries = append(s.entries, entry{x.key, x.lsa.Seq, x.hash})
		}
		r.buf = appendSummary(r.buf[:0], &s)
		r.transmit(p, r.buf, n)
		r.stats.SummariesOut++
		sent++
		if n.next = s.last + 1; s.last == ^key(0) {
			n.summaries, n.next, n.summarised = false, 0, now
		}
	}
	return sent
}
