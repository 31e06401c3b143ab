package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// vmRig is a procRig whose processes have the calls of this package.
func newVMRig(t testing.TB, mode Mode, processors int) *procRig {
	r := newProcRig(t, mode, processors)
	var err error
	if r.class, err = r.e.NewClass(ClassSpec{Name: "vm", Process: true, Imports: Calls()}); err != nil {
		t.Fatal(err)
	}
	r.code.Release()
	r.code = r.load("process_vm")
	return r
}

// The commands of testdata/process_vm.c.
const (
	produce = iota
	consume
	echoes
	passes
	takes
	visits
	parents
	storms
	exits
	halts
	yields
	wrongs
)

// spawn starts a process with the ends of two links, either of which may be nil.
func (r *procRig) spawn(i *Isolate, tx, rx *Link, what, n uint32) {
	r.t.Helper()
	var h [2]Handle
	for k, l := range []*Link{tx, rx} {
		if l != nil {
			var err error
			if h[k], err = i.Put(SendHandle+HandleKind(k), l, AllRights); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	r.begin(i, h, what, n)
}

func (r *procRig) begin(i *Isolate, h [2]Handle, what, n uint32) {
	r.t.Helper()
	var args []byte
	for _, v := range []uint32{uint32(h[0]), uint32(h[1]), 0, 0, what, n} {
		args = binary.LittleEndian.AppendUint32(args, v)
	}
	if err := i.Start(r.code, StartSpec{Args: args}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *procRig) link(spec LinkSpec) *Link {
	r.t.Helper()
	l, err := r.e.NewLink(nil, spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// ended checks that a process returned with a code.
func (r *procRig) ended(i *Isolate, code int32) {
	r.t.Helper()
	if s := end(i); s.Cause != ImplicitExit || s.Code != code {
		r.t.Errorf("%s: %+v, want it to return %d", i.Name(), s, code)
	}
}

// TestLinksBetweenProcesses: messages arrive in order, all of them and once, by rendezvous and by queues, on one processor and on two.
func TestLinksBetweenProcesses(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		for processors := 1; processors <= 2; processors++ {
			r := newVMRig(t, m, processors)
			for _, queue := range []int{0, 1, 7} {
				l := r.link(LinkSpec{Queue: queue})
				a, b := r.isolate(nil, resctl.Amounts{}), r.isolate(nil, resctl.Amounts{})
				r.spawn(a, l, nil, produce, 500)
				r.spawn(b, nil, l, consume, 500)
				r.ended(a, 0)
				r.ended(b, 0)
				l.Close()
			}
		}
	})
}

// TestLinkWithTheHost: Go code asks a process and gets answers; when it gives its end up the process is told.
func TestLinkWithTheHost(t *testing.T) {
	for _, queue := range []int{0, 3} {
		r := newVMRig(t, ModeCompiled, 1)
		ask, answer := r.link(LinkSpec{Queue: queue}), r.link(LinkSpec{Queue: queue})
		i := r.isolate(nil, resctl.Amounts{})
		r.spawn(i, answer, ask, echoes, 0)
		answer.Drop(SendHandle) // it is the process's now
		ctx := t.Context()
		buf := make([]byte, 64)
		for n := range uint32(100) {
			q := binary.LittleEndian.AppendUint32(nil, n)
			if err := ask.Send(ctx, q); err != nil {
				t.Fatal(err)
			}
			if got, err := answer.Receive(ctx, buf); err != nil || got != 4 || binary.LittleEndian.Uint32(buf) != n+1 {
				t.Fatal(got, err)
			}
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := answer.Receive(short, buf); !errors.Is(err, errs.Timeout) {
			t.Error(err)
		}
		if _, err := answer.TryReceive(buf); !errors.Is(err, errs.WouldBlock) {
			t.Error(err)
		}
		if err := ask.TrySend(make([]byte, 2000)); !errors.Is(err, errs.TooBig) {
			t.Error(err)
		}
		ask.Drop(SendHandle)
		r.ended(i, -int32(errs.Dead))
		if _, err := answer.Receive(ctx, buf); !errors.Is(err, errs.Dead) {
			t.Error(err)
		}
		answer.Close()
		ask.Close()
	}
}

// TestPassing: ends of links and segments travel in messages; a segment is charged in full to each who has it; what was passed can be revoked.
func TestPassing(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		for _, revoked := range []uint32{0, 1} {
			r := newVMRig(t, m, 1)
			l := r.link(LinkSpec{Queue: 1})
			a, b := r.isolate(nil, resctl.Amounts{}), r.isolate(nil, resctl.Amounts{})
			done := r.link(LinkSpec{}) // by whose end the first one knows that the other has ended
			r.spawn(a, l, done, passes, revoked)
			r.spawn(b, done, l, takes, revoked)
			done.Drop(SendHandle)
			r.ended(b, 0)
			r.ended(a, 0)
			l.Close()
			done.Close()
		}
	})
	r := newVMRig(t, ModeInterpreter, 1)
	a, b := r.isolate(nil, resctl.Amounts{}), r.isolate(nil, resctl.Amounts{resctl.Memory: 10_000})
	h, err := a.NewSegment(make([]byte, 5000), AllRights)
	if err != nil {
		t.Fatal(err)
	}
	seg, err := a.Get(h, SegmentHandle, MayUse)
	if err != nil {
		t.Fatal(err)
	}
	before := a.Memory()
	if h2, err := a.Put(SegmentHandle, seg, MayUse); err != nil || a.Memory()-before != HandleBytes+handleSlot {
		t.Errorf("a second handle of the same segment: %v, %d bytes", err, a.Memory()-before)
	} else if err := a.CloseHandle(h2); err != nil {
		t.Error(err)
	}
	if _, err := b.Put(SegmentHandle, seg, MayUse); err != nil || b.Memory() < 5000 {
		t.Errorf("%v, %d bytes", err, b.Memory())
	}
	if _, err := b.NewSegment(make([]byte, 5000), AllRights); !errors.Is(err, errs.Limit) {
		t.Errorf("above the limit: %v", err)
	}
	if u := b.spec.Account.Usage(resctl.Memory); u.Peak > u.Limit {
		t.Errorf("%+v", u)
	}
}

// TestKilledAtALink: those who wait at a link can be killed, whatever they wait for, and the others at it go on.
func TestKilledAtALink(t *testing.T) {
	r := newVMRig(t, ModeCompiled, 2)
	for _, queue := range []int{0, 2} {
		for _, what := range []uint32{produce, consume, echoes} {
			tx, rx := r.link(LinkSpec{Queue: queue}), r.link(LinkSpec{Queue: queue})
			var isos []*Isolate
			for range 3 {
				i := r.isolate(nil, resctl.Amounts{})
				r.spawn(i, tx, rx, what, 1000)
				isos = append(isos, i)
			}
			isos[1].Kill(nil)
			if s := end(isos[1]); s.Cause != ByKill {
				t.Errorf("%+v", s)
			}
			isos[0].Exit(3)
			if s := end(isos[0]); s.Cause != OtherExit || s.Code != 3 {
				t.Errorf("%+v", s)
			}
			tx.Close()
			rx.Close()
			r.ended(isos[2], -int32(errs.Dead))
		}
	}
}

func TestSelfExitAndWrongCalls(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newVMRig(t, m, 1)
		i := r.isolate(nil, resctl.Amounts{})
		r.spawn(i, nil, nil, exits, 0)
		if s := end(i); s.Cause != SelfExit || s.Code != 5 {
			t.Errorf("%+v", s)
		}
		i = r.isolate(nil, resctl.Amounts{})
		r.spawn(i, nil, nil, halts, 0)
		if s := end(i); s.Cause != SelfHalt || s.Code != 6 {
			t.Errorf("%+v", s)
		}
		tx, rx := r.link(LinkSpec{Queue: 1}), r.link(LinkSpec{Queue: 1})
		i = r.isolate(nil, resctl.Amounts{})
		r.spawn(i, tx, rx, wrongs, 0)
		r.ended(i, 11)
		tx.Close()
		rx.Close()
		i = r.isolate(nil, resctl.Amounts{})
		r.spawn(i, nil, nil, yields, 0)
		i.Halt(0)
		end(i)
	})
}

// TestStorms: links, segments, children and handles in messages without end run into limits, and everything goes back.
func TestStorms(t *testing.T) {
	for what, want := range []errs.Kind{errs.Limit, errs.Limit, errs.Limit, errs.WouldBlock} {
		r := newVMRig(t, ModeCompiled, 1)
		l := r.link(LinkSpec{Queue: 100})
		i := r.isolate(nil, resctl.Amounts{resctl.Memory: 8 << 20})
		r.spawn(i, l, nil, storms, uint32(what))
		r.ended(i, -int32(want))
		if u := i.spec.Account.Usage(resctl.Memory); u.Peak > u.Limit || u.Use != 0 {
			t.Errorf("%d: %+v", what, u)
		}
		l.Close()
	}
}

// TestHandles: rights, kinds, stale numbers, limits.
func TestHandles(t *testing.T) {
	r := newVMRig(t, ModeInterpreter, 1)
	i := r.isolate(nil, resctl.Amounts{})
	h, err := i.Put(OpaqueHandle, "thing", MayUse)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := i.Get(h, OpaqueHandle, MayUse); err != nil || o != "thing" {
		t.Error(o, err)
	}
	for _, tc := range []struct {
		h    Handle
		k    HandleKind
		need Rights
		want error
	}{{h, OpaqueHandle, MayGrant, errs.Permission}, {h, SendHandle, MayUse, errs.Invalid}, {h + 1, AnyHandle, 0, errs.NotFound}, {0, AnyHandle, 0, errs.NotFound}, {-1, AnyHandle, 0, errs.NotFound}, {h | 1<<16, AnyHandle, 0, errs.NotFound}} {
		if _, err := i.Get(tc.h, tc.k, tc.need); !errors.Is(err, tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	if _, err := i.Put(SendHandle, "thing", MayUse); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	seen := map[Handle]bool{}
	var list []Handle
	for range 3 {
		for {
			h, err := i.Put(OpaqueHandle, 1, AllRights)
			if errors.Is(err, errs.Limit) {
				break
			}
			if err != nil || seen[h] {
				t.Fatal(h, err)
			}
			seen[h] = true
			list = append(list, h)
		}
		if i.Handles() != DefaultHandles {
			t.Errorf("%d handles", i.Handles())
		}
		for _, h := range list {
			if err := i.CloseHandle(h); err != nil {
				t.Fatal(err)
			}
			if _, err := i.Get(h, AnyHandle, 0); !errors.Is(err, errs.NotFound) {
				t.Fatal(err)
			}
		}
		list = list[:0]
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := i.Get(h, OpaqueHandle, MayUse); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// handlerRig is an echo handler with links in and out.
func handlerRig(t testing.TB, m Mode) (*rig, *Instance, *Handler, *Link, *Link) {
	r := newRig(t, m, IsolateSpec{})
	in := r.instance("echo")
	ask, err := r.e.NewLink(r.iso, LinkSpec{Queue: 4, Bytes: 256})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := r.e.NewLink(r.iso, LinkSpec{Queue: 4, Bytes: 256})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHandler(in, ask, answer)
	if err != nil {
		t.Fatal(err)
	}
	return r, in, h, ask, answer
}

// TestHandlerOfALink: messages are evaluated in order, what is forwarded is the answer, a full queue drops and counts, and nothing is allocated.
func TestHandlerOfALink(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r, _, h, ask, answer := handlerRig(t, m)
		wakes := 0
		ask.OnArrival(func() { wakes++ })
		msg := make([]byte, 64)
		buf := make([]byte, 256)
		meter := r.acct.Meter(0)
		round := func() {
			msg[0] = 1
			if err := ask.TrySend(msg); err != nil {
				t.Fatal(err)
			}
			if n, err := h.Run(meter, 8); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := answer.TryReceive(buf); err != nil || !bytes.Equal(buf[:n], msg) {
				t.Fatal(n, err)
			}
		}
		round()
		if n := testing.AllocsPerRun(100, round); n != 0 && m == ModeCompiled {
			t.Errorf("%v allocations", n)
		}
		if wakes != 102 {
			t.Errorf("%d arrivals", wakes)
		}
		for k := range 10 {
			msg[1] = byte(k)
			err := ask.TrySend(msg)
			if want := k >= 4; want != errors.Is(err, errs.WouldBlock) {
				t.Errorf("message %d: %v", k, err)
			}
		}
		r.iso.Suspend()
		if n, err := h.Run(meter, 8); n != 0 || !errors.Is(err, errs.WouldBlock) {
			t.Errorf("suspended: %d %v", n, err)
		}
		r.iso.Resume()
		if n, err := h.Run(meter, 3); n != 3 || err != nil || ask.Waiting() != 1 || answer.Waiting() != 3 {
			t.Errorf("%d %v", n, err)
		}
		if _, err := ask.TryReceive(buf); !errors.Is(err, errs.Exists) {
			t.Errorf("a second receiver: %v", err)
		}
		for range 3 {
			if err := ask.TrySend(msg); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := h.Run(meter, 8); n != 4 || err != nil || h.Dropped != 3 {
			t.Errorf("%d %v, %d dropped", n, err, h.Dropped)
		}
		msg[0] = 16
		if err := ask.TrySend(msg); err != nil {
			t.Fatal(err)
		}
		if n, err := h.Run(meter, 8); n != 1 || !errors.Is(err, errs.Invalid) || h.Faults != 1 {
			t.Errorf("%d %v, %d faults", n, err, h.Faults)
		}
		if err := r.iso.Close(); err != nil { // takes the links with it
			t.Fatal(err)
		}
		if err := ask.TrySend(msg); !errors.Is(err, errs.Dead) {
			t.Error(err)
		}
	})
}

// TestVisits: a service is visited by several processes at once, which pay; it cannot be torn down meanwhile, and visits of a dead one fail.
func TestVisits(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newVMRig(t, m, 2)
		handlers, err := r.e.NewClass(ClassSpec{Name: "handler", Imports: testImports()})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("testdata/echo.wasm")
		if err != nil {
			t.Fatal(err)
		}
		code, err := r.e.Load(b, handlers, nil)
		if err != nil {
			t.Fatal(err)
		}
		server := r.isolate(nil, resctl.Amounts{})
		svc, err := server.NewService(code)
		if err != nil {
			t.Fatal(err)
		}
		code.Release()
		visitors := func(n uint32) (isos []*Isolate) {
			for range 3 {
				i := r.isolate(nil, resctl.Amounts{})
				h, err := i.Put(ServiceHandle, svc, MayUse)
				if err != nil {
					t.Fatal(err)
				}
				r.begin(i, [2]Handle{h}, visits, n)
				isos = append(isos, i)
			}
			return isos
		}
		for _, i := range visitors(200) {
			r.ended(i, 200)
		}
		if n := server.spec.Account.Use(resctl.Fuel); n != 0 {
			t.Errorf("the server paid %d units", n)
		}
		c := call(make([]byte, 8))
		if v, err := svc.TryVisit(nil, c); err != nil || v != abi.Punt {
			t.Error(v, err)
		}
		isos := visitors(1 << 30)
		isos[0].Kill(nil)
		if s := end(isos[0]); s.Cause != ByKill {
			t.Errorf("%+v", s)
		}
		server.Kill(nil)
		for _, i := range isos[1:] {
			r.ended(i, -int32(errs.Dead))
		}
		end(server)
		if _, err := svc.TryVisit(nil, c); !errors.Is(err, errs.Dead) {
			t.Error(err)
		}
	})
}

// TestParent: a guest receives unknown code, gives it a part of its budget, and ends it if it does not end.
func TestParent(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newVMRig(t, m, 1)
		wasm, err := os.ReadFile("testdata/process_vm.wasm")
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			n, want uint32
		}{
			{exits, uint32(SelfExit)<<16 | 5},
			{halts, uint32(SelfHalt)<<16 | 6},
			{7, 0}, // replaced below: a storm that is halted
		} {
			tx, rx := r.link(LinkSpec{Queue: 1, Bytes: MaxMessage}), r.link(LinkSpec{Queue: 1, Bytes: MaxMessage})
			if err := rx.TrySend(wasm); err != nil {
				t.Fatal(err)
			}
			i := r.isolate(nil, resctl.Amounts{resctl.Memory: 4 << 20})
			r.spawn(i, tx, rx, parents, tc.n)
			s := end(i)
			if tc.n == 7 {
				if s.Cause != ImplicitExit || s.Code != int32(uint32(OtherHalt)<<16|77) {
					t.Errorf("halted: %+v", s)
				}
			} else if s.Cause != ImplicitExit || uint32(s.Code) != tc.want {
				t.Errorf("%d: %+v, want %#x", tc.n, s, tc.want)
			}
			if n := i.spec.Account.Children(); len(n) != 0 {
				t.Errorf("%d accounts of children left", len(n))
			}
			tx.Close()
			rx.Close()
		}
	})
}

// TestBindings: a child has what its parent grants, under the names that the parent gives, and a service of the parent may answer or refuse. A grandchild
// cannot have more.
func TestBindings(t *testing.T) {
	r := newProcRig(t, ModeInterpreter, 1)
	double := HostFunc{Module: "test", Name: "double", Params: 2, Result: true, Call: func(_ *Instance, s []uint64) { s[0] = 4 << 24 }}
	class, err := r.e.NewClass(ClassSpec{Name: "two", Process: true, Imports: append(processImports(), double)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("testdata/process.wasm")
	if err != nil {
		t.Fatal(err)
	}
	code, err := r.e.Load(b, class, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer code.Release()
	handlers, err := r.e.NewClass(ClassSpec{Name: "handler"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err = os.ReadFile("testdata/ping-wat.wasm"); err != nil {
		t.Fatal(err)
	}
	ping, err := r.e.Load(b, handlers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ping.Release()
	parent := r.isolate(&told{what: 9}, resctl.Amounts{})
	svc, err := parent.NewService(ping) // forwards its window, of which it has changed the second word
	if err != nil {
		t.Fatal(err)
	}
	run := func(of *Isolate, name string, list []Binding) (*Isolate, Status, error) {
		c, err := of.NewChild(ChildSpec{Name: name, Imports: list})
		if err != nil {
			return nil, Status{}, err
		}
		if err := c.Start(code, StartSpec{}); err != nil {
			c.Halt(0)
			return c, Status{}, err
		}
		return c, end(c), nil
	}
	if _, s, err := run(parent, "all", nil); err != nil || s.Code != 9 {
		t.Error(s, err)
	}
	if _, _, err := run(parent, "nothing", []Binding{}); !errors.Is(err, errs.Permission) {
		t.Error(err)
	}
	if _, s, err := run(parent, "renamed", []Binding{{Import: "test.call", As: "test.double"}}); err != nil || s.Code != 1 {
		t.Error(s, err) // work(0)
	}
	if _, s, err := run(parent, "interposed", []Binding{{Import: "test.call", By: svc}}); err != nil || s.Code != 0 {
		t.Error(s, err) // the service forwards the argument, which is 0
	}
	if _, _, err := run(parent, "missing", []Binding{{Import: "test.call", As: "test.nothing"}}); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	mid, err := parent.NewChild(ChildSpec{Name: "mid", Imports: []Binding{{Import: "test.call", As: "test.double"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, s, err := run(mid, "inherits", []Binding{{Import: "test.call"}}); err != nil || s.Code != 1 {
		t.Error(s, err)
	}
	if _, _, err := run(mid, "wants more", []Binding{{Import: "test.call", As: "test.double"}}); !errors.Is(err, errs.Permission) {
		t.Error(err)
	}
	deep := mid
	for n := 0; ; n++ {
		next, err := deep.NewChild(ChildSpec{Name: "deep"})
		if err != nil {
			if errs.KindOf(err) != errs.Limit || n < 10 {
				t.Error(err)
			}
			break
		}
		deep = next
	}
	parent.Kill(nil)
	if s := end(parent); s.Cause != ByKill || deep.Status().State != Terminated || len(parent.Children()) != 0 {
		t.Errorf("%+v, the deepest: %+v", s, deep.Status())
	}
}

// TestFlood: several processes flood a link whose receiver is slow; the queue stays as long as it may be, and the receiver gets its turns.
func TestFlood(t *testing.T) {
	r := newVMRig(t, ModeCompiled, 1)
	l := r.link(LinkSpec{Queue: 4})
	var flooders []*Isolate
	for range 4 {
		i := r.isolate(nil, resctl.Amounts{})
		r.spawn(i, l, nil, produce, 1<<30)
		flooders = append(flooders, i)
	}
	buf := make([]byte, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 2000 {
			if _, err := l.Receive(t.Context(), buf); err != nil {
				t.Error(err)
				return
			}
			if n := l.Waiting(); n > 4 {
				t.Errorf("%d messages wait", n)
				return
			}
		}
	})
	wg.Wait()
	for _, i := range flooders {
		i.Kill(nil)
	}
	for _, i := range flooders {
		end(i)
	}
	l.Close()
}

// TestUsage: everything that an isolate holds is in its account, by kind, and a table is charged for what it may grow to.
func TestUsage(t *testing.T) {
	for _, m := range modes {
		r := newVMRig(t, m, 1)
		ask := r.link(LinkSpec{})
		i := r.isolate(nil, resctl.Amounts{})
		if u := i.Usage(); u != (Usage{}) {
			t.Errorf("new: %+v", u)
		}
		own, err := r.e.NewLink(i, LinkSpec{Queue: 2, Bytes: 100})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.NewSegment(make([]byte, 1000), MayUse); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("testdata/process_vm.wasm")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.Load(b, r.class); err != nil {
			t.Fatal(err)
		}
		r.spawn(i, own, ask, echoes, 0)
		u := i.Usage()
		mod := r.code.entry.mod
		if u.Links != linkBytes+2*(100+slotBytes) || u.Segments != 1000+segmentBytes || u.Handles != 3*(HandleBytes+handleSlot) || u.Code != r.e.codeCharge(mod) ||
			u.Linear != int64(mod.MemoryMin)<<16 || u.Stacks < processBytes+16*int64(mod.Stack) || u.Tables != 8*int64(mod.Table) || u.Engine == 0 {
			t.Errorf("%v: %+v", m, u)
		}
		if sum := u.Linear + u.Stacks + u.Tables + u.Engine + u.Handles + u.Links + u.Segments + u.Code; sum != i.Memory() || sum != i.spec.Account.Use(resctl.Memory) {
			t.Errorf("%v: %d in all, the account has %d", m, sum, i.spec.Account.Use(resctl.Memory))
		}
		i.Halt(0)
		end(i)
		if u := i.Usage(); u != (Usage{}) {
			t.Errorf("at the end: %+v", u)
		}
		ask.Close()
	}
}

// TestReleasedCode: code that has been released begins nothing, whoever still has a handle of it; what it began goes on.
func TestReleasedCode(t *testing.T) {
	r := newVMRig(t, ModeCompiled, 1)
	b, err := os.ReadFile("testdata/process_vm.wasm")
	if err != nil {
		t.Fatal(err)
	}
	owner, user := r.isolate(nil, resctl.Amounts{}), r.isolate(nil, resctl.Amounts{})
	code, err := owner.Load(b, r.class)
	if err != nil {
		t.Fatal(err)
	}
	owner.Halt(0)
	<-owner.Done()
	if err := user.Start(code, StartSpec{}); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if n := user.Memory(); n != 0 {
		t.Errorf("%d bytes for what was refused", n)
	}
	if _, err := owner.Load(b, r.class); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
}

// TestChurnOfProcesses: isolates with processes in every condition come and go, by two, and nothing is left: no bytes, no handles, no goroutines (TestMain).
func TestChurnOfProcesses(t *testing.T) {
	r := newVMRig(t, ModeCompiled, 2)
	between := r.link(LinkSpec{Queue: 2})
	acct, err := r.root.NewChild(resctl.Spec{Name: "churn", Limit: resctl.Amounts{resctl.Memory: 4 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	r.accts = append(r.accts, acct)
	root, err := r.e.NewIsolate(IsolateSpec{Name: "churn", Account: acct, Handles: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	const rounds = 600
	for n := range rounds {
		if n == rounds/3 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		var two [2]*Isolate
		for k := range two {
			if two[k], err = root.NewChild(ChildSpec{Name: string(rune('a' + k))}); err != nil {
				t.Fatal(err)
			}
			r.spawn(two[k], between, between, []uint32{echoes, yields, produce, consume, passes}[(n+k*2)%5], 100)
		}
		switch n % 4 {
		case 0:
			two[0].Kill(nil)
			two[1].Exit(1)
		case 1:
			two[1].Suspend()
			two[0].Exit(1)
			two[1].Halt(1)
		case 2:
			two[0].Halt(1)
			two[0].Exit(1)
			two[1].Kill(nil)
		case 3:
			two[0].Suspend()
			two[0].Resume()
			two[0].Halt(2)
			two[1].Halt(2)
		}
		for _, i := range two {
			if end(i); i.Memory() != 0 || i.Handles() != 0 {
				t.Fatalf("round %d: %+v holds %d bytes and %d handles", n, i.Status(), i.Memory(), i.Handles())
			}
		}
	}
	if n := len(acct.Children()); n != 0 || root.Memory() != 0 || len(root.Children()) != 0 {
		t.Errorf("%d accounts, %d bytes, %d children left", n, root.Memory(), len(root.Children()))
	}
	root.Halt(0)
	between.Close()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
