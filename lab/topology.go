package lab

import (
	"cmp"
	"maps"
	"net/netip"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/linkmodel"
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
	MaxCapsules   = 10_000_000
	MaxDelay      = linkmodel.MaxDelay
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
	Defaults NodeOptions // of nodes that do not say otherwise
	// Protocols are registered at nodes when they start; all others load them from the network.
	Protocols []Protocol
	Actions   []Action
	Duration  time.Duration // how long a run lasts at least; zero means until the last action is done

	file  string // for errors and relative paths; empty when not from a file
	place map[placeKey]errs.Pos
}

// Node declares a host or a router.
type Node struct {
	Name string
	Kind Kind
	Addr netip.Addr // its one logical address; zero means from the pool

	Options NodeOptions
}

// NodeOptions are settings of a node's process. Zero values mean what Topology.Defaults says, and then the node's own defaults.
type NodeOptions struct {
	Workers  int           `json:"workers,omitempty"`         // threads that handle packets
	Frames   int           `json:"frames,omitempty"`          // packet buffers
	Hello    time.Duration `json:"hello_ns,omitempty"`        // interval of neighbour hellos
	Dead     int           `json:"dead,omitempty"`            // missed hellos until a neighbour is given up
	Budget   int64         `json:"budget,omitempty"`          // fuel for one evaluation
	Strikes  int           `json:"strikes,omitempty"`         // faults that end a protocol
	Limits   Limits        `json:"limits,omitempty"`          // of the whole node
	Protocol Limits        `json:"protocol_limits,omitempty"` // of each protocol's domain
}

// Limits are amounts by the name of the resource, as node files have them: "memory": "4194304", "cpu": "500ms".
type Limits map[string]string

// over returns o with what is zero taken from below.
func (o NodeOptions) over(below NodeOptions) NodeOptions {
	o.Workers = cmp.Or(o.Workers, below.Workers)
	o.Frames = cmp.Or(o.Frames, below.Frames)
	o.Hello = cmp.Or(o.Hello, below.Hello)
	o.Dead = cmp.Or(o.Dead, below.Dead)
	o.Budget = cmp.Or(o.Budget, below.Budget)
	o.Strikes = cmp.Or(o.Strikes, below.Strikes)
	o.Limits = o.Limits.over(below.Limits)
	o.Protocol = o.Protocol.over(below.Protocol)
	return o
}

func (l Limits) over(below Limits) Limits {
	if len(below) == 0 {
		return l
	}
	out := maps.Clone(below)
	maps.Copy(out, l)
	return out
}

// Protocol is a capsule protocol that some nodes have from the start.
type Protocol struct {
	File string   // its description, relative to the topology's file
	At   []string // names of nodes; none means every host
}

// Link declares a link between two nodes.
type Link struct {
	Name   string               // zero means the names of the ends, "a-b"
	Ends   [2]string            // names of the nodes
	Addrs  [2]netip.Prefix      // address and prefix length at each end; zero means from Prefix
	Prefix netip.Prefix         // network of the link; zero means from the pool
	MTU    int                  // zero means DefaultMTU
	Cost   int                  // for routing; zero means the nodes' default
	Impair linkmodel.Impairment // the same in both directions
	Direct bool                 // one virtual link without a wire process between: no impairments, more speed
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
	Send     Verb = "send"      // have Node inject the capsules in Capsule
	Probe    Verb = "probe"     // the same, and wait until they have come back
)

// Action is something that happens to the network at a time.
type Action struct {
	At      time.Duration        `json:"at_ns"` // since the network was ready
	Do      Verb                 `json:"do"`
	Node    string               `json:"node,omitempty"`
	Link    string               `json:"link,omitempty"`
	Command []string             `json:"command,omitempty"`
	Impair  linkmodel.Impairment `json:"impairment,omitzero"`
	Capsule Capsule              `json:"capsule,omitzero"`
}

// Capsule says which capsules a node injects.
type Capsule struct {
	Protocol string        `json:"protocol"` // name; registered at the node
	Class    string        `json:"class"`
	To       string        `json:"to"`                    // name of a node
	Port     uint16        `json:"port,omitempty"`        // of the application at the destination
	Count    int           `json:"count,omitempty"`       // zero means one
	Interval time.Duration `json:"interval_ns,omitempty"` // between them
	Wait     time.Duration `json:"wait_ns,omitempty"`     // for the last one to come back
	Payload  []byte        `json:"payload,omitempty"`     // class-specific bytes
	SeqAt    int           `json:"seq_at,omitempty"`      // offset in Payload, plus one, where probes carry their number in 32 bits
	TTL      uint32        `json:"ttl,omitempty"`
	Credit   uint32        `json:"credit,omitempty"`
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
