package click

import (
	"fmt"
	"strings"

	"github.com/janos-os/janos/click/lang"
)

// Args are the arguments of an element being configured, and where its complaints go.
type Args struct {
	router *Router
	el     *Base
	args   []string
	errs   []string
	places map[string]int // if not nil: which argument each parameter was read from
	late   bool           // the element runs, and its arguments are not those of the configuration
}

// Param is a parameter that Parse fills in.
type Param struct {
	name       string
	value      Value
	positional bool
	mandatory  bool
	given      *bool
	rest       func([]string)
}

// Must is a mandatory parameter, given by position or as keyword.
func Must(name string, v Value) Param {
	return Param{name: name, value: v, positional: true, mandatory: true}
}

// May is an optional parameter, given by position or as keyword.
func May(name string, v Value) Param { return Param{name: name, value: v, positional: true} }

// Key is an optional parameter that is given as keyword.
func Key(name string, v Value) Param { return Param{name: name, value: v} }

// MustKey is a mandatory parameter that is given as keyword.
func MustKey(name string, v Value) Param { return Param{name: name, value: v, mandatory: true} }

// Rest takes all arguments that no other parameter took, in their order.
func Rest(fn func(args []string)) Param { return Param{rest: fn} }

// Given makes *ok tell whether the parameter was there.
func (p Param) Given(ok *bool) Param {
	p.given = ok
	return p
}

// List returns the arguments as they stand, with quotes.
func (a *Args) List() []string { return a.args }

// Inputs returns how many inputs the element has.
func (a *Args) Inputs() int { return a.el.nin }

// Outputs returns how many outputs the element has.
func (a *Args) Outputs() int { return a.el.nout }

// Errorf reports a mistake.
func (a *Args) Errorf(format string, args ...any) {
	a.errs = append(a.errs, fmt.Sprintf(format, args...))
}

// Messagef prints something that keeps nobody from going on, with the place in the configuration that it is about.
func (a *Args) Messagef(format string, args ...any) {
	if a.late {
		fmt.Fprintf(a.router.output, "While configuring '%s':\n  %s\n", a.router.label(a.el.index), fmt.Sprintf(format, args...))
		return
	}
	pos := a.router.spec.Elements[a.el.index].Pos
	fmt.Fprintf(a.router.output, "%v: While configuring '%s':\n  %s\n", pos, a.router.label(a.el.index), fmt.Sprintf(format, args...))
}

// OK reports whether no mistake was found so far.
func (a *Args) OK() bool { return len(a.errs) == 0 }

// Element finds an element by the name that the configured one would use for it, or returns nil.
// The two are then run by one thread.
func (a *Args) Element(name string) Element {
	el := a.router.find(a.el.name, name)
	if el != nil {
		a.With(el)
	}
	return el
}

// With says that the configured element will touch el. While the router is being made that puts both on one thread; later it returns
// false if they are on different ones.
func (a *Args) With(el Element) bool {
	if a.el.thread.task == nil { // no thread has been assigned yet
		a.router.refers = append(a.router.refers, [2]int{a.el.index, el.base().index})
		return true
	}
	return a.el.thread == el.base().thread
}

// Prefer asks for a thread for an element, or for all elements of a compound, named as the configured element would; the last word counts. It is for
// elements that assign threads, and false if there is no such element.
func (a *Args) Prefer(name string, thread int) bool {
	r := a.router
	for scope := a.el.name; ; {
		i := strings.LastIndexByte(scope, '/')
		full := name
		if i >= 0 {
			full = scope[:i+1] + name
		}
		found := false
		for k, el := range r.elements {
			if n := el.base().name; n == full || strings.HasPrefix(n, full+"/") {
				r.prefers = append(r.prefers, prefer{k, thread})
				found = true
			}
		}
		if found || i < 0 {
			return found
		}
		scope = scope[:i]
	}
}

// Parse assigns the arguments to parameters: those that begin with a keyword of params by that, the
// others by position. It reports every mistake and whether there was none.
func (a *Args) Parse(params ...Param) bool {
	before := len(a.errs)
	byName := map[string]int{}
	npos := 0
	rest := -1
	for i, p := range params {
		if p.rest != nil {
			rest = i
			continue
		}
		byName[p.name] = i
		if p.positional {
			npos++
		}
	}
	text := make([]string, len(params))
	have := make([]bool, len(params))
	var positional []string
	var places []int // of those
	for at, arg := range a.args {
		word, value := lang.NextWord(arg)
		i, ok := byName[word]
		if ok && value == "" && params[i].positional && len(positional) < npos {
			ok = false // a positional value that happens to look like a keyword
		}
		switch {
		case !ok:
			positional, places = append(positional, arg), append(places, at)
		case have[i]:
			a.Errorf("%s is given twice", word)
		default:
			have[i], text[i] = true, value
			a.place(word, at)
		}
	}
	k := 0
	for i, p := range params {
		if p.positional && !have[i] && k < len(positional) {
			if positional[k] == "" && !p.mandatory { // an empty argument leaves the default
				k++
				continue
			}
			have[i], text[i] = true, positional[k]
			a.place(p.name, places[k])
			k++
		}
	}
	switch extra := positional[k:]; {
	case rest >= 0:
		params[rest].rest(extra)
	case len(extra) > 0:
		if word, value := lang.NextWord(extra[0]); value != "" && strings.ToUpper(word) == word && strings.ToLower(word) != word {
			a.Errorf("unknown keyword '%s'%s", word, keywordHint(word, params))
		} else if npos == 0 && len(params) == 0 {
			a.Errorf("too many arguments, it takes none")
		} else {
			a.Errorf("too many arguments, there is no place for '%s'", extra[0])
		}
	}
	for i, p := range params {
		switch {
		case p.rest != nil:
		case have[i]:
			if err := p.value(text[i], a); err != nil {
				a.Errorf("%s: %v", p.name, err)
			}
		case p.mandatory:
			a.Errorf("required argument %s is missing", p.name)
		}
		if p.given != nil {
			*p.given = have[i]
		}
	}
	return len(a.errs) == before
}

func (a *Args) place(name string, at int) {
	if a.places != nil {
		a.places[name] = at
	}
}

func keywordHint(word string, params []Param) string {
	var names []string
	for _, p := range params {
		if p.rest == nil {
			if editDistance(word, p.name, 3) <= 2 {
				return ", did you mean " + p.name + "?"
			}
			names = append(names, p.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", known are " + strings.Join(names, ", ")
}
