package click

import (
	"runtime/debug"
	"sort"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// Handler is a named value of an element that can be read, written, or both. Its functions run on the
// router's worker.
type Handler struct {
	Name    string
	Read    func(param string) (string, error) // nil: write-only
	Write   func(value string) error           // nil: read-only; a refused value must change nothing
	Raw     bool                               // the value's last newline belongs to it
	Private bool                               // not to be called from outside of the process
}

// Handlers is where an element registers its handlers.
type Handlers struct {
	byName map[string]*Handler
	others func(name string) *Handler
	thread *Thread // whose element it is; nil for the router's own, which concern all threads
	args   *Args   // for values that name elements or addresses; nil for the router's own
}

// HandlerAdder is an element with handlers of its own.
type HandlerAdder interface{ AddHandlers(h *Handlers) }

func (h *Handlers) get(name string) *Handler {
	k := h.byName[name]
	if k == nil {
		k = &Handler{Name: name}
		h.byName[name] = k
	}
	return k
}

// Add registers a handler, or what it adds to one of the same name.
func (h *Handlers) Add(n Handler) {
	k := h.get(n.Name)
	if n.Read != nil {
		k.Read = n.Read
	}
	if n.Write != nil {
		k.Write = n.Write
	}
	k.Raw, k.Private = k.Raw || n.Raw, k.Private || n.Private
}

// Read registers a function that returns text.
func (h *Handlers) Read(name string, fn func() string) {
	h.Add(Handler{Name: name, Read: func(string) (string, error) { return fn(), nil }})
}

// Write registers a function that takes text.
func (h *Handlers) Write(name string, fn func(value string) error) {
	h.Add(Handler{Name: name, Write: fn})
}

// Others makes fn answer for all names that are not registered; it returns nil for those that are none.
func (h *Handlers) Others(fn func(name string) *Handler) { h.others = fn }

// Has reports whether there is a handler of that name, which Others does not count for.
func (h *Handlers) Has(name string) bool { return h != nil && h.byName[name] != nil }

// find returns a handler, or nil.
func (h *Handlers) find(name string) *Handler {
	k := h.byName[name]
	if k == nil && h.others != nil {
		k = h.others(name)
	}
	return k
}

// Count makes a counter readable.
func (h *Handlers) Count(name string, n *uint64) {
	h.Read(name, func() string { return strconv.FormatUint(*n, 10) })
}

// Value makes a variable readable as get shows it and, if set is not nil, writable by an argument value, which may use the names that the element knows.
func (h *Handlers) Value(name string, get func() string, set Value) {
	h.Read(name, get)
	if set != nil {
		h.Write(name, func(v string) error { return set(strings.TrimSpace(v), h.args) })
	}
}

// Parse parses a part of a handler's value, with the names that the element knows.
func (h *Handlers) Parse(v Value, text string) error { return v(text, h.args) }

// Names returns the handlers' names.
func (h *Handlers) Names() []string {
	out := make([]string, 0, len(h.byName))
	for n := range h.byName {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// addHandlers gives an element the handlers that all have, and its own.
func (r *Router) addHandlers(i int) {
	el := r.elements[i]
	b := el.base()
	h := &Handlers{byName: map[string]*Handler{}, args: &Args{router: r, el: b}}
	b.handlers = h
	h.Read("class", func() string { return b.class.Name })
	h.Read("name", func() string { return b.name })
	h.Read("config", func() string { return b.config })
	if _, ok := el.(Reconfigurer); ok {
		h.Write("config", func(v string) error { return r.reconfigure(el, lang.SplitArgs(v)) })
	}
	h.Read("ports", func() string { return r.portsText(i) })
	h.Read("handlers", func() string { return h.text() })
	h.Count("drops", &b.drops)
	if len(b.tasks) > 0 {
		k := b.tasks[0]
		h.Value("scheduled", func() string { return strconv.FormatBool(k.Scheduled()) }, func(s string, _ *Args) error {
			var on bool
			if err := Bool(&on)(s, nil); err != nil {
				return err
			}
			if on {
				k.Schedule()
			} else {
				k.Unschedule()
			}
			return nil
		})
		h.Value("tickets", func() string { return strconv.Itoa(k.Tickets()) }, func(s string, _ *Args) error {
			n := 0
			if err := Int(&n)(s, nil); err != nil {
				return err
			}
			return k.SetTickets(n)
		})
		h.Read("home_thread", func() string { return strconv.Itoa(b.thread.number) })
		h.Read("runs", func() string { return strconv.FormatUint(k.runs, 10) })
	}
	if a, ok := el.(HandlerAdder); ok {
		a.AddHandlers(h)
	}
	h.thread = b.thread
}

func (h *Handlers) text() string {
	var b strings.Builder
	for _, n := range h.Names() {
		k := h.byName[n]
		b.WriteString(n + "\t")
		if k.Read != nil {
			b.WriteByte('r')
		}
		if k.Write != nil {
			b.WriteByte('w')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (r *Router) portsText(i int) string {
	var b strings.Builder
	el := r.elements[i].base()
	side := func(n int, noun string, kinds []Kind, other func(port int) []string) {
		b.WriteString(strings.Replace(describe([2]int{n, n}, noun), " ", " ", 1) + "\n")
		for p := range n {
			b.WriteString(kinds[p].String() + "\t-\t" + strings.Join(other(p), ", ") + "\n")
		}
	}
	side(el.nin, "input", el.inKinds, func(p int) (s []string) {
		for _, e := range r.into[i] {
			if e.ToPort == p {
				s = append(s, r.elements[e.From].base().name+" ["+strconv.Itoa(e.FromPort)+"]")
			}
		}
		return s
	})
	side(el.nout, "output", el.outKinds, func(p int) (s []string) {
		for _, e := range r.from[i] {
			if e.FromPort == p {
				s = append(s, "["+strconv.Itoa(e.ToPort)+"] "+r.elements[e.To].base().name)
			}
		}
		return s
	})
	return b.String()
}

// global returns the router's own handlers.
func (r *Router) global() *Handlers {
	h := &Handlers{byName: map[string]*Handler{}}
	h.Read("config", func() string { return r.current().String() })
	h.Read("flatconfig", func() string { return r.current().String() })
	h.Read("requirements", func() string { return lines(r.spec.Requires) })
	h.Read("list", func() string {
		names := make([]string, len(r.elements))
		for i, el := range r.elements {
			names[i] = el.base().name
		}
		return strconv.Itoa(len(names)) + "\n" + lines(names)
	})
	h.Read("classes", func() string {
		var names []string
		for _, c := range Classes() {
			names = append(names, c.Name)
		}
		return lines(names)
	})
	h.Read("version", func() string { return version() })
	h.Read("driver", func() string { return "userlevel" })
	h.Read("packages", func() string { return "" })
	h.Read("handlers", func() string { return h.text() })
	if r.env.Parse != nil {
		h.Read("hotconfig", func() string { return r.current().String() })
		h.Write("hotconfig", r.reloadHere)
	}
	if w, ok := r.domain.Node().Clock().(interface {
		Speed() float64
		SetSpeed(float64)
	}); ok {
		h.Read("timewarp", func() string { return strconv.FormatFloat(w.Speed(), 'g', -1, 64) })
		h.Write("timewarp", func(v string) error {
			v = strings.TrimSpace(v)
			f, err := strconv.ParseFloat(v, 64)
			if err != nil || !(f >= 0 && f <= maxSpeed) {
				return errs.New(errs.Invalid, "expected a speed up to %g, not '%s'", float64(maxSpeed), v)
			}
			if f == 0 { // Click's way to say that time is to go as it does
				f = 1
			}
			w.SetSpeed(f)
			return nil
		})
	}
	h.Write("stop", func(string) error { r.RequestStop(); return nil })
	return h
}

// maxSpeed bounds how fast the time of a router may go.
const maxSpeed = 1e6

// version is that of the program's main module.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func lines(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return strings.Join(s, "\n") + "\n"
}

// lookup finds a handler by its full name: element.handler, or a global one's name alone.
func (r *Router) lookup(name string) (*Handler, error) { return r.lookupFrom("", name, r.thread) }

// lookupFrom finds a handler as an element of the given name writes it: elements of its own compound need no prefix. The handler may be called on the
// worker of thread t; if it is another thread's, all others wait meanwhile.
func (r *Router) lookupFrom(from, name string, t *Thread) (*Handler, error) {
	h := r.globals
	short := name
	if el, rest, ok := strings.Cut(name, "."); ok {
		e := r.find(from, el)
		if e == nil {
			return nil, errs.New(errs.NotFound, "no element named '%s'", el)
		}
		h, short = e.base().handlers, rest
	}
	if h == nil {
		return nil, errs.New(errs.WouldBlock, "handler '%s': the router is being initialized", name)
	}
	k := h.find(short)
	if k == nil {
		return nil, errs.New(errs.NotFound, "no handler named '%s'", name)
	}
	if len(r.threads) > 1 && h.thread != t {
		return k.alone(t), nil
	}
	return k, nil
}

// alone is the handler for callers of another thread.
func (k *Handler) alone(t *Thread) *Handler {
	o := *k
	if k.Read != nil {
		o.Read = func(param string) (v string, err error) {
			t.alone(false, func() { v, err = k.Read(param) })
			return v, err
		}
	}
	if k.Write != nil {
		o.Write = func(value string) (err error) {
			t.alone(false, func() { err = k.Write(value) })
			return err
		}
	}
	return &o
}

// Read calls the read handler "element.handler", or a global one, and returns its value. It waits for the
// router's worker and must not be called on it.
func (r *Router) Read(name, param string) (string, error) {
	var v string
	var err error
	if derr := r.Do(func() { v, err = r.ReadHere(name, param) }); derr != nil {
		return "", derr
	}
	return v, err
}

// Write calls a write handler, like Read.
func (r *Router) Write(name, value string) error {
	var err error
	if derr := r.Do(func() { err = r.WriteHere(name, value) }); derr != nil {
		return derr
	}
	return err
}

// ReadHere is Read for callers on the router's first worker, in DoHere for instance.
func (r *Router) ReadHere(name, param string) (string, error) {
	k, err := r.lookup(name)
	if err != nil {
		return "", err
	}
	return k.read(name, param)
}

// LookupHandler finds a handler by its full name. On the router's first worker.
func (r *Router) LookupHandler(name string) (*Handler, error) { return r.lookup(name) }

// LookupHandler finds a handler as the element names it: those of its own compound come first.
func (e *Base) LookupHandler(name string) (*Handler, error) {
	return e.router.lookupFrom(e.name, name, e.thread)
}

// ReadHandler reads a handler that the element names, see LookupHandler. On the worker.
func (e *Base) ReadHandler(name, param string) (string, error) {
	k, err := e.LookupHandler(name)
	if err != nil {
		return "", err
	}
	return k.read(name, param)
}

// WriteHandler writes a handler that the element names, see LookupHandler. On the worker.
func (e *Base) WriteHandler(name, value string) error {
	k, err := e.LookupHandler(name)
	if err != nil {
		return err
	}
	return k.write(name, value)
}

func (k *Handler) read(name, param string) (string, error) {
	if k.Read == nil {
		return "", errs.New(errs.Permission, "handler '%s' is write-only", name)
	}
	return k.Read(param)
}

// WriteHere is Write for callers on the router's first worker.
func (r *Router) WriteHere(name, value string) error {
	k, err := r.lookup(name)
	if err != nil {
		return err
	}
	return k.write(name, value)
}

func (k *Handler) write(name, value string) error {
	if k.Write == nil {
		return errs.New(errs.Permission, "handler '%s' is read-only", name)
	}
	if err := k.Write(value); err != nil {
		return errs.New(errs.KindOf(err), "%s: %w", name, err)
	}
	return nil
}

// Now returns the time as elements see it. On the worker.
func (r *Router) Now() clock.Time { return r.thread.now }
