package fast

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/click/internal/decide"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "FastClassifier", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &FastClassifier{} },
		Doc: click.Doc{
			Group: "fast", Title: "is several classifiers that follow each other, in one",
			Text: "click-fastclassifier makes it of Classifier, IPClassifier and IPFilter elements, and makes them of it again. There is an argument for each of them: its name, its class, its configuration in quotes, " +
				"and for each of its outputs where that leads: the number of an output of this element, or the name of a classifier further on in the list. Packets begin at the first. All become one decision program.",
			Args:     []string{"<NAME CLASS CONFIG OUTPUT...>...: The classifiers."},
			Handlers: []string{"program (r): The decision program.", "classifiers (r): The names of the classifiers.", "drops (r): Packets that fitted no pattern, or were to be dropped."},
			Example:  `c :: FastClassifier(c Classifier "12/0800, -" ip 0, ip IPFilter "allow udp" 1);`, See: []string{"Classifier", "IPClassifier", "IPFilter"},
		},
	})
}

// FastClassifier sorts packets like several classifiers.
type FastClassifier struct {
	click.Base
	parts   []Part
	program *decide.Program
}

// Part is a classifier within a FastClassifier.
type Part struct {
	Name, Class string
	Config      string
	Outputs     []Output
}

// Output says where an output of a part leads.
type Output struct {
	Port int // of the whole, or -1
	Part string
}

// maxParts bounds what a hostile configuration can ask for.
const maxParts = 4096

// ParseParts reads the arguments of a FastClassifier. Outputs lead to ports or to later parts, and to each part but the first leads
// exactly one.
func ParseParts(args []string) ([]Part, error) {
	var parts []Part
	if len(args) == 0 || len(args) > maxParts {
		return nil, errs.New(errs.Invalid, "expected 1 to %d classifiers", maxParts)
	}
	at := map[string]int{}
	for i, arg := range args {
		words := lang.SplitWords(arg)
		if len(words) < 3 {
			return nil, errs.New(errs.Invalid, "classifier %d: expected NAME CLASS CONFIG OUTPUT...", i)
		}
		p := Part{Name: words[0], Class: words[1], Config: lang.Unquote(words[2])}
		if _, twice := at[p.Name]; twice {
			return nil, errs.New(errs.Invalid, "classifier %d: '%s' is there twice", i, p.Name)
		}
		at[p.Name] = i
		for _, w := range words[3:] {
			o := Output{Port: -1, Part: w}
			if n, err := strconv.ParseUint(w, 10, 15); err == nil {
				o = Output{Port: int(n)}
			}
			p.Outputs = append(p.Outputs, o)
		}
		parts = append(parts, p)
	}
	led := make([]int, len(parts))
	for i, p := range parts {
		for _, o := range p.Outputs {
			if o.Port >= 0 {
				continue
			}
			to, ok := at[o.Part]
			if !ok || to <= i {
				return nil, errs.New(errs.Invalid, "classifier '%s': '%s' is neither an output nor a classifier further on", p.Name, o.Part)
			}
			led[to]++
		}
	}
	for i, n := range led {
		if i > 0 && n != 1 {
			return nil, errs.New(errs.Invalid, "classifier '%s': %d outputs lead to it, expected 1", parts[i].Name, n)
		}
	}
	return parts, nil
}

// String is the argument that ParseParts reads.
func (p *Part) String() string {
	s := p.Name + " " + p.Class + ` "` + lang.Escape(p.Config) + `"`
	for _, o := range p.Outputs {
		if o.Port >= 0 {
			s += " " + strconv.Itoa(o.Port)
		} else {
			s += " " + o.Part
		}
	}
	return s
}

// Configure implements click.Element.
func (e *FastClassifier) Configure(a *click.Args) {
	var err error
	if e.parts, err = ParseParts(a.List()); err != nil {
		a.Errorf("%v", err)
		return
	}
	rules := map[string][]decide.Rule{}
	for i := len(e.parts) - 1; i >= 0; i-- {
		p := &e.parts[i]
		r, err := p.rules(a)
		if err != nil {
			a.Errorf("classifier '%s': %v", p.Name, err)
			return
		}
		for k := range r {
			if r[k].Then == ip.Dropped {
				continue
			}
			switch o := p.Outputs[r[k].Then]; {
			case o.Port < 0:
				r[k].Sub = rules[o.Part]
			case o.Port >= a.Outputs():
				a.Errorf("classifier '%s': there is no output %d", p.Name, o.Port)
				return
			default:
				r[k].Then = o.Port
			}
		}
		rules[p.Name] = r
	}
	if e.program, err = decide.Compile(rules[e.parts[0].Name], ip.Dropped); err != nil {
		a.Errorf("%v", err)
	}
}

// rules compiles the patterns of a part. Results are its own outputs.
func (p *Part) rules(a *click.Args) ([]decide.Rule, error) {
	out := []decide.Rule{}
	args := lang.SplitArgs(p.Config)
	if p.Class != "IPFilter" && len(args) != len(p.Outputs) {
		return nil, errs.New(errs.Invalid, "%d patterns for %d outputs", len(args), len(p.Outputs))
	}
	for i, arg := range args {
		text := lang.Unquote(arg)
		r := decide.Rule{Then: i}
		var err error
		switch p.Class {
		case "Classifier":
			r.If, err = standard.ParsePattern(text)
		case "IPClassifier":
			r.If, err = ip.ParsePattern(text, a)
		case "IPFilter":
			if r.Then, text, err = ip.ParseAction(text, len(p.Outputs)); err == nil {
				r.If, err = ip.ParsePattern(text, a)
			}
		default:
			return nil, errs.New(errs.Invalid, "class '%s' is none of Classifier, IPClassifier, IPFilter", p.Class)
		}
		if err != nil {
			return nil, errs.New(errs.Invalid, "pattern %d: %w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Push implements click.Pusher.
func (e *FastClassifier) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	e.program.MatchAll(b.Packets(), ports[:])
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *FastClassifier) AddHandlers(h *click.Handlers) {
	h.Read("program", func() string { return e.program.String() })
	h.Read("classifiers", func() string {
		var names []string
		for _, p := range e.parts {
			names = append(names, p.Name)
		}
		return strings.Join(names, "\n") + "\n"
	})
}
