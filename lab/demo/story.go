package demo

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
)

// The sizes of the story.
const (
	pings        = 100
	pingInterval = 15 * time.Millisecond
	pingBytes    = 64
	hostileCount = 1000                   // of each kind
	killAfter    = 600 * time.Millisecond // of pings, before the router dies
	failurePings = 400
	failureEvery = 10 * time.Millisecond
)

// refusals are the causes of drops of capsules that were not run at all.
var refusals = []ants.Cause{ants.DropRefused, ants.DropEnded, ants.DropQueueFull, ants.DropWaiting, ants.DropThrottled}

// cast counts what a network has and gives out the roles: the first host sends, the others receive.
func cast(p *lab.Plan) (n Network, source string, receivers []string) {
	n.Links = len(p.Links)
	for _, x := range p.Nodes {
		switch {
		case x.Kind == lab.Router:
			n.Routers++
			continue
		case source == "":
			source = x.Name
		default:
			receivers = append(receivers, x.Name)
		}
		n.Hosts++
	}
	return n, source, receivers
}

// transit returns a node of the path that has no hosts, so that the network can do without it.
func transit(p *lab.Plan, hs []Hop) string {
	for i, h := range hs {
		n := p.Node(h.Node)
		if i == 0 || i == len(hs)-1 || slices.ContainsFunc(n.Interfaces, func(f lab.Interface) bool {
			return p.Node(peer(p, f.Link, n.Name)).Kind == lab.Host
		}) {
			continue
		}
		return h.Node
	}
	return ""
}

// peer returns the node at the other end of a link.
func peer(p *lab.Plan, link int, node string) string {
	for _, e := range p.Links[link].Ends {
		if n := p.Nodes[e.Node].Name; n != node {
			return n
		}
	}
	return node
}

// longestRun returns the length of the longest run of consecutive numbers. A number that is missing in it does not end a run, for
// the answers to neighbouring pings may take different ways while routes change.
func longestRun(numbers []int) int {
	best, run, last := 0, 0, -10
	for _, n := range numbers {
		if n-last <= 2 {
			run++
		} else {
			run = 1
		}
		last = n
		best = max(best, run)
	}
	return best
}

// killsOf counts a node's remembered kills by protocol and reason.
func killsOf(node string, kills []ants.Kill, protocols []string) []NodeKills {
	var out []NodeKills
	for _, k := range kills {
		if !slices.Contains(protocols, k.Protocol) {
			continue
		}
		i := slices.IndexFunc(out, func(x NodeKills) bool { return x.Protocol == k.Protocol && x.Reason == k.Reason })
		if i < 0 {
			out = append(out, NodeKills{Node: node, Protocol: k.Protocol, Reason: k.Reason})
			i = len(out) - 1
		}
		out[i].Count++
	}
	return out
}

// parseTrace reads what examples/capsules/trace/trace.c wrote.
func parseTrace(b []byte, names map[ants.NodeAddr]string) ([]Hop, error) {
	if len(b) < 4 || len(b) != 4+12*int(b[1]) {
		return nil, errs.New(errs.Corrupt, "a trace of %d bytes does not have the length that it says", len(b))
	}
	var out []Hop
	var first uint64
	for i := range int(b[1]) {
		e := b[4+12*i:]
		at := binary.BigEndian.Uint64(e[4:])
		if i == 0 {
			first = at
		}
		name, ok := names[ants.NodeAddr(binary.BigEndian.Uint32(e))]
		if !ok {
			return nil, errs.New(errs.Corrupt, "a trace names node %s, which is not in the network", ants.NodeAddr(binary.BigEndian.Uint32(e)))
		}
		out = append(out, Hop{Node: name, At: time.Duration(at - first)})
	}
	return out, nil
}

func path(hs []Hop) string {
	var s []string
	for _, h := range hs {
		if h.At == 0 {
			s = append(s, h.Node)
			continue
		}
		s = append(s, fmt.Sprintf("%s +%s", h.Node, short(h.At)))
	}
	return strings.Join(s, " -> ")
}
