package rewrite

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
)

// pattern says what flows are to look like on the other side. Elements that name the same shared pattern choose from it in turn.
type pattern struct {
	ports    bool // it names ports
	src, dst uint32
	hasSrc   bool
	hasDst   bool
	sport    uint16
	dport    uint16
	hasSport bool
	hasDport bool
	span     uint32 // choices: source ports from sport on or, without ports, addresses from src on
	order    order
	next     uint32 // of an orderly choice
	failed   [4]failure
	oldest   int
}

type order uint8

const (
	keepFirst order = iota // the packet's own port if it is free and else a random one
	atRandom
	inTurn
)

// failure is a choice among all that found none, which holds until a flow of the table ends.
type failure struct {
	table    *table
	want     key // with the first choice
	removals uint64
}

var (
	errSyntax = errors.New("syntax error")
	errSrc    = errors.New("bad source address")
	errDst    = errors.New("bad destination address")
	errSport  = errors.New("bad source port")
	errDport  = errors.New("bad destination port")
)

// parsePattern reads SADDR DADDR, or SADDR DADDR SPORT (for pings), or SADDR SPORT DADDR DPORT.
func parsePattern(w []string, a *click.Args) (*pattern, error) {
	p := &pattern{span: 1}
	var saddr, sport, daddr, dport string
	switch len(w) {
	case 2:
		saddr, sport, daddr, dport = w[0], "-", w[1], "-"
	case 3:
		saddr, sport, daddr, dport = w[0], w[2], w[1], "-"
		p.ports = true
	case 4:
		saddr, sport, daddr, dport = w[0], w[1], w[2], w[3]
		p.ports = true
	default:
		return nil, errSyntax
	}
	if saddr != "-" {
		if err := p.parseSource(saddr, a); err != nil {
			return nil, err
		}
	}
	if sport != "-" {
		p.hasSport = true
		s := p.parseOrder(sport)
		low, high, isRange := strings.Cut(s, "-")
		var err error
		if isRange {
			var l, h uint64
			l, err = strconv.ParseUint(low, 10, 16)
			if err == nil {
				h, err = strconv.ParseUint(high, 10, 16)
			}
			if err == nil && l > h {
				err = errSport
			}
			p.sport, p.span = uint16(l), uint32(h-l)+1
		} else if p.sport, err = a.ParsePort(s, click.NameTCP); err == nil && p.sport == 0 {
			err = errSport
		}
		if err != nil {
			return nil, errSport
		}
	}
	if daddr != "-" {
		x, err := a.ParseAddr(daddr)
		if err != nil || !x.Is4() {
			return nil, errDst
		}
		p.dst, p.hasDst = addr4(x), true
	}
	if dport != "-" {
		n, err := a.ParsePort(dport, click.NameTCP)
		if err != nil || n == 0 {
			return nil, errDport
		}
		p.dport, p.hasDport = n, true
	}
	return p, nil
}

// parseOrder takes the sign off a range that says how to choose from it.
func (p *pattern) parseOrder(s string) string {
	if t, ok := strings.CutSuffix(s, "#"); ok {
		p.order = inTurn
		return t
	}
	if t, ok := strings.CutSuffix(s, "?"); ok {
		p.order = atRandom
		return t
	}
	return s
}

// parseSource reads ADDR, LOW-HIGH or ADDR/LENGTH.
func (p *pattern) parseSource(s string, a *click.Args) error {
	p.hasSrc = true
	if x, err := a.ParseAddr(s); err == nil && x.Is4() {
		p.src = addr4(x)
		return nil
	}
	if p.ports {
		return errSrc // the choice is among ports
	}
	s = p.parseOrder(s)
	if low, high, ok := strings.Cut(s, "-"); ok {
		l, err := netip.ParseAddr(low)
		h, err2 := netip.ParseAddr(high)
		if err != nil || err2 != nil || !l.Is4() || !h.Is4() || h.Less(l) || addr4(h)-addr4(l) >= 1<<31 {
			return errSrc
		}
		p.src, p.span = addr4(l), addr4(h)-addr4(l)+1
		return nil
	}
	x, err := a.ParsePrefix(s)
	if err != nil || !x.Addr().Is4() || x.Bits() < 1 {
		return errSrc
	}
	p.src, p.span = addr4(x.Masked().Addr()), 1<<(32-x.Bits())
	if p.span > 2 { // the network's own address and its broadcast address are nobody's
		p.src++
		p.span -= 2
	}
	return nil
}

// String shows a pattern as Click does, without the sign for the order.
func (p *pattern) String() string {
	field := func(has bool, s string) string {
		if !has {
			return "-"
		}
		return s
	}
	src, sport := toAddr(p.src).String(), strconv.Itoa(int(p.sport))
	if p.span > 1 {
		if p.ports {
			sport += "-" + strconv.Itoa(int(p.sport)+int(p.span)-1)
		} else {
			src += "-" + toAddr(p.src+p.span-1).String()
		}
	}
	src, dst := field(p.hasSrc, src), field(p.hasDst, toAddr(p.dst).String())
	if !p.ports {
		return src + " " + dst
	}
	return src + " " + field(p.hasSport, sport) + " " + dst + " " + field(p.hasDport, strconv.Itoa(int(p.dport)))
}

// choice is the key of a flow on the other side with choice v.
func (p *pattern) choice(k key, v uint32, oneID bool) key {
	src, sport, dst, dport := k.src(), k.sport(), k.dst(), k.dport()
	if p.hasSrc {
		src = p.src
		if !p.ports {
			src += v
		}
	}
	if p.hasSport {
		sport = p.sport + uint16(v)
	}
	if p.hasDst {
		dst = p.dst
	}
	if p.hasDport {
		dport = p.dport
	}
	if oneID { // a ping's identifier stands in the place of both ports
		dport = sport
	}
	return newKey(src, dst, sport, dport, k.tag())
}

// apply chooses the reply's key for a flow whose first packet has key k. It fails if all choices are taken.
func (p *pattern) apply(e *rewriter, k key) (rev key, ok bool) {
	t := e.table
	oneID := e.kind == pings
	first := p.choice(k, 0, oneID).reverse(t.flip)
	if p.span == 1 {
		return first, !t.has(first)
	}
	var v uint32
	own := uint32(k.sport()) - uint32(p.sport)
	switch {
	case p.order == inTurn:
		v = p.next
	case p.order == keepFirst && p.ports && k.sport() >= p.sport && own < p.span:
		if rev = p.choice(k, own, oneID).reverse(t.flip); !t.has(rev) {
			return rev, true
		}
		fallthrough
	default:
		v = e.RandomBelow(p.span)
	}
	for i := range p.failed {
		if f := &p.failed[i]; f.table == t && f.want == first && f.removals == t.removals {
			return key{}, false
		}
	}
	for range p.span {
		rev = p.choice(k, v, oneID).reverse(t.flip)
		v++
		if v == p.span {
			v = 0
		}
		if !t.has(rev) {
			if p.order == inTurn {
				p.next = v
			}
			return rev, true
		}
	}
	p.failed[p.oldest] = failure{t, first, t.removals}
	p.oldest = (p.oldest + 1) % len(p.failed)
	return key{}, false
}
