package rewrite

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

// spec is what an input does with packets of no known flow.
type spec struct {
	kind      specKind
	forward   int // output of packets like the first one; of all with pass
	reply     int
	pattern   *pattern
	mapper    mapper
	mapperTag string // the mapper's name and class, for messages
}

type specKind uint8

const (
	specDrop specKind = iota
	specPass
	specKeep
	specPattern
	specMapper
)

// mapper is an element that decides about new flows for rewriters.
type mapper interface {
	click.Element
	// choose returns the key of replies and the outputs for a flow whose first packet has key k, or false if it finds none.
	choose(e *rewriter, k key) (rev key, forward, reply int, ok bool)
	// checkOutputs reports outputs that e does not have.
	checkOutputs(e *rewriter) []error
}

var (
	errForward = errors.New("bad forward port")
	errReply   = errors.New("bad reply port")
	errRange   = errors.New("output port out of range")
	errUnknown = errors.New("unknown specification")
)

// parseSpec reads an INPUTSPEC.
func (e *rewriter) parseSpec(text string, a *click.Args) (spec, error) {
	w := lang.SplitWords(text)
	if len(w) == 0 {
		return spec{}, errors.New("empty argument")
	}
	outputs := func(words []string) (s spec, err error) {
		if s.forward, s.reply, err = parseOutputs(words); err == nil && (s.forward >= e.Outputs() || s.reply >= e.Outputs()) {
			err = errRange
		}
		return s, err
	}
	switch w[0] {
	case "drop", "discard":
		if len(w) > 1 {
			return spec{}, fmt.Errorf("syntax error, expected '%s'", w[0])
		}
		return spec{}, nil
	case "pass", "nochange":
		s := spec{kind: specPass}
		if len(w) > 2 {
			return s, fmt.Errorf("syntax error, expected '%s [OUTPUT]'", w[0])
		}
		if len(w) == 2 {
			n, err := strconv.Atoi(w[1])
			if err != nil {
				return s, fmt.Errorf("syntax error, expected '%s [OUTPUT]'", w[0])
			}
			s.forward = n
		}
		if s.forward < 0 || s.forward >= e.Outputs() {
			return s, errRange
		}
		return s, nil
	case "keep":
		s, err := outputs(w[1:])
		s.kind = specKeep
		return s, err
	case "pattern":
		if len(w) < 4 || len(w) > 7 {
			return spec{}, errSyntax
		}
		p, err := findPattern(e.Router(), w[1:len(w)-2], a)
		if err != nil {
			return spec{}, err
		}
		if err := e.fits(p); err != nil {
			return spec{}, err
		}
		s, err := outputs(w[len(w)-2:])
		s.kind, s.pattern = specPattern, p
		return s, err
	}
	if len(w) == 1 && a != nil {
		if m, ok := a.Element(w[0]).(mapper); ok {
			return spec{kind: specMapper, mapper: m, mapperTag: w[0]}, nil
		}
	}
	return spec{}, errUnknown
}

func parseOutputs(w []string) (forward, reply int, err error) {
	if len(w) != 2 {
		return 0, 0, errForward
	}
	if forward, err = strconv.Atoi(w[0]); err != nil {
		return 0, 0, errForward
	}
	if reply, err = strconv.Atoi(w[1]); err != nil {
		return 0, 0, errReply
	}
	if forward < 0 || reply < 0 || forward >= 1<<15 || reply >= 1<<15 {
		return 0, 0, errRange
	}
	return forward, reply, nil
}

// findPattern reads a pattern of several words, or looks for the shared one that one word names.
func findPattern(r *click.Router, w []string, a *click.Args) (*pattern, error) {
	if len(w) != 1 {
		return parsePattern(w, a)
	}
	for _, x := range r.Elements() {
		if l, ok := x.(*Patterns); ok && l.byName[w[0]] != nil {
			if a != nil && !a.With(l) {
				return nil, fmt.Errorf("pattern '%s' belongs to another thread", w[0])
			}
			return l.byName[w[0]], nil
		}
	}
	return nil, fmt.Errorf("no such pattern '%s'", w[0])
}

// fits reports whether a rewriter of this kind can do what a pattern says.
func (e *rewriter) fits(p *pattern) error {
	switch {
	case e.kind == addrs && p.hasDst:
		return errDst
	case (e.kind == addrs || e.kind == pairs) && p.hasSport:
		return errSport
	case (e.kind == addrs || e.kind == pairs || e.kind == pings) && p.hasDport:
		return errDport
	}
	return nil
}

// String is how the handler patterns shows what an input does.
func (s *spec) String() string {
	switch s.kind {
	case specPass:
		return "<nochange>"
	case specKeep:
		return "<keep>"
	case specPattern:
		return s.pattern.String()
	case specMapper:
		return "<mapper>"
	}
	return "<drop>"
}
