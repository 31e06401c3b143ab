package vm

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// Bounds of links.
const (
	MaxMessage     = 64 << 10 // bytes
	DefaultMessage = 1 << 10  // of a LinkSpec that does not say
	MaxQueue       = 4096     // messages
	MaxPassed      = 8        // handles in a message
	linkBytes      = 512      // charged for a link, besides its queue
	slotBytes      = 128      // charged for each place in a queue, besides its bytes
)

// LinkSpec says what a link should be.
type LinkSpec struct {
	Queue int // messages that may wait; 0: rendezvous, a message goes from the sender's memory to the receiver's when both are there
	Bytes int // most bytes of a message; 0: DefaultMessage
}

// Link carries messages one way: bytes, and handles, which the receiver gets of its own. It has two ends, of which isolates have handles; whoever made
// it has both until it gives them up. When nobody has one end any more, or the isolate that pays for it has ended, the link is closed: what is in the queue of a link without
// a sending end can still be received. A Link is safe for concurrent use.
type Link struct {
	e     *Engine
	owner *Isolate // pays, and closes the link when it ends; nil: nobody
	spec  LinkSpec
	cost  int64

	mu        sync.Mutex
	slots     []message // the queue: n messages from head
	head, n   int
	senders   waiters
	receivers waiters
	over      [2]bool // nobody has the sending, the receiving end
	closed    bool
	arrived   func()
	served    bool      // a Handler receives
	lost      []*handle // that found no room where they arrived

	ends sync.Mutex // taken with any other lock held, and no lock is taken with it
	held [2]int     // of the ends
}

// message is a place in a queue.
type message struct {
	data   []byte // its capacity is reserved
	passed [MaxPassed]*handle
	n      int // of passed
}

// waiter is somebody who waits at a link. Its fields are guarded by the link's lock until done.
type waiter struct {
	done   atomic.Bool
	poke   func()
	data   []byte // what is sent, or where to receive
	passed []*handle
	got    int // bytes received
	into   []Handle
	nh     int      // handles received
	iso    *Isolate // who receives
	err    error
	at     *waiters
	prev   *waiter
	next   *waiter
}

// waiters is a queue of them.
type waiters struct{ first, last *waiter }

func (q *waiters) push(w *waiter) {
	w.at, w.prev, w.next = q, q.last, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
}

func (q *waiters) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.at, w.prev, w.next = nil, nil, nil
}

// finish takes w out of its queue and tells it. The link's lock is held.
func (w *waiter) finish(err error) {
	w.at.remove(w)
	w.err = err
	w.done.Store(true)
	w.poke()
}

// NewLink makes a link. Its queue is charged to owner before it is made; nil is nobody. The caller has both ends: see Drop.
func (e *Engine) NewLink(owner *Isolate, spec LinkSpec) (*Link, error) {
	if spec.Bytes == 0 {
		spec.Bytes = DefaultMessage
	}
	if spec.Bytes < 0 || spec.Bytes > MaxMessage || spec.Queue < 0 || spec.Queue > MaxQueue {
		return nil, errs.New(errs.Invalid, "vm: a link with a queue of %d messages of %d bytes: want at most %d of %d", spec.Queue, spec.Bytes, MaxQueue, MaxMessage)
	}
	l := &Link{e: e, owner: owner, spec: spec, held: [2]int{1, 1}, cost: linkBytes + int64(spec.Queue)*int64(spec.Bytes+slotBytes)}
	if owner != nil {
		if err := owner.take(useLinks, l.cost); err != nil {
			return nil, err
		}
		if err := owner.own(l); err != nil {
			owner.giveBack(useLinks, l.cost)
			return nil, err
		}
	}
	l.slots = make([]message, spec.Queue)
	all := make([]byte, spec.Queue*spec.Bytes)
	for k := range l.slots {
		l.slots[k].data = all[k*spec.Bytes : k*spec.Bytes : (k+1)*spec.Bytes]
	}
	return l, nil
}

// hold implements held: another handle of an end.
func (l *Link) hold(k HandleKind, _ *Isolate) error {
	l.ends.Lock()
	defer l.ends.Unlock()
	if l.held[k-SendHandle] <= 0 {
		return errs.New(errs.Dead, "vm: nobody has the %v of the link", k)
	}
	l.held[k-SendHandle]++
	return nil
}

// move implements held: a link does not mind who has its ends.
func (l *Link) move(*Isolate) error { return nil }

// drop implements held.
func (l *Link) drop(k HandleKind, _ *Isolate) {
	end := k - SendHandle
	l.ends.Lock()
	l.held[end]--
	last := l.held[end] == 0
	l.ends.Unlock()
	if last {
		l.mu.Lock()
		l.over[end] = true
		l.shut()
	}
}

// Drop gives up the end that whoever made the link has: k is SendHandle or ReceiveHandle. It is called once for each.
func (l *Link) Drop(k HandleKind) { l.drop(k, nil) }

// Close closes the link, whoever has its ends. Those who wait get errs.Dead, and so does everybody afterwards. Closing twice is fine.
func (l *Link) Close() {
	l.mu.Lock()
	l.over = [2]bool{true, true}
	l.shut()
}

// shut is called when an end is gone, and gives up the lock. Without receivers nothing will arrive any more; without senders the queue can still be emptied.
func (l *Link) shut() {
	err := errs.New(errs.Dead, "vm: the link is closed")
	for w := l.senders.first; w != nil; w = l.senders.first {
		w.finish(err)
	}
	for w := l.receivers.first; w != nil; w = l.receivers.first {
		w.finish(err)
	}
	last := !l.closed && (l.over[1] || l.n == 0 && l.over[0])
	if last {
		l.closed = true
		for ; l.n > 0; l.n-- {
			m := &l.slots[l.head]
			l.lost = append(l.lost, m.passed[:m.n]...)
			l.head = (l.head + 1) % len(l.slots)
		}
		l.slots = nil
	}
	l.mu.Unlock()
	l.sweep()
	if last && l.owner != nil {
		l.owner.disown(l)
		l.owner.giveBack(useLinks, l.cost)
	}
}

// sweep ends handles that did not arrive. It is called without locks.
func (l *Link) sweep() {
	l.mu.Lock()
	lost := l.lost
	l.lost = nil
	l.mu.Unlock()
	for _, h := range lost {
		l.e.handles.lose(h)
	}
}

// OnArrival has fn called when a message comes into an empty queue, on the sender's goroutine, with no lock held. It must not block. It is set before
// the link is used.
func (l *Link) OnArrival(fn func()) { l.arrived = fn }

// Waiting returns how many messages are in the queue.
func (l *Link) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// send moves a message into the link or, if w is not nil, leaves w waiting and returns false. passed belongs to the link afterwards, if
// there is no error.
func (l *Link) send(data []byte, passed []*handle, w *waiter) (bool, error) {
	l.mu.Lock()
	switch {
	case l.closed || l.over[1]:
		l.mu.Unlock()
		return true, errs.New(errs.Dead, "vm: send: the link is closed")
	case len(data) > l.spec.Bytes || len(passed) > MaxPassed:
		l.mu.Unlock()
		return true, errs.New(errs.TooBig, "vm: send: %d bytes and %d handles, the link carries %d and %d", len(data), len(passed), l.spec.Bytes, MaxPassed)
	}
	if len(l.slots) > 0 && l.n < len(l.slots) {
		m := &l.slots[(l.head+l.n)%len(l.slots)]
		m.data = append(m.data[:0], data...)
		m.n = copy(m.passed[:], passed)
		l.n++
		first := l.n == 1
		l.serve()
		sweep := len(l.lost) > 0
		l.mu.Unlock()
		if first && l.arrived != nil {
			l.arrived()
		}
		if sweep {
			l.sweep()
		}
		return true, nil
	}
	if len(l.slots) == 0 {
		for r := l.receivers.first; r != nil; r = l.receivers.first {
			if l.arrive(r, data, passed) {
				sweep := len(l.lost) > 0
				l.mu.Unlock()
				if sweep {
					l.sweep()
				}
				return true, nil
			}
		}
	}
	if w == nil {
		l.mu.Unlock()
		return true, errWouldBlock
	}
	w.data, w.passed = data, passed
	w.done.Store(false)
	l.senders.push(w)
	l.mu.Unlock()
	return false, nil
}

var errWouldBlock = errs.New(errs.WouldBlock, "vm: the link would have to wait")

// arrive gives a message to a receiver that waits, and reports whether it took it. The lock is held.
func (l *Link) arrive(r *waiter, data []byte, passed []*handle) bool {
	got, nh, err := l.put(r.data, r.into, r.iso, data, passed)
	r.got, r.nh = got, nh
	r.finish(err)
	return err == nil
}

// put copies a message to where it is received. Where that is too small nothing is moved, and got and nh are what the message needs. A handle for
// which the receiver has no room arrives as 0. The lock is held.
func (l *Link) put(buf []byte, into []Handle, iso *Isolate, data []byte, passed []*handle) (got, nh int, err error) {
	if len(data) > len(buf) || len(passed) > len(into) {
		return len(data), len(passed), errs.New(errs.TooBig, "vm: receive: the message has %d bytes and %d handles", len(data), len(passed))
	}
	for k, g := range passed {
		id, err := l.e.handles.land(iso, g)
		if err != nil {
			l.lost = append(l.lost, g)
		}
		into[k] = id
	}
	return copy(buf, data), len(passed), nil
}

// serve gives messages of the queue to receivers that wait, and places in the queue to senders. The lock is held.
func (l *Link) serve() {
	for l.n > 0 && l.receivers.first != nil {
		m := &l.slots[l.head]
		if l.arrive(l.receivers.first, m.data, m.passed[:m.n]) {
			l.pop()
		}
	}
}

// pop takes the first message out of the queue and lets a sender in. The lock is held.
func (l *Link) pop() {
	m := &l.slots[l.head]
	clear(m.passed[:m.n])
	m.n = 0
	l.head = (l.head + 1) % len(l.slots)
	l.n--
	if w := l.senders.first; w != nil {
		m := &l.slots[(l.head+l.n)%len(l.slots)]
		m.data = append(m.data[:0], w.data...)
		m.n = copy(m.passed[:], w.passed)
		l.n++
		w.finish(nil)
	}
}

// receive takes a message or, if w is not nil, leaves w waiting and returns false.
func (l *Link) receive(buf []byte, into []Handle, iso *Isolate, w *waiter) (got, nh int, done bool, err error) {
	l.mu.Lock()
	if l.served {
		l.mu.Unlock()
		return 0, 0, true, errs.New(errs.Exists, "vm: receive: a handler receives from this link")
	}
	if l.n > 0 {
		m := &l.slots[l.head]
		got, nh, err = l.put(buf, into, iso, m.data, m.passed[:m.n])
		if err == nil {
			l.pop()
		}
		l.after()
		return got, nh, true, err
	}
	if s := l.senders.first; s != nil {
		got, nh, err = l.put(buf, into, iso, s.data, s.passed)
		if err == nil {
			s.finish(nil)
		}
		l.after()
		return got, nh, true, err
	}
	switch {
	case l.closed || l.over[0]:
		err = errs.New(errs.Dead, "vm: receive: the link is closed")
	case w == nil:
		err = errWouldBlock
	default:
		w.data, w.into, w.iso = buf, into, iso
		w.done.Store(false)
		l.receivers.push(w)
		l.mu.Unlock()
		return 0, 0, false, nil
	}
	l.mu.Unlock()
	return 0, 0, true, err
}

// after gives up the lock when something was received.
func (l *Link) after() {
	if l.n == 0 && l.over[0] && !l.closed {
		l.shut() // that was the last one
		return
	}
	sweep := len(l.lost) > 0
	l.mu.Unlock()
	if sweep {
		l.sweep()
	}
}

// cancel takes w out of the queue it waits in, if it still does, and reports whether it did.
func (l *Link) cancel(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.done.Load() {
		return false
	}
	w.at.remove(w)
	return true
}

// TrySend sends data, which is copied, without handles. It does not wait: errs.WouldBlock tells that the queue is full or, without one, nobody receives.
// Other errors are errs.Dead and errs.TooBig. It does not allocate.
func (l *Link) TrySend(data []byte) error {
	_, err := l.send(data, nil, nil)
	return err
}

// TryReceive receives a message without handles into buf and returns its size. Errors are as those of TrySend; errs.TooBig leaves the message where it
// is, and the size is what it needs.
func (l *Link) TryReceive(buf []byte) (int, error) {
	n, _, _, err := l.receive(buf, nil, nil, nil)
	return n, err
}

// Send is TrySend that waits, until ctx ends, which is errs.Timeout. It is not for workers.
func (l *Link) Send(ctx context.Context, data []byte) error {
	w := newWaiter()
	done, err := l.send(data, nil, w.waiter)
	if done {
		return err
	}
	return w.wait(ctx, l)
}

// Receive is TryReceive that waits, until ctx ends, which is errs.Timeout. It is not for workers.
func (l *Link) Receive(ctx context.Context, buf []byte) (int, error) {
	w := newWaiter()
	n, _, done, err := l.receive(buf, nil, nil, w.waiter)
	if done {
		return n, err
	}
	err = w.wait(ctx, l)
	return w.got, err
}

// goWaiter is a goroutine of ours that waits.
type goWaiter struct {
	*waiter
	ch chan struct{}
}

func newWaiter() goWaiter {
	ch := make(chan struct{}, 1)
	return goWaiter{&waiter{poke: func() { ch <- struct{}{} }}, ch}
}

func (w goWaiter) wait(ctx context.Context, l *Link) error {
	select {
	case <-w.ch:
	case <-ctx.Done():
		if l.cancel(w.waiter) {
			return errs.New(errs.Timeout, "vm: waiting at a link: %w", ctx.Err())
		}
	}
	return w.err
}

// send is what a guest does: a process waits if it may. What it passes is made before, and lost if it is not sent.
func (in *Instance) send(l *Link, data []byte, ids []Handle, wait bool) error {
	var passed []*handle
	p, s := in.proc, &in.iso.e.handles
	for _, id := range ids {
		g, err := s.grant(in.iso, id)
		if err != nil {
			for _, g := range passed {
				s.lose(g)
			}
			return err
		}
		passed = append(passed, g)
	}
	var w *waiter
	if wait && p != nil {
		w = &p.waiter
	}
	done, err := l.send(data, passed, w)
	if !done {
		if p.park(&w.done); !w.done.Load() && l.cancel(w) {
			err = errs.New(errs.Dead, "vm: the isolate ends")
		} else {
			err = w.err
		}
	}
	if err != nil {
		for _, g := range passed {
			s.lose(g)
		}
	}
	return err
}

// receive is what a guest does: a process waits if it may.
func (in *Instance) receive(l *Link, buf []byte, into []Handle, wait bool) (got, nh int, err error) {
	p := in.proc
	var w *waiter
	if wait && p != nil {
		w = &p.waiter
	}
	got, nh, done, err := l.receive(buf, into, in.iso, w)
	if done {
		return got, nh, err
	}
	if p.park(&w.done); !w.done.Load() && l.cancel(w) {
		return 0, 0, errs.New(errs.Dead, "vm: the isolate ends")
	}
	return w.got, w.nh, w.err
}

// Handler receives the messages of a link with an instance: each is evaluated with the message in the window, and what it forwards is sent on as the
// answer. It is used by the instance's goroutine only.
type Handler struct {
	Call Call // its In and Budget may be set before

	in      *Link
	out     *Link
	inst    *Instance
	Dropped uint64 // answers that found the queue full or the link closed
	Faults  uint64
}

// NewHandler makes a handler that receives from in, which has a queue, and answers to out, which may be nil. Nobody else may receive from in then.
// Handles in messages are refused by it: they are lost.
func NewHandler(inst *Instance, in, out *Link) (*Handler, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(in.slots) == 0:
		return nil, errs.New(errs.Invalid, "vm: a handler cannot wait for a rendezvous: give the link a queue")
	case in.served || in.receivers.first != nil:
		return nil, errs.New(errs.Exists, "vm: somebody else receives from the link")
	}
	in.served = true
	return &Handler{in: in, out: out, inst: inst}, nil
}

// Run evaluates at most the given number of messages that wait, on account of meter, which may be nil. It returns how many it took
// and the last error of an evaluation, if any; such a message is gone. It does not block, and allocates nothing unless there is a fault.
func (h *Handler) Run(meter *resctl.Meter, most int) (n int, err error) {
	for ; n < most; n++ {
		l := h.in
		l.mu.Lock()
		if l.n == 0 {
			l.mu.Unlock()
			break
		}
		m := &l.slots[l.head]
		l.mu.Unlock()
		// The message stays in its place until it has been evaluated: senders use others.
		h.Call.Window, h.Call.In.Length = m.data, uint32(len(m.data))
		v, failed := h.inst.Evaluate(meter, &h.Call)
		switch {
		case errs.KindOf(failed) == errs.WouldBlock:
			return n, failed // suspended: the message waits
		case failed != nil:
			h.Faults++
			err = failed
		case v == abi.Forward && h.out != nil:
			if h.out.TrySend(h.Call.Payload) != nil {
				h.Dropped++
			}
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			continue
		}
		l.lost = append(l.lost, m.passed[:m.n]...)
		l.pop()
		l.after()
	}
	return n, err
}
