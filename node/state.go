package node

import (
	"time"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// DomainState is a domain of the running node, with what it may do and what it has done.
type DomainState struct {
	Path   string            `json:"path"`
	State  string            `json:"state"`
	Reason string            `json:"reason,omitempty"` // why it ends or ended
	Share  resctl.Share      `json:"share"`
	Worker int               `json:"worker"` // home
	Runs   nodeos.RunStats   `json:"runs"`   // with the bound on a run
	Tasks  int               `json:"tasks"`
	Memory resctl.Usage      `json:"memory"` // bytes, with the domains below
	Frames resctl.Usage      `json:"frames"` // likewise
	CPU    resctl.Usage      `json:"cpu"`    // nanoseconds, likewise
	Cred   string            `json:"cred,omitempty"`
	Rights []string          `json:"rights,omitempty"` // nil: all
	Files  *nodeos.FileStats `json:"files,omitempty"`
	Pool   string            `json:"pool,omitempty"`
}

// PoolState is a memory pool of the running node.
type PoolState struct {
	Name     string              `json:"name"`
	Path     string              `json:"path"` // of its account
	Parent   string              `json:"parent,omitempty"`
	Share    resctl.Share        `json:"share"`
	Deadline time.Duration       `json:"deadline_ns"`
	Domains  []string            `json:"domains"` // attached, by path
	Stats    nodeos.MemPoolStats `json:"stats"`   // bytes
}

// DomainStates returns the node's domains, parents first, and those of the node file that were ended for what they did.
func (n *Node) DomainStates() []DomainState {
	n.change.Lock()
	defer n.change.Unlock()
	rights := make(map[*nodeos.Domain]*live)
	seen := make(map[*nodeos.Domain]bool)
	for _, l := range n.domains {
		rights[l.domain] = l
	}
	var out []DomainState
	var walk func(d *nodeos.Domain)
	walk = func(d *nodeos.Domain) {
		seen[d] = true
		out = append(out, stateOf(d, rights[d]))
		for _, c := range d.Children() {
			walk(c)
		}
	}
	walk(n.os.Root())
	for i := range n.spec.Domains {
		if l := n.domains[n.spec.Domains[i].Name]; l != nil && !seen[l.domain] {
			out = append(out, stateOf(l.domain, l))
		}
	}
	return out
}

func stateOf(d *nodeos.Domain, l *live) DomainState {
	a := d.Account()
	s := DomainState{
		Path: d.Path(), State: d.State().String(), Share: a.Share(), Worker: d.Home().ID(), Runs: d.RunStats(), Tasks: len(d.Tasks()),
		Memory: a.Usage(resctl.Memory), Frames: a.Usage(resctl.Frames), CPU: a.Usage(resctl.CPU), Cred: d.Cred().Name(),
	}
	if err := d.Reason(); err != nil {
		s.Reason = err.Error()
	}
	if l == nil {
		return s
	}
	s.Pool = l.spec.Pool
	if l.spec.Rights != nil {
		s.Rights = []string{}
		for _, op := range l.spec.Rights {
			s.Rights = append(s.Rights, op.String())
		}
	}
	if l.spec.Files.Dir != "" {
		f := d.FileStats()
		s.Files = &f
	}
	return s
}

// PoolStates returns the memory pools of the node file, in its order.
func (n *Node) PoolStates() []PoolState {
	n.change.Lock()
	defer n.change.Unlock()
	out := []PoolState{}
	for _, p := range n.spec.Pools {
		l := n.pools[p.Name]
		if l == nil {
			continue
		}
		s := PoolState{Name: p.Name, Path: l.pool.Path(), Parent: p.Parent, Share: l.pool.Account().Share(), Deadline: p.Deadline, Domains: []string{}, Stats: l.pool.Stats()}
		if s.Deadline == 0 {
			s.Deadline = nodeos.DefaultDeadline
		}
		for _, d := range l.pool.Domains() {
			s.Domains = append(s.Domains, d.Path())
		}
		out = append(out, s)
	}
	return out
}
