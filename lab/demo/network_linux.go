package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/nodes"
)

// demo is one run on real links.
type demo struct {
	run
	lab  *lab.Lab
	plan *lab.Plan

	source    string   // the first host
	receivers []string // the other hosts
	clients   map[string]*control.Client
	alive     map[string]bool // nodes whose process runs
	names     map[ants.NodeAddr]string
	addrs     map[string]ants.NodeAddr
	exact     bool // the kernel's counters count nothing but what the nodes send

	sessionClient, sessionServer *process
}

// onLinks goes through the phases on real links.
func (r *run) onLinks(ctx context.Context) (err error) {
	d := &demo{
		run: *r, clients: make(map[string]*control.Client), alive: make(map[string]bool),
		names: make(map[ants.NodeAddr]string), addrs: make(map[string]ants.NodeAddr),
	}
	if err := d.up(ctx); err != nil {
		return err
	}
	defer func() {
		if derr := d.down(); err == nil {
			err = derr
		}
	}()
	for _, phase := range []func(context.Context) error{d.ping, d.multicast, d.ordinary, d.failure, d.attack, d.finish} {
		if err := phase(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// up builds the network and waits until every node knows the way to every other.
func (d *demo) up(ctx context.Context) error {
	t, err := lab.Load(d.opt.Topology)
	if err != nil {
		return err
	}
	plan, err := t.Plan()
	if err != nil {
		return err
	}
	d.rep.Network, d.source, d.receivers = cast(plan)
	if d.source == "" || len(d.receivers) < 3 || d.rep.Network.Routers < 5 {
		return errs.New(errs.Invalid, "%s: the demo needs at least four hosts and five routers", d.opt.Topology)
	}
	d.p.phase("network: %d hosts, %d routers, %d links with delay, from %s", d.rep.Network.Hosts, d.rep.Network.Routers, len(plan.Links), d.opt.Topology)
	d.p.progress("building namespaces and links, starting %d nodes", len(plan.Nodes))
	begin := time.Now()
	if d.lab, err = lab.Up(ctx, t, nodes.Options(plan, []string{d.opt.Janos})); err != nil {
		return err
	}
	d.rep.Network.UpTook = time.Since(begin)
	d.plan = d.lab.Plan()
	st := d.lab.Status()
	for _, n := range d.plan.Nodes {
		if d.clients[n.Name], err = nodes.Dial(&st, n.Name); err != nil {
			return err
		}
		d.alive[n.Name] = true
		a, err := ants.ParseNodeAddr(n.Addr.String())
		if err != nil {
			return err
		}
		d.names[a], d.addrs[n.Name] = n.Name, a
	}
	d.p.line("up in %s: a namespace and a node process for each, links carried by one wire process", short(d.rep.Network.UpTook))
	d.p.progress("waiting for routes")
	begin = time.Now()
	rctx, stop := context.WithTimeout(ctx, 15*time.Second)
	defer stop()
	if err := nodes.AwaitRoutes(rctx, &st); err != nil {
		return err
	}
	d.rep.Network.RoutedIn = time.Since(begin)
	if err := d.lookForNotes(ctx); err != nil {
		return err
	}
	d.p.line("every node found the way to every other by itself, %s after the last one started", short(d.rep.Network.RoutedIn))
	return nil
}

// lookForNotes finds out whether links are degraded. Where capsules cannot be kept from the hosts' stacks, these answer them, and the
// kernel's counters count that too.
func (d *demo) lookForNotes(ctx context.Context) error {
	d.exact = true
	for _, n := range d.plan.Nodes {
		st, err := d.client(n.Name).Status(ctx)
		if err != nil {
			return err
		}
		for _, l := range st.Links {
			if len(l.Notes) > 0 && d.exact {
				d.exact = false
				d.leaveOut("exact comparison with the kernel's counters: %s", strings.Join(l.Notes, "; "))
			}
		}
	}
	return nil
}

// down takes everything away and looks whether it is gone.
func (d *demo) down() error {
	d.p.progress("taking the network down")
	st := d.lab.Status()
	if err := d.lab.Down(); err != nil {
		return err
	}
	left := leftovers(&st)
	d.p.phase("end")
	d.check("namespaces, links, processes and files are gone", len(left) == 0, strings.Join(left, ", "))
	return nil
}

// leftovers lists what is still there of a lab that was taken down.
func leftovers(s *lab.State) []string {
	var left []string
	if _, err := os.Lstat(s.Dir); err == nil {
		left = append(left, s.Dir)
	}
	for _, name := range s.Spaces {
		if _, err := os.Lstat(filepath.Join(s.SpaceDir, name)); err == nil {
			left = append(left, "namespace "+name)
		}
	}
	for _, p := range s.Processes {
		if _, err := os.Lstat(filepath.Join("/proc", strconv.Itoa(p.PID))); err == nil {
			left = append(left, fmt.Sprintf("process %d (%s)", p.PID, p.Role))
		}
	}
	return left
}

func (d *demo) client(node string) *control.Client { return d.clients[node] }

// register makes a protocol of the example capsules known to a host.
func (d *demo) register(ctx context.Context, node, file string) error {
	return d.registerFile(ctx, node, filepath.Join(d.opt.Capsules, file))
}

func (d *demo) registerFile(ctx context.Context, node, file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if _, err := d.client(node).Register(ctx, path); err != nil {
		return fmt.Errorf("registering %s at %s: %w", file, node, err)
	}
	return nil
}

// eventsOf returns the EE events of all living nodes, by node, from the given line numbers on; since is advanced.
func (d *demo) eventsOf(ctx context.Context, since map[string]uint64) (map[string][]nodeEvent, error) {
	out := make(map[string][]nodeEvent)
	for _, n := range d.plan.Nodes {
		if !d.alive[n.Name] {
			continue
		}
		from := since[n.Name]
		err := d.client(n.Name).Events(ctx, from, false, func(line []byte) error {
			from++
			var e nodeEvent
			if err := json.Unmarshal(line, &e); err != nil {
				return errs.New(errs.Corrupt, "event of %s: %w", n.Name, err)
			}
			out[n.Name] = append(out[n.Name], e)
			return nil
		})
		if err != nil {
			return nil, err
		}
		since[n.Name] = from
	}
	return out, nil
}

// nodeEvent is what the demo reads of the events of all layers.
type nodeEvent struct {
	Time      int64         `json:"time_ns"`
	Kind      string        `json:"kind"`
	Protocol  string        `json:"protocol"`
	Peer      ants.NodeAddr `json:"peer"`
	Neighbour ants.NodeAddr `json:"neighbour"`
	Bytes     int           `json:"bytes"`
	Chunks    int           `json:"chunks"`
	Took      time.Duration `json:"took_ns"`
	Reason    string        `json:"reason"`
	Silence   time.Duration `json:"silence_ns"`
}
