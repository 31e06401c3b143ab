package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab/traffic"
)

const transferBytes = 64 << 20

// process is ordinary traffic that runs inside a node.
type process struct {
	node string
	out  bytes.Buffer
	mu   sync.Mutex
	said chan struct{} // closed with the first line
	once sync.Once
	in   io.Closer          // its standard input
	kill context.CancelFunc // for what does not end by itself
	done chan error
}

// Write implements io.Writer for the process's output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	p.once.Do(func() { close(p.said) })
	return len(b), nil
}

// spawn starts a kind of traffic in a node. A server is waited for until it is ready.
func (d *demo) spawn(ctx context.Context, node string, server bool, args ...string) (*process, error) {
	ctx, stop := context.WithCancel(ctx)
	r, w, err := os.Pipe()
	if err != nil {
		stop()
		return nil, errs.New(errs.Internal, "%s on %s: %w", args[0], node, err)
	}
	p := &process{node: node, said: make(chan struct{}), in: w, kill: stop, done: make(chan error, 1)}
	var stderr bytes.Buffer
	go func() {
		code, err := d.lab.Exec(ctx, node, append([]string{d.opt.Janos, "lab", "traffic"}, args...), r, p, &stderr)
		if err == nil && code != 0 {
			err = errs.New(errs.Internal, "%s on %s: exit code %d: %s", args[0], node, code, strings.TrimSpace(stderr.String()))
		}
		r.Close()
		p.done <- err
	}()
	if !server {
		return p, nil
	}
	select {
	case <-p.said:
		return p, nil
	case err := <-p.done:
		stop()
		if err == nil {
			err = errs.New(errs.Internal, "%s on %s ended before it was ready", args[0], node)
		}
		return nil, err
	case <-ctx.Done():
		stop()
		return nil, ctx.Err()
	}
}

// result waits for the process and reads the last line that it printed.
func (p *process) result(v any) error {
	err := <-p.done
	p.kill()
	p.in.Close() // again, for those that did not need it to end
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if e := json.Unmarshal([]byte(lines[len(lines)-1]), v); e != nil {
		return errors.Join(err, errs.New(errs.Corrupt, "traffic on %s printed %q", p.node, lines[len(lines)-1]))
	}
	return err
}

// interface address of a node that others can reach through the network: that of its first interface.
func (d *demo) ip(node string) string {
	return d.plan.Node(node).Interfaces[0].Prefix.Addr().String()
}

// ordinary runs what hosts do without knowing of capsules.
func (d *demo) ordinary(ctx context.Context) error {
	to := d.receivers[0]
	router := d.sessionRouter()
	t := &d.rep.Traffic
	d.p.phase("ordinary traffic of the hosts' own stacks over the same routers")
	before, err := d.counts(ctx)
	if err != nil {
		return err
	}
	d.p.progress("icmp, udp")
	sink, err := d.spawn(ctx, to, true, "udp-receive")
	if err != nil {
		return err
	}
	send, err := d.spawn(ctx, d.source, false, "udp-send", "--to", d.ip(to)+":7000", "--for", "1s", "--interval", "2ms", "--size", "400")
	if err != nil {
		return err
	}
	icmp, err := d.spawn(ctx, d.source, false, "icmp", "--to", d.ip(to), "--count", "50", "--interval", "20ms")
	if err != nil {
		return err
	}
	var echo traffic.EchoResult
	var sent traffic.UDPSent
	var got traffic.UDPReceived
	if err := errors.Join(icmp.result(&echo), send.result(&sent), sink.result(&got)); err != nil {
		return err
	}
	var rtts []time.Duration
	for _, us := range echo.RTT {
		rtts = append(rtts, time.Duration(us)*time.Microsecond)
	}
	t.ICMP = quantiles(echo.Sent, rtts)
	t.UDP = Stream{Sent: sent.Sent, Received: got.Received, Gap: got.LongestGap}
	d.p.line("icmp echo: %s", t.ICMP)
	d.p.line("udp: %d of %d datagrams", got.Received, sent.Sent)
	d.p.progress("tcp, %d MiB", transferBytes>>20)
	server, err := d.spawn(ctx, to, true, "tcp-receive")
	if err != nil {
		return err
	}
	client, err := d.spawn(ctx, d.source, false, "tcp-send", "--to", d.ip(to)+":7001", "--bytes", fmt.Sprint(transferBytes))
	if err != nil {
		return err
	}
	var ts, tr traffic.Transfer
	if err := errors.Join(client.result(&ts), server.result(&tr)); err != nil {
		return err
	}
	t.TCP = TCP{Bytes: tr.Bytes, Seconds: ts.Seconds, Sent: ts.SHA256, Got: tr.SHA256}
	d.p.line("tcp: %d MiB in %.1f s, sha256 %s...", tr.Bytes>>20, ts.Seconds, tr.SHA256[:16])
	after, err := d.counts(ctx)
	if err != nil {
		return err
	}
	d.check("icmp: no echo was lost", t.ICMP.Lost == 0 && t.ICMP.Sent == 50, t.ICMP.String())
	d.check("udp: every datagram arrived once", got.Received == sent.Sent && got.Duplicates == 0 && sent.Failed == 0, fmt.Sprintf("%+v, %+v", sent, got))
	d.check("tcp: both ends hashed the same bytes", ts.SHA256 == tr.SHA256 && tr.Bytes == transferBytes, fmt.Sprintf("sent %+v, received %+v", ts, tr))
	deltas := d.compare("ordinary traffic", before, after, false)
	last := deltas[d.hostKey(to)]
	d.check("the last link's kernel counters carried the transfer", last.kernelRx > transferBytes/1500 && last.capsulesIn < 100,
		fmt.Sprintf("%d packets", last.kernelRx))
	d.rep.Traffic.Session.Router = router
	return nil
}

func (d *demo) hostKey(host string) string { return host + "/" + d.plan.Node(host).Interfaces[0].Name }

// sessionRouter is the router of the last receiver: not one that the demo kills.
func (d *demo) sessionRouter() string {
	last := d.plan.Node(d.receivers[len(d.receivers)-1])
	return peer(d.plan, last.Interfaces[0].Link, last.Name)
}

// failure kills a router on the path while capsules and datagrams cross it.
func (d *demo) failure(ctx context.Context) error {
	to := d.receivers[0]
	f := &d.rep.Failure
	d.p.phase("failure: a router on the path from %s to %s gets SIGKILL; nobody is told", d.source, to)
	if err := d.register(ctx, d.source, "trace/protocol.yaml"); err != nil {
		return err
	}
	var err error
	if f.Before, err = d.trace(ctx, to, 5*time.Second); err != nil {
		return err
	}
	d.p.line("path before: %s", path(f.Before))
	if f.Killed = transit(d.plan, f.Before); f.Killed == "" {
		return errs.New(errs.Invalid, "no router on the path %s is free of hosts", path(f.Before))
	}
	session, server, err := d.startSession(ctx)
	if err != nil {
		return err
	}
	since := make(map[string]uint64)
	if _, err := d.eventsOf(ctx, since); err != nil {
		return err
	}
	sink, err := d.spawn(ctx, to, true, "udp-receive", "--idle", "3s")
	if err != nil {
		return err
	}
	send, err := d.spawn(ctx, d.source, false, "udp-send", "--to", d.ip(to)+":7000", "--for", "4s", "--interval", "5ms")
	if err != nil {
		return err
	}
	type probed struct {
		q    Quantiles
		lost []int
		err  error
	}
	probe := make(chan probed, 1)
	go func() {
		r, err := d.client(d.source).Probe(ctx, d.pingTo(to, failurePings, failureEvery))
		probe <- probed{quantiles(r.Sent, r.RTT), r.Lost, err}
	}()
	if !sleep(ctx, killAfter) {
		return ctx.Err()
	}
	d.p.progress("killing %s", f.Killed)
	killed := time.Now()
	if err := d.lab.Kill(f.Killed); err != nil {
		return err
	}
	d.alive[f.Killed] = false
	for f.Moved == 0 && time.Since(killed) < 10*time.Second {
		hs, err := d.trace(ctx, to, 300*time.Millisecond)
		if err == nil && !slices.ContainsFunc(hs, func(h Hop) bool { return h.Node == f.Killed }) {
			f.Moved, f.After = time.Since(killed), hs
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	p := <-probe
	if p.err != nil {
		return p.err
	}
	f.Pings = p.q
	run := longestRun(p.lost)
	f.LossWindow = time.Duration(run) * failureEvery
	f.LostBeside = len(p.lost) - run
	var sent traffic.UDPSent
	var got traffic.UDPReceived
	if err := errors.Join(send.result(&sent), sink.result(&got)); err != nil {
		return err
	}
	f.UDP = Stream{Sent: sent.Sent, Received: got.Received, Gap: got.LongestGap}
	if f.Noticed, err = d.noticed(ctx, since, killed, f.Killed); err != nil {
		return err
	}
	slow := ""
	for _, n := range f.Noticed {
		d.p.line("%s noticed %s after %s", n.Node, n.How, short(n.After))
		if n.After > time.Second {
			slow = n.Node
		}
	}
	d.p.line("path after, seen %s after the kill: %s", short(f.Moved), path(f.After))
	d.p.line("capsules: %s; loss window %s", f.Pings, short(f.LossWindow))
	d.p.line("plain udp: %d of %d datagrams, longest silence %s", got.Received, sent.Sent, short(got.LongestGap))
	d.check("every neighbour of "+f.Killed+" noticed within a second", slow == "" && len(f.Noticed) == d.neighbours(f.Killed), fmt.Sprintf("%+v", f.Noticed))
	d.check("capsules go another way", len(f.After) > 0, "no trace came back by another way in ten seconds")
	d.check("pings were lost in one window of less than 1.5 s", f.LossWindow < 1500*time.Millisecond && f.LostBeside == 0 && f.Pings.Received > failurePings/2,
		fmt.Sprintf("window %s, %d lost beside it; drops: %s", short(f.LossWindow), f.LostBeside, d.drops(ctx)))
	d.check("the udp stream went on", got.Highest+20 > sent.Sent+sent.Failed && got.LongestGap < 2*time.Second, fmt.Sprintf("%+v of %+v", got, sent))
	if err := d.plainIPMoved(ctx, to); err != nil {
		return err
	}
	d.sessionClient, d.sessionServer = session, server // until finish
	return nil
}

// plainIPMoved sends datagrams and looks whether any went through the dead router's kernel, which still forwards what it is given: only
// the routes of the others keep packets away from it.
func (d *demo) plainIPMoved(ctx context.Context, to string) error {
	through := func() (n uint64, err error) {
		cs, err := d.lab.Counters(ctx)
		for _, c := range cs {
			if c.Node == d.rep.Failure.Killed {
				n += c.RxPackets
			}
		}
		return n, err
	}
	before, err := through()
	if err != nil {
		return err
	}
	sink, err := d.spawn(ctx, to, true, "udp-receive", "--idle", "3s")
	if err != nil {
		return err
	}
	send, err := d.spawn(ctx, d.source, false, "udp-send", "--to", d.ip(to)+":7000", "--for", "500ms", "--interval", "1ms")
	if err != nil {
		return err
	}
	var sent traffic.UDPSent
	var got traffic.UDPReceived
	if err := errors.Join(send.result(&sent), sink.result(&got)); err != nil {
		return err
	}
	after, err := through()
	if err != nil {
		return err
	}
	// What the dead router still receives are the hellos of its neighbours, five a second on each link.
	d.check(fmt.Sprintf("plain IP goes another way too: %d of %d datagrams arrived, and the dead router's kernel received %d packets", got.Received, sent.Sent, after-before),
		got.Received == sent.Sent && sent.Sent > 0 && after-before < sent.Sent/5, fmt.Sprintf("%+v, %+v", sent, got))
	return nil
}

// drops lists what the nodes and the wires have dropped, by cause.
func (d *demo) drops(ctx context.Context) string {
	var out []string
	for _, n := range d.plan.Nodes {
		if !d.alive[n.Name] {
			continue
		}
		a, err := d.client(n.Name).ANTS(ctx)
		if err != nil {
			continue
		}
		for cause, k := range a.Drops {
			out = append(out, fmt.Sprintf("%s %s %d", n.Name, cause, k))
		}
		st, err := d.client(n.Name).Status(ctx)
		if err != nil {
			continue
		}
		for _, l := range st.Links {
			if k := l.Stats.RxDrops + l.Stats.TxDrops; k > 0 {
				out = append(out, fmt.Sprintf("%s/%s link %d", n.Name, l.Name, k))
			}
		}
		for _, c := range st.Channels {
			if k := c.Stats.Full + c.Stats.Poor; k > 0 {
				out = append(out, fmt.Sprintf("%s %s %d", n.Name, c.Protocol, k))
			}
		}
	}
	if ws, err := d.lab.WireStats(); err == nil {
		for _, w := range ws {
			for i, s := range w.Directions {
				if k := s.Received - s.Delivered; k > 0 {
					out = append(out, fmt.Sprintf("wire %s/%d %d", w.Name, i, k))
				}
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (d *demo) neighbours(node string) int { return len(d.plan.Node(node).Interfaces) }

// noticed finds when the neighbours gave a node up.
func (d *demo) noticed(ctx context.Context, since map[string]uint64, killed time.Time, node string) ([]Notice, error) {
	ev, err := d.eventsOf(ctx, since)
	if err != nil {
		return nil, err
	}
	var out []Notice
	for _, n := range d.plan.Nodes {
		for _, e := range ev[n.Name] {
			if e.Kind != "neighbour-down" || e.Neighbour != d.addrs[node] {
				continue
			}
			st, err := d.client(n.Name).Status(ctx)
			if err != nil {
				return nil, err
			}
			at := st.Wall.Add(time.Duration(e.Time) - time.Duration(st.Now))
			out = append(out, Notice{Node: n.Name, After: at.Sub(killed), How: e.Reason + " for " + short(e.Silence)})
			break
		}
	}
	return out, nil
}

// startSession opens the TCP session to a router's own stack that has to survive everything that follows.
func (d *demo) startSession(ctx context.Context) (client, server *process, err error) {
	r := d.rep.Traffic.Session.Router
	if server, err = d.spawn(ctx, r, true, "session-serve"); err != nil {
		return nil, nil, err
	}
	client, err = d.spawn(ctx, d.source, false, "session", "--until-eof", "--to", d.ip(r)+":7022")
	return client, server, err
}

// attack sends hostile capsules from two hosts into routers that the pings of others use.
func (d *demo) attack(ctx context.Context) error {
	to := d.receivers[0]
	attackers := d.receivers[len(d.receivers)-2:]
	kinds := []string{"greedy", "loop"}
	a := &d.rep.Attack
	d.p.phase("attack: %s send %d looping and %d memory-greedy capsules while %s pings %s", strings.Join(attackers, " and "), hostileCount, hostileCount, d.source, to)
	before := make(map[string]control.ANTS)
	for _, n := range d.plan.Nodes {
		if d.alive[n.Name] {
			s, err := d.client(n.Name).ANTS(ctx)
			if err != nil {
				return err
			}
			before[n.Name] = s
		}
	}
	type sent struct {
		kind string
		n    int
		err  error
	}
	out := make(chan sent, len(kinds)*len(attackers))
	for _, from := range attackers {
		for _, k := range kinds {
			if err := d.registerFile(ctx, from, filepath.Join(filepath.Dir(d.opt.Topology), "hostile", k+".yaml")); err != nil {
				return err
			}
		}
	}
	for _, from := range attackers {
		for _, k := range kinds {
			go func() {
				n, err := d.client(from).Send(ctx, control.SendRequest{
					Protocol: k, Class: k, Dst: d.addrs[to], Payload: make([]byte, 8), Count: hostileCount / len(attackers), Interval: 6 * time.Millisecond,
				})
				out <- sent{k, n.Sent, err}
			}()
		}
	}
	d.p.progress("measuring the quiet network")
	calm, err := d.client(d.source).Probe(ctx, d.pingTo(to, pings, pingInterval))
	if err != nil {
		return err
	}
	a.Quiet = quantiles(calm.Sent, calm.RTT)
	d.p.progress("attacking")
	r, err := d.client(d.source).Probe(ctx, d.pingTo(to, 2*pings, pingInterval))
	if err != nil {
		return err
	}
	a.Pings = quantiles(r.Sent, r.RTT)
	total := make(map[string]int)
	for range cap(out) {
		s := <-out
		if s.err != nil {
			return fmt.Errorf("sending %s: %w", s.kind, s.err)
		}
		total[s.kind] += s.n
	}
	every := true
	for _, k := range kinds {
		a.Kinds = append(a.Kinds, Hostile{Name: k, Sent: total[k]})
		every = every && total[k] == hostileCount
	}
	if a.Quiet.P99 > 0 {
		a.Ratio = float64(a.Pings.P99) / float64(a.Quiet.P99)
	}
	d.p.line("pings before:    %s", a.Quiet)
	d.p.line("pings meanwhile: %s; p99 is %.2f times the quiet one", a.Pings, a.Ratio)
	d.settle(ctx)
	arrived, accounted := 0, 0
	for _, n := range d.plan.Nodes {
		b, ok := before[n.Name]
		if !ok {
			continue
		}
		s, err := d.client(n.Name).ANTS(ctx)
		if err != nil {
			return err
		}
		refused := 0
		for _, c := range refusals {
			refused += int(s.Drops[c.String()] - b.Drops[c.String()])
		}
		for _, k := range killsOf(n.Name, s.LastKills, kinds) {
			a.Kills = append(a.Kills, k)
			accounted += k.Count
			d.p.line("%s killed %d of %s: %s", k.Node, k.Count, k.Protocol, k.Reason)
		}
		if refused > 0 {
			a.Refused = append(a.Refused, NodeRefused{Node: n.Name, Count: refused})
			accounted += refused
			d.p.line("%s ended their domains for that, and refused %d more without running them", n.Name, refused)
		}
	}
	arrived = total["loop"] + total["greedy"]
	d.check(fmt.Sprintf("%d hostile capsules of each kind were sent into the network", hostileCount), every, fmt.Sprintf("%+v", a.Kinds))
	d.check(fmt.Sprintf("each of the %d was killed or refused by the first router it met", arrived), accounted == arrived, fmt.Sprintf("%d were; drops: %s", accounted, d.drops(ctx)))
	d.check("no ping was lost during the attack", a.Pings.Lost == 0, a.Pings.String())
	return d.accounts(ctx, attackers, kinds)
}

// accounts waits until nothing of the hostile protocols is held anywhere but at the hosts that have them registered.
func (d *demo) accounts(ctx context.Context, attackers, kinds []string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		d.rep.Attack.Left = nil
		for _, n := range d.plan.Nodes {
			if !d.alive[n.Name] || slices.Contains(attackers, n.Name) {
				continue
			}
			s, err := d.client(n.Name).ANTS(ctx)
			if err != nil {
				return err
			}
			var domains []string
			for _, p := range s.Protocols {
				if slices.Contains(kinds, p.Name) {
					domains = append(domains, p.Domain)
				}
			}
			as, err := d.client(n.Name).Accounts(ctx)
			if err != nil {
				return err
			}
			for _, acct := range as {
				if slices.Contains(domains, acct.Path) {
					d.rep.Attack.Left = append(d.rep.Attack.Left, n.Name+":"+acct.Path)
				}
			}
		}
		if len(d.rep.Attack.Left) == 0 || time.Now().After(deadline) || !sleep(ctx, 100*time.Millisecond) {
			break
		}
	}
	d.check("every hostile domain is gone and its account is back at 0", len(d.rep.Attack.Left) == 0, strings.Join(d.rep.Attack.Left, ", "))
	return nil
}

// finish ends the session and reads what it saw.
func (d *demo) finish(ctx context.Context) error {
	s := &d.rep.Traffic.Session
	d.sessionClient.in.Close()
	var r traffic.SessionResult
	if err := d.sessionClient.result(&r); err != nil {
		return err
	}
	s.Lines, s.Echoed, s.Longest = r.Lines, r.Echoed, r.Longest
	d.p.phase("the TCP session from %s to %s's own stack, open since before the failure", d.source, s.Router)
	d.p.line("%d lines, %d echoes, longest wait %s", s.Lines, s.Echoed, short(s.Longest))
	d.check("the session survived failure and attack", r.Broken == "" && r.Echoed == r.Lines && r.Lines > 10, fmt.Sprintf("%+v", r))
	var srv traffic.SessionResult
	if err := d.sessionServer.result(&srv); err != nil { // it ends with the connection
		return err
	}
	d.check("both ends of the session counted the same lines", srv.Echoed == r.Echoed, fmt.Sprintf("%+v, %+v", r, srv))
	return nil
}
