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

// trial configures another element like e.
func (e *Base) trial(args []string) (Element, *Args) {
	el := e.class.New()
	*el.base() = Base{router: e.router, thread: e.thread, class: e.class, name: e.name, index: e.index, nin: e.nin, nout: e.nout, inKinds: e.inKinds, outKinds: e.outKinds}
	a := &Args{router: e.router, el: el.base(), args: args, places: map[string]int{}, late: true}
	el.Configure(a)
	return el, a
}

// reconfigure gives an element other arguments.
func (r *Router) reconfigure(el Element, args []string) error {
	b := el.base()
	fresh, a := b.trial(args)
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
// exchanged, so that config shows it; to write nothing is to leave the argument away.
func (h *Handlers) Keyword(name, keyword string, get func() string) {
	h.Read(name, get)
	h.Write(name, func(v string) error {
		b := h.args.el
		args := lang.SplitArgs(b.config)
		_, a := b.trial(args)
		if at, ok := a.places[keyword]; ok {
			args = append(args[:at:at], args[at+1:]...)
		}
		if v = strings.TrimSpace(v); v != "" {
			args = append(args, keyword+" "+v)
		}
		return b.router.reconfigure(b.router.elements[b.index], args)
	})
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
