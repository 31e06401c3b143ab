package jail

// The way of a request through a queue, and who may touch what.
//
//  1. Submit sets the budget aside and writes the request into slot s of the ring. Nobody sees it yet.
//  2. Flush publishes all that was submitted and wakes the worker if it says that it sleeps.
//  3. the worker copies the request, evaluates it, writes the answer into slot s and publishes that (worker.go). At the end of what there is it signals
//     the queue's descriptor.
//  4. Collect copies the answer out, settles the budget, checks the copy, and returns it. When nothing is answered, it serves the host call of
//     the evaluation that is under way, if there is one, for everything before it has been collected.
//
// A Queue, and all of process but what is atomic, belongs to the goroutine that uses the queue. The other side is hostile: every word that it publishes is read
// once, compared with what this side knows, and refused, which kills the process, if it cannot be; no index comes from there.

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// MaxBatch is how many evaluations may be under way in a queue.
const MaxBatch = ringSlots

// Ticket names a request that is under way in its queue. Zero is none.
type Ticket uint64

// Done is an evaluation that has ended.
type Done struct {
	Ticket  Ticket
	Verdict abi.Verdict
	// Err is nil; a *vm.Fault; or of kind errs.Dead when the worker ended before it answered, see Jail.Dead.
	Err error
}

// Queue evaluates in batches, without waiting. It belongs to one goroutine, which may change where another comes after it.
type Queue struct {
	j     *Jail
	n     int // lane
	event int // signalled by the worker when there is something to collect
	close bool
	gone  atomic.Bool // the same, for Jail.Close

	// Of the process in use:
	p                    *process
	lane                 *lane
	next, flushed, taken uint32 // requests written, published, collected
	served               uint32 // host calls
	pending              [ringSlots]pending
	issued               Ticket        // the last one
	open                 atomic.Uint32 // next - taken, for the watch
	moved                atomic.Uint32 // goes up with taken and served, for the watch
	weight               atomic.Uint64 // of what was answered, for the watch
	cost                 atomic.Int64  // processor time, nanoseconds, not yet asked for

	block   [abi.BlockSize]byte // copies of what came
	payload []byte
	emits   []byte
	stack   [maxArgs + 1]uint64
	views   [maxViews]vm.View
	data    [callBytes]byte
	head    [respHead]byte
	call    [callData]byte
}

// pending is what this side knows about a request.
type pending struct {
	in       *Instance
	meter    *resctl.Meter
	budget   uint64
	asked    uint64 // fuel that its host calls have cost at least
	captured uint32
	length   uint32
}

// Pending returns how many evaluations are under way.
func (q *Queue) Pending() int { return int(q.next - q.taken) }

// FD returns a descriptor that becomes readable when there may be something to collect. It is an eventfd that does not block; who waits for it reads it, or waits for
// edges. It is -1 where there are no jails, and stays the queue's.
func (q *Queue) FD() int { return q.event }

// Submit has c evaluated by an instance of the queue's jail: everything of c that Instance.Evaluate reads is copied. after is zero, or the ticket of a request of the same
// queue that was submitted before, with the same declared key: the guest then finds as its state what that one leaves, and c.State counts only if that has been
// collected meanwhile. The worker sees it after Flush. Errors are those of Instance.Evaluate before the guest runs, errs.WouldBlock when MaxBatch are under way, and
// errs.Dead when the instance's process has ended. A verdict other than abi.Drop, without an error, is the answer itself: there is nothing to collect.
func (q *Queue) Submit(in *vm.Instance, meter *resctl.Meter, c *vm.Call, after Ticket) (Ticket, abi.Verdict, error) {
	c.Used = 0
	x, ok := in.Outside().(*Instance)
	if !ok || x.p.j != q.j || q.close {
		return 0, abi.Error, errs.New(errs.Invalid, "vm/jail: jail %s: the instance is not of this jail, or the queue is closed", q.j.spec.Name)
	}
	if v, err := in.Admit(c); v != abi.Drop {
		return 0, v, err
	}
	return q.submit(x, meter, c, after)
}

func (q *Queue) submit(x *Instance, meter *resctl.Meter, c *vm.Call, after Ticket) (Ticket, abi.Verdict, error) {
	if err := x.p.Err(); err != nil {
		return 0, abi.Error, err
	}
	if q.p != x.p {
		if q.next != q.taken { // of a process that has ended: to be collected first
			return 0, abi.Error, errWait
		}
		if err := q.attach(x.p); err != nil {
			return 0, abi.Error, err
		}
	}
	if q.next-q.taken == ringSlots {
		return 0, abi.Error, errWait
	}
	budget := c.Budget
	if budget == 0 {
		budget = vm.DefaultBudget
	}
	budget = min(budget, 1<<40)
	if meter != nil {
		if err := meter.Hold(resctl.Fuel, int64(budget)); err != nil {
			return 0, abi.Error, err
		}
	}
	captured := min(len(c.Window), int(x.code.manifest.WindowSize))
	b := q.lane.request(q.next)
	c.In.Put((*[abi.BlockSize]byte)(b)[:])
	le.PutUint32(b[reqInstance:], x.id)
	back := uint32(0)
	if after != 0 {
		if d := q.issued + 1 - after; d > 0 && d <= Ticket(q.next-q.taken) {
			back = uint32(d)
		}
	}
	le.PutUint32(b[reqAfter:], back)
	le.PutUint32(b[reqWindow:], uint32(captured))
	state := uint32(0)
	if c.State != nil {
		state = 1 + uint32(len(c.State))
		copy(b[reqStateAt:reqStateAt+abi.StateMax], c.State)
	}
	le.PutUint32(b[reqState:], state)
	le.PutUint64(b[reqBudget:], budget)
	le.PutUint32(b[reqCode:], x.code.number)
	le.PutUint32(b[reqFresh:], x.fresh)
	copy(b[reqData:], c.Window[:captured])
	q.pending[q.next%ringSlots] = pending{in: x, meter: meter, budget: budget, captured: uint32(captured), length: c.In.Length}
	x.under.Add(1)
	q.next++
	q.issued++
	q.open.Store(q.next - q.taken)
	return q.issued, abi.Drop, nil
}

var errWait = errs.New(errs.WouldBlock, "vm/jail: the queue is full, or has answers of a worker that ended: collect")

// attach begins to use a process's lane.
func (q *Queue) attach(p *process) error {
	q.detach()
	if !p.hold() {
		return p.Err()
	}
	q.p, q.lane = p, p.lanes[q.n]
	at := &p.places[q.n]
	q.next, q.flushed, q.taken, q.served = at.next, at.next, at.next, at.served
	return nil
}

// detach lets go of the process. Nothing is under way.
func (q *Queue) detach() {
	if q.p == nil {
		return
	}
	p := q.p
	p.places[q.n] = place{q.next, q.served}
	q.p, q.lane = nil, nil
	p.drop()
}

// place is how far a queue has come in a lane; whoever has the lane next goes on there.
type place struct{ next, served uint32 }

// first returns the ticket of the oldest request under way.
func (q *Queue) first() Ticket { return q.issued - Ticket(q.next-q.taken) + 1 }

// Flush lets the worker see what was submitted.
func (q *Queue) Flush() {
	if q.flushed == q.next {
		return
	}
	q.flushed = q.next
	q.lane.submitted.Store(q.next)
	if q.lane.sleeping.Load() != 0 {
		wake(q.lane.submitted)
	}
}

// Collect returns the next evaluation that has ended, in the order of Submit, and sets c's results as Instance.Evaluate does; they are valid until the next Collect.
// It serves what host functions the guests call, which run on this goroutine: what they mean is the evaluation that will be returned next. ok is false when
// nothing has ended.
func (q *Queue) Collect(c *vm.Call) (d Done, ok bool) {
	for q.next != q.taken {
		if err := q.p.Err(); err != nil {
			return q.lost(c, err), true
		}
		if q.taken == q.flushed {
			return Done{}, false
		}
		n := q.lane.completed.Load()
		if ready := n - q.taken; ready > q.flushed-q.taken {
			q.p.kill(errs.New(errs.Corrupt, "it says that it has answered %d requests, of %d", ready, q.flushed-q.taken))
			continue
		} else if ready > 0 {
			return q.take(c)
		}
		calls := q.lane.calls.Load()
		if calls == q.served {
			return Done{}, false
		}
		if calls != q.served+1 {
			q.p.kill(errs.New(errs.Corrupt, "it says that it has made %d calls at once", calls-q.served))
			continue
		}
		if err := q.serve(); err != nil {
			q.p.kill(err)
			continue
		}
		q.served = calls
		q.moved.Add(1)
		q.lane.replies.Store(calls)
		wake(q.lane.replies)
	}
	return Done{}, false
}

// lost returns a request that the process has not answered, and never will.
func (q *Queue) lost(c *vm.Call, err error) Done {
	x := &q.pending[q.taken%ringSlots]
	c.Used = 0
	if x.meter != nil {
		x.meter.Settle(resctl.Fuel, int64(x.budget), 0)
	}
	d := Done{Ticket: q.first(), Verdict: abi.Error, Err: err}
	q.step(x)
	return d
}

// step goes to the next request.
func (q *Queue) step(x *pending) {
	x.in.ended()
	*x = pending{}
	q.taken++
	q.open.Store(q.next - q.taken)
	q.moved.Add(1)
}

// take returns the answer in the next slot. An answer that makes no sense is none.
func (q *Queue) take(c *vm.Call) (Done, bool) {
	x := &q.pending[q.taken%ringSlots]
	b := q.lane.answer(q.taken)
	copy(q.head[:], b)
	h := &q.head
	used := le.Uint64(h[respUsed:])
	if used > x.budget || used < x.asked {
		return q.corrupt(c, "%d units of fuel of a budget of %d, with host calls for %d", used, x.budget, x.asked)
	}
	d := Done{Ticket: q.first(), Verdict: abi.Error}
	code := x.in.code
	switch le.Uint32(h[respStatus:]) {
	case statusVerdict:
		d.Verdict = abi.Verdict(le.Uint32(h[respVerdict:]))
		payload, emits := le.Uint32(h[respPayload:]), le.Uint32(h[respEmits:])
		window := code.manifest.WindowSize
		if !d.Verdict.Valid() || payload > window || emits > abi.EmitsMax*window {
			return q.corrupt(c, "verdict %d with %d bytes of payload and %d of emits", d.Verdict, payload, emits)
		}
		takeOut(&q.block, b[respBlock:respBlock+abi.BlockSize])
		c.In.Length, c.In.Captured, c.In.Fuel = x.length, x.captured, x.budget
		if err := c.Out.Get(q.block[:], &c.In, window, code.manifest.StateSize > 0, emits); err != nil {
			return q.corrupt(c, "out fields: %v", err)
		}
		n := c.Out.Length
		if x.captured < x.length {
			n = min(n, x.captured)
		}
		if n != payload {
			return q.corrupt(c, "%d bytes of payload for a length of %d", payload, n)
		}
		copy(q.payload[:n], b[respData:])
		c.Payload = q.payload[:n:n]
		x.in.bytes = nil
		if emits > 0 {
			x.in.bytes = q.emits[:emits]
			copy(x.in.bytes, b[respData+q.lane.layout.window:])
		}
		c.Put = nil
		if c.Out.StateAct == abi.StateWrite {
			end := abi.BlockStateOff + int(code.manifest.StateSize)
			c.Put = q.block[abi.BlockStateOff:end:end]
		}
	case statusFault:
		r := vm.Reason(le.Uint32(h[respReason:]))
		if r < vm.OutOfFuel || r > vm.HostError {
			return q.corrupt(c, "fault %d", r)
		}
		f := &vm.Fault{Reason: r, Code: code.id, Class: code.manifest.Name, Fuel: used, Func: int(int32(le.Uint32(h[respFunc:]))), Offset: int(int32(le.Uint32(h[respOffset:])))}
		if s := text(b, le.Uint32(h[respText:])); s != "" {
			f.Err = errors.New(s)
		}
		d.Err = f
	case statusError:
		k := errs.Kind(le.Uint32(h[respKind:]))
		if k == errs.OK || k > errs.Corrupt {
			return q.corrupt(c, "error kind %d", k)
		}
		d.Err = errs.New(k, "vm/jail: jail %s: %s", q.j.spec.Name, text(b, le.Uint32(h[respText:])))
	default:
		return q.corrupt(c, "status %d", le.Uint32(h[respStatus:]))
	}
	c.Used = used
	q.weight.Add(used + weightEach)
	if x.meter != nil {
		x.meter.Settle(resctl.Fuel, int64(x.budget), int64(used))
	}
	q.step(x)
	return d, true
}

// weightEach is what an evaluation weighs besides its fuel, in units of that.
const weightEach = 500

// Cost returns the processor time that the worker has used for the queue since the last call, and not yet told: its own, as the kernel has measured it, divided among
// the queues by the fuel of what they had answered. It is known some tenths of a second late.
func (q *Queue) Cost() time.Duration {
	if q.cost.Load() == 0 {
		return 0
	}
	return time.Duration(q.cost.Swap(0))
}

// text copies the text of an answer: printable characters, at most textMax.
func text(b []byte, n uint32) string {
	return printable(append([]byte(nil), b[respTextAt:respTextAt+min(n, textMax)]...))
}

// printable replaces, in place, what a terminal might take for a command.
func printable(b []byte) string {
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = ' '
		}
	}
	return string(b)
}

// corrupt ends the process for an answer that an engine does not give, and returns the request as lost.
func (q *Queue) corrupt(c *vm.Call, format string, args ...any) (Done, bool) {
	q.p.kill(errs.New(errs.Corrupt, "it answered "+format, args...))
	return q.lost(c, q.p.Err()), true
}

// serve makes the host call that the evaluation under way asks for.
func (q *Queue) serve() error {
	m := q.lane.mem[laneCall : laneCall+callBytes]
	copy(q.call[:], m)
	if s := le.Uint32(q.call[callSlot:]); s != q.taken {
		return errs.New(errs.Corrupt, "it calls a host function for request %d, while %d is under way", s, q.taken)
	}
	under := &q.pending[q.taken%ringSlots]
	x := under.in
	fn, n := int(le.Uint32(q.call[callFn:])), int(le.Uint32(q.call[callViews:]))
	funcs := x.code.class.funcs
	if fn < 0 || fn >= len(funcs) || n != len(funcs[fn].Spans) {
		return errs.New(errs.Corrupt, "it calls host function %d with %d views", fn, n)
	}
	// An engine charges a call before it makes it. Otherwise calls without end would keep this goroutine.
	if under.asked += uint64(max(funcs[fn].Fuel, 1)); under.asked > under.budget {
		return errs.New(errs.Corrupt, "it calls host functions beyond the budget of %d units of fuel", under.budget)
	}
	at, views := 0, q.views[:0]
	for k, s := range funcs[fn].Spans {
		v := q.call[callView+12*k:]
		size := le.Uint32(v[4:])
		if size == absent {
			continue
		}
		if size > s.Max {
			return errs.New(errs.Corrupt, "it calls host function %d with a view of %d bytes, at most %d", fn, size, s.Max)
		}
		b := q.data[at : at+int(size) : at+int(size)]
		copy(b, m[callData+at:])
		views = append(views, vm.View{Addr: le.Uint32(v), Data: b})
		at += int(size)
	}
	for k := range maxArgs {
		q.stack[k] = uint64(le.Uint32(q.call[callArgs+4*k:]))
	}
	var err error = errs.Dead
	if !q.close {
		err = x.ServeHost(fn, q.stack[:], views)
	}
	r := q.lane.mem[laneReply : laneReply+callBytes]
	fail := uint32(0)
	if err != nil {
		fail = 1
	}
	le.PutUint32(r[replyFail:], fail)
	le.PutUint32(r[replyValue:], uint32(q.stack[0]))
	at = 0
	k := 0
	for i, s := range funcs[fn].Spans {
		if le.Uint32(q.call[callView+12*i+4:]) == absent {
			continue
		}
		if s.Write {
			at += copy(r[replyData+at:], views[k].Data)
		}
		k++
	}
	return nil
}

// absent is the length of a view that is not in the guest's memory.
const absent = ^uint32(0)

// Wait waits until there may be something to collect, or errs.Timeout. It is for those who have no poll set.
func (q *Queue) Wait(limit time.Duration) error {
	if q.next == q.taken {
		return nil
	}
	q.Flush()
	if q.ready() {
		return nil
	}
	if !pollIn(q.event, limit) {
		return errs.New(errs.Timeout, "vm/jail: jail %s: no answer within %s", q.j.spec.Name, limit)
	}
	drain(q.event)
	return nil
}

// ready reports whether Collect has something to do.
func (q *Queue) ready() bool {
	return q.p.Err() != nil || q.lane.completed.Load() != q.taken || q.lane.calls.Load() != q.served
}

// Close gives the queue up. What is under way is not collected any more: its budgets are released, its host calls fail, and when it has ended the lane is free
// for another queue. Closing twice is fine.
func (q *Queue) Close() {
	if q.close {
		return
	}
	q.close = true
	q.gone.Store(true)
	for s := q.taken; s != q.next; s++ {
		if x := &q.pending[s%ringSlots]; x.meter != nil {
			x.meter.Settle(resctl.Fuel, int64(x.budget), 0)
			x.meter = nil
		}
	}
	if q.next == q.taken {
		q.detach()
		q.j.closed(q)
		return
	}
	q.Flush()
	q.j.drains.Add(1)
	go func() {
		defer q.j.drains.Done()
		for c := new(vm.Call); q.next != q.taken; {
			if _, ok := q.Collect(c); !ok {
				_ = q.Wait(q.j.spec.Hang) // the watch sees to those that hang
			}
		}
		q.detach()
		q.j.closed(q)
	}()
}
