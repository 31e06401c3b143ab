package nodeos

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// NodeSpec says what a node should be. The zero value, with a clock, is a node with one worker.
type NodeSpec struct {
	Name    string
	Clock   clock.Clock
	Seed    uint64          // of all randomness on the node
	Workers int             // 0: one
	Packets packet.PoolSpec // Workers is filled in
	Root    resctl.Spec     // limits of the whole node; Name is filled in
	Stepped bool            // no goroutines: the caller drives with Step
	Policy  Policy          // asked at each Operation; nil: all may do all
	Cred    *Cred           // of the root and of the node's own calls
}

// maxWorkers bounds the workers of a node.
const maxWorkers = 256

// Node is a machine's worth of domains. Everything on it ends with Close.
type Node struct {
	spec     NodeSpec
	clk      clock.Clock
	pool     *packet.Pool
	root     *Domain
	workers  []*Worker
	closing  atomic.Bool
	mappings mappings
	descs    descs

	// feeding is held while links are given channels, which takes system calls, and is taken before mu. mu is held for moments
	// only: domains that end on a worker take it.
	feeding sync.Mutex
	mu      sync.Mutex // what follows
	links   map[string]*linkState
	numbers uint16
	chans   map[uint32]*InChan
	chanID  uint32
	slots   slotPool
	rand    uint64
	closed  bool

	cells Cells // nil: none; under feeding
	audit audit
}

// NewNode makes a node and starts its workers.
func NewNode(spec NodeSpec) (*Node, error) {
	if spec.Clock == nil {
		return nil, errs.New(errs.Invalid, "node %q: no clock", spec.Name)
	}
	if spec.Workers == 0 {
		spec.Workers = 1
	}
	if spec.Workers < 1 || spec.Workers > maxWorkers {
		return nil, errs.New(errs.Invalid, "node %q: %d workers, want 1 to %d", spec.Name, spec.Workers, maxWorkers)
	}
	spec.Root.Name = "node"
	spec.Packets.Workers = spec.Workers
	acct, err := resctl.NewTree(spec.Root, spec.Clock, spec.Workers)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", spec.Name, err)
	}
	pool, err := packet.NewPool(spec.Packets)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", spec.Name, err)
	}
	n := &Node{spec: spec, clk: spec.Clock, pool: pool, links: make(map[string]*linkState), chans: make(map[uint32]*InChan)}
	n.root = &Domain{node: n, name: "node", account: acct, cred: spec.Cred, owner: packet.Node, dead: make(chan struct{})}
	n.root.descs = newDescTable(n.root, DefaultDescriptors)
	for i := range spec.Workers {
		w, err := newWorker(n, i)
		if err != nil {
			for _, w := range n.workers {
				w.poll.Close()
			}
			pool.Close()
			return nil, fmt.Errorf("node %q: worker %d: %w", spec.Name, i, err)
		}
		n.workers = append(n.workers, w)
	}
	n.root.takeSeats()
	if !spec.Stepped {
		for _, w := range n.workers {
			go w.loop()
		}
	}
	return n, nil
}

// Name returns the node's name.
func (n *Node) Name() string { return n.spec.Name }

// Clock returns the node's clock. On a worker, Worker.Now is cheaper.
func (n *Node) Clock() clock.Clock { return n.clk }

// Seed returns the seed that the node was made with.
func (n *Node) Seed() uint64 { return n.spec.Seed }

// NewRand returns a generator of its own stream, determined by the node's seed and by how many were
// made before.
func (n *Node) NewRand() *clock.Rand {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rand++
	return clock.NewRand(n.spec.Seed, n.rand)
}

// Root returns the domain above all others. It has no limits but the node's.
func (n *Node) Root() *Domain { return n.root }

// Pool returns the node's packet memory.
func (n *Node) Pool() *packet.Pool { return n.pool }

// Workers returns the number of workers.
func (n *Node) Workers() int { return len(n.workers) }

// Worker returns worker i.
func (n *Node) Worker(i int) *Worker { return n.workers[i] }

// Stepped reports whether the caller drives the node.
func (n *Node) Stepped() bool { return n.spec.Stepped }

// Step does one turn of every worker of a stepped node and reports whether something is still
// runnable at the present time.
func (n *Node) Step() bool {
	more := false
	for _, w := range n.workers {
		if w.turn() {
			more = true
		}
		if w.woken.Load() != nil || w.posted.Load() {
			more = true
		}
	}
	return more
}

// NextEvent returns when a stepped node that has nothing runnable will have, or clock.Never.
func (n *Node) NextEvent() clock.Time {
	at := clock.Never
	for _, w := range n.workers {
		at = min(at, w.nextWake())
	}
	return at
}

// Close ends all domains, closes the links, stops the workers and unmaps the packet memory. It waits
// for them, must not be called from a worker, and may be called twice.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()

	n.closing.Store(true)
	n.root.mu.Lock() // who is making a domain has made it by now, or will be refused
	children := make([]*Domain, 0, len(n.root.children))
	for _, c := range n.root.children {
		children = append(children, c)
	}
	n.root.mu.Unlock()
	sort.Slice(children, func(i, j int) bool { return children[i].name < children[j].name })
	for _, c := range children {
		c.Terminate(errs.New(errs.Dead, "the node closes"))
	}
	for _, c := range children {
		n.await(c)
	}
	n.endRoot()
	var first error
	for _, l := range n.Links() {
		if err := n.closeLink(l.Info().Name); err != nil && first == nil {
			first = err
		}
	}
	for _, w := range n.workers {
		w.stop.Store(true)
		if w.poll != nil {
			w.poll.Wake()
			<-w.done
		}
	}
	n.mu.Lock()
	clearing := n.slots.cleared
	n.mu.Unlock()
	if clearing != nil {
		<-clearing
	}
	for _, w := range n.workers { // when none is left that could wake another
		if w.poll != nil {
			w.poll.Close()
		}
	}
	if err := n.pool.Close(); err != nil && first == nil {
		first = err
	}
	n.root.state.Store(int32(Dead))
	close(n.root.dead)
	return first
}

// endRoot ends the root as Terminate ends others, when all its children are dead. Its links are closed afterwards.
func (n *Node) endRoot() {
	d := n.root
	d.mu.Lock()
	d.state.Store(int32(Terminating))
	d.reason = errs.New(errs.Dead, "the node closes")
	hooks, inChans, paced := d.hooks, append([]*InChan(nil), d.inChans...), d.paced
	d.hooks = nil
	d.mu.Unlock()
	for _, c := range inChans {
		n.removeChan(c)
	}
	for _, w := range n.workers { // past its last run
		w.Call(func() {})
	}
	w := d.Home()
	w.Call(func() {
		for i := len(hooks) - 1; i >= 0; i-- {
			hooks[i]()
		}
		d.endHoldings()
		d.descs.end()
		for _, c := range inChans {
			c.drain(w.cache)
		}
		for _, c := range paced {
			c.end(w.cache)
		}
	})
}

// await waits until d is dead, driving the node itself if it is stepped.
func (n *Node) await(d *Domain) {
	for n.spec.Stepped && d.State() != Dead {
		n.Step()
	}
	<-d.dead
}

var drivers struct {
	mu    sync.Mutex
	open  map[string]OpenFunc
	order []string
}

// RegisterDriver makes a link driver known under a name; its package's init calls it. Drivers with
// a lower rank are tried first when a LinkSpec names none; rank 0 is never tried.
func RegisterDriver(name string, rank int, open OpenFunc) {
	drivers.mu.Lock()
	defer drivers.mu.Unlock()
	if drivers.open == nil {
		drivers.open = make(map[string]OpenFunc)
		ranks = make(map[string]int)
	}
	drivers.open[name] = open
	ranks[name] = rank
	drivers.order = drivers.order[:0]
	for n, r := range ranks {
		if r > 0 {
			drivers.order = append(drivers.order, n)
		}
	}
	sort.Slice(drivers.order, func(i, j int) bool { return ranks[drivers.order[i]] < ranks[drivers.order[j]] })
}

var ranks map[string]int // under drivers.mu

// Drivers returns the names of the registered drivers, by name.
func Drivers() []string {
	drivers.mu.Lock()
	defer drivers.mu.Unlock()
	var names []string
	for n := range drivers.open {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
