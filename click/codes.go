package click

import (
	"fmt"
	"strconv"
	"strings"
)

const unbounded = 1 << 30

// portCount is a parsed Class.Ports.
type portCount struct {
	in, out [2]int // least and most
	equal   bool   // as many outputs as inputs
}

func parsePorts(s string) (portCount, error) {
	var c portCount
	in, out, ok := strings.Cut(s, "/")
	if !ok {
		out = in
	}
	var err error
	if c.in, err = parseRange(in); err != nil {
		return c, fmt.Errorf("ports %q: %w", s, err)
	}
	if out == "=" {
		c.equal = true
		return c, nil
	}
	if c.out, err = parseRange(out); err != nil {
		return c, fmt.Errorf("ports %q: %w", s, err)
	}
	return c, nil
}

func parseRange(s string) ([2]int, error) {
	lo, hi, dash := strings.Cut(s, "-")
	r := [2]int{0, unbounded}
	var err error
	if lo != "" {
		r[0], err = strconv.Atoi(lo)
	}
	if !dash {
		if lo == "" {
			return r, fmt.Errorf("empty port count")
		}
		r[1] = r[0]
	} else if hi != "" && err == nil {
		r[1], err = strconv.Atoi(hi)
	}
	if err == nil && (r[0] < 0 || r[1] < r[0]) {
		err = fmt.Errorf("bad port count %q", s)
	}
	return r, err
}

// describe says in words how many ports a range allows.
func describe(r [2]int, noun string) string {
	switch {
	case r[0] == r[1] && r[0] == 1:
		return "1 " + noun
	case r[0] == r[1]:
		return fmt.Sprintf("%d %ss", r[0], noun)
	case r[1] == unbounded:
		return fmt.Sprintf("at least %d %ss", r[0], noun)
	}
	return fmt.Sprintf("%d to %d %ss", r[0], r[1], noun)
}

// Kind says how packets move over a port.
type Kind uint8

// The kinds of ports. A running router has no agnostic ones.
const (
	AgnosticKind Kind = iota
	PushKind
	PullKind
)

var kindNames = [...]string{"agnostic", "push", "pull"}

// String returns the kind's name.
func (k Kind) String() string { return kindNames[k] }

// processing is a parsed Class.Processing.
type processing struct{ in, out []Kind }

func parseProcessing(s string) (processing, error) {
	in, out, ok := strings.Cut(s, "/")
	if !ok {
		out = in
	}
	var p processing
	var err error
	if p.in, err = parseKinds(in); err == nil {
		p.out, err = parseKinds(out)
	}
	if err != nil {
		err = fmt.Errorf("processing %q: %w", s, err)
	}
	return p, err
}

func parseKinds(s string) ([]Kind, error) {
	if s == "" {
		return nil, fmt.Errorf("no letters")
	}
	out := make([]Kind, len(s))
	for i := range s {
		switch s[i] {
		case 'h':
			out[i] = PushKind
		case 'l':
			out[i] = PullKind
		case 'a':
			out[i] = AgnosticKind
		default:
			return nil, fmt.Errorf("letter %q is none of h, l, a", s[i])
		}
	}
	return out, nil
}

func kindAt(k []Kind, port int) Kind {
	if port >= len(k) {
		port = len(k) - 1
	}
	return k[port]
}

// flow is a parsed Class.Flow: a set of letters for each port.
type flow struct{ in, out []flowSet }

// flowSet holds the letters a-z, A-Z as bits; not inverts, number means '#'.
type flowSet struct {
	letters uint64
	number  bool
	not     bool
}

func parseFlow(s string) (flow, error) {
	if s == "" {
		s = "x/x"
	}
	in, out, ok := strings.Cut(s, "/")
	if !ok {
		out = in
	}
	var f flow
	var err error
	if f.in, err = parseFlowSide(in); err == nil {
		f.out, err = parseFlowSide(out)
	}
	if err != nil {
		err = fmt.Errorf("flow code %q: %w", s, err)
	}
	return f, err
}

func flowBit(c byte) (uint64, bool) {
	switch {
	case c >= 'a' && c <= 'z':
		return 1 << (c - 'a'), true
	case c >= 'A' && c <= 'Z':
		return 1 << (c - 'A' + 26), true
	}
	return 0, false
}

func parseFlowSide(s string) ([]flowSet, error) {
	var out []flowSet
	for i := 0; i < len(s); i++ {
		var set flowSet
		switch s[i] {
		case '#':
			set.number = true
		case '[':
			i++
			if i < len(s) && s[i] == '^' {
				set.not = true
				i++
			}
			for ; i < len(s) && s[i] != ']'; i++ {
				b, ok := flowBit(s[i])
				if s[i] == '#' {
					set.number, ok = true, true
				}
				if !ok {
					return nil, fmt.Errorf("%q is no letter", s[i])
				}
				set.letters |= b
			}
			if i >= len(s) {
				return nil, fmt.Errorf("']' is missing")
			}
		default:
			b, ok := flowBit(s[i])
			if !ok {
				return nil, fmt.Errorf("%q is no letter", s[i])
			}
			set.letters = b
		}
		out = append(out, set)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no letters")
	}
	return out, nil
}

// linked reports whether packets travel from input in to output out.
func (f *flow) linked(in, out int) bool {
	a, b := f.in[min(in, len(f.in)-1)], f.out[min(out, len(f.out)-1)]
	if a.number && b.number {
		return in == out
	}
	const all = 1<<52 - 1
	x, y := a.letters, b.letters
	if a.not {
		x = all &^ x
	}
	if b.not {
		y = all &^ y
	}
	return x&y != 0
}
