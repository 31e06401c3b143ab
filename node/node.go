package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements" // their classes
	"github.com/janos-os/janos/click/elements/hostip"
	"github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/element"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/store"
	"github.com/janos-os/janos/vm/wasi"
)

// Env is what a node gets from its surroundings. The zero value is a node of its own: real clock, own
// goroutines, drivers from the registry.
type Env struct {
	Clock   clock.Clock // nil: a new real clock
	Stepped bool        // the caller drives, see nodeos.NodeSpec
	Log     *slog.Logger
	Engine  *vm.Engine // nil: the node makes its own; one may serve many nodes of a process
	Events  func(any)  // called beside the event log with each event; must not wait

	// OpenLink opens links instead of the registry, for networks inside one process.
	OpenLink func(n *nodeos.Node, l Link) (nodeos.Link, error)
}

// Node is a running node.
type Node struct {
	env     Env
	cred    *nodeos.Cred // of the root: all rights
	os      *nodeos.Node
	engine  *vm.Engine
	wasm    *wasm.Env // of its graphs
	ownVM   bool
	binding *nodeosabi.Binding // of guests; nil: there were none
	runner  *wasi.Runner       // of programs; nil: there were none
	events  *EventLog
	trial   trial

	reloads sync.Mutex // held from the look whether a change waits until one does; taken before change

	change  sync.Mutex // held by who changes what runs; guards what follows, and that only one does
	closing bool
	eeDom   *nodeos.Domain
	ee      *ants.EE
	sink    io.Closer
	keeper  *keeper // of the links' interfaces
	pools   map[string]*livePool
	domains map[string]*live
	links   map[string]Link            // that were opened, as they were asked for
	loaded  map[string]ants.ProtocolID // protocols by path
	jails   map[string]*jail.Jail
	code    *store.Store   // of the engine that is the node's own; nil: none
	rejoins sync.WaitGroup // of protocols with a jail that was started again

	mu       sync.Mutex // guards what others may read while it is changed; taken after change
	spec     *Spec
	router   *routing.Router
	states   map[string]*LinkState
	follower *follower      // nil: the host is not followed
	cuts     sync.WaitGroup // of cut-through channels that follow it, and of guests
	graph    *click.Router
	graphDom *nodeos.Domain
	graphed  string

	once   sync.Once
	closed error
	done   chan struct{}

	tables atomic.Pointer[routing.Router] // whose table the EE follows
}

// Start makes a node of spec. If it fails, whatever it had begun is undone.
func Start(spec *Spec, env Env) (*Node, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if spec.Graph != "" { // before anything is opened; the generated one is right
		if err := spec.CheckGraph(); err != nil {
			return nil, err
		}
	}
	if env.Clock == nil {
		env.Clock = clock.NewReal()
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	events, err := NewEventLog(spec.Events, env.Stepped)
	if err != nil {
		return nil, err
	}
	cred := nodeos.NewCred(spec.Name, nodeos.AllRights)
	os, err := nodeos.NewNode(nodeos.NodeSpec{
		Name: spec.Name, Clock: env.Clock, Seed: spec.Seed, Workers: spec.Workers, Stepped: env.Stepped,
		Packets: packet.PoolSpec{Frames: spec.Frames}, Root: resctl.Spec{Limit: spec.Limits, Share: spec.Share},
		Policy: nodeos.Capabilities{}, Cred: cred,
	})
	if err != nil {
		return nil, errors.Join(err, events.Close())
	}
	n := &Node{
		spec: spec, env: env, cred: cred, os: os, engine: env.Engine, events: events, done: make(chan struct{}),
		pools: make(map[string]*livePool), domains: make(map[string]*live), jails: make(map[string]*jail.Jail), links: make(map[string]Link), loaded: make(map[string]ants.ProtocolID),
		states: make(map[string]*LinkState),
	}
	n.keeper = newKeeper(n)
	n.change.Lock()
	for _, step := range []func() error{n.openLinks, n.followHost, n.startRouting, n.makePoolsHere, n.startJails, n.startANTS, n.startGraph, n.makeDomainsHere, n.registerProtocols} {
		if err := step(); err != nil {
			n.change.Unlock()
			return nil, errors.Join(err, n.Close())
		}
	}
	n.keeper.watch()
	n.change.Unlock()
	return n, nil
}

func (n *Node) makePoolsHere() error { return n.makePools(n.spec) }

func (n *Node) makeDomainsHere() error { return n.makeDomains(n.spec) }

func (n *Node) event(e any) {
	n.events.Add(e)
	if n.env.Events != nil {
		n.env.Events(e)
	}
}

func (n *Node) openLinks() error {
	for i := range n.spec.Links {
		if err := n.openLink(&n.spec.Links[i]); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) startRouting() error {
	if n.spec.Routing.Off {
		return nil
	}
	s := routing.Spec{
		Addr: routing.NodeAddr(n.spec.Addr), Host: n.spec.Kind == Host, Prefixes: n.spec.Routing.Prefixes,
		Hello: n.spec.Routing.Hello, DeadAfter: n.spec.Routing.Dead,
		OnEvent: func(e routing.Event) { n.event(e) },
	}
	if n.env.Stepped {
		s.Generation = 1 // the calendar is not part of a simulation
	}
	for i := range n.spec.Links {
		if l := &n.spec.Links[i]; n.addressLater(l) {
			n.env.Log.Warn("neighbours will be looked for when the interface has an address", "link", l.Name, "interface", l.device())
		} else {
			s.Links = append(s.Links, l.routing())
		}
	}
	r, err := routing.New(n.os.Root(), s)
	if err != nil {
		return err
	}
	n.tables.Store(r)
	n.mu.Lock()
	n.router = r
	n.mu.Unlock()
	if n.spec.Routing.Kernel {
		if n.sink, err = n.kernelRoutes(); err != nil {
			return err
		}
	}
	return nil
}

// stopRouting ends what startRouting has begun, and waits until it has ended.
func (n *Node) stopRouting() error {
	var err error
	if n.sink != nil {
		err = n.sink.Close()
		n.sink = nil
	}
	n.mu.Lock()
	r := n.router
	n.router = nil
	n.mu.Unlock()
	if r != nil {
		r.Close()
		if !n.env.Stepped { // whose caller drives
			<-r.Domain().Done()
		}
	}
	return err
}

// maxCodeStore is how much compiled code is kept.
const maxCodeStore = 64 << 20

// makeEngine makes the node's own engine.
func (n *Node) makeEngine() error {
	var kept *store.Store
	if dir := n.spec.Code; dir != "" {
		var err error
		if kept, err = store.Open(dir, maxCodeStore); err != nil {
			return fmt.Errorf("code-store: %w", err)
		}
	}
	e, err := vm.NewEngine(vm.EngineSpec{Clock: n.env.Clock, Store: kept})
	if err != nil {
		if kept != nil {
			kept.Close()
		}
		return err
	}
	n.engine, n.ownVM, n.code = e, true, kept
	return nil
}

// startEngine makes the engine of guest code unless there is one.
func (n *Node) startEngine() error {
	if n.engine == nil {
		if err := n.makeEngine(); err != nil {
			return err
		}
	}
	if n.wasm == nil {
		n.wasm = &wasm.Env{Engine: n.engine, Read: n.spec.readModule}
	}
	return nil
}

func (n *Node) startANTS() error {
	if n.spec.ANTS.Off {
		return nil
	}
	if err := n.startEngine(); err != nil {
		return err
	}
	d, err := n.os.Root().NewDomain(n.domainSpec("ants", &n.spec.ANTS.Attrs))
	if err != nil {
		return err
	}
	n.eeDom = d
	var router ants.Router = new(ants.StaticRoutes)
	if !n.spec.Routing.Off {
		router = ants.TableRouter(func() *routing.Table { return n.tables.Load().Table() })
	}
	n.ee, err = ants.New(ants.Spec{
		Name: n.spec.Name, Domain: d, Engine: n.engine, Addr: n.spec.Addr, Router: router,
		Limits: ants.Limits{Strikes: n.spec.ANTS.Strikes}, Budget: uint64(n.spec.ANTS.Budget),
		Jail:     n.jails[n.spec.ANTS.Jail],
		Protocol: resctl.Spec{Share: n.spec.ANTS.Each, Limit: n.spec.ANTS.Protocol},
		Events:   ants.EventFunc(func(e ants.Event) { n.event(e) }), Log: n.env.Log,
	})
	return err
}

// startElements starts the elements of a graph in a domain.
func (n *Node) startElements(src source, d *nodeos.Domain) (*click.Router, error) {
	spec, err := src.parse()
	if err != nil {
		return nil, src.place(err)
	}
	if slices.ContainsFunc(spec.Elements, func(e lang.Node) bool { return e.Class == "Wasm" }) {
		if err := n.startEngine(); err != nil {
			return nil, err
		}
	}
	g, err := click.New(spec, click.Env{Domain: d, Worker: -1, Output: os.Stderr, Values: map[string]any{element.EE: n.ee, hostip.Key: n.hostEnv(), wasm.Key: n.wasm}})
	if err != nil {
		return nil, src.place(err)
	}
	return g, nil
}

// startGraph joins links and EE by the configuration.
func (n *Node) startGraph() error {
	src := n.spec.source()
	spec, err := src.parse()
	if err != nil {
		return src.place(err)
	}
	if len(spec.Elements) == 0 {
		n.setGraph(nil, nil, src.text)
		return nil
	}
	d, err := n.os.Root().NewDomain(n.domainSpec("graph", &n.spec.GraphDomain))
	if err != nil {
		return err
	}
	g, err := n.startElements(src, d)
	if err != nil {
		n.endDomain(d)
		return err
	}
	n.setGraph(g, d, src.text)
	return nil
}

func (n *Node) setGraph(g *click.Router, d *nodeos.Domain, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.graph, n.graphDom, n.graphed = g, d, text
}

// closeGraph ends the graph and its domain, if there is one.
func (n *Node) closeGraph() {
	n.mu.Lock()
	g, d := n.graph, n.graphDom
	n.graph, n.graphDom = nil, nil
	n.mu.Unlock()
	if g != nil {
		g.Close()
		n.endDomain(d)
	}
}

func (n *Node) registerProtocols() error {
	if n.ee == nil {
		return nil
	}
	for _, path := range n.spec.ANTS.Protocols {
		if _, ok := n.loaded[path]; ok {
			continue
		}
		p, err := ants.LoadProtocol(n.spec.path(path))
		if err != nil {
			return fmt.Errorf("protocol %s: %w", path, err)
		}
		if err := n.ee.RegisterIn(p, n.jails[n.spec.jailOf(path)]); err != nil {
			return fmt.Errorf("protocol %s: %w", path, err)
		}
		n.loaded[path] = p.ID()
	}
	return nil
}

// Spec returns what the node was made of, or what the last Reload made it. It must not be changed.
func (n *Node) Spec() *Spec {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spec
}

// OS returns the NodeOS beneath.
func (n *Node) OS() *nodeos.Node { return n.os }

// ANTS returns the execution environment for capsules, or nil if it is off.
func (n *Node) ANTS() *ants.EE { return n.ee }

// Router returns who finds neighbours and routes, or nil if that is off. Another takes its place when Reload changes its settings.
func (n *Node) Router() *routing.Router {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.router
}

// Graph returns the running element graph, or nil if the configuration is empty. It ends, and another takes its place,
// when an interface of the host was removed and has come back, and when Reload changes it.
func (n *Node) Graph() *click.Router {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.graph
}

// GraphText returns the configuration that runs.
func (n *Node) GraphText() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.graphed
}

// Events returns the event log.
func (n *Node) Events() *EventLog { return n.events }

// Done is closed when the node has been closed.
func (n *Node) Done() <-chan struct{} { return n.done }

// Close stops the node and gives everything back. It waits, must not be called from a worker, and may be called twice.
func (n *Node) Close() error {
	n.once.Do(func() {
		var all []error
		n.trial.end()
		n.keeper.end() // before change is locked, which its goroutine takes
		n.change.Lock()
		defer n.change.Unlock()
		n.closing = true
		n.closeGraph()
		if n.sink != nil {
			all = append(all, n.sink.Close())
		}
		if n.router != nil { // which stays, for who still asks it
			n.router.Close()
		}
		all = append(all, n.os.Close())
		all = append(all, n.closeJails()...)
		n.keeper.close() // the interfaces are free now
		if n.ownVM {
			all = append(all, n.engine.Close())
			if n.code != nil {
				all = append(all, n.code.Close())
			}
		}
		all = append(all, n.events.Close())
		n.cuts.Wait()          // their domains have ended
		if n.follower != nil { // the graph's elements are gone
			all = append(all, n.follower.close())
		}
		all = slices.DeleteFunc(all, func(err error) bool { return err == nil })
		n.closed = errors.Join(all...)
		close(n.done)
	})
	n.rejoins.Wait() // of what ended before it began
	return n.closed
}
