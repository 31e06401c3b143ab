package bench

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// talkCode is capsules/talk.c, built by `janos capsule build`.
//
//go:embed capsules/talk.wasm
var talkCode []byte

func init() {
	register(Scenario{Name: "vm-link", Tier: "memory", Title: "messages between isolates",
		Text: "Messages of 64 bytes. 'handler' is sent into the queue of an isolate on the same worker, evaluated there (the capsule of vm-evaluate, without its state), " +
			"sent on as the answer into another queue, and received; fuel is taken from the account. 'rendezvous' and 'queue of 64' are from one process to another, " +
			"each in an isolate with an account of its own, on one processor; the way back is one message for all. 'question and answer' goes to a process " +
			"and back by rendezvous. It is processor time of the whole process, the runtime's scheduler included.",
		Open: openLink})
	register(Scenario{Name: "vm-churn", Tier: "memory", Title: "isolates made and destroyed under load",
		Text: "'handler' makes an isolate with an account of its own, evaluates once and closes both; 'process' makes one, " +
			"starts a process that waits at a link, kills it and waits for its end; 'child' does so as a child of an isolate that stays. 'beside a load' is the rate of " +
			"'process', by the clock, while a process sends to itself without end on the same processor. 'killed after' is the time, by the clock, from the decision " +
			"until a process that computes without end, beside another that does, has given everything back. At the end " +
			"the trial fails if anything is still charged, or an isolate is left.",
		Open: openVMChurn})
}

// talkers is an engine with processes of talkCode.
type talkers struct {
	*guest
	e      *Env
	class  *vm.Class
	code   *vm.Code
	isos   []*vm.Isolate
	links  []*vm.Link
	serial int
}

func newTalkers(e *Env) (*talkers, error) {
	g, err := newGuest(e, vm.ModeCompiled)
	if err != nil {
		return nil, err
	}
	t := &talkers{guest: g, e: e}
	if t.class, err = g.engine.NewClass(vm.ClassSpec{Name: "talk", Process: true, Imports: vm.Calls()}); err == nil {
		t.code, err = g.engine.Load(talkCode, t.class, g.acct)
	}
	if err != nil {
		return nil, firstError(err, g.close())
	}
	return t, nil
}

func (t *talkers) link(queue int) (*vm.Link, error) {
	l, err := t.engine.NewLink(nil, vm.LinkSpec{Queue: queue, Bytes: 64})
	if err == nil {
		t.links = append(t.links, l)
	}
	return l, err
}

// account makes an account for an isolate.
func (t *talkers) account() (*resctl.Account, error) {
	t.serial++
	return t.acct.NewChild(resctl.Spec{Name: strconv.Itoa(t.serial), Limit: resctl.Amounts{resctl.Memory: 4 << 20}})
}

// start begins a process that stays.
func (t *talkers) start(what uint32, told, in, out, tell *vm.Link) error {
	acct, err := t.account()
	if err != nil {
		return err
	}
	iso, err := t.engine.NewIsolate(vm.IsolateSpec{Name: acct.Name(), Account: acct})
	if err != nil {
		return err
	}
	t.isos = append(t.isos, iso)
	return t.begin(iso, what, told, in, out, tell)
}

func (t *talkers) begin(iso *vm.Isolate, what uint32, told, in, out, tell *vm.Link) error {
	var args []byte
	for k, l := range []*vm.Link{told, in, out, tell} {
		h, kind := vm.Handle(0), vm.ReceiveHandle
		if k >= 2 {
			kind = vm.SendHandle
		}
		if l != nil {
			var err error
			if h, err = iso.Put(kind, l, vm.AllRights); err != nil {
				return err
			}
		}
		args = binary.LittleEndian.AppendUint32(args, uint32(h))
	}
	return iso.Start(t.code, vm.StartSpec{Args: binary.LittleEndian.AppendUint32(args, what)})
}

func (t *talkers) close() error {
	for _, i := range t.isos {
		i.Kill(nil)
	}
	for _, i := range t.isos {
		<-i.Done()
	}
	for _, l := range t.links {
		l.Close()
	}
	t.code.Release()
	for _, a := range t.acct.Children() {
		if err := a.Close(); err != nil {
			return err
		}
	}
	return t.guest.close()
}

func openLink(e *Env) (Trial, error) {
	t := &opsTrial{}
	k, err := newTalkers(e)
	if err != nil {
		return nil, err
	}
	t.closers = append(t.closers, k.close)
	handler, err := k.handlerOp(t)
	if err != nil {
		return nil, closeAfter(t, err)
	}
	t.rows = append(t.rows, opsRow{"handler, and answered", "message", handler})
	for _, queue := range []int{0, 64} {
		var ls [4]*vm.Link // how many to the one, how many to the other, between them, that all are there
		for n, q := range []int{1, 1, queue, 1} {
			if ls[n], err = k.link(q); err != nil {
				return nil, closeAfter(t, err)
			}
		}
		if err = k.start(0, ls[0], nil, ls[2], nil); err == nil {
			err = k.start(1, ls[1], ls[2], nil, ls[3])
		}
		if err != nil {
			return nil, closeAfter(t, err)
		}
		name := "rendezvous"
		if queue > 0 {
			name = fmt.Sprintf("queue of %d", queue)
		}
		buf := make([]byte, 64)
		t.rows = append(t.rows, opsRow{name, "message", func(n int) error {
			many := binary.LittleEndian.AppendUint32(nil, uint32(n))
			for _, l := range ls[:2] {
				if err := l.Send(e.Context, many); err != nil {
					return err
				}
			}
			_, err := ls[3].Receive(e.Context, buf)
			if last := binary.LittleEndian.Uint32(buf); err == nil && last != uint32(n-1) {
				return errs.New(errs.Internal, "the last of %d messages has number %d", n, last)
			}
			return err
		}})
	}
	ask, err := k.link(0)
	if err != nil {
		return nil, closeAfter(t, err)
	}
	answer, err := k.link(0)
	if err == nil {
		err = k.start(2, nil, ask, answer, nil)
	}
	if err != nil {
		return nil, closeAfter(t, err)
	}
	msg, buf := make([]byte, 64), make([]byte, 64)
	t.rows = append(t.rows, opsRow{"question and answer", "round", func(n int) error {
		for range n {
			if err := ask.Send(e.Context, msg); err != nil {
				return err
			}
			if _, err := answer.Receive(e.Context, buf); err != nil {
				return err
			}
		}
		return nil
	}})
	return t, nil
}

// handlerOp makes a handler between two queues.
func (k *talkers) handlerOp(t *opsTrial) (func(n int) error, error) {
	iso, err := k.engine.NewIsolate(vm.IsolateSpec{Name: "handler", Account: k.acct})
	if err != nil {
		return nil, err
	}
	t.closers = append(t.closers, iso.Close)
	in, err := iso.Instantiate(k.guest.code)
	if err != nil {
		return nil, err
	}
	ask, err := k.link(8)
	if err != nil {
		return nil, err
	}
	answer, err := k.link(8)
	if err != nil {
		return nil, err
	}
	h, err := vm.NewHandler(in, ask, answer)
	if err != nil {
		return nil, err
	}
	h.Call = *flowCall(64)
	meter := k.acct.Meter(0)
	msg, buf := flowPackets(k.e, 64)[0], make([]byte, 64)
	return func(n int) error {
		for i := range n {
			if err := ask.TrySend(msg); err != nil {
				return err
			}
			if got, err := h.Run(meter, 1); got != 1 || err != nil {
				return fmt.Errorf("%d messages taken: %w", got, err)
			}
			if got, err := answer.TryReceive(buf); got != 64 || err != nil {
				return fmt.Errorf("an answer of %d bytes: %w", got, err)
			}
			if i%32 == 31 {
				meter.Fold()
			}
		}
		meter.Fold()
		return nil
	}, nil
}

func openVMChurn(e *Env) (Trial, error) {
	k, err := newTalkers(e)
	if err != nil {
		return nil, err
	}
	t := &opsTrial{closers: []func() error{k.close}}
	gate, err := k.link(1)
	if err != nil {
		return nil, closeAfter(t, err)
	}
	stays, err := k.engine.NewIsolate(vm.IsolateSpec{Name: "parent", Account: k.acct})
	if err != nil {
		return nil, closeAfter(t, err)
	}
	k.isos = append(k.isos, stays)
	meter := k.acct.Meter(0)
	call := flowCall(64)
	call.Window = flowPackets(e, 64)[0]
	ends := func(iso *vm.Isolate) error {
		err := k.begin(iso, 1, gate, nil, nil, nil)
		iso.Kill(nil)
		<-iso.Done()
		if s := iso.Status(); err == nil && s.Cause != vm.ByKill {
			err = errs.New(errs.Internal, "an isolate that was killed: %v", s.Cause)
		}
		if n := iso.Memory(); err == nil && n != 0 {
			err = errs.New(errs.Internal, "a dead isolate holds %d bytes", n)
		}
		return err
	}
	process := func(n int) error {
		for range n {
			acct, err := k.account()
			if err != nil {
				return err
			}
			iso, err := k.engine.NewIsolate(vm.IsolateSpec{Name: "churn", Account: acct})
			if err != nil {
				return err
			}
			if err := firstError(ends(iso), acct.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	t.then = func(r *Round) error {
		between, err := k.link(4)
		if err != nil {
			return err
		}
		defer between.Close() // which ends the load
		if err := firstError(between.TrySend(make([]byte, 64)), k.start(2, nil, between, between, nil)); err != nil {
			return err
		}
		n, begin := 0, e.Clock.Now()
		for e.Clock.Now().Sub(begin) < e.Time {
			if err := process(8); err != nil {
				return err
			}
			n += 8
		}
		r.Add("beside a load", "isolates/s", float64(n)/e.Clock.Now().Sub(begin).Seconds())
		return k.kills(r)
	}
	t.rows = append(t.rows,
		opsRow{"handler", "isolate", func(n int) error {
			for range n {
				acct, err := k.account()
				if err != nil {
					return err
				}
				iso, err := k.engine.NewIsolate(vm.IsolateSpec{Name: "churn", Account: acct})
				if err != nil {
					return err
				}
				in, err := iso.Instantiate(k.guest.code)
				if err == nil {
					var v abi.Verdict
					if v, err = in.Evaluate(meter, call); v != abi.Forward && err == nil {
						err = errs.New(errs.Internal, "verdict %v", v)
					}
				}
				if err = firstError(err, firstError(iso.Close(), acct.Close())); err != nil {
					return err
				}
			}
			meter.Fold()
			return nil
		}},
		opsRow{"process", "isolate", process},
		opsRow{"child", "isolate", func(n int) error {
			for range n {
				k.serial++
				iso, err := stays.NewChild(vm.ChildSpec{Name: strconv.Itoa(k.serial)})
				if err != nil {
					return err
				}
				if err := ends(iso); err != nil {
					return err
				}
			}
			return nil
		}})
	return t, nil
}
