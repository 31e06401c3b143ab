package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/yamlfile"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// MaxJails bounds the jails of a node.
const MaxJails = 16

// Jail is a worker process without rights, in which guests of one class of trust run.
type Jail struct {
	Name      string
	Mode      vm.Mode
	Memory    int64         // bytes beside what its runtime begins with; 0: jail.DefaultMemory
	CPU       time.Duration // of one process, after which another takes its place; 0: any
	Hang      time.Duration // without an answer until it is killed; 0: jail.DefaultHang
	Room      int           // protocols that it has room for; 0: DefaultRoom
	Protocols []string      // of those of ants, which run here
}

// DefaultRoom is how many protocols a jail has room for unless the node file says so.
const DefaultRoom = 16

func (j *Jail) load(n yamlfile.Node) {
	m := n.Map("jail")
	j.Name, _ = m.Need("name").Text()
	switch s, _ := m.Get("mode").Text(); s {
	case "", vm.ModeAuto.String():
	case vm.ModeInterpreter.String():
		j.Mode = vm.ModeInterpreter
	case vm.ModeCompiled.String():
		j.Mode = vm.ModeCompiled
	default:
		m.Get("mode").Errorf("mode %q; write auto (the default), compiled or interpreter", s)
	}
	j.Memory = int64(integer(m.Get("memory"), 1<<40))
	j.CPU, _ = m.Get("cpu").Duration(365 * 24 * time.Hour)
	j.Hang, _ = m.Get("hang").Duration(time.Hour)
	j.Room = integer(m.Get("room"), 64)
	for _, v := range m.Get("protocols").List() {
		text, _ := v.Text()
		j.Protocols = append(j.Protocols, text)
	}
	m.Close()
}

// spec returns the jail as package jail wants it.
func (j *Jail) spec() jail.Spec {
	s := jail.Spec{Name: j.Name, Mode: j.Mode, Memory: j.Memory, CPU: j.CPU, Hang: j.Hang, Queues: j.Room}
	if s.Queues == 0 {
		s.Queues = DefaultRoom
	}
	return s
}

// checkJails reports what is wrong with the jails of s.
func (s *Spec) checkJails(bad func(key, format string, args ...any)) {
	if len(s.Jails) > MaxJails {
		bad("jails", "%d jails, want at most %d", len(s.Jails), MaxJails)
	}
	names, where := map[string]bool{}, map[string]string{}
	for i := range s.Jails {
		j, key := &s.Jails[i], fmt.Sprintf("jails[%d]", i)
		if names[j.Name] {
			bad(key, "jail %s is there twice; names must differ", j.Name)
		}
		names[j.Name] = true
		x := j.spec()
		if err := x.Check(); err != nil {
			bad(key, "%v", err)
		}
		for _, p := range j.Protocols {
			if !slices.Contains(s.ANTS.Protocols, p) {
				bad(key, "jail %s: protocol %s is not among those of ants", j.Name, p)
			}
			if o, ok := where[p]; ok {
				bad(key, "protocol %s cannot be in jail %s and in jail %s", p, o, j.Name)
			}
			where[p] = j.Name
		}
	}
	if j := s.ANTS.Jail; j != "" && !names[j] {
		bad("ants", "ants: there is no jail %s", j)
	}
	if s.ANTS.Off && len(s.Jails) > 0 {
		bad("jails", "jails are for protocols of ants, which is off")
	}
}

// JailEvent says that the worker process of a jail has ended, or that another was started.
type JailEvent struct {
	Time   clock.Time    `json:"time_ns"`
	Kind   string        `json:"kind"` // jail-died, jail-started
	Node   ants.NodeAddr `json:"node"`
	Jail   string        `json:"jail"`
	Reason string        `json:"reason,omitempty"`
}

// startJails starts the workers of s.
func (n *Node) startJails() error {
	for i := range n.spec.Jails {
		if n.env.Stepped {
			return errs.New(errs.NotSupported, "jail %s: a node under a virtual clock has no processes: leave it out", n.spec.Jails[i].Name)
		}
		x, addr := n.spec.Jails[i].spec(), n.spec.Addr
		x.Log = n.env.Log
		tell := func(kind, reason string) {
			n.event(JailEvent{Time: n.os.Clock().Now(), Kind: kind, Node: addr, Jail: x.Name, Reason: reason})
		}
		x.OnDeath = func(reason error) { tell("jail-died", reason.Error()) }
		x.OnStart = func() {
			n.rejoins.Go(func() { n.rejoin(x.Name) })
			tell("jail-started", "")
		}
		j, err := jail.New(x)
		if err != nil {
			return err
		}
		n.jails[x.Name] = j
	}
	return nil
}

// rejoin registers protocols of the node file again whose domains ended with the worker of their jail.
func (n *Node) rejoin(name string) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.closing || n.ee == nil {
		return
	}
	for _, path := range n.spec.ANTS.Protocols {
		id, ok := n.loaded[path]
		if j := n.spec.jailOf(path); !ok || j != name {
			continue
		}
		p, err := ants.LoadProtocol(n.spec.path(path))
		if err == nil && p.ID() != id {
			err = errs.New(errs.Corrupt, "the bundle has changed since the node was started: reload the node")
		}
		if err == nil {
			err = n.ee.RegisterIn(p, n.jails[name])
		}
		if err != nil {
			n.env.Log.Error("a protocol is not registered again in its jail", "protocol", path, "jail", name, "err", err)
		}
	}
}

// jailOf returns the name of the jail of a protocol of the node file, or "".
func (s *Spec) jailOf(path string) string {
	for i := range s.Jails {
		if slices.Contains(s.Jails[i].Protocols, path) {
			return s.Jails[i].Name
		}
	}
	return ""
}

// closeJails ends the workers. Nothing uses them any more.
func (n *Node) closeJails() (all []error) {
	for _, j := range n.jails {
		all = append(all, j.Close())
	}
	return all
}

// Jails returns how the node's jails are, by name.
func (n *Node) Jails() []jail.Status {
	n.change.Lock()
	defer n.change.Unlock()
	out := []jail.Status{}
	for i := range n.spec.Jails {
		if j := n.jails[n.spec.Jails[i].Name]; j != nil {
			out = append(out, j.Status())
		}
	}
	return out
}
