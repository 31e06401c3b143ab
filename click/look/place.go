package look

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// Place is a port of an element.
type Place struct {
	Element int // its number in the graph
	Port    int
	Input   bool
}

// ParsePlace reads ELEMENT[PORT] for an output, [PORT]ELEMENT for an input, and ELEMENT for output 0, or input 0 of an element without
// outputs.
func ParsePlace(r *click.Router, s string) (Place, error) {
	text := strings.ReplaceAll(s, " ", "")
	p := Place{Element: -1}
	name, number := text, ""
	switch {
	case strings.HasPrefix(text, "["):
		number, name, _ = strings.Cut(text[1:], "]")
		p.Input = true
	case strings.HasSuffix(text, "]") && strings.Contains(text, "["):
		name, number, _ = strings.Cut(text[:len(text)-1], "[")
	}
	spec := r.Spec()
	p.Element = spec.Index(name)
	if p.Element < 0 {
		return p, errs.New(errs.NotFound, "no element named '%s'", name)
	}
	in, out := 0, 0
	for _, e := range spec.Edges {
		if e.From == p.Element {
			out = max(out, e.FromPort+1)
		}
		if e.To == p.Element {
			in = max(in, e.ToPort+1)
		}
	}
	if number == "" && name == text {
		p.Input = out == 0
	} else {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return p, errs.New(errs.Invalid, "bad place '%s', expected ELEMENT[PORT] or [PORT]ELEMENT", s)
		}
		p.Port = int(n)
	}
	have, noun := out, "output"
	if p.Input {
		have, noun = in, "input"
	}
	if p.Port >= have {
		return p, errs.New(errs.NotFound, "'%s' has no %s %d, it has %d", name, noun, p.Port, have)
	}
	return p, nil
}

// on reports whether a connection begins or ends at the place.
func (p Place) on(e lang.Edge) bool {
	if p.Input {
		return e.To == p.Element && e.ToPort == p.Port
	}
	return e.From == p.Element && e.FromPort == p.Port
}
