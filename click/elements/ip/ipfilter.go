package ip

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/internal/decide"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

const patternText = "A pattern is made of primitives with 'and', 'or', 'not' (&&, ||, !), 'IF ? THEN : ELSE' with spaces around the colon, and parentheses; between two primitives 'and' may be left away. Primitives: " +
	"[src|dst|src or dst|src and dst] host ADDR, net ADDR/LEN or net ADDR mask MASK, ether host ETHERADDR, [tcp|udp] port PORT; ip proto PROTO; ip vers, hl, id, tos, dscp, ttl, len N; ip frag; ip unfrag; ip ect; ip ce; " +
	"icmp type TYPE; icmp code N; tcp opt FLAG; tcp win N; ip[POS:LEN] N, transp[POS:LEN] N, tcp[POS:LEN] N and the like for bytes of a header, LEN up to 4 and 1 if left away; tcp, udp, icmp; all, none.\n\n" +
	"A value may have a mask, & MASK, and then a comparison =, !=, <, >, <=, >= before it; a port may be a range LOW-HIGH. Of a primitive, that is left away which the value shows: www, syn, 10.0.0.0/8. " +
	"A value alone is compared like the one before it: dst port 80 or 443. A comparison other than = and > holds for 'src or dst' only if it holds for both.\n\n" +
	"What looks at the transport header holds only for packets with it, not for later fragments; no primitive holds for a packet that lacks its bytes, also with !=. Patterns are compiled to a decision program."

func init() {
	click.Register(click.Class{
		Name: "IPClassifier", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Filter{} },
		Doc: click.Doc{
			Group: "ip", Title: "sorts IP packets by patterns",
			Text:     "A packet goes to the output of the first pattern that fits and is dropped if none does; a dash fits all.\n\n" + patternText,
			Args:     []string{"<pattern>...: One for each output."},
			Handlers: []string{"program (r): The decision program.", "pattern0 (rw): The pattern of output 0; pattern1 that of output 1, and so on.", "drops (r): Packets that fitted no pattern."},
			Example:  "... -> c :: IPClassifier(tcp dst port 80 or 443, udp, -);", See: []string{"IPFilter", "Classifier"},
		},
	})
	click.Register(click.Class{
		Name: "IPFilter", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Filter{actions: true} },
		Doc: click.Doc{
			Group: "ip", Title: "lets IP packets pass by rules",
			Text:     "The first rule that fits decides: allow sends to output 0, deny or drop drops, a number sends to that output; an action without a pattern fits all. Packets that no rule fits are dropped.\n\n" + patternText,
			Args:     []string{"<ACTION pattern>...: Rules."},
			Handlers: []string{"program (r): The decision program.", "drops (r): Packets dropped."},
			Example:  "... -> IPFilter(deny src net 10.0.0.0/8, allow udp dst port 53, deny all) -> ...;", See: []string{"IPClassifier"},
		},
	})
}

// Filter sorts packets by patterns.
type Filter struct {
	click.Base
	actions  bool
	args     *click.Args // knows the names that patterns may use
	patterns []string    // without actions
	rules    []decide.Rule
	program  *decide.Program
}

// dropped is the result for packets that are not to pass; no element has such a port.
const dropped = 1<<16 - 1

// Configure implements click.Element.
func (e *Filter) Configure(a *click.Args) {
	e.args = a
	for i, arg := range a.List() {
		text, then := lang.Unquote(arg), i
		if e.actions {
			var err error
			if then, text, err = ParseAction(text, a.Outputs()); err != nil {
				a.Errorf("pattern %d: %v", i, err)
				continue
			}
		}
		x, err := ParsePattern(text, a)
		if err != nil {
			a.Errorf("pattern %d: %v", i, err)
			continue
		}
		e.rules = append(e.rules, decide.Rule{If: x, Then: then})
		e.patterns = append(e.patterns, text)
	}
	if n := len(a.List()); !e.actions && n != a.Outputs() && a.OK() {
		a.Errorf("%d patterns for %d outputs", n, a.Outputs())
	}
	var err error
	if e.program, err = decide.Compile(e.rules, dropped); err != nil {
		a.Errorf("%v", err)
	}
}

// Dropped is the result of ParseAction for packets that are not to pass. No element has so many outputs.
const Dropped = dropped

// ParseAction splits a rule of IPFilter into the output that it sends to, one of so many or Dropped, and its pattern.
func ParseAction(rule string, outputs int) (then int, pattern string, err error) {
	action, pattern, _ := strings.Cut(strings.TrimSpace(rule), " ")
	if strings.TrimSpace(pattern) == "" {
		pattern = "all"
	}
	n, err := strconv.Atoi(action)
	switch {
	case action == "allow" || action == "pass":
		return 0, pattern, nil
	case action == "deny" || action == "drop":
		return dropped, pattern, nil
	case err != nil:
		return 0, "", fmt.Errorf("unknown slot ID '%s', expected allow, deny or the number of an output", action)
	case n < 0 || n >= outputs:
		return 0, "", fmt.Errorf("slot '%s' out of range", action)
	}
	return n, pattern, nil
}

// Push implements click.Pusher.
func (e *Filter) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	e.program.MatchAll(b.Packets(), ports[:])
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *Filter) AddHandlers(h *click.Handlers) {
	h.Read("program", func() string { return e.program.String() })
	if e.actions {
		return
	}
	for i := range e.patterns {
		name := "pattern" + strconv.Itoa(i)
		h.Read(name, func() string { return e.patterns[i] })
		h.Write(name, func(s string) error { return e.replace(i, lang.Unquote(strings.TrimSpace(s))) })
	}
}

// replace puts another pattern in the place of one.
func (e *Filter) replace(i int, text string) error {
	x, err := ParsePattern(text, e.args)
	if err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	rules := append([]decide.Rule(nil), e.rules...)
	rules[i].If = x
	p, err := decide.Compile(rules, dropped)
	if err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	e.rules, e.program, e.patterns[i] = rules, p, text
	return nil
}

// ParsePattern compiles a pattern of IPClassifier and IPFilter. a knows the names that it may use and may be nil.
func ParsePattern(s string, a *click.Args) (decide.Expr, error) {
	p := &patternParser{words: patternWords(s), args: a}
	if len(p.words) == 0 {
		return nil, fmt.Errorf("is empty; use 'all' or '-'")
	}
	x := p.choice()
	if p.err == nil && len(p.words) > 0 {
		p.fail("unexpected '%s'", p.words[0])
	}
	return x, p.err
}

// patternWords takes a pattern apart: operators, places in brackets, and what is between them and spaces.
func patternWords(s string) (words []string) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " \t\r\n") {
		n := 1
		switch s[0] {
		case '&', '|':
			if len(s) > 1 && s[1] == s[0] {
				n = 2
			}
		case '=', '!', '<', '>':
			if len(s) > 1 && s[1] == '=' {
				n = 2
			}
		case '(', ')', '?':
		case '[':
			if n = strings.IndexByte(s, ']') + 1; n == 0 {
				n = len(s)
			}
		default:
			if n = strings.IndexAny(s, "&|=!<>()?[ \t\r\n"); n < 0 {
				n = len(s)
			}
		}
		words = append(words, s[:n])
		s = s[n:]
	}
	return words
}

type patternParser struct {
	words []string
	args  *click.Args
	err   error
	depth int
	last  primitive // whose qualifiers a bare value takes over
}

func (p *patternParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *patternParser) peek() string {
	if len(p.words) == 0 || p.err != nil {
		return ""
	}
	return p.words[0]
}

func (p *patternParser) next() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

func (p *patternParser) take(words ...string) bool {
	for _, w := range words {
		if p.peek() == w {
			p.next()
			return true
		}
	}
	return false
}

const maxPatternDepth = 100

// choice parses a whole expression.
func (p *patternParser) choice() decide.Expr {
	if p.depth++; p.depth > maxPatternDepth {
		p.fail("nested more than %d deep", maxPatternDepth)
		return decide.Const(false)
	}
	defer func() { p.depth-- }()
	x := p.or()
	if !p.take("?") {
		return x
	}
	then := p.choice()
	if !p.take(":") {
		p.fail("' : ' is missing after '?'")
	}
	return decide.If{Cond: x, Then: then, Else: p.choice()}
}

func (p *patternParser) or() decide.Expr {
	x := decide.Or{p.and()}
	for p.take("or", "||") {
		x = append(x, p.and())
	}
	return x
}

func (p *patternParser) and() decide.Expr {
	x := decide.And{p.factor()}
	for p.err == nil {
		if p.take("and", "&&") {
			x = append(x, p.factor())
			continue
		}
		switch p.peek() {
		case "", "or", "||", ")", "?", ":":
			return x
		}
		x = append(x, p.factor())
	}
	return x
}

func (p *patternParser) factor() decide.Expr {
	nots := 0
	for p.take("not", "!") {
		nots++
	}
	var x decide.Expr
	switch {
	case p.err != nil:
		return decide.Const(false)
	case p.take("("):
		x = p.choice()
		if !p.take(")") {
			p.fail("')' is missing")
		}
	case p.take("all", "any", "true", "-"):
		x = decide.Const(true)
	case p.take("none", "false"):
		x = decide.Const(false)
	default:
		x = p.primitive()
	}
	if nots%2 == 1 {
		return decide.Not{X: x}
	}
	return x
}
