package nodes

import (
	"encoding/binary"
	"fmt"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
)

// reachable returns for every node of the plan how many others it can reach over nodes that run. Hosts do not forward.
func reachable(p *lab.Plan, runs func(name string) bool) []int {
	out := make([]int, len(p.Nodes))
	for i := range p.Nodes {
		if !runs(p.Nodes[i].Name) {
			continue
		}
		seen := map[int]bool{i: true}
		for todo := []int{i}; len(todo) > 0; {
			at := todo[0]
			todo = todo[1:]
			if at != i && p.Nodes[at].Kind == lab.Host {
				continue
			}
			for _, f := range p.Nodes[at].Interfaces {
				if next := p.Node(f.Peer); !seen[next.Index] && runs(next.Name) {
					seen[next.Index] = true
					todo = append(todo, next.Index)
				}
			}
		}
		out[i] = len(seen) - 1
	}
	return out
}

// address returns a node's logical address as capsules carry it.
func address(n *lab.NodePlan) ants.NodeAddr {
	a := n.Addr.As4()
	return ants.NodeAddr(binary.BigEndian.Uint32(a[:]))
}

// sentText describes an action send that was carried out.
func sentText(c *lab.Capsule, to *lab.NodePlan, sent, refused int) string {
	s := fmt.Sprintf("%s/%s to %s: %d sent", c.Protocol, c.Class, to.Name, sent)
	if refused > 0 {
		s += fmt.Sprintf(", %d refused by the node's own queues", refused)
	}
	return s
}

// probeText describes an action probe that was carried out; it is an error if nothing came back at all.
func probeText(c *lab.Capsule, to *lab.NodePlan, r *ants.ProbeResult) (string, error) {
	s := fmt.Sprintf("%s/%s to %s: %d sent, %d came back, %d twice; RTT min %s median %s p99 %s max %s",
		c.Protocol, c.Class, to.Name, r.Sent, r.Received, r.Duplicates, r.Quantile(0), r.Quantile(0.5), r.Quantile(0.99), r.Quantile(1))
	if r.Received == 0 {
		return "", errs.New(errs.Timeout, "none of %d capsules %s/%s to %s came back", r.Sent, c.Protocol, c.Class, to.Name)
	}
	return s, nil
}
