package decide

import (
	"fmt"
	"strings"
)

// Base says where a test's offset counts from.
type Base uint8

// The bases.
const (
	Data      Base = iota // the packet's first byte
	MAC                   // its link header
	Network               // its network header
	Transport             // its transport header
	numBases
)

// places is where the first byte of each base is in the numbering of listings: an Ethernet header begins two bytes late so that
// what follows it is at a whole word.
var places = [numBases]int{0, 2, 256, 512}

// Test compares the four bytes at Off under Mask: it holds if they are there, as far as Mask has bits of them, and equal Value. Off counts
// from Base and may be below zero as long as Mask has no bits of the bytes before Base.
type Test struct {
	Base  Base
	Off   int
	Mask  uint32
	Value uint32 // within Mask
}

// Expr is a condition: a Test, And, Or, If, Not, Opposite or a constant.
type Expr interface {
	emit(c *compiler, yes, no int32, opposite bool) int32
}

// And holds if all its parts do.
type And []Expr

// Or holds if any of its parts does.
type Or []Expr

// If is Then where Cond holds, and otherwise Else.
type If struct{ Cond, Then, Else Expr }

// Not holds if its part does not.
type Not struct{ X Expr }

// Opposite holds if all tests of its part that decide have their bytes, and the part does not hold: a test that
// fails for want of bytes beneath it counts as one that holds.
type Opposite struct{ X Expr }

// Const always or never holds.
type Const bool

// Differs holds if the bytes of a test are there and it does not hold.
func Differs(t Test) Expr { return Opposite{t} }

// Greater holds if the masked word is greater than the test's value. The bits of the mask have to be adjacent.
func Greater(t Test) Expr {
	// From the highest bit on: while the value has zeros, a one in the word decides; where it has ones, a zero does.
	v, m := t.Value, t.Mask
	if m&^v == 0 {
		return Const(false)
	}
	run := func(ones bool) uint32 { // the highest bits of m that are alike in v
		var r uint32
		for b := uint32(1) << 31; b != 0; b >>= 1 {
			if m&b == 0 {
				continue
			}
			if v&b != 0 != ones {
				break
			}
			r |= b
		}
		return r
	}
	if r := run(true); r != 0 {
		rest := Test{t.Base, t.Off, m &^ r, v &^ r}
		return And{Test{t.Base, t.Off, r, r}, Greater(rest)}
	}
	r := run(false)
	above := Differs(Test{t.Base, t.Off, r, 0})
	rest := Test{t.Base, t.Off, m &^ r, v &^ r}
	if rest.Mask&^rest.Value == 0 {
		return above
	}
	return Or{above, Greater(rest)}
}

// Rule is a condition and the result of a program when it is the first to hold.
type Rule struct {
	If   Expr
	Then int    // from 0
	Sub  []Rule // instead of Then, the rules that decide further; if none of them holds, none does
}

type node struct {
	test    Test
	yes, no int32 // further node, always a later one, or ^result
	short   bool  // a packet without the bytes takes the way of yes instead of no
}

// Program is a compiled list of rules.
type Program struct {
	nodes []node
	start int32
	none  int

	steps []step // of nodes, at the same places
	bounds
	table *table // finds the same; nil for short programs
}

type compiler struct{ nodes []node }

// maxNodes bounds what patterns of a hostile configuration can make.
const maxNodes = 1 << 20

// Compile makes a program that yields the result of the first rule that holds, or none. Results are at most 65,535.
func Compile(rules []Rule, none int) (*Program, error) {
	p, err := compile(rules, none)
	if err == nil && len(p.nodes) >= tableNodes && !nested(rules) {
		p.table = tabulate(rules, none)
	}
	return p, err
}

func compile(rules []Rule, none int) (*Program, error) {
	c := &compiler{}
	next := c.emit(rules, none)
	if len(c.nodes) > maxNodes {
		return nil, fmt.Errorf("the patterns compile to more than %d tests", maxNodes)
	}
	// Nodes were made from the last test to the first.
	last := int32(len(c.nodes) - 1)
	turn := func(i int32) int32 {
		if i < 0 {
			return i
		}
		return last - i
	}
	p := &Program{nodes: make([]node, len(c.nodes)), start: turn(next), none: none}
	for i, n := range c.nodes {
		n.yes, n.no = turn(n.yes), turn(n.no)
		p.nodes[turn(int32(i))] = n
	}
	p.optimize()
	p.prepare()
	return p, nil
}

// emit returns where rules begin. It stops when there are too many.
func (c *compiler) emit(rules []Rule, none int) int32 {
	next := ^int32(none)
	for i := len(rules) - 1; i >= 0 && len(c.nodes) <= maxNodes; i-- {
		then := ^int32(rules[i].Then)
		if rules[i].Sub != nil {
			then = c.emit(rules[i].Sub, none)
		}
		next = rules[i].If.emit(c, then, next, false)
	}
	return next
}

// nested reports whether a rule has others in the place of its result.
func nested(rules []Rule) bool {
	for i := range rules {
		if rules[i].Sub != nil {
			return true
		}
	}
	return false
}

func (t Test) emit(c *compiler, yes, no int32, opposite bool) int32 {
	if t.Mask == 0 {
		return yes
	}
	if yes == no {
		return yes
	}
	c.nodes = append(c.nodes, node{t, yes, no, opposite})
	return int32(len(c.nodes) - 1)
}

func (a And) emit(c *compiler, yes, no int32, opposite bool) int32 {
	for i := len(a) - 1; i >= 0; i-- {
		yes = a[i].emit(c, yes, no, opposite)
	}
	return yes
}

func (o Or) emit(c *compiler, yes, no int32, opposite bool) int32 {
	for i := len(o) - 1; i >= 0; i-- {
		no = o[i].emit(c, yes, no, opposite)
	}
	return no
}

func (f If) emit(c *compiler, yes, no int32, opposite bool) int32 {
	no2 := f.Else.emit(c, yes, no, opposite)
	return f.Cond.emit(c, f.Then.emit(c, yes, no, opposite), no2, opposite)
}

func (n Not) emit(c *compiler, yes, no int32, opposite bool) int32 {
	return n.X.emit(c, no, yes, opposite)
}

func (n Opposite) emit(c *compiler, yes, no int32, opposite bool) int32 {
	return n.X.emit(c, no, yes, !opposite)
}

func (k Const) emit(_ *compiler, yes, no int32, _ bool) int32 {
	if k {
		return yes
	}
	return no
}

// short loads a word that is partly behind the end or before the start; ok is false if the mask wants missing bytes.
func short(d []byte, off int, mask uint32) (w uint32, ok bool) {
	for k := range 4 {
		m := byte(mask >> (24 - 8*k))
		if at := off + k; at >= 0 && at < len(d) {
			w |= uint32(d[at]&m) << (24 - 8*k)
		} else if m != 0 {
			return 0, false
		}
	}
	return w, true
}

// Len returns the number of tests.
func (p *Program) Len() int { return len(p.nodes) }

// place returns the offset of a test's word in listings.
func (t *Test) place() int { return places[t.Base] + t.Off }

// end returns the offset behind the last byte that a test needs, counted from its base.
func (t *Test) end() int {
	n := 4
	for m := t.Mask; m&0xff == 0 && n > 0; m >>= 8 {
		n--
	}
	return t.Off + n
}

// String lists the program as Click lists such programs: a test in each line as offset, value and mask, then how long a packet must be so that
// no test lacks bytes, and where words are aligned. Offsets of the link header begin at 2, those of the network header at 256, of
// the transport header at 512. X is the result that Compile calls none.
func (p *Program) String() string {
	var b strings.Builder
	target := func(i int32) string {
		switch {
		case i >= 0:
			return fmt.Sprintf("step %d", i)
		case int(^i) == p.none:
			return "[X]"
		}
		return fmt.Sprintf("[%d]", ^i)
	}
	safe := 0
	if p.start < 0 {
		fmt.Fprintf(&b, "all->%s\n", target(p.start))
	} else {
		for i := range p.nodes {
			n := &p.nodes[i]
			way := ""
			if n.short {
				way = "  short->yes"
			}
			fmt.Fprintf(&b, "%2d %3d/%08x%%%08x  yes->%s  no->%s%s\n", i, n.test.place(), n.test.Value, n.test.Mask, target(n.yes), target(n.no), way)
			safe = max(safe, places[n.test.Base]+n.test.end())
		}
	}
	fmt.Fprintf(&b, "safe length %d\nalignment offset 0\n", safe)
	return b.String()
}
