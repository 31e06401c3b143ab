package vm

import (
	"encoding/binary"
	"strconv"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// CallModule is the module under which guests import what Calls offers.
const CallModule = abi.VMModule

// NoWait in the flags of send and receive has them answer errs.WouldBlock instead of waiting. Handlers never wait.
const NoWait = abi.VMNowait

// StatusBytes is what child_wait and child_status write: state, cause, exit code, error kind, each of 4 bytes, little-endian.
const StatusBytes = abi.VMStatusSize

// Calls are the host functions by which guests use links, segments, services and isolates of their own: module janos_vm of sdk/abi/calls.yaml, where names,
// parameters and prices are. Everything goes by handles. A result below zero is minus an errs.Kind. Addresses are checked; what a call writes it writes only
// when it succeeds.
func Calls() []HostFunc { return Imports(abi.VMModule, abi.VMCalls, calls) }

// GuestCall does what a call of a guest asks for: args are its arguments, and the result is that of the call. An error becomes minus its kind.
type GuestCall func(in *Instance, args []uint64) (int, error)

// Imports makes host functions of a table of calls, all of whose results are an i32. It panics if one of them is not there or not in the table, which is a defect of
// the caller's.
func Imports(module string, table []abi.Call, do map[string]GuestCall) []HostFunc {
	if len(table) != len(do) {
		panic("vm: " + module + ": calls that are not in the table")
	}
	all := make([]HostFunc, len(table))
	for k, c := range table {
		fn := do[c.Name]
		if fn == nil {
			panic("vm: " + module + "." + c.Name + " is missing")
		}
		all[k] = HostFunc{Module: module, Name: c.Name, Params: c.Params, Result: true, Fuel: c.Fuel, Call: func(in *Instance, stack []uint64) {
			n, err := fn(in, stack)
			if err != nil {
				stack[0] = refusal(err)
				return
			}
			stack[0] = uint64(n)
		}}
	}
	return all
}

var calls = map[string]GuestCall{
	"exit": func(in *Instance, s []uint64) (int, error) {
		in.iso.die(flagExit, SelfExit, int32(s[0]), nil)
		return 0, nil
	},
	"halt": func(in *Instance, s []uint64) (int, error) {
		in.iso.die(flagHalt, SelfHalt, int32(s[0]), nil)
		return 0, nil
	},
	"yield": func(in *Instance, s []uint64) (int, error) {
		if p := in.proc; p != nil {
			in.iso.e.procs.turn(p, p.account())
		}
		return 0, nil
	},
	"args":          callArgs,
	"link_new":      callLinkNew,
	"send":          callSend,
	"receive":       callReceive,
	"handle_close":  func(in *Instance, s []uint64) (int, error) { return 0, in.iso.CloseHandle(Handle(s[0])) },
	"handle_revoke": func(in *Instance, s []uint64) (int, error) { return in.iso.Revoke(Handle(s[0])) },
	"handle_narrow": func(in *Instance, s []uint64) (int, error) {
		h, err := in.iso.Narrow(Handle(s[0]), Rights(s[1]))
		return int(h), err
	},
	"segment_new": func(in *Instance, s []uint64) (int, error) {
		b, err := in.at(s[0], s[1])
		if err != nil {
			return 0, err
		}
		in.Charge(uint64(len(b)) / abi.VMSegmentNewBytes)
		h, err := in.iso.NewSegment(b, AllRights)
		return int(h), err
	},
	"segment_size": func(in *Instance, s []uint64) (int, error) {
		seg, err := object[*Segment](in, s[0], SegmentHandle, MayUse)
		if err != nil {
			return 0, err
		}
		return len(seg.data), nil
	},
	"segment_read":  callSegmentRead,
	"visit":         callVisit,
	"child_new":     callChildNew,
	"child_load":    callChildLoad,
	"child_start":   callChildStart,
	"child_suspend": onChild(MayEnd, func(c *Isolate, _ uint64) int { c.Suspend(); return 0 }),
	"child_resume":  onChild(MayEnd, func(c *Isolate, _ uint64) int { c.Resume(); return 0 }),
	"child_exit":    onChild(MayEnd, func(c *Isolate, code uint64) int { return effect(c.die(flagExit, OtherExit, int32(code), nil)) }),
	"child_halt":    onChild(MayEnd, func(c *Isolate, code uint64) int { return effect(c.die(flagHalt, OtherHalt, int32(code), nil)) }),
	"child_status":  func(in *Instance, s []uint64) (int, error) { return in.childStatus(s, false) },
	"child_wait":    func(in *Instance, s []uint64) (int, error) { return in.childStatus(s, true) },
}

func effect(had bool) int {
	if had {
		return 0
	}
	return 1
}

// at returns guest memory, or errs.Invalid.
func (in *Instance) at(addr, n uint64) ([]byte, error) {
	b, ok := in.Memory(uint32(addr), uint32(n))
	if !ok {
		return nil, errs.New(errs.Invalid, "vm: isolate %s: %d bytes at %#x are outside its memory", in.iso.spec.Name, n, addr)
	}
	return b, nil
}

// object finds what a handle of the guest names.
func object[T any](in *Instance, id uint64, kind HandleKind, need Rights) (T, error) {
	var none T
	o, err := in.iso.Get(Handle(uint32(id)), kind, need)
	if err != nil {
		return none, err
	}
	return o.(T), nil
}

// numbers reads n handles at addr to list and returns them, and where they are.
func (in *Instance) numbers(addr, n uint64, list *[MaxPassed]Handle) ([]Handle, []byte, error) {
	if n > MaxPassed {
		return nil, nil, errs.New(errs.TooBig, "vm: isolate %s: %d handles at a time, at most %d", in.iso.spec.Name, n, MaxPassed)
	}
	b, err := in.at(addr, 4*n)
	if err != nil {
		return nil, nil, err
	}
	for k := range n {
		list[k] = Handle(binary.LittleEndian.Uint32(b[4*k:]))
	}
	return list[:n], b, nil
}

func callArgs(in *Instance, s []uint64) (int, error) {
	b, err := in.at(s[0], s[1])
	if err != nil || in.proc == nil {
		return 0, err
	}
	copy(b, in.proc.spec.Args)
	return len(in.proc.spec.Args), nil
}

func callLinkNew(in *Instance, s []uint64) (int, error) {
	out, err := in.at(s[2], 8)
	if err != nil {
		return 0, err
	}
	if s[0] > MaxQueue || s[1] > MaxMessage {
		return 0, errs.New(errs.TooBig, "vm: link_new: a queue of %d messages of %d bytes", s[0], s[1])
	}
	l, err := in.iso.e.NewLink(in.iso, LinkSpec{Queue: int(s[0]), Bytes: int(s[1])})
	if err != nil {
		return 0, err
	}
	tx, err := in.iso.Put(SendHandle, l, AllRights)
	rx := Handle(0)
	if err == nil {
		if rx, err = in.iso.Put(ReceiveHandle, l, AllRights); err != nil {
			in.iso.CloseHandle(tx)
		}
	}
	l.Drop(SendHandle)
	l.Drop(ReceiveHandle)
	if err != nil {
		return 0, err
	}
	binary.LittleEndian.PutUint32(out, uint32(tx))
	binary.LittleEndian.PutUint32(out[4:], uint32(rx))
	return 0, nil
}

func callSend(in *Instance, s []uint64) (int, error) {
	l, err := object[*Link](in, s[0], SendHandle, MayUse)
	if err != nil {
		return 0, err
	}
	data, err := in.at(s[1], s[2])
	if err != nil {
		return 0, err
	}
	var list [MaxPassed]Handle
	ids, _, err := in.numbers(s[3], s[4], &list)
	if err != nil {
		return 0, err
	}
	in.Charge(uint64(len(data)) / abi.VMSendBytes)
	return 0, in.send(l, data, ids, s[5]&NoWait == 0)
}

func callReceive(in *Instance, s []uint64) (int, error) {
	l, err := object[*Link](in, s[0], ReceiveHandle, MayUse)
	if err != nil {
		return 0, err
	}
	buf, err := in.at(s[1], s[2])
	if err != nil {
		return 0, err
	}
	list := &in.landed
	ids, out, err := in.numbers(s[3], s[4], list)
	if err != nil {
		return 0, err
	}
	n, nh, err := in.receive(l, buf, ids, s[5]&NoWait == 0)
	if err != nil {
		return 0, err
	}
	in.Charge(uint64(n) / abi.VMReceiveBytes)
	for k := range ids {
		if k >= nh {
			ids[k] = 0
		}
		binary.LittleEndian.PutUint32(out[4*k:], uint32(ids[k]))
	}
	return n, nil
}

func callSegmentRead(in *Instance, s []uint64) (int, error) {
	seg, err := object[*Segment](in, s[0], SegmentHandle, MayUse)
	if err != nil {
		return 0, err
	}
	b, err := in.at(s[2], s[3])
	if err != nil || s[1] >= uint64(len(seg.data)) {
		return 0, err
	}
	n := copy(b, seg.data[s[1]:])
	in.Charge(uint64(n) / abi.VMSegmentReadBytes)
	return n, nil
}

func callVisit(in *Instance, s []uint64) (int, error) {
	svc, err := object[*Service](in, s[0], ServiceHandle, MayUse)
	if err != nil {
		return 0, err
	}
	buf, err := in.at(s[1], s[3])
	if err != nil {
		return 0, err
	}
	if s[2] > s[3] {
		return 0, errs.New(errs.Invalid, "vm: visit: %d bytes in a buffer of %d", s[2], s[3])
	}
	in.Charge((s[2] + s[3]) / abi.VMVisitBytes)
	var c Call
	v, leave, err := in.visit(svc, &c, buf[:s[2]], s[4])
	if err != nil {
		return 0, err
	}
	defer leave()
	if v != abi.Forward {
		return 0, errs.New(errs.Refused, "vm: visit: the service answered %v", v)
	}
	if len(c.Payload) > len(buf) {
		return 0, errs.New(errs.TooBig, "vm: visit: the service answered %d bytes", len(c.Payload))
	}
	return copy(buf, c.Payload), nil
}

func callChildNew(in *Instance, s []uint64) (int, error) {
	i := in.iso
	if s[3] > MaxHandles {
		return 0, errs.New(errs.TooBig, "vm: child_new: %d handles", s[3])
	}
	i.mu.Lock()
	i.born++
	name := strconv.FormatUint(i.born, 10)
	i.mu.Unlock()
	c, err := i.NewChild(ChildSpec{Name: name, Memory: int64(s[0]), Share: resctl.Share(s[2]), Handles: int(s[3]),
		Limit: resctl.Amounts{resctl.Memory: int64(s[0]), resctl.Fuel: 1000 * int64(s[1])}})
	if err != nil {
		return 0, err
	}
	h, err := i.Put(IsolateHandle, c, AllRights)
	if err != nil {
		c.Kill(err)
	}
	return int(h), err
}

func callChildLoad(in *Instance, s []uint64) (int, error) {
	c, err := object[*Isolate](in, s[0], IsolateHandle, MayUse)
	if err != nil {
		return 0, err
	}
	b, err := in.at(s[1], s[2])
	if err != nil {
		return 0, err
	}
	code, err := c.Load(b, in.code.Class())
	if err != nil {
		return 0, err
	}
	h, err := in.iso.Put(CodeHandle, code, AllRights)
	return int(h), err // the child releases the code
}

func callChildStart(in *Instance, s []uint64) (int, error) {
	c, err := object[*Isolate](in, s[0], IsolateHandle, MayUse)
	if err != nil {
		return 0, err
	}
	code, err := object[*Code](in, s[1], CodeHandle, MayUse)
	if err != nil {
		return 0, err
	}
	b, err := in.at(s[2], s[3])
	if err != nil {
		return 0, err
	}
	if len(b) > MaxMessage {
		return 0, errs.New(errs.TooBig, "vm: child_start: %d bytes of arguments", len(b))
	}
	var list [MaxPassed]Handle
	ids, _, err := in.numbers(s[4], s[5], &list)
	if err != nil {
		return 0, err
	}
	if err := c.take(useEngine, int64(len(b))+4*MaxPassed); err != nil {
		return 0, err
	}
	defer c.giveBack(useEngine, int64(len(b))+4*MaxPassed)
	var args []byte
	hs := &in.iso.e.handles
	for _, id := range ids {
		g, err := hs.grant(in.iso, id)
		if err != nil {
			return 0, err
		}
		n, err := hs.land(c, g)
		if err != nil {
			hs.lose(g)
			return 0, err
		}
		args = binary.LittleEndian.AppendUint32(args, uint32(n))
	}
	return 0, c.Start(code, StartSpec{Args: append(args, b...)})
}

// onChild is a call about a child that cannot fail.
func onChild(need Rights, fn func(c *Isolate, arg uint64) int) func(in *Instance, s []uint64) (int, error) {
	return func(in *Instance, s []uint64) (int, error) {
		c, err := object[*Isolate](in, s[0], IsolateHandle, need)
		if err != nil {
			return 0, err
		}
		arg := uint64(0)
		if len(s) > 1 {
			arg = s[1]
		}
		return fn(c, arg), nil
	}
}

func (in *Instance) childStatus(s []uint64, wait bool) (int, error) {
	c, err := object[*Isolate](in, s[0], IsolateHandle, MaySee)
	if err != nil {
		return 0, err
	}
	out, err := in.at(s[1], StatusBytes)
	if err != nil {
		return 0, err
	}
	st := c.Status()
	if wait && st.State != Terminated {
		p := in.proc
		if p == nil {
			return 0, errWouldBlock
		}
		over := new(atomic.Bool)
		c.Watch(func(e Event, _ Status) {
			if e == EventTerminated {
				over.Store(true)
				p.poke()
			}
		})
		p.park(over)
		if st = c.Status(); st.State != Terminated {
			return 0, errs.New(errs.Dead, "vm: the isolate ends")
		}
	}
	for k, v := range []uint32{uint32(st.State), uint32(st.Cause), uint32(st.Code), uint32(errs.KindOf(st.Err))} {
		binary.LittleEndian.PutUint32(out[4*k:], v)
	}
	return 0, nil
}

// Load is Engine.Load on account of the isolate, which releases the code when it ends, and not before.
func (i *Isolate) Load(code []byte, class *Class) (*Code, error) {
	if err := i.enter(false); err != nil {
		return nil, err
	}
	defer i.leave()
	if i.spec.Account != nil {
		if err := i.spec.Account.Take(resctl.CodeLoads, 1); err != nil {
			return nil, err
		}
	}
	c, err := i.e.load(code, class, codePayer{i})
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.codes = append(i.codes, c)
	i.mu.Unlock()
	return c, nil
}

// codePayer charges an isolate for code.
type codePayer struct{ i *Isolate }

func (p codePayer) Take(_ resctl.Resource, n int64) error { return p.i.take(useCode, n) }
func (p codePayer) Return(_ resctl.Resource, n int64)     { p.i.giveBack(useCode, n) }
func (p codePayer) Spend(r resctl.Resource, t int64) {
	if a := p.i.spec.Account; a != nil {
		a.Spend(r, t)
	}
}
