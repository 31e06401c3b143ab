package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// Options say how the demo runs.
type Options struct {
	Topology string    // file
	Capsules string    // directory with the bundles ping, trace and multicast
	Janos    string    // this program, for processes inside the network
	JSON     string    // where to write the Report; empty: nowhere
	Out      io.Writer // the report for people
	Terminal bool      // Out is a terminal: show progress
	LeftOut  []string  // what the caller already knows not to work here
	Form     string    // of the network, for the report

}

// demo is one run.
type demo struct {
	opt   Options
	p     *printer
	rep   *Report
	lab   *lab.Lab
	plan  *lab.Plan
	start time.Time

	source    string   // the first host
	receivers []string // the other hosts
	clients   map[string]*control.Client
	alive     map[string]bool // nodes whose process runs
	names     map[ants.NodeAddr]string
	addrs     map[string]ants.NodeAddr
	quiet     Quantiles

	sessionClient, sessionServer *process
}

// Run runs the demo. The error says what failed; the report has been written in any case.
func Run(ctx context.Context, opt Options) error {
	d := &demo{
		opt: opt, p: &printer{w: opt.Out, terminal: opt.Terminal}, start: time.Now(),
		rep:     &Report{Form: opt.Form, LeftOut: opt.LeftOut, Failures: []string{}},
		clients: make(map[string]*control.Client), alive: make(map[string]bool),
		names: make(map[ants.NodeAddr]string), addrs: make(map[string]ants.NodeAddr),
	}
	err := d.run(ctx)
	d.rep.Took = time.Since(d.start)
	d.rep.OK = err == nil && len(d.rep.Failures) == 0
	if opt.JSON != "" {
		if werr := d.write(); werr != nil && err == nil {
			err = werr
		}
	}
	d.p.done()
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(opt.Out, "\ndemo: interrupted; everything was removed\n")
		return errs.New(errs.Timeout, "the demo was interrupted")
	case err != nil:
		fmt.Fprintf(opt.Out, "\ndemo: FAILED: %v\n", err)
		return errs.New(errs.KindOf(err), "the demo failed")
	case len(d.rep.Failures) > 0:
		fmt.Fprintf(opt.Out, "\ndemo: FAILED: %s\n", strings.Join(d.rep.Failures, "\n              "))
		return errs.New(errs.Corrupt, "%d of %d checks failed", len(d.rep.Failures), len(d.rep.Checks))
	}
	if opt.JSON != "" {
		fmt.Fprintf(opt.Out, "\nreport for programs: %s\n", opt.JSON)
	}
	fmt.Fprintf(opt.Out, "%d checks passed in %s\ndemo: ok\n", len(d.rep.Checks), short(d.rep.Took))
	return nil
}

func (d *demo) write() error {
	b, err := json.MarshalIndent(d.rep, "", "  ")
	if err != nil {
		return errs.New(errs.Internal, "report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(d.opt.JSON), 0o755); err != nil {
		return errs.New(errs.Invalid, "report: %w", err)
	}
	if err := os.WriteFile(d.opt.JSON, append(b, '\n'), 0o644); err != nil {
		return errs.New(errs.Invalid, "report: %w", err)
	}
	return nil
}

func (d *demo) run(ctx context.Context) (err error) {
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

// check records a comparison and makes a failure of one that does not hold.
func (d *demo) check(what string, ok bool, text string) {
	d.rep.Checks = append(d.rep.Checks, Check{What: what, OK: ok, Text: text})
	if ok {
		d.p.line("checked: %s", what)
		return
	}
	d.p.line("WRONG: %s: %s", what, text)
	d.rep.Failures = append(d.rep.Failures, what+": "+text)
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
	for _, n := range plan.Nodes {
		switch n.Kind {
		case lab.Host:
			d.rep.Network.Hosts++
			if d.source == "" {
				d.source = n.Name
			} else {
				d.receivers = append(d.receivers, n.Name)
			}
		case lab.Router:
			d.rep.Network.Routers++
		}
	}
	d.rep.Network.Links = len(plan.Links)
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
	d.p.line("every node found the way to every other by itself, %s after the last one started", short(d.rep.Network.RoutedIn))
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
