package click

import (
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Env is what a router gets from its surroundings.
type Env struct {
	Domain *nodeos.Domain // pays for everything; required
	Worker int            // runs the router; -1: the domain's home worker
	// Threads is how many workers may run the router, from that one on; 0: one. An element runs on the first unless StaticThreadSched says otherwise.
	Threads int
	Rand    *clock.Rand // the router's alone; nil: a new stream of the node's
	Output  io.Writer   // where elements print; nil: standard error
	Stdout  io.Writer   // where scripts print what they are to print; nil: standard output
	Host    bool        // elements may use the process's rights on the host: open files, send signals
	// Unmerged makes every run of a task handle one burst, also where merging runs would change nothing but the time it takes.
	Unmerged bool
	// Parse reads a configuration that is written to the handler hotconfig, and prepares what it needs of the node; nil: the running one cannot be
	// changed so. It runs on the router's worker or on a goroutine of its own.
	Parse func(text string) (*GraphSpec, error)
	// Replaced is told on the worker when another router has taken this one's place.
	Replaced func(next *Router)
	// Values are things that elements of other packages need, by names that those packages define.
	Values map[string]any
}

// Router is a running graph.
type Router struct {
	spec     *GraphSpec
	env      Env
	before   *Router // whose place it takes, until it has
	next     atomic.Pointer[Router]
	domain   *nodeos.Domain
	owner    packet.Owner
	rand     *clock.Rand
	instant0 int64 // calendar time of the clock's zero, see WallOf
	output   io.Writer
	stdout   io.Writer
	host     bool
	values   map[string]any
	elements []Element
	byName   map[string]int
	names    map[nameKey]string // of addresses, ports and the like; see Args.Define
	from     [][]lang.Edge
	into     [][]lang.Edge
	thread   *Thread   // the first of threads
	threads  []*Thread // one for each worker that is used
	gate     gate
	prefers  []prefer
	refers   [][2]int  // elements that touch each other beside connections
	crossed  []bool    // elements that pass packets from one thread to another
	notes    [2]uint32 // how many notifiers there are, for empty and for full
	globals  *Handlers
	wiretap  *wiretap // while somebody looks; see Probe

	onStop  func() bool // the worker's
	stopped atomic.Bool
	once    sync.Once
	done    chan struct{} // closed by Stop
	life    sync.Mutex    // control calls against the end; never on the packet path
	cleaned bool
	over    atomic.Bool // nothing runs any more, and workers may be gone
}

// New makes a router of spec and starts it. The spec may be used again. The error has all mistakes of the
// first phase that found any: classes and arguments, ports, initialization. New
// is for the control side; it waits for the worker.
func New(spec *GraphSpec, env Env) (*Router, error) {
	r, err := build(spec, env, nil)
	if err != nil {
		return nil, err
	}
	if !r.thread.worker.Call(func() { r.thread.alone(true, r.startHere) }) {
		return nil, errs.New(errs.Dead, "click: the node has closed")
	}
	return r, r.tie()
}

// tie makes the router end with its domain.
func (r *Router) tie() error {
	d := r.domain
	if d.OnDestroy(func() {
		// On the home worker, when no worker runs anything of the domain any more.
		for _, t := range r.threads {
			t.cache = d.Home().Cache()
		}
		r.cleanup()
	}) {
		return nil
	}
	r.Close()
	return errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
}

// build makes a router that does not run yet, in the place of another one perhaps.
func build(spec *GraphSpec, env Env, before *Router) (*Router, error) {
	if env.Domain == nil {
		return nil, errs.New(errs.Internal, "click: no domain")
	}
	node := env.Domain.Node()
	w := env.Domain.Home()
	if env.Worker >= node.Workers() {
		return nil, errs.New(errs.Invalid, "click: worker %d, the node has %d", env.Worker, node.Workers())
	}
	if env.Worker >= 0 {
		w = node.Worker(env.Worker)
	}
	r := &Router{spec: spec, env: env, before: before, domain: env.Domain, owner: env.Domain.Owner(), rand: env.Rand, output: env.Output,
		stdout: env.Stdout, host: env.Host, values: env.Values, done: make(chan struct{}), byName: map[string]int{}}
	if r.rand == nil {
		r.rand = node.NewRand()
	}
	if r.output == nil {
		r.output = os.Stderr
	}
	if r.stdout == nil {
		r.stdout = os.Stdout
	}
	r.gate.cond.L = &r.gate.mu
	for i := range max(env.Threads, 1) {
		if w.ID()+i >= node.Workers() {
			return nil, errs.New(errs.Invalid, "click: %d threads from worker %d on, the node has %d", env.Threads, w.ID(), node.Workers())
		}
		r.newThread(node.Worker(w.ID() + i))
	}
	r.thread = r.threads[0]
	if len(r.threads) > 1 {
		r.output, r.stdout = &sharedWriter{w: r.output}, &sharedWriter{w: r.stdout}
	}
	if err := r.make(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, t := range r.threads {
		k, err := env.Domain.NewTask(nodeos.TaskSpec{Name: "click", Worker: t.worker.ID(), Run: t})
		if err != nil {
			r.Close()
			return nil, err
		}
		t.task = k
	}
	if err := r.initialize(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// label is how messages name an element.
func (r *Router) label(i int) string {
	n := &r.spec.Elements[i]
	return n.Name + " :: " + n.Class
}

// make creates and configures the elements.
func (r *Router) make() error {
	var list errs.List
	spec := r.spec
	r.elements = make([]Element, len(spec.Elements))
	r.from, r.into = make([][]lang.Edge, len(spec.Elements)), make([][]lang.Edge, len(spec.Elements))
	unknown := map[string]bool{}
	for i := range spec.Elements {
		n := &spec.Elements[i]
		r.byName[n.Name] = i
		c := LookupClass(n.Class)
		if c == nil {
			if !unknown[n.Class] {
				unknown[n.Class] = true
				hint := ""
				if near := nearest(n.Class); len(near) > 0 {
					hint += ", did you mean " + strings.Join(near, " or ") + "?"
				}
				err := errs.New(errs.NotFound, "unknown element class '%s'%s", n.Class, hint)
				if len(n.Args) == 0 && strings.Contains(n.Name, n.Class+"@") {
					err = &undeclared{errs.New(errs.NotFound, "undeclared element '%s'%s", n.Class, hint)}
				}
				list.Add(&errs.At{Pos: n.Pos, Err: err})
			}
			c = &Class{Name: n.Class, Ports: "-/-", Processing: "a/a", New: func() Element { return &missing{} }}
		}
		el := c.New()
		*el.base() = Base{router: r, thread: r.thread, class: c, name: n.Name, config: n.Config(), index: i}
		r.elements[i] = el
	}
	for _, p := range spec.Requires {
		if p != "compact_config" && p != "janos" {
			pos := errs.Pos{File: "config"}
			if len(spec.Elements) > 0 {
				pos.File = spec.Elements[0].Pos.File
			}
			list.Addf(pos, "required package '%s' is not available", p)
		}
	}
	for _, e := range spec.Edges {
		r.from[e.From] = append(r.from[e.From], e)
		r.into[e.To] = append(r.into[e.To], e)
		f, t := r.elements[e.From].base(), r.elements[e.To].base()
		f.nout, t.nin = max(f.nout, e.FromPort+1), max(t.nin, e.ToPort+1)
	}
	r.countPorts(&list)
	order := make([]int, len(r.elements))
	for i := range order {
		order[i] = i
	}
	phase := func(i int) int {
		if p, ok := r.elements[i].(interface{ ConfigurePhase() int }); ok {
			return p.ConfigurePhase()
		}
		return 0
	}
	sort.SliceStable(order, func(i, j int) bool { return phase(order[i]) < phase(order[j]) })
	for _, i := range order {
		a := &Args{router: r, el: r.elements[i].base(), args: spec.Elements[i].Args}
		r.elements[i].Configure(a)
		if len(a.errs) > 0 {
			list.Add(&errs.At{Pos: spec.Elements[i].Pos, Err: errs.New(errs.Invalid, "While configuring '%s':\n  %s", r.label(i), strings.Join(a.errs, "\n  "))})
		}
	}
	r.resolve(&list)
	r.connect(&list)
	r.assign()
	return list.Err()
}

// undeclared is the error of a name that stands alone in a connection and is neither an element nor a class: a mistake of the text, not of the router.
type undeclared struct{ error }

func (u *undeclared) Unwrap() error { return u.error }

// missing stands for an element of an unknown class, so that the rest can be checked.
type missing struct{ Base }

// Configure implements Element.
func (*missing) Configure(*Args) {}

// Act implements Actor.
func (*missing) Act(*packet.Batch) {}

// check is the place for what can be checked only when everything is connected.
func (r *Router) check() error {
	var list errs.List
	for i, el := range r.elements {
		if c, ok := el.(interface{ CheckGraph() error }); ok {
			if err := c.CheckGraph(); err != nil {
				list.Addf(r.spec.Elements[i].Pos, "'%s': %v", r.label(i), err)
			}
		}
	}
	return list.Err()
}

func (r *Router) initialize() error {
	var list errs.List
	for i, el := range r.elements {
		if x, ok := el.(Initializer); ok {
			if err := x.Initialize(); err != nil {
				list.Add(&errs.At{Pos: r.spec.Elements[i].Pos, Err: errs.New(errs.KindOf(err), "While initializing '%s':\n  %w", r.label(i), err)})
			}
		}
	}
	if list.Len() > 0 {
		return list.Err()
	}
	for i := range r.elements {
		r.addHandlers(i)
	}
	r.globals = r.global()
	return nil
}

// setNow tells all threads the time: a worker's own may be that of its last run.
func (r *Router) setNow() {
	now := r.domain.Node().Clock().Now()
	for _, t := range r.threads {
		t.now = now
	}
}

// startHere runs on the first worker, alone.
func (r *Router) startHere() {
	r.setNow()
	for _, el := range r.elements {
		if s, ok := el.(Starter); ok {
			s.Start()
		}
	}
	for _, t := range r.threads {
		t.findMerging()
		t.start()
	}
}

// Spec returns what the router was made of.
func (r *Router) Spec() *GraphSpec { return r.spec }

// Domain returns the domain that the router belongs to.
func (r *Router) Domain() *nodeos.Domain { return r.domain }

// Thread returns the router's first thread.
func (r *Router) Thread() *Thread { return r.thread }

// Threads returns all threads.
func (r *Router) Threads() []*Thread { return r.threads }

// Host reports whether elements may use the rights of the process on the host.
func (r *Router) Host() bool { return r.host }

// Wall returns the calendar time.
func (r *Router) Wall() time.Time { return r.domain.Node().Clock().Wall() }

// Value returns what Env.Values has under a name, or nil.
func (r *Router) Value(name string) any { return r.values[name] }

// Element returns the element of that name, or nil.
func (r *Router) Element(name string) Element {
	if i, ok := r.byName[name]; ok {
		return r.elements[i]
	}
	return nil
}

// Elements returns all elements in the order of their declaration.
func (r *Router) Elements() []Element { return r.elements }

// find resolves a name as an element of the same compound would write it: within its own compound first,
// then outwards.
func (r *Router) find(from, name string) Element {
	for {
		i := strings.LastIndexByte(from, '/')
		if i < 0 {
			return r.Element(name)
		}
		from = from[:i]
		if el := r.Element(from + "/" + name); el != nil {
			return el
		}
	}
}

// HandlersOf returns the handlers of an element, or of the router for an empty name; nil if there is no such element.
func (r *Router) HandlersOf(element string) *Handlers {
	if element == "" {
		return r.globals
	}
	if el := r.Element(element); el != nil {
		return el.base().handlers
	}
	return nil
}

// Do runs fn on the router's first worker between runs of the graph, while no other worker runs the router, and waits for it. It is for the control side.
func (r *Router) Do(fn func()) error {
	ok := false
	if !r.thread.worker.Call(func() { ok = r.DoHere(fn) }) || !ok {
		return errs.New(errs.Dead, "the router has ended")
	}
	return nil
}

// DoHere runs fn like Do for callers on the router's first worker that are not inside a run of the graph, and returns false if the router has ended.
func (r *Router) DoHere(fn func()) (ok bool) {
	r.thread.alone(true, func() {
		r.life.Lock()
		defer r.life.Unlock()
		if r.cleaned {
			return
		}
		r.setNow()
		fn()
		ok = true
	})
	return ok
}

// Stop makes the router do nothing any more; handlers still work. It may be called from anywhere.
func (r *Router) Stop() {
	r.stopped.Store(true)
	r.once.Do(func() { close(r.done) })
}

// RequestStop is how elements and handlers ask for the end: whoever took charge of stops with OnStop decides, else the
// router stops. On the worker.
func (r *Router) RequestStop() {
	if len(r.threads) > 1 && r.onStop != nil { // it is another element's, which may be of another thread
		r.thread.worker.Post(func() { r.DoHere(r.requestStop) })
		return
	}
	r.requestStop()
}

func (r *Router) requestStop() {
	if r.onStop == nil || !r.onStop() {
		r.Stop()
	}
}

// OnStop makes fn decide about requests to stop; it returns true to refuse one. There is one such function, and
// OnStop returns false if it was set before. In Initialize.
func (r *Router) OnStop(fn func() bool) bool {
	if r.onStop != nil {
		return false
	}
	r.onStop = fn
	return true
}

// Done is closed when the router was stopped, by an element, a handler or Stop.
func (r *Router) Done() <-chan struct{} { return r.done }

// Close stops the router and gives back what its elements hold. It waits for the worker and must not be called on
// it. Closing twice does nothing.
func (r *Router) Close() {
	r.Stop()
	r.thread.worker.Call(func() {
		r.thread.alone(true, func() {
			r.cleanup()
			r.closeTasks()
		})
	})
}

// closeTasks ends the threads. No other one runs.
func (r *Router) closeTasks() {
	for _, t := range r.threads {
		if t.task != nil {
			t.task.Close()
		}
	}
}

// cleanup runs on the worker, or when the domain ends on its home worker.
func (r *Router) cleanup() {
	r.life.Lock()
	defer r.life.Unlock()
	if r.cleaned {
		return
	}
	r.Stop()
	r.cleaned = true
	for _, el := range r.elements {
		if c, ok := el.(Cleaner); ok {
			c.Cleanup()
		}
	}
	r.over.Store(true)
}
