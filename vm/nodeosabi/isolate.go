package nodeosabi

import (
	"fmt"
	"sync"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// MaxServeFuel is the most fuel of one evaluation of isolate_serve: it runs to its end on a worker.
const MaxServeFuel = 10_000_000

// maxFaults is how many faults in a row end an isolate that serves.
const maxFaults = 16

// isolateOf finds an isolate of the caller's and where it was made.
func isolateOf(in *vm.Instance, id uint64, need vm.Rights) (*vm.Isolate, *self, error) {
	o, err := in.Isolate().Get(vm.Handle(uint32(id)), vm.IsolateHandle, need)
	if err != nil {
		return nil, nil, err
	}
	iso := o.(*vm.Isolate)
	return iso, iso.Data().(*self), nil
}

var born struct {
	mu sync.Mutex
	n  uint64
}

func callIsolateNew(in *vm.Instance, s []uint64) (int, error) {
	d, err := get[*domain](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	if s[2] > vm.MaxHandles {
		return 0, errs.New(errs.TooBig, "nodeosabi: an isolate with %d handles", s[2])
	}
	born.mu.Lock()
	born.n++
	name := fmt.Sprintf("g%d", born.n)
	born.mu.Unlock()
	up := me(in)
	child := &self{b: up.b}
	if up.log != nil {
		child.log = up.write // within what the parent may write
	}
	iso, err := in.Isolate().NewChild(vm.ChildSpec{Name: name, Memory: int64(s[1]), Handles: int(s[2]), Data: child, Account: d.Account()})
	if err != nil {
		return 0, err
	}
	release, err := d.Host(func(reason error) { iso.Kill(reason) })
	if err != nil {
		iso.Kill(err)
		return 0, err
	}
	iso.Watch(func(e vm.Event, _ vm.Status) {
		if e == vm.EventTerminated {
			child.finish()
			release()
		}
	})
	h, err := in.Isolate().Put(vm.IsolateHandle, iso, vm.AllRights)
	if err != nil {
		iso.Kill(err)
	}
	return int(h), err
}

func callIsolateLoad(in *vm.Instance, s []uint64) (int, error) {
	iso, _, err := isolateOf(in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	b, err := at(in, s[1], s[2])
	if err != nil {
		return 0, err
	}
	class := me(in).b.process
	switch s[3] {
	case abi.NOProcess:
	case abi.NOHandler:
		class = me(in).b.handler
	default:
		return 0, errs.New(errs.Invalid, "nodeosabi: code of kind %d, want %d (process) or %d (handler)", s[3], abi.NOProcess, abi.NOHandler)
	}
	code, err := iso.Load(b, class)
	if err != nil {
		return 0, err
	}
	h, err := in.Isolate().Put(vm.CodeHandle, code, vm.AllRights)
	return int(h), err // the isolate releases the code
}

func callIsolateGive(in *vm.Instance, s []uint64) (int, error) {
	iso, _, err := isolateOf(in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	h, err := in.Isolate().Give(vm.Handle(uint32(s[1])), iso)
	return int(h), err
}

func callIsolateServe(in *vm.Instance, s []uint64) (int, error) {
	iso, _, err := isolateOf(in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	o, err := in.Isolate().Get(vm.Handle(uint32(s[1])), vm.CodeHandle, vm.MayUse)
	if err != nil {
		return 0, err
	}
	from, err := get[*inChannel](in, s[2], vm.MayUse|vm.MayEnd)
	if err != nil {
		return 0, err
	}
	var to *outChannel
	if s[3] != 0 {
		if to, err = get[*outChannel](in, s[3], vm.MayUse); err != nil {
			return 0, err
		}
	}
	if s[4] > MaxServeFuel {
		return 0, errs.New(errs.TooBig, "nodeosabi: an evaluation with %d units of fuel, at most %d", s[4], MaxServeFuel)
	}
	if from.domain.Account() != iso.Account() {
		return 0, errs.New(errs.Permission, "nodeosabi: the in-channel is of domain %s, the isolate of %s: it would pay for another", from.domain.Path(), iso.Account().Path())
	}
	if from.server.Load() != nil {
		return 0, errs.New(errs.Exists, "nodeosabi: a handler serves the channel already")
	}
	inst, err := iso.Instantiate(o.(*vm.Code))
	if err != nil {
		return 0, err
	}
	v := &server{inst: inst, from: from, to: to, budget: s[4]}
	if !from.server.CompareAndSwap(nil, v) {
		return 0, inst.Close()
	}
	from.q.takers.Lock() // who was receiving has seen it
	from.q.takers.Unlock()
	iso.Watch(func(e vm.Event, _ vm.Status) {
		if e == vm.EventExiting {
			go v.close() // it waits for an evaluation
		}
	})
	from.host.Pump()
	return 0, nil
}

// server evaluates what comes to an in-channel.
type server struct {
	from   *inChannel
	to     *outChannel
	budget uint64

	mu     sync.Mutex // held during an evaluation; the host's side never waits for it
	inst   *vm.Instance
	call   vm.Call
	whole  []byte
	faults int // in a row
	over   bool
}

// evaluate handles one packet and returns the fuel that it used.
func (v *server) evaluate(c *inChannel, by *resctl.Meter, data []byte, m *Meta) uint64 {
	if !v.mu.TryLock() {
		c.bad.Add(1) // it ends
		return 0
	}
	defer v.mu.Unlock()
	if v.over {
		c.bad.Add(1)
		return 0
	}
	v.call.Window, v.call.Budget = data, v.budget
	v.call.In.Length, v.call.In.InLink, v.call.In.TimeNS = uint32(m.Length), m.Link, uint64(m.Time)
	v.call.In.Src, v.call.In.SrcPort = 0, m.Remote.Addr.Port()
	if a := m.Remote.Addr.Addr(); a.Is4() {
		b := a.As4()
		v.call.In.Src = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	v.call.In.Length = max(v.call.In.Length, uint32(len(data)))
	verdict, err := v.inst.Evaluate(by, &v.call)
	switch {
	case errs.KindOf(err) == errs.WouldBlock: // suspended
		c.bad.Add(1)
	case err != nil:
		c.bad.Add(1)
		if v.faults++; v.faults >= maxFaults {
			v.inst.Isolate().Kill(errs.New(errs.Trap, "%d faults in a row, the last one: %w", maxFaults, err))
		}
	default:
		v.faults = 0
		if verdict == abi.Forward && v.to != nil {
			out := Meta{Remote: v.to.spec.Remote}
			if !out.Remote.Addr.Addr().IsValid() { // back to where it came from, if that is allowed
				out.Remote = m.Remote
			}
			send := v.call.Payload
			if n := min(int(v.call.Out.Length), len(data)); n > len(send) { // what it did not see follows
				v.whole = append(append(v.whole[:0], send...), data[len(send):n]...)
				send = v.whole
			}
			if a := out.Remote.Addr.Addr(); a.IsValid() && !v.to.port.may(a) || len(send) > v.to.q.snap || !v.to.q.put(send, &out) {
				v.to.bad.Add(1)
			} else {
				v.to.host.Pump()
			}
		} else if verdict == abi.Error {
			c.bad.Add(1)
		}
	}
	return v.call.Used
}

// close ends the instance, after the evaluation that goes on.
func (v *server) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.over {
		v.over = true
		v.from.server.CompareAndSwap(v, nil) // before its isolate is terminated: who waits for that may give it another
		_ = v.inst.Close()                   // nobody is inside
	}
}
