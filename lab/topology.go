package lab

import (
	"net/netip"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab/wire"
)

// Limits of a topology. They keep names usable as names of interfaces, namespaces and sockets, and keep a
// small file from asking for a large machine.
const (
	MaxLabName    = 20     // bytes of a lab's name
	MaxNodeName   = 15     // bytes of a node's name, which is the length of an interface name
	MaxLinkName   = 40     // bytes of a link's name
	MaxNodes      = 10_000 // nodes
	MaxLinks      = 50_000 // links
	MaxInterfaces = 250    // links at one node
	MaxDelay      = 10 * time.Second
	MinMTU        = 576
	MaxMTU        = 9000
	DefaultMTU    = 1500
)

// Kind says what a node is for.
type Kind uint8

const (
	Host   Kind = 1 // an end system: has its kernel's stack, does not forward
	Router Kind = 2 // forwards
)

// String returns the word that topology files use.
func (k Kind) String() string {
	switch k {
	case Host:
		return "host"
	case Router:
		return "router"
	}
	return "unknown"
}

// Routing says who finds the routes of a network's routers.
type Routing uint8

const (
	NodeRoutes   Routing = 0 // the nodes themselves; the lab gives hosts a default route and routers nothing
	StaticRoutes Routing = 1 // the lab computes shortest paths once and enters them in the kernels' tables
)

// Topology declares a network. It is inert: nothing exists until a Plan is built from it. Fill it in by hand or with Load; Plan
// checks it in both cases.
type Topology struct {
	Name     string
	Seed     uint64       // determines all randomness of the network, such as which packets a link loses
	Routes   Routing      // who finds the routes
	LinkPool netip.Prefix // where links without addresses get them from; zero means 10.0.0.0/12
	NodePool netip.Prefix // where nodes without an address get it from; zero means 10.255.0.0/16
	Nodes    []Node
	Links    []Link
	Actions  []Action
	Duration time.Duration // how long a run lasts at least; zero means until the last action is done

	file  string // for errors and relative paths; empty when not from a file
	place map[placeKey]errs.Pos
}

// Node declares a host or a router.
type Node struct {
	Name string
	Kind Kind
	Addr netip.Addr // its one logical address; zero means from the pool
}

// Link declares a link between two nodes.
type Link struct {
	Name   string          // zero means the names of the ends, "a-b"
	Ends   [2]string       // names of the nodes
	Addrs  [2]netip.Prefix // address and prefix length at each end; zero means from Prefix
	Prefix netip.Prefix    // network of the link; zero means from the pool
	MTU    int             // zero means DefaultMTU
	Impair wire.Impairment // the same in both directions
	Direct bool            // one virtual link without a wire process between: no impairments, more speed
}

// Verb is what an Action does.
type Verb string

// The verbs of actions.
const (
	Kill     Verb = "kill"      // SIGKILL to the process of Node
	Stop     Verb = "stop"      // ask the process of Node to end, and wait for it
	Start    Verb = "start"     // start the process of Node again
	Exec     Verb = "exec"      // run Command in Node's namespace and wait for it
	LinkDown Verb = "link-down" // take the carrier from both ends of Link
	LinkUp   Verb = "link-up"   // give it back
	Impair   Verb = "impair"    // give Link the impairment in Impair
)

// Action is something that happens to the network at a time.
type Action struct {
	At      time.Duration   `json:"at_ns"` // since the network was ready
	Do      Verb            `json:"do"`
	Node    string          `json:"node,omitempty"`
	Link    string          `json:"link,omitempty"`
	Command []string        `json:"command,omitempty"`
	Impair  wire.Impairment `json:"impairment,omitzero"`
}

// placeKey finds the place of a thing in the file; the zero Pos is the answer for things that are not from one.
type placeKey struct {
	list  string // "nodes", "links", "actions" or "" for the file's own settings
	index int
	field string
}

func (t *Topology) pos(list string, index int, field string) errs.Pos {
	if p, ok := t.place[placeKey{list, index, field}]; ok {
		return p
	}
	if p, ok := t.place[placeKey{list, index, ""}]; ok {
		return p
	}
	return errs.Pos{File: t.file}
}

func (t *Topology) mark(list string, index int, field string, pos errs.Pos) {
	if pos.Line == 0 {
		return
	}
	if t.place == nil {
		t.place = make(map[placeKey]errs.Pos)
	}
	t.place[placeKey{list, index, field}] = pos
}

// File returns the path the topology was loaded from, or "".
func (t *Topology) File() string { return t.file }
