package click

import (
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// Reconfigurer is an element whose handler config may be written while it runs.
type Reconfigurer interface {
	// Reconfigure takes over the arguments of from, an element of the same class that was configured with new ones and was neither
	// initialized nor connected. What cannot be changed is an error, and changes nothing. It runs on the worker.
	Reconfigure(from Element) error
}

// reconfigure gives an element other arguments.
func (r *Router) reconfigure(el Element, args []string) error {
	b := el.base()
	fresh := b.class.New()
	*fresh.base() = Base{router: r, thread: b.thread, class: b.class, name: b.name, index: b.index, nin: b.nin, nout: b.nout, inKinds: b.inKinds, outKinds: b.outKinds}
	a := &Args{router: r, el: fresh.base(), args: args}
	fresh.Configure(a)
	if len(a.errs) > 0 {
		return errs.New(errs.Invalid, "%s", strings.Join(a.errs, "\n"))
	}
	if err := el.(Reconfigurer).Reconfigure(fresh); err != nil {
		return err
	}
	b.config = lang.JoinArgs(args)
	b.changed = true
	return nil
}

// Keyword registers a handler for an argument of a Reconfigurer: to write it is to write the handler config with this argument
// exchanged, so that config shows it. position is that of the argument when it is given without its keyword, -1 for never.
func (h *Handlers) Keyword(name, keyword string, position int, get func() string) {
	h.Read(name, get)
	h.Write(name, func(v string) error {
		b := h.args.el
		var args []string
		for i, arg := range lang.SplitArgs(b.config) {
			word, rest := lang.NextWord(arg)
			if word == keyword && rest != "" || i == position && !isKeyword(word, rest) {
				continue
			}
			args = append(args, arg)
		}
		if v = strings.TrimSpace(v); v != "" {
			args = append(args, keyword+" "+v)
		}
		return b.router.reconfigure(b.router.elements[b.index], args)
	})
}

// isKeyword reports whether an argument looks as if it began with a keyword.
func isKeyword(word, rest string) bool {
	return rest != "" && word == strings.ToUpper(word) && word != strings.ToLower(word)
}

// current returns the graph with the arguments that elements have now.
func (r *Router) current() *GraphSpec {
	g := *r.spec
	copied := false
	for i, el := range r.elements {
		if b := el.base(); b.changed {
			if !copied {
				copied = true
				g.Elements = append([]lang.Node(nil), g.Elements...)
			}
			g.Elements[i].Args = lang.SplitArgs(b.config)
		}
	}
	return &g
}
