package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements" // their classes
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/element"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
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
	spec   *Spec
	env    Env
	os     *nodeos.Node
	engine *vm.Engine
	ownVM  bool
	events *EventLog
	eeDom  *nodeos.Domain
	ee     *ants.EE
	router *routing.Router
	sink   io.Closer
	keeper *keeper // of the links' interfaces; nil if it has none

	mu       sync.Mutex // guards what an interface that comes back changes
	graph    *click.Router
	graphDom *nodeos.Domain
	graphed  string

	once   sync.Once
	closed error
	done   chan struct{}
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
	os, err := nodeos.NewNode(nodeos.NodeSpec{
		Name: spec.Name, Clock: env.Clock, Seed: spec.Seed, Workers: spec.Workers, Stepped: env.Stepped,
		Packets: packet.PoolSpec{Frames: spec.Frames}, Root: resctl.Spec{Limit: spec.Limits},
	})
	if err != nil {
		return nil, errors.Join(err, events.Close())
	}
	n := &Node{spec: spec, env: env, os: os, engine: env.Engine, events: events, done: make(chan struct{})}
	for _, step := range []func() error{n.openLinks, n.holdInterfaces, n.startRouting, n.startANTS, n.startGraph, n.registerProtocols, n.watchInterfaces} {
		if err := step(); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

func (n *Node) event(e any) {
	n.events.Add(e)
	if n.env.Events != nil {
		n.env.Events(e)
	}
}

func (n *Node) openLinks() error {
	for _, l := range n.spec.Links {
		if n.env.OpenLink != nil {
			link, err := n.env.OpenLink(n.os, l)
			if err != nil {
				return fmt.Errorf("link %s: %w", l.Name, err)
			}
			if err := n.os.AddLink(link, 0); err != nil {
				return errors.Join(err, link.Close())
			}
			continue
		}
		if err := n.openLink(&l); err != nil {
			return err
		}
	}
	return nil
}

// openLink opens a link with a registered driver.
func (n *Node) openLink(l *Link) error {
	link, err := n.os.OpenLink(nodeos.LinkSpec{Name: l.Name, Driver: l.Driver, Device: l.Device, Ring: l.Ring, Opts: l.Options})
	if err != nil {
		return err
	}
	for _, note := range link.Info().Notes {
		n.env.Log.Warn("link degraded", "link", l.Name, "note", note)
	}
	return nil
}

// holdInterfaces keeps other nodes from the host's interfaces, where the node has opened links on them itself.
func (n *Node) holdInterfaces() error {
	if n.env.OpenLink != nil || n.env.Stepped {
		return nil
	}
	k, err := n.keepLinks()
	n.keeper = k
	return err
}

func (n *Node) watchInterfaces() error {
	if n.keeper != nil {
		n.keeper.watch()
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
	for _, l := range n.spec.Links {
		s.Links = append(s.Links, l.routing())
	}
	r, err := routing.New(n.os.Root(), s)
	if err != nil {
		return err
	}
	n.router = r
	if n.spec.Routing.Kernel {
		if n.sink, err = n.kernelRoutes(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) startANTS() error {
	if n.spec.ANTS.Off {
		return nil
	}
	if n.engine == nil {
		e, err := vm.NewEngine(vm.EngineSpec{Clock: n.env.Clock})
		if err != nil {
			return err
		}
		n.engine, n.ownVM = e, true
	}
	d, err := n.os.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "ants", Limit: n.spec.ANTS.Limits}})
	if err != nil {
		return err
	}
	n.eeDom = d
	var router ants.Router = new(ants.StaticRoutes)
	if n.router != nil {
		router = ants.TableRouter(n.router.Table)
	}
	n.ee, err = ants.New(ants.Spec{
		Name: n.spec.Name, Domain: d, Engine: n.engine, Addr: n.spec.Addr, Router: router,
		Limits: ants.Limits{Strikes: n.spec.ANTS.Strikes}, Budget: uint64(n.spec.ANTS.Budget),
		Protocol: resctl.Spec{Share: n.spec.ANTS.Share, Limit: n.spec.ANTS.Protocol},
		Events:   ants.EventFunc(func(e ants.Event) { n.event(e) }), Log: n.env.Log,
	})
	return err
}

// startGraph joins links and EE by the configuration.
func (n *Node) startGraph() error {
	text := n.spec.GraphText()
	spec, err := n.spec.parseGraph()
	if err != nil {
		return n.spec.place(err)
	}
	n.mu.Lock()
	n.graphed = text
	n.mu.Unlock()
	if len(spec.Elements) == 0 {
		return nil
	}
	d, err := n.os.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
	if err != nil {
		return err
	}
	g, err := click.New(spec, click.Env{Domain: d, Worker: -1, Output: os.Stderr, Values: map[string]any{element.EE: n.ee}})
	if err != nil {
		d.Terminate(err)
		return n.spec.place(err)
	}
	n.mu.Lock()
	n.graph, n.graphDom = g, d
	n.mu.Unlock()
	return nil
}

// closeGraph ends the graph and its domain, if there is one.
func (n *Node) closeGraph() {
	n.mu.Lock()
	g, d := n.graph, n.graphDom
	n.graph, n.graphDom = nil, nil
	n.mu.Unlock()
	if g != nil {
		g.Close()
		d.Terminate(errs.New(errs.Dead, "the graph ends"))
		if !n.env.Stepped { // whose caller drives
			<-d.Done() // another graph may take its place at once, under its name
		}
	}
}

func (n *Node) registerProtocols() error {
	if n.ee == nil {
		return nil
	}
	for _, path := range n.spec.ANTS.Protocols {
		p, err := ants.LoadProtocol(n.spec.path(path))
		if err != nil {
			return fmt.Errorf("protocol %s: %w", path, err)
		}
		if err := n.ee.Register(p); err != nil {
			return fmt.Errorf("protocol %s: %w", path, err)
		}
	}
	return nil
}

// Spec returns what the node was made of. It must not be changed.
func (n *Node) Spec() *Spec { return n.spec }

// OS returns the NodeOS beneath.
func (n *Node) OS() *nodeos.Node { return n.os }

// ANTS returns the execution environment for capsules, or nil if it is off.
func (n *Node) ANTS() *ants.EE { return n.ee }

// Router returns who finds neighbours and routes, or nil if that is off.
func (n *Node) Router() *routing.Router { return n.router }

// Graph returns the running element graph, or nil if the configuration is empty. It ends, and another takes its place,
// when an interface of the host was removed and has come back.
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
		if n.keeper != nil {
			n.keeper.close()
		}
		n.closeGraph()
		if n.sink != nil {
			all = append(all, n.sink.Close())
		}
		if n.router != nil {
			n.router.Close()
		}
		all = append(all, n.os.Close())
		if n.ownVM {
			all = append(all, n.engine.Close())
		}
		all = append(all, n.events.Close())
		all = slices.DeleteFunc(all, func(err error) bool { return err == nil })
		n.closed = errors.Join(all...)
		close(n.done)
	})
	return n.closed
}
