package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/linkmodel"
)

// Options say how a laboratory is built. The zero value is useful for programs whose command line has the verbs `lab
// wire` and `lab counters`, as janos has.
type Options struct {
	StateDir string   // where state directories are made; zero means DefaultStateDir
	SpaceDir string   // where namespaces get their names; zero means /run/netns, or inside the state directory in a user namespace of our own
	Helper   []string // command line to which "wire FILE" and "counters DIR" are appended; zero means this program and "lab"

	// Node returns the command of a node's process; dir is a directory for its files, which goes with the lab. Nil means
	// that nodes have no process, only their kernel's stack.
	Node func(n *NodePlan, dir string) ([]string, error)
	// Ready blocks until the node's process, started with files in dir, is ready, or ctx ends. Nil means it is ready at once.
	Ready func(ctx context.Context, n *NodePlan, dir string) error

	// Capsules carries out the actions Send and Probe: the node, with its files in dir, injects capsules to the node to. What it returns
	// goes into the event log. Nil means that nodes have no capsules.
	Capsules func(ctx context.Context, n *NodePlan, dir string, a Action, to *NodePlan) (string, error)

	Event func(Event) // called for every event, one at a time; it must not call the Lab
}

// Lab is a laboratory network that exists. The process that made it owns it. Its methods may be called concurrently.
type Lab struct {
	plan   *Plan
	opt    Options
	file   string
	lock   *os.File
	net    *network
	spawn  *spawner
	events *eventLog
	log    *os.File

	mu    sync.Mutex // guards what follows
	state State
	nodes []*child // by node; nil where no process has been started, or the last one has ended and was seen
	wire  *wireProcess
	down  bool

	control *http.Server   // what serve has started
	running sync.WaitGroup // calls that use namespaces
	downed  chan struct{}  // closed when Down is finished
	downErr error
}

// Up builds the network of a topology and starts its nodes. Leftovers of labs whose owner has died are removed first. It needs
// root, or a process that InUserNamespace has started. If it fails, or ctx ends before it is done, nothing is left.
// ctx does not bound the life of the result; the caller calls Down.
func Up(ctx context.Context, t *Topology, opt Options) (*Lab, error) {
	p, err := t.Plan()
	if err != nil {
		return nil, err
	}
	if opt.StateDir == "" {
		opt.StateDir = DefaultStateDir()
	}
	if opt.StateDir, err = filepath.Abs(opt.StateDir); err != nil {
		return nil, err
	}
	if len(opt.Helper) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, errs.New(errs.NotSupported, "this program's file: %w", err)
		}
		opt.Helper = []string{self, "lab"}
	}
	if _, err := Sweep(opt.StateDir); err != nil {
		return nil, err
	}
	l := &Lab{plan: p, opt: opt, nodes: make([]*child, len(p.Nodes)), downed: make(chan struct{})}
	dir, lock, err := lockState(opt.StateDir, p.Name)
	// An owner that was killed a moment ago may still be dying.
	for tries := 0; errors.Is(err, errBusy) && tries < busyTries && ctx.Err() == nil; tries++ {
		time.Sleep(busyWait)
		dir, lock, err = lockState(opt.StateDir, p.Name)
	}
	if errors.Is(err, errBusy) {
		return nil, errs.New(errs.Exists, "lab %s is up already%s; take it down with: janos lab down %s", p.Name, ownerOf(dir), p.Name)
	}
	if err != nil {
		return nil, err
	}
	l.lock = lock
	if err := l.up(ctx, t.file, dir); err != nil {
		return nil, errors.Join(err, l.Down())
	}
	return l, nil
}

// How often and how long Up waits for a lock.
const (
	busyTries = 20
	busyWait  = 25 * time.Millisecond
)

// ownerOf says who holds a state directory, as far as that is written there.
func ownerOf(dir string) string {
	s, err := readState(dir)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", its owner is process %d", s.Owner.PID)
}

func (l *Lab) up(ctx context.Context, file, dir string) (err error) {
	owner, err := process(os.Getpid(), "owner")
	if err != nil {
		return errs.New(errs.NotSupported, "own start time: %w; is /proc mounted?", err)
	}
	if file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	l.state = State{
		Name: l.plan.Name, File: file, Owner: owner, Dir: dir, Control: filepath.Join(dir, "control"),
		SpaceDir: l.opt.SpaceDir, Spaces: spaceNames(l.plan), OwnUserNS: inOwnUserNS(),
		WireConfig: filepath.Join(dir, "wire.json"), Plan: l.plan,
	}
	if l.state.SpaceDir == "" {
		l.state.SpaceDir = netns.Dir
		if l.state.OwnUserNS {
			l.state.SpaceDir = filepath.Join(dir, "netns")
		}
	}
	for i, n := range l.plan.Nodes {
		d := filepath.Join(dir, "nodes", n.Name)
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		l.state.Nodes = append(l.state.Nodes, NodeState{Name: n.Name, Space: l.state.Spaces[i], Dir: d, Log: filepath.Join(d, "log")})
	}
	// What is not ours must not be removed by a later sweep: names that exist are refused before they are written down.
	for _, name := range l.state.Spaces {
		if _, err := os.Lstat(filepath.Join(l.state.SpaceDir, name)); err == nil {
			taken := errs.New(errs.Exists, "network namespace %s exists, and no lab that is known here owns it; remove it with: ip netns del %s", name, name)
			l.state.Spaces = nil
			return taken
		}
	}
	if err := l.state.write(); err != nil {
		return err
	}
	if l.log, err = os.OpenFile(filepath.Join(dir, "events"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	l.events = &eventLog{clk: clock.NewReal(), out: l.log, hook: l.opt.Event}
	l.event("building", "", "", fmt.Sprintf("%d nodes, %d links", len(l.plan.Nodes), len(l.plan.Links)))
	if l.spawn, err = newSpawner(); err != nil {
		return err
	}
	if l.net, err = build(l.plan, l.state.SpaceDir, l.state.Spaces); err != nil {
		return err
	}
	if err := l.startWire(ctx); err != nil {
		return err
	}
	if err := l.serve(); err != nil {
		return err
	}
	for i := range l.plan.Nodes {
		if err := l.startNode(ctx, i, false); err != nil {
			return err
		}
	}
	for i := range l.plan.Nodes {
		if err := l.awaitNode(ctx, i); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return errs.New(errs.Timeout, "lab %s: %w", l.plan.Name, err)
	}
	l.event("ready", "", "", "")
	return nil
}

// Down ends all processes and removes namespaces, links and files. It may be called more than once and concurrently; every call
// returns when the network is gone, with the same result.
func (l *Lab) Down() error {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		<-l.downed
		return l.downErr
	}
	l.down = true
	l.mu.Unlock()
	l.downErr = l.takeDown()
	close(l.downed)
	return l.downErr
}

// Done is closed when the network has been taken down.
func (l *Lab) Done() <-chan struct{} { return l.downed }

func (l *Lab) takeDown() error {
	l.event("down", "", "", "")
	var wg sync.WaitGroup
	for _, c := range l.nodes { // nobody starts nodes any more: down is set
		if c != nil {
			wg.Add(1)
			go func() { defer wg.Done(); c.end("the lab goes down") }()
		}
	}
	wg.Wait()
	if l.wire != nil {
		l.wire.close()
	}
	if l.events != nil {
		l.events.end() // for those who follow
	}
	// Before the namespaces' handles are closed, so that commands in them end and their callers let go.
	err := removeSpaces(l.state.SpaceDir, l.state.Spaces)
	l.running.Wait()
	if l.net != nil {
		l.net.close()
	}
	if l.spawn != nil {
		l.spawn.close()
	}
	l.stopServing()
	if l.log != nil {
		l.log.Close()
	}
	if err == nil {
		err = removeState(l.state.Dir)
	}
	l.lock.Close()
	return err
}

// removeState removes a state directory whose lock the caller holds.
func removeState(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("state of lab: %w", err)
	}
	if base := filepath.Dir(dir); base == rootStateDir {
		_ = os.Remove(base) // fails while other labs are in it
	}
	return nil
}

// enter registers a call that needs the network to stay; leave ends it.
func (l *Lab) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errs.New(errs.Dead, "lab %s is down", l.plan.Name)
	}
	l.running.Add(1)
	return nil
}

func (l *Lab) leave() { l.running.Done() }

// entering is enter, and a look-up of what the caller wants to work on. The caller leaves if there is no error.
func entering[T any](l *Lab, find func(name string) (T, error), name string) (T, error) {
	var none T
	if err := l.enter(); err != nil {
		return none, err
	}
	found, err := find(name)
	if err != nil {
		l.leave()
		return none, err
	}
	return found, nil
}

func (l *Lab) enterNode(name string) (*NodePlan, error) { return entering(l, l.node, name) }
func (l *Lab) enterLink(name string) (*LinkPlan, error) { return entering(l, l.link, name) }
func (l *Lab) enterProcess(node string) (*child, error) { return entering(l, l.process, node) }

// event writes an event; before the log is there it is dropped.
func (l *Lab) event(what, node, link, detail string) {
	if l.events != nil {
		l.events.add(Event{What: what, Node: node, Link: link, Detail: detail})
	}
}

// Plan returns the plan of the network. It must not be changed.
func (l *Lab) Plan() *Plan { return l.plan }

// Dir returns the state directory, which is removed by Down.
func (l *Lab) Dir() string { return l.state.Dir }

// Clock returns the clock of the event log.
func (l *Lab) Clock() clock.Clock { return l.events.clk }

// Events returns what has happened so far.
func (l *Lab) Events() []Event {
	list, _ := l.events.from(0)
	return list
}

// Status returns a copy of the lab's state.
func (l *Lab) Status() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Nodes = append([]NodeState(nil), s.Nodes...)
	s.Processes = append([]Process(nil), s.Processes...)
	return s
}

// Do runs fn on an OS thread that is in the network namespace of the node; see package internal/netns for the rules. Sockets that fn
// opens stay there.
func (l *Lab) Do(node string, fn func() error) error {
	n, err := l.enterNode(node)
	if err != nil {
		return err
	}
	defer l.leave()
	return l.net.nodes[n.Index].Do(fn)
}

func (l *Lab) node(name string) (*NodePlan, error) {
	return lookup(l, "node", name, l.plan.Node(name), l.plan.byNode)
}

// lookup returns what was found under a name, or an error that proposes another one.
func lookup[T any](l *Lab, kind, name string, found *T, others map[string]int) (*T, error) {
	if found == nil {
		return nil, errs.New(errs.NotFound, "lab %s has no %s %q; %s", l.plan.Name, kind, clip(name), suggest(name, others, "see janos lab status"))
	}
	return found, nil
}

// SetLink takes the carrier of a link away, or gives it back. A link that has no carrier carries nothing, and the kernels at its ends
// know.
func (l *Lab) SetLink(link string, up bool) error {
	lp, err := l.enterLink(link)
	if err != nil {
		return err
	}
	defer l.leave()
	if err := l.net.setLink(lp, up); err != nil {
		return fmt.Errorf("link %s: %w", lp.Name, err)
	}
	l.event(map[bool]string{true: "link-up", false: "link-down"}[up], "", lp.Name, "")
	return nil
}

func (l *Lab) link(name string) (*LinkPlan, error) {
	return lookup(l, "link", name, l.plan.Link(name), l.plan.byLink)
}

// Impair gives a link another impairment, in both directions. Frames that are under way are not affected.
func (l *Lab) Impair(link string, im linkmodel.Impairment) error {
	lp, err := l.enterLink(link)
	if err != nil {
		return err
	}
	defer l.leave()
	if lp.Direct {
		return errs.New(errs.Invalid, "link %s is direct, so nothing can delay or drop on it; remove direct in the topology", link)
	}
	if _, err := l.wire.ask(wire.Command{Op: "impair", Link: link, Impair: im}); err != nil {
		return err
	}
	b, _ := json.Marshal(im) // numbers and no cycle: cannot fail
	l.event("impair", "", link, string(b))
	return nil
}

// WireStats returns what the wire process counted, per link that is not direct.
func (l *Lab) WireStats() ([]wire.LinkStats, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	if l.wire == nil {
		return nil, nil
	}
	r, err := l.wire.ask(wire.Command{Op: "stats"})
	return r.Stats, err
}

// Exec runs a command in the node's namespace and waits for it. It returns its exit code; 128 plus the number when a signal ended
// it. When ctx ends, the command and its process group are killed. stdin may be nil.
func (l *Lab) Exec(ctx context.Context, node string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	n, err := l.enterNode(node)
	if err != nil {
		return 0, err
	}
	defer l.leave()
	if len(argv) == 0 {
		return 0, errs.New(errs.Invalid, "no command for node %s", node)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace // somebody may hold the pipes longer than the command lives
	if err := l.spawn.start(l.net.nodes[n.Index].Namespace, cmd); err != nil {
		return 0, errs.New(errs.NotFound, "node %s: %s: %w", node, argv[0], err)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, errs.New(errs.Timeout, "node %s: %s: %w", node, argv[0], ctx.Err())
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return exitCode(err)
}

// wireProcess is the process that carries the frames.
type wireProcess struct {
	*child
	mu  sync.Mutex // one question at a time
	in  io.WriteCloser
	out *bufio.Reader
}

func (l *Lab) startWire(ctx context.Context) error {
	cfg, needed := wireConfig(l.plan)
	if !needed {
		return nil
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.state.WireConfig, b, 0o600); err != nil {
		return err
	}
	cmd := l.helper("wire", l.state.WireConfig)
	w := &wireProcess{}
	if w.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	w.out = bufio.NewReader(out)
	cmd.Stderr = l.log
	if err := l.spawn.start(l.net.wires.Namespace, cmd); err != nil {
		return errs.New(errs.NotSupported, "wire process: %w", err)
	}
	first := make(chan error, 1)
	go func() { _, err := w.answer(); first <- err }()
	select {
	case err = <-first:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // which ends the read
		<-first
		err = ctx.Err()
	}
	// Watched only now: waiting for a process closes the pipes that are being read.
	w.child = watch(cmd, "wire", func(c *child) {
		if c.reason() == "" {
			l.event("wire-died", "", "", c.exit)
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire = w
	if err != nil {
		return fmt.Errorf("wire process: %w", err)
	}
	l.state.Processes = append(l.state.Processes, w.Process)
	return l.state.write()
}

func (w *wireProcess) ask(c wire.Command) (wire.Reply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := json.Marshal(c)
	if err != nil {
		return wire.Reply{}, err
	}
	if _, err := w.in.Write(append(b, '\n')); err != nil {
		return wire.Reply{}, errs.New(errs.Dead, "wire process: %w", err)
	}
	return w.answer()
}

func (w *wireProcess) answer() (r wire.Reply, err error) {
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		return r, errs.New(errs.Dead, "no answer: %w", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, errs.New(errs.Internal, "answer %q: %w", clip(string(line)), err)
	}
	if r.Error != "" {
		return r, errs.New(errs.NotSupported, "%s", r.Error)
	}
	return r, nil
}

// close ends the process by closing its input, and by force if that does not help.
func (w *wireProcess) close() {
	w.child.mu.Lock()
	w.asked = "the lab goes down"
	w.child.mu.Unlock()
	w.in.Close()
	w.end("the lab goes down")
}

// helper returns the command line of one of our helper processes.
func (l *Lab) helper(args ...string) *exec.Cmd {
	argv := append(append([]string(nil), l.opt.Helper...), args...)
	return exec.Command(argv[0], argv[1:]...)
}
