package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/nodes"
)

// inside goes through the phases that need no kernel, in one process under a virtual clock, twice: two runs
// with one seed must tell the same story to the byte.
func (r *run) inside(ctx context.Context) error {
	r.leaveOut("real links, the hosts' own stacks (ICMP, UDP, TCP, a session) and the kernel's counters: %s", r.opt.Why)
	r.p.phase("no namespaces on this machine (%s): the network in one process, under a virtual clock", r.opt.Why)
	var logs [2]bytes.Buffer
	for i := range logs {
		s := &inside{run: r}
		if i == 1 { // the second run only writes its log
			s.run = &run{opt: r.opt, p: &printer{w: io.Discard}, rep: new(Report), start: r.start}
		}
		if err := s.tell(ctx, &logs[i]); err != nil {
			return err
		}
	}
	a, b := sha256.Sum256(logs[0].Bytes()), sha256.Sum256(logs[1].Bytes())
	r.p.phase("end")
	r.check(fmt.Sprintf("a second run with the same seed wrote the same event log, %d bytes, sha256 %s...", logs[0].Len(), hex.EncodeToString(a[:8])), a == b && logs[0].Len() > 0, "they differ")
	return nil
}

// inside is one telling of the story.
type inside struct {
	*run
	plan      *lab.Plan
	sim       *nodes.Sim
	source    string
	receivers []string
}

func (s *inside) tell(ctx context.Context, log io.Writer) error {
	t, err := lab.Load(s.opt.Topology)
	if err != nil {
		return err
	}
	if s.plan, err = t.Plan(); err != nil {
		return err
	}
	s.rep.Network, s.source, s.receivers = cast(s.plan)
	if s.source == "" || len(s.receivers) < 3 {
		return errs.New(errs.Invalid, "%s: the demo needs at least four hosts", s.opt.Topology)
	}
	if s.sim, err = nodes.NewSim(s.plan, log); err != nil {
		return err
	}
	defer s.sim.Close()
	if err := s.pass(2 * time.Second); err != nil {
		return err
	}
	for _, phase := range []func() error{s.ping, s.failure, s.attack} {
		if err := phase(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pass lets virtual time pass.
func (s *inside) pass(d time.Duration) error { return s.sim.Run(s.sim.Now().Add(d)) }

func (s *inside) addr(node string) ants.NodeAddr {
	return ants.NodeAddr(routing.NodeAddrFrom(s.plan.Node(node).Addr))
}

func (s *inside) register(node, file string) (*ants.Protocol, error) {
	p, err := ants.LoadProtocol(file)
	if err != nil {
		return nil, err
	}
	return p, s.sim.Node(node).ANTS().Register(p)
}

// probe begins to ping; finish lets time pass until it is over.
func (s *inside) probe(p *ants.Protocol, to string, count int, every time.Duration) (*ants.Probe, error) {
	m, err := p.Method("ping")
	if err != nil {
		return nil, err
	}
	return s.sim.Node(s.source).ANTS().Probe(ants.ProbeSpec{
		Capsule: ants.Capsule{Method: m, Dst: s.addr(to), Data: make([]byte, pingBytes)}, Count: count, Interval: every, Timeout: 2 * time.Second,
	})
}

func (s *inside) finish(p *ants.Probe) (*ants.ProbeResult, error) {
	for end := s.sim.Now().Add(time.Minute); s.sim.Now() < end; {
		select {
		case <-p.Done():
			return p.Result(), nil
		default:
		}
		if err := s.pass(10 * time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, errs.New(errs.Timeout, "a probe did not end within a minute of virtual time")
}

func (s *inside) loads() (n uint64) {
	for _, p := range s.plan.Nodes {
		if x := s.sim.Node(p.Name); x != nil {
			n += x.ANTS().Stats().Counts.LoadsDone
		}
	}
	return n
}

func (s *inside) ping() error {
	to := s.receivers[0]
	s.p.phase("ping: %d capsules from %s to %s and back, in code that only %s has", pings, s.source, to, s.source)
	s.rep.Ping.From, s.rep.Ping.To = s.source, to
	proto, err := s.register(s.source, filepath.Join(s.opt.Capsules, "ping", "protocol.yaml"))
	if err != nil {
		return err
	}
	var loads [2]uint64
	for i, q := range []*Quantiles{&s.rep.Ping.Cold, &s.rep.Ping.Warm} {
		before := s.loads()
		p, err := s.probe(proto, to, pings, pingInterval)
		if err != nil {
			return err
		}
		r, err := s.finish(p)
		if err != nil {
			return err
		}
		*q, loads[i] = quantiles(r.Sent, r.RTT), s.loads()-before
	}
	s.rep.Ping.Second = int(loads[1])
	s.p.line("first use:  %s, %d nodes loaded the code from the one before", s.rep.Ping.Cold, loads[0])
	s.p.line("second use: %s, %d loads", s.rep.Ping.Warm, loads[1])
	s.check("no ping was lost", s.rep.Ping.Cold.Lost+s.rep.Ping.Warm.Lost == 0, fmt.Sprint(s.rep.Ping))
	s.check("code was loaded on first use and not on second", loads[0] > 0 && loads[1] == 0, fmt.Sprint(loads))
	return nil
}

func (s *inside) failure() error {
	to := s.receivers[0]
	f := &s.rep.Failure
	table := func(n string) *routing.Table { return s.sim.Node(n).Router().Table() }
	names := make(map[ants.NodeAddr]string)
	for _, n := range s.plan.Nodes {
		names[s.addr(n.Name)] = n.Name
	}
	way := func() (hs []Hop) {
		for at := s.source; at != to && len(hs) <= len(s.plan.Nodes); {
			hs = append(hs, Hop{Node: at})
			h := table(at).NextHop(routing.NodeAddr(s.addr(to)))
			if h == nil {
				return hs
			}
			at = names[ants.NodeAddr(h.Node)]
		}
		return append(hs, Hop{Node: to})
	}
	f.Before = way()
	if f.Killed = transit(s.plan, f.Before); f.Killed == "" {
		return errs.New(errs.Invalid, "no router on the way from %s to %s is free of hosts", s.source, to)
	}
	s.p.phase("failure: router %s on the path from %s to %s dies; nobody is told", f.Killed, s.source, to)
	proto, err := ants.LoadProtocol(filepath.Join(s.opt.Capsules, "ping", "protocol.yaml"))
	if err != nil {
		return err
	}
	p, err := s.probe(proto, to, failurePings, failureEvery)
	if err != nil {
		return err
	}
	if err := s.pass(killAfter); err != nil {
		return err
	}
	killed := s.sim.Now()
	if err := s.sim.Act(lab.Action{Do: lab.Kill, Node: f.Killed}); err != nil {
		return err
	}
	for _, n := range s.plan.Nodes {
		if n.Name != f.Killed && table(n.Name).Neighbour(routing.NodeAddr(s.addr(f.Killed))) != nil {
			f.Noticed = append(f.Noticed, Notice{Node: n.Name})
		}
	}
	noticed := 0
	for noticed < len(f.Noticed) && s.sim.Now() < killed.Add(10*time.Second) {
		if err := s.pass(10 * time.Millisecond); err != nil {
			return err
		}
		for i := range f.Noticed {
			if n := &f.Noticed[i]; n.After == 0 && table(n.Node).Neighbour(routing.NodeAddr(s.addr(f.Killed))) == nil {
				n.After, n.How = s.sim.Now().Sub(killed), "silent"
				noticed++
				s.p.line("%s noticed after %s", n.Node, short(n.After))
			}
		}
	}
	r, err := s.finish(p)
	if err != nil {
		return err
	}
	f.Pings, f.After = quantiles(r.Sent, r.RTT), way()
	lost := longestRun(r.Lost)
	f.LossWindow, f.LostBeside = time.Duration(lost)*failureEvery, len(r.Lost)-lost
	s.p.line("path before: %s", path(f.Before))
	s.p.line("path after:  %s", path(f.After))
	s.p.line("capsules: %s; loss window %s", f.Pings, short(f.LossWindow))
	s.check("every neighbour of "+f.Killed+" noticed within a second", noticed == len(f.Noticed) && noticed > 0 &&
		!slices.ContainsFunc(f.Noticed, func(n Notice) bool { return n.After > time.Second }), fmt.Sprintf("%+v", f.Noticed))
	s.check("capsules go another way", f.Pings.Received > failurePings/2 && !slices.ContainsFunc(f.After, func(h Hop) bool { return h.Node == f.Killed }), path(f.After))
	return nil
}

func (s *inside) attack() error {
	to, attackers := s.receivers[0], s.receivers[1:3]
	a := &s.rep.Attack
	s.p.phase("attack: %s and %s send %d looping and %d memory-greedy capsules while %s pings %s", attackers[0], attackers[1], hostileCount, hostileCount, s.source, to)
	var hostile []ants.Capsule
	kinds := []string{"greedy", "loop"}
	for _, k := range kinds {
		for _, from := range attackers {
			p, err := s.register(from, filepath.Join(filepath.Dir(s.opt.Topology), "hostile", k+".yaml"))
			if err != nil {
				return err
			}
			m, err := p.Method(k)
			if err != nil {
				return err
			}
			hostile = append(hostile, ants.Capsule{Method: m, Dst: s.addr(to), Data: make([]byte, 8)})
		}
	}
	proto, err := ants.LoadProtocol(filepath.Join(s.opt.Capsules, "ping", "protocol.yaml"))
	if err != nil {
		return err
	}
	p, err := s.probe(proto, to, pings, pingInterval)
	if err != nil {
		return err
	}
	calm, err := s.finish(p)
	if err != nil {
		return err
	}
	a.Quiet = quantiles(calm.Sent, calm.RTT)
	if p, err = s.probe(proto, to, 2*pings, pingInterval); err != nil {
		return err
	}
	sent := 0
	for range hostileCount / len(attackers) {
		for i := range hostile {
			if err := s.sim.Node(attackers[i%len(attackers)]).ANTS().Send(&hostile[i]); err != nil {
				return err
			}
			sent++
		}
		if err := s.pass(6 * time.Millisecond); err != nil {
			return err
		}
	}
	r, err := s.finish(p)
	if err != nil {
		return err
	}
	a.Pings = quantiles(r.Sent, r.RTT)
	if q := a.Quiet.P99; q > 0 {
		a.Ratio = float64(a.Pings.P99) / float64(q)
	}
	s.p.line("pings meanwhile: %s; p99 is %.2f times the quiet one", a.Pings, a.Ratio)
	accounted := 0
	for _, n := range s.plan.Nodes {
		x := s.sim.Node(n.Name)
		if x == nil {
			continue
		}
		st := x.ANTS().Stats()
		refused := 0
		for _, c := range refusals {
			refused += int(st.Drops[c.String()])
		}
		ks, _, err := x.ANTS().Kills()
		if err != nil {
			return err
		}
		for _, k := range killsOf(n.Name, ks, kinds) {
			a.Kills = append(a.Kills, k)
			accounted += k.Count
			s.p.line("%s killed %d of %s: %s", k.Node, k.Count, k.Protocol, k.Reason)
		}
		if refused > 0 {
			a.Refused = append(a.Refused, NodeRefused{n.Name, refused})
			accounted += refused
			s.p.line("%s ended their domains for that, and refused %d more without running them", n.Name, refused)
		}
		if slices.Contains(attackers, n.Name) {
			continue // it has them registered
		}
		for _, pr := range st.Protocols {
			if slices.Contains(kinds, pr.Name) {
				a.Left = append(a.Left, n.Name+":"+pr.Domain)
			}
		}
	}
	s.check(fmt.Sprintf("each of the %d was killed or refused by the first router it met", sent), accounted == sent, fmt.Sprintf("%d were", accounted))
	s.check("no ping was lost during the attack", a.Pings.Lost == 0, a.Pings.String())
	s.check("every hostile domain is gone and its account is back at 0", len(a.Left) == 0, fmt.Sprint(a.Left))
	return nil
}
