package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
)

// pollInterval is how often a node that starts is asked whether it answers.
const pollInterval = 10 * time.Millisecond

// Options returns options for lab.Up with which every node of the plan is a process of its own. janos is the command line of the
// janos program, to which "node run FILE" is appended; its "lab" verbs are the lab's helpers.
func Options(p *lab.Plan, janos []string) lab.Options {
	return lab.Options{
		Helper: append(slices.Clone(janos), "lab"),
		Node: func(n *lab.NodePlan, dir string) ([]string, error) {
			text, err := File(p, n, dir)
			if err != nil {
				return nil, err
			}
			path := filepath.Join(dir, fileName)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				return nil, err
			}
			return append(slices.Clone(janos), "node", "run", path), nil
		},
		Ready: func(ctx context.Context, n *lab.NodePlan, dir string) error {
			return await(ctx, func() (bool, error) {
				_, err := control.Dial(filepath.Join(dir, controlName)).Status(ctx)
				return err == nil, nil // until it listens, or ends, which the lab sees
			})
		},
		Capsules: func(ctx context.Context, n *lab.NodePlan, dir string, a lab.Action, to *lab.NodePlan) (string, error) {
			return inject(ctx, control.Dial(filepath.Join(dir, controlName)), a, to)
		},
	}
}

// await calls fn until it returns true or an error, or ctx ends.
func await(ctx context.Context, fn func() (bool, error)) error {
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	for {
		if ok, err := fn(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Timeout, "%w", ctx.Err())
		case <-t.C:
		}
	}
}

// inject carries out the actions send and probe.
func inject(ctx context.Context, c *control.Client, a lab.Action, to *lab.NodePlan) (string, error) {
	k := &a.Capsule
	r := control.SendRequest{
		Protocol: k.Protocol, Class: k.Class, Dst: ants.NodeAddr(address(to)), DstPort: k.Port,
		TTL: k.TTL, Credit: k.Credit, Payload: k.Payload, Count: k.Count, Interval: k.Interval, SeqAt: k.SeqAt,
	}
	if a.Do == lab.Send {
		sent, err := c.Send(ctx, r)
		if err != nil {
			return "", err
		}
		return sentText(k, to, sent.Sent, sent.Refused), nil
	}
	res, err := c.Probe(ctx, control.ProbeRequest{SendRequest: r, Wait: k.Wait})
	if err != nil {
		return "", err
	}
	return probeText(k, to, &res)
}

// Dial returns the control client of a node's process.
func Dial(s *lab.State, name string) (*control.Client, error) {
	n, err := s.FindNode(name)
	if err != nil {
		return nil, err
	}
	return control.Dial(filepath.Join(n.Dir, controlName)), nil
}

// AwaitRoutes waits until every node whose process runs knows a route to every other node that it can reach, or ctx ends. It only looks.
func AwaitRoutes(ctx context.Context, s *lab.State) error {
	want := reachable(s.Plan, func(name string) bool {
		return slices.ContainsFunc(s.Nodes, func(n lab.NodeState) bool { return n.Name == name && n.PID != 0 })
	})
	for i, n := range s.Plan.Nodes {
		if want[i] == 0 {
			continue
		}
		c, err := Dial(s, n.Name)
		if err != nil {
			return err
		}
		got := 0
		err = await(ctx, func() (bool, error) {
			r, err := c.Routes(ctx)
			if err != nil {
				return false, err
			}
			got = len(r.Nodes)
			return got >= want[i], nil
		})
		if err != nil {
			return fmt.Errorf("node %s knows routes to %d of %d nodes: %w", n.Name, got, want[i], err)
		}
	}
	return nil
}

// Events returns the path of the event log that the node's process writes, one JSON object a line.
func Events(n *lab.NodeState) string { return filepath.Join(n.Dir, eventsName) }
