package click

import (
	"io"
	"os"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// Element is one element of a running router. Every implementation embeds Base, and has
// beside Configure those of the following methods that its ports call for:
//
//	Push (interface Pusher) for push inputs,
//	Pull (interface Puller) for pull outputs,
//	Act (interface Actor) instead of both, where input 0 leads to output 0;
//	Initialize, Start, Cleanup, AddHandlers, EmptyNotifier, FullNotifier if it needs them.
type Element interface {
	// Configure reads the arguments. It may look at the numbers of ports, and at nothing else of
	// the graph. Mistakes go to a; Configure runs for all elements even after some.
	Configure(a *Args)

	base() *Base
}

// Pusher takes packets that others push to it.
type Pusher interface {
	// Push takes all packets of b, which is not empty, and leaves b empty. It must not keep b.
	Push(port int, b *packet.Batch)
}

// Puller yields packets to others that pull from it.
type Puller interface {
	// Pull appends up to n packets to b, which has room for them.
	Pull(port int, b *packet.Batch, n int)
}

// Actor handles packets on their way from input 0 to output 0 and does not care which side
// moves them.
type Actor interface {
	// Act handles the packets of b, which is not empty. What it leaves in b goes on; what it takes out it
	// must push elsewhere or free.
	Act(b *packet.Batch)
}

// Initializer is an element that has to do something after all are configured and connected, and before any
// runs. It may make tasks, timers and channels and look at other elements.
type Initializer interface{ Initialize() error }

// Starter is an element that has to do something on the worker just before the router runs. It
// must not push or pull.
type Starter interface{ Start() }

// Cleaner is an element that holds packets or other things to give back when the router ends. Cleanup
// runs on the worker, after the last run of the graph, also when initialization failed half way.
type Cleaner interface{ Cleanup() }

// Base is what all elements have in common. Embed it; the router fills it in.
type Base struct {
	router    *Router
	thread    *Thread
	class     *Class
	name      string
	config    string
	changed   bool // config is no longer what the graph says
	index     int
	nin, nout int
	inKinds   []Kind
	outKinds  []Kind
	ins       []In
	outs      []Out
	tasks     []*Task
	handlers  *Handlers
	drops     uint64
	ordered   bool // Split keeps the order of all packets in merged runs
}

func (e *Base) base() *Base { return e }

// Name returns the element's name.
func (e *Base) Name() string { return e.name }

// Class returns the element's class.
func (e *Base) Class() *Class { return e.class }

// Router returns the router that the element is in.
func (e *Base) Router() *Router { return e.router }

// Thread returns the thread that runs the element.
func (e *Base) Thread() *Thread { return e.thread }

// Cache returns the worker's access to packet memory. On the worker.
func (e *Base) Cache() *packet.Cache { return e.thread.cache }

// Now returns the time of the current run. On the worker.
func (e *Base) Now() clock.Time { return e.thread.now }

// Owner returns who is charged for packets that the element makes.
func (e *Base) Owner() packet.Owner { return e.router.owner }

// Output returns where elements print to.
func (e *Base) Output() io.Writer { return e.router.output }

// Stdout returns where scripts print to.
func (e *Base) Stdout() io.Writer { return e.router.stdout }

// ErrHost is why an element cannot open a file.
var ErrHost = errs.New(errs.Permission, "this graph has no rights on files of the host")

// OpenOutput opens what an element prints to for its argument OUTFILE: nothing is Output, a dash Stdout, and anything else a file of the host, which it makes
// anew and which the caller closes. In Initialize.
func (e *Base) OpenOutput(file string) (to io.Writer, close io.Closer, err error) {
	switch {
	case file == "":
		return e.Output(), nil, nil
	case file == "-":
		return e.Stdout(), nil, nil
	case !e.router.host:
		return nil, nil, ErrHost
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, nil, err
	}
	return f, f, nil
}

// Inputs returns the number of inputs.
func (e *Base) Inputs() int { return e.nin }

// Outputs returns the number of outputs.
func (e *Base) Outputs() int { return e.nout }

// InputKind returns how packets move over an input. From Initialize on.
func (e *Base) InputKind(port int) Kind { return e.inKinds[port] }

// OutputKind returns how packets move over an output. From Initialize on.
func (e *Base) OutputKind(port int) Kind { return e.outKinds[port] }

// Out returns a push output.
func (e *Base) Out(port int) *Out { return &e.outs[port] }

// In returns a pull input.
func (e *Base) In(port int) *In { return &e.ins[port] }

// Forward pushes b to an output if that is connected, and otherwise drops its packets. b is empty afterwards.
func (e *Base) Forward(port int, b *packet.Batch) {
	if b.Len() == 0 {
		return
	}
	if port < len(e.outs) && e.outs[port].to != nil {
		e.outs[port].Push(b)
		return
	}
	e.Drop(b)
}

// ForwardOne is Forward for one packet.
func (e *Base) ForwardOne(port int, p *packet.Packet) {
	b := e.thread.Scratch()
	b.Append(p)
	e.Forward(port, b)
	e.thread.Release(b)
}

// Drop frees the packets of b, leaves it empty and counts them in the element's drops handler.
func (e *Base) Drop(b *packet.Batch) {
	e.drops += uint64(b.Len())
	e.thread.cache.FreeBatch(b)
}

// DropOne is Drop for one packet.
func (e *Base) DropOne(p *packet.Packet) {
	e.drops++
	e.thread.cache.Free(p)
}

// CountDrops adds to the drops handler what the element could not make or freed itself.
func (e *Base) CountDrops(n int) { e.drops += uint64(n) }

// Drops returns how many packets the element dropped.
func (e *Base) Drops() uint64 { return e.drops }

// Out is a push output: where the packets go.
type Out struct {
	to   Pusher
	port int
}

// Push gives the packets of b to the element that the output is connected to. b is empty afterwards.
func (o *Out) Push(b *packet.Batch) {
	if b.Len() > 0 {
		o.to.Push(o.port, b)
	}
}

// In is a pull input: where packets come from.
type In struct {
	from Puller
	port int
}

// Pull appends up to n packets to b, no more than fit, and returns how many.
func (i *In) Pull(b *packet.Batch, n int) int {
	had := b.Len()
	if n = min(n, b.Room()); n > 0 {
		i.from.Pull(i.port, b, n)
	}
	return b.Len() - had
}

// act makes an Actor a Pusher and a Puller.
type act struct {
	actor Actor
	out   *Out
	in    *In
	el    *Base
}

// Push implements Pusher.
func (a *act) Push(_ int, b *packet.Batch) {
	a.actor.Act(b)
	if b.Len() > 0 {
		a.out.to.Push(a.out.port, b)
	}
}

// Pull implements Puller. What is in b already belongs to the caller and is not acted upon.
func (a *act) Pull(_ int, b *packet.Batch, n int) {
	if b.Len() == 0 {
		a.in.from.Pull(a.in.port, b, n)
		if b.Len() > 0 {
			a.actor.Act(b)
		}
		return
	}
	s := a.el.thread.Scratch()
	a.in.from.Pull(a.in.port, s, n)
	if s.Len() > 0 {
		a.actor.Act(s)
		s.MoveTo(b)
	}
	a.el.thread.Release(s)
}

// Split pushes every packet of b to the output that ports names for it, in batches as large as
// possible; the order within an output is kept, and that of all packets in runs that were merged, if it matters. A port that is not connected drops. ports has an entry for
// each packet and is overwritten.
func (e *Base) Split(b *packet.Batch, ports *[packet.MaxBatch]uint16) {
	for b.Len() > 0 {
		first := ports[0]
		n := 1
		for n < b.Len() && ports[n] == first {
			n++
		}
		if n == b.Len() {
			e.Forward(int(first), b)
			return
		}
		s := e.thread.Scratch()
		pk := b.Packets()
		for _, p := range pk[:n] {
			s.Append(p)
		}
		if e.ordered && e.thread.merged {
			b.Drop1st(n)
			copy(ports[:], ports[n:len(pk)])
			e.Forward(int(first), s)
			e.thread.Release(s)
			continue
		}
		keep := 0
		for i := n; i < len(pk); i++ {
			if ports[i] == first {
				s.Append(pk[i])
				continue
			}
			b.Set(keep, pk[i])
			ports[keep] = ports[i]
			keep++
		}
		b.Truncate(keep)
		e.Forward(int(first), s)
		e.thread.Release(s)
	}
}
