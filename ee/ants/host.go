package ants

import (
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// journalMax is how many state_put calls an evaluation may make.
const journalMax = 8

// journal holds what an evaluation put under explicit keys until it has ended well.
type journal struct {
	n    int
	puts [journalMax]journalPut
}

type journalPut struct {
	key      stateKey
	value    [abi.StateMax]byte
	n        int
	lifetime uint32
}

// find returns the latest put under k.
func (j *journal) find(k *stateKey) *journalPut {
	for i := j.n - 1; i >= 0; i-- {
		if j.puts[i].key == *k {
			return &j.puts[i]
		}
	}
	return nil
}

// expiry returns when a value with a lifetime in seconds ends.
func (f *flow) expiry(now clock.Time, seconds uint32) clock.Time {
	if seconds == 0 {
		return now.Add(f.ee.spec.Limits.StateLife)
	}
	return now + clock.Time(seconds)*1e9
}

func refused(k errs.Kind) uint64 { return uint64(uint32(-int32(k))) }

// hostFuncs are the calls of the ABI. Each finds its protocol through the instance.
func hostFuncs() []vm.HostFunc {
	impl := map[int]func(in *vm.Instance, stack []uint64){
		abi.CallStateGet:  stateGet,
		abi.CallStatePut:  statePut,
		abi.CallRouteNext: routeNext,
		abi.CallNeighbour: neighbour,
		abi.CallLog:       guestLog,
	}
	key := vm.Span{Addr: 0, Len: 1, Max: abi.KeyMax + 1} // one more than is allowed, to be refused
	spans := map[int][]vm.Span{
		abi.CallStateGet: {key, {Addr: 2, Len: 3, Max: abi.StateMax, Write: true}},
		abi.CallStatePut: {key, {Addr: 2, Len: 3, Max: abi.StateMax}},
		abi.CallLog:      {{Addr: 0, Len: 1, Max: abi.LogMax}},
	}
	var fs []vm.HostFunc
	for i, c := range abi.Calls {
		fs = append(fs, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Call: impl[i], Spans: spans[i]})
	}
	return fs
}

func flowOf(in *vm.Instance) *flow { return in.Isolate().Data().(*flow) }

// explicitKey reads a key of the guest's.
func explicitKey(f *flow, in *vm.Instance, addr, n uint64) bool {
	if n == 0 || n > abi.KeyMax {
		return false
	}
	b, ok := in.Memory(uint32(addr), uint32(n))
	if ok {
		f.callKey.set(0, true, b)
	}
	return ok
}

func stateGet(in *vm.Instance, stack []uint64) {
	f := flowOf(in)
	capacity := uint32(stack[3])
	if !explicitKey(f, in, stack[0], stack[1]) {
		stack[0] = refused(errs.Invalid)
		return
	}
	var v []byte
	if j := f.journal.find(&f.callKey); j != nil {
		v = j.value[:j.n]
	} else {
		v = f.store.get(&f.callKey, f.ee.home.Now())
	}
	if len(v) == 0 {
		stack[0] = refused(errs.NotFound)
		return
	}
	if uint32(len(v)) > capacity {
		stack[0] = refused(errs.TooBig)
		return
	}
	dst, ok := in.Memory(uint32(stack[2]), uint32(len(v)))
	if !ok {
		stack[0] = refused(errs.Invalid)
		return
	}
	stack[0] = uint64(copy(dst, v))
}

func statePut(in *vm.Instance, stack []uint64) {
	f := flowOf(in)
	n := uint32(stack[3])
	if !explicitKey(f, in, stack[0], stack[1]) {
		stack[0] = refused(errs.Invalid)
		return
	}
	if n > abi.StateMax {
		stack[0] = refused(errs.TooBig)
		return
	}
	v, ok := in.Memory(uint32(stack[2]), n)
	if !ok {
		stack[0] = refused(errs.Invalid)
		return
	}
	j := f.journal.find(&f.callKey)
	if j == nil {
		if f.journal.n == journalMax {
			stack[0] = refused(errs.Limit)
			return
		}
		j = &f.journal.puts[f.journal.n]
		f.journal.n++
		j.key = f.callKey
	}
	j.n = copy(j.value[:], v)
	j.lifetime = uint32(stack[4])
	stack[0] = 0
}

func routeNext(in *vm.Instance, stack []uint64) {
	h, ok := flowOf(in).ee.spec.Router.NextHop(NodeAddr(stack[0]))
	stack[0] = 0
	if ok {
		stack[0] = uint64(h.Node)
	}
}

func neighbour(in *vm.Instance, stack []uint64) {
	i := stack[0]
	stack[0] = 0
	if i < 1<<16 {
		if a, ok := flowOf(in).ee.spec.Router.NeighbourAt(int(i)); ok {
			stack[0] = uint64(a)
		}
	}
}

func guestLog(in *vm.Instance, stack []uint64) {
	f := flowOf(in)
	e := f.ee
	b, ok := in.Memory(uint32(stack[0]), min(uint32(stack[1]), abi.LogMax))
	if !ok {
		return
	}
	if !f.logs.take(1, e.home.Now()) {
		return
	}
	text := make([]byte, len(b))
	for i, c := range b {
		if c < ' ' || c > '~' {
			c = '.'
		}
		text[i] = c
	}
	c, _ := in.Data.(*class)
	ev := Event{Kind: GuestLog, Domain: f.domain.Path(), Protocol: f.name, Text: string(text)}
	if c != nil {
		ev.Class = c.name
	}
	e.emit(ev)
	e.spec.Log.Info("capsule says", "node", e.spec.Addr.String(), "protocol", f.name, "class", ev.Class, "text", ev.Text)
}
