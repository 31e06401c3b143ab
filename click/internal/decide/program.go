package decide

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/janos-os/janos/packet"
)

// Base says where a test's offset counts from.
type Base uint8

// The bases.
const (
	Data      Base = iota // the packet's first byte
	Network               // its network header
	Transport             // its transport header
)

// Test compares the four bytes at Off: their masked value with Value.
type Test struct {
	Base    Base
	Off     int
	Mask    uint32
	Value   uint32
	Greater bool // masked word > Value instead of ==
}

// Expr is a condition: a Test, And, Or, Not or a constant.
type Expr interface {
	emit(c *compiler, yes, no int32) int32
}

// And holds if all its parts do.
type And []Expr

// Or holds if any of its parts does.
type Or []Expr

// Not holds if its part does not.
type Not struct{ X Expr }

// Const always or never holds.
type Const bool

// Rule is a condition and the result of a program when it is the first to hold.
type Rule struct {
	If   Expr
	Then int // from 0
}

type node struct {
	test    Test
	yes, no int32 // further node, or ^result
}

// Program is a compiled list of rules.
type Program struct {
	nodes []node
	start int32
	bases [3]bool
}

type compiler struct {
	nodes []node
	known map[node]int32
}

// maxNodes bounds what patterns of a hostile configuration can make.
const maxNodes = 1 << 20

// Compile makes a program that yields the result of the first rule that holds, or none.
func Compile(rules []Rule, none int) (*Program, error) {
	c := &compiler{known: map[node]int32{}}
	next := ^int32(none)
	for i := len(rules) - 1; i >= 0; i-- {
		next = rules[i].If.emit(c, ^int32(rules[i].Then), next)
		if len(c.nodes) > maxNodes {
			return nil, fmt.Errorf("the patterns compile to more than %d tests", maxNodes)
		}
	}
	p := &Program{nodes: c.nodes, start: next}
	for _, n := range p.nodes {
		p.bases[n.test.Base] = true
	}
	return p, nil
}

func (t Test) emit(c *compiler, yes, no int32) int32 {
	if t.Mask == 0 && !t.Greater && t.Value == 0 {
		return yes
	}
	n := node{t, c.follow(t, true, yes), c.follow(t, false, no)}
	if n.yes == n.no {
		return n.yes
	}
	if i, ok := c.known[n]; ok {
		return i
	}
	c.nodes = append(c.nodes, n)
	i := int32(len(c.nodes) - 1)
	c.known[n] = i
	return i
}

// follow skips tests at target whose outcome is known from that of t.
func (c *compiler) follow(t Test, outcome bool, target int32) int32 {
	for target >= 0 {
		n := &c.nodes[target]
		u := n.test
		if u.Base != t.Base || u.Off != t.Off {
			break
		}
		switch {
		case u == t && outcome:
			target = n.yes
		case u == t:
			target = n.no
		case outcome && !t.Greater && u.Mask&^t.Mask == 0:
			v := t.Value & u.Mask
			if u.Greater && v > u.Value || !u.Greater && v == u.Value {
				target = n.yes
			} else {
				target = n.no
			}
		default:
			return target
		}
	}
	return target
}

func (a And) emit(c *compiler, yes, no int32) int32 {
	for i := len(a) - 1; i >= 0; i-- {
		yes = a[i].emit(c, yes, no)
	}
	return yes
}

func (o Or) emit(c *compiler, yes, no int32) int32 {
	for i := len(o) - 1; i >= 0; i-- {
		no = o[i].emit(c, yes, no)
	}
	return no
}

func (n Not) emit(c *compiler, yes, no int32) int32 { return n.X.emit(c, no, yes) }

func (k Const) emit(_ *compiler, yes, no int32) int32 {
	if k {
		return yes
	}
	return no
}

// Match returns the result for a packet.
func (p *Program) Match(pk *packet.Packet) int {
	var b [3][]byte
	b[Data] = pk.Data()
	if p.bases[Network] {
		b[Network] = pk.Network()
	}
	if p.bases[Transport] {
		b[Transport] = pk.Transport()
	}
	i := p.start
	for i >= 0 {
		n := &p.nodes[i]
		d := b[n.test.Base]
		var w uint32
		if n.test.Off+4 <= len(d) {
			w = binary.BigEndian.Uint32(d[n.test.Off:]) & n.test.Mask
		} else {
			var ok bool
			if w, ok = short(d, n.test.Off, n.test.Mask); !ok {
				i = n.no
				continue
			}
		}
		if w == n.test.Value && !n.test.Greater || n.test.Greater && w > n.test.Value {
			i = n.yes
		} else {
			i = n.no
		}
	}
	return int(^i)
}

// short loads a word that is partly behind the end; ok is false if the mask wants missing bytes.
func short(d []byte, off int, mask uint32) (w uint32, ok bool) {
	for k := range 4 {
		m := byte(mask >> (24 - 8*k))
		if off+k < len(d) {
			w |= uint32(d[off+k]&m) << (24 - 8*k)
		} else if m != 0 {
			return 0, false
		}
	}
	return w, true
}

// Len returns the number of tests.
func (p *Program) Len() int { return len(p.nodes) }

// String lists the program, a test in each line, from the one that runs first.
func (p *Program) String() string {
	var b strings.Builder
	target := func(i int32) string {
		if i < 0 {
			return fmt.Sprintf("[%d]", ^i)
		}
		return fmt.Sprintf("step %d", len(p.nodes)-1-int(i))
	}
	if len(p.nodes) == 0 || p.start < 0 {
		return fmt.Sprintf("all -> %s\n", target(p.start))
	}
	for i := len(p.nodes) - 1; i >= 0; i-- {
		n := &p.nodes[i]
		op := "=="
		if n.test.Greater {
			op = ">"
		}
		fmt.Fprintf(&b, "%3d %s%d/%08x&%08x %s  yes->%s  no->%s\n", len(p.nodes)-1-i, [...]string{"", "ip+", "tp+"}[n.test.Base],
			n.test.Off, n.test.Value, n.test.Mask, op, target(n.yes), target(n.no))
	}
	return b.String()
}
