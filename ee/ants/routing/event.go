package routing

import (
	"time"

	"github.com/janos-os/janos/clock"
)

// EventKind says what an Event reports.
type EventKind string

// The kinds of events.
const (
	NeighbourUp      EventKind = "neighbour-up"      // two nodes hear each other
	NeighbourDown    EventKind = "neighbour-down"    // a neighbour is not used any more; Reason says why
	RoutesChanged    EventKind = "routes-changed"    // a new table is in force
	DuplicateAddress EventKind = "duplicate-address" // somebody else uses this node's address
	Overflow         EventKind = "overflow"          // a bound of the protocol was reached; Reason says which
)

// Reasons of NeighbourDown.
const (
	ReasonSilent  = "silent"  // no hello for the dead interval
	ReasonRestart = "restart" // its generation changed
	ReasonLeft    = "left"    // it said so
	ReasonOneWay  = "one-way" // it does not hear this node any more
	ReasonLink    = "link"    // the link was removed here
)

// Event is something that happened to a router. Fields that do not belong to its kind are zero.
type Event struct {
	Time      clock.Time    `json:"time_ns"` // of the node's clock
	Kind      EventKind     `json:"kind"`
	Node      NodeAddr      `json:"node"` // where it happened
	Link      string        `json:"link,omitempty"`
	Neighbour NodeAddr      `json:"neighbour,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Silence   time.Duration `json:"silence_ns,omitempty"` // neighbour-down: since its last hello

	Version    uint64        `json:"version,omitempty"`    // routes-changed: number of the table
	Took       time.Duration `json:"took_ns,omitempty"`    // routes-changed: since the first change it answers to
	Nodes      int           `json:"nodes,omitempty"`      // routes-changed: nodes that can be reached
	Prefixes   int           `json:"prefixes,omitempty"`   // routes-changed: prefixes that are routed to
	Neighbours int           `json:"neighbours,omitempty"` // routes-changed: neighbours in use
}
