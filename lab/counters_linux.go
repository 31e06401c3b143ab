package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
)

// Counter is what the kernel has counted at one interface of a laboratory network.
type Counter struct {
	Node      string `json:"node,omitempty"` // empty for an end of a wire
	Interface string `json:"interface"`
	Link      string `json:"link"`
	End       int    `json:"end"`  // 0 or 1: which end of the link this is, or is joined to
	Wire      bool   `json:"wire"` // the end of a wire, not of the node
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"` // whole frames without checksum
	RxDropped uint64 `json:"rx_dropped"`
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxDropped uint64 `json:"tx_dropped"`
}

// ReadCounters reads the counters of every interface of the laboratory from the kernel, node by node. The kernel cannot be stopped
// meanwhile, so on a busy network they belong to slightly different times.
func ReadCounters(s *State) ([]Counter, error) {
	if len(s.Spaces) != len(s.Plan.Nodes)+1 {
		return nil, errs.New(errs.Corrupt, "state of lab %s: %d namespaces for %d nodes", s.Name, len(s.Spaces), len(s.Plan.Nodes))
	}
	var out []Counter
	for i := range s.Plan.Nodes {
		n := &s.Plan.Nodes[i]
		known := make(map[string]Counter)
		for _, f := range n.Interfaces {
			known[f.Name] = Counter{Node: n.Name, Interface: f.Name, Link: s.Plan.Links[f.Link].Name, End: f.End}
		}
		var err error
		if out, err = readSpace(out, s.SpaceDir, s.Spaces[i], known); err != nil {
			return nil, err
		}
	}
	known := make(map[string]Counter)
	for _, l := range s.Plan.Links {
		for e := range 2 {
			if name := wirePort(l.Index, e); !l.Direct {
				known[name] = Counter{Interface: name, Link: l.Name, End: e, Wire: true}
			}
		}
	}
	return readSpace(out, s.SpaceDir, s.Spaces[len(s.Spaces)-1], known)
}

func readSpace(out []Counter, dir, name string, known map[string]Counter) ([]Counter, error) {
	ns, err := netns.Open(dir, name)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	defer ns.Close()
	h, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	for _, l := range links {
		c, ok := known[l.Attrs().Name]
		if s := l.Attrs().Statistics; ok && s != nil {
			c.RxPackets, c.RxBytes, c.RxDropped = s.RxPackets, s.RxBytes, s.RxDropped
			c.TxPackets, c.TxBytes, c.TxDropped = s.TxPackets, s.TxBytes, s.TxDropped
			out = append(out, c)
			delete(known, c.Interface)
		}
	}
	for missing := range known {
		return nil, errs.New(errs.NotFound, "namespace %s has no interface %s", name, missing)
	}
	return out, nil
}

// CountersMain is the counter reader as a process: args is the state directory of a lab; the counters are written to stdout as
// JSON. It shares nothing with the nodes and the wire but the kernel. It returns the exit code.
func CountersMain(args []string, stdout, stderr io.Writer) int {
	err := func() error {
		if len(args) != 1 {
			return errs.New(errs.Invalid, "need one argument, a state directory")
		}
		s, err := readState(args[0])
		if err != nil {
			return errs.New(errs.NotFound, "%w", err)
		}
		list, err := ReadCounters(s)
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(list)
	}()
	if err != nil {
		fmt.Fprintln(stderr, "counters:", err)
		return errs.ExitCode(err)
	}
	return 0
}

// Counters has a process of its own read the kernel's counters of every interface.
func (l *Lab) Counters(ctx context.Context) ([]Counter, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	helper := l.helper("counters", l.state.Dir)
	cmd := exec.CommandContext(ctx, helper.Path, helper.Args[1:]...)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, errs.New(errs.NotSupported, "counter process: %w: %s", err, strings.TrimSpace(msg.String()))
	}
	var list []Counter
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		return nil, errs.New(errs.Internal, "counter process: %w", err)
	}
	return list, nil
}
