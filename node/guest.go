package node

import (
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
)

// Limits of a node file.
const (
	MaxPorts   = 64      // of a guest
	MaxProgram = 4 << 20 // bytes of a program
)

// Guest is a program that makes channels and domains itself: an execution environment that nobody needs to trust. It is a process in its domain.
type Guest struct {
	Code    string // file of the module, relative to the node file
	Args    string // behind the numbers of its handles
	Memory  int64  // most bytes of its own isolate; 0: what the domain has
	Handles int    // 0: vm.DefaultHandles
	Ports   []Port // in the order of its handles
}

// Port is the permission to open channels.
type Port struct {
	Protocol string         // of the channels
	Address  string         // local address of the topmost protocol; empty: any
	Key      string         // that packets to in-channels match
	AnyPort  bool           // it may choose UDP ports itself
	To       []netip.Prefix // where it may send; nil: anywhere
	NoIn     bool
	NoOut    bool
}

// port returns the port as guests get it.
func (p *Port) port() (*nodeosabi.Port, error) {
	key, err := demux.ParseKey(p.Key)
	if err != nil {
		return nil, err
	}
	return &nodeosabi.Port{Protocol: p.Protocol, Address: p.Address, Key: key, AnyPort: p.AnyPort, To: p.To, NoIn: p.NoIn, NoOut: p.NoOut}, nil
}

// check reports what is wrong with a guest without a node to start it on.
func (g *Guest) check(bad func(format string, args ...any), links func(string) bool) {
	if g.Code == "" {
		bad("a guest without code: write the file of its module")
	}
	if g.Memory < 0 || g.Handles < 0 || g.Handles > vm.MaxHandles || len(g.Args) > vm.MaxMessage || len(g.Ports) > MaxPorts {
		bad("guest: %d bytes of memory, %d handles, %d bytes of arguments, %d ports: want at most %d handles, %d bytes and %d ports", g.Memory, g.Handles, len(g.Args), len(g.Ports), vm.MaxHandles, vm.MaxMessage, MaxPorts)
	}
	for i := range g.Ports {
		p := &g.Ports[i]
		proto, err := demux.ParseProtocol(p.Protocol)
		if err == nil {
			_, err = demux.ParseAddress(proto.Top(), p.Address)
		}
		if err == nil {
			_, err = p.port()
		}
		if err == nil && proto.Link != demux.AnyLink && !links(proto.Link) {
			err = errs.New(errs.NotFound, "%s: the node has no link %s", p.Protocol, proto.Link)
		}
		if err == nil && p.NoIn && p.NoOut {
			err = errs.New(errs.Invalid, "neither in nor out: leave the port away")
		}
		if err != nil {
			bad("port %d of the guest: %v", i+1, err)
		}
	}
}

// program reads the file of a module.
func (s *Spec) program(path string) ([]byte, error) {
	f, err := os.Open(s.path(path))
	if err != nil {
		return nil, errs.New(errs.NotFound, "program: %w", err)
	}
	defer f.Close()
	code, err := io.ReadAll(io.LimitReader(f, MaxProgram+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "program %s: %w", path, err)
	}
	if len(code) > MaxProgram {
		return nil, errs.New(errs.TooBig, "program %s: more than %d bytes", path, MaxProgram)
	}
	return code, nil
}

// needEngine makes the engine, if there is none yet. n.change is held.
func (n *Node) needEngine() error {
	if n.engine != nil {
		return nil
	}
	return n.makeEngine()
}

// startGuest starts the guest of a domain. n.change is held.
func (n *Node) startGuest(s *Spec, name string, g *Guest, d *nodeos.Domain) error {
	if n.env.Stepped {
		return errs.New(errs.NotSupported, "guest %s: processes run in real time, and this node is stepped", g.Code)
	}
	code, err := s.program(g.Code)
	if err != nil {
		return err
	}
	if err := n.needEngine(); err != nil {
		return err
	}
	if n.binding == nil {
		if n.binding, err = nodeosabi.New(nodeosabi.Spec{Engine: n.engine, Seed: s.Seed}); err != nil {
			return err
		}
	}
	spec := nodeosabi.GuestSpec{Name: name, Code: code, Args: []byte(g.Args), Memory: g.Memory, Handles: g.Handles, Log: func(line string) {
		n.env.Log.Info("guest", "domain", name, "says", line)
	}}
	for i := range g.Ports {
		p, err := g.Ports[i].port()
		if err != nil {
			return err
		}
		p.Neighbour = n.neighbourOf
		spec.Ports = append(spec.Ports, p)
	}
	run, err := n.binding.Start(nodeosabi.OnNode(d), spec)
	if err != nil {
		return errs.New(errs.KindOf(err), "guest %s: %w", g.Code, err)
	}
	n.cuts.Go(func() {
		<-run.Done()
		n.guestEnded(name, g.Code, d, run.Status())
	})
	return nil
}

// GuestEvent tells that a program of a domain of the node file has ended, and its domain with it.
type GuestEvent struct {
	Kind   string        `json:"kind"` // guest-ended
	Node   string        `json:"node"`
	Time   time.Duration `json:"t"` // of the node's clock
	Domain string        `json:"domain"`
	Code   string        `json:"code"` // file
	Cause  string        `json:"cause"`
	Exit   int32         `json:"exit"`
	Reason string        `json:"reason,omitempty"`
}

// guestEnded ends the domain of a program that has ended, and tells.
func (n *Node) guestEnded(name, code string, d *nodeos.Domain, st vm.Status) {
	if d.State() != nodeos.Active { // by reload or close, or by policy, which is told as that
		return
	}
	e := GuestEvent{"guest-ended", n.os.Name(), time.Duration(n.os.Clock().Now()), d.Path(), code, st.Cause.String(), st.Code, ""}
	if st.Err != nil {
		e.Reason = st.Err.Error()
	}
	n.env.Log.Warn("guest ended", "domain", name, "cause", st.Cause, "exit", st.Code, "reason", e.Reason)
	n.event(e)
	d.Terminate(errs.New(errs.Dead, "its guest has ended: %v, code %d", st.Cause, st.Code))
}

// neighbourOf finds the hardware address of the host's next hop to an address.
func (n *Node) neighbourOf(a netip.Addr) (mac [6]byte, ok bool) {
	t := n.Host()
	if t == nil {
		return mac, false
	}
	r := t.Lookup(a)
	if r == nil {
		return mac, false
	}
	h := r.Next(0)
	if h == nil {
		return mac, false
	}
	via := h.Gateway
	if !via.IsValid() {
		via = a
	}
	if nb := t.Neighbor(h.Ifindex, via); nb != nil {
		if mac, ok = nb.HWAddr(); ok {
			nb.Use()
			return mac, true
		}
	}
	t.Resolve(h.Ifindex, via)
	return mac, false
}
