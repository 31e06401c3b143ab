package capsulecmd

import (
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// engine is an engine as nodes have it, with the calls of the ABI answered by a network.
type engine struct {
	engine *vm.Engine
	class  *vm.Class
	iso    *vm.Isolate // of the protocol; made for the first module
	codes  []*vm.Code
	memory int64 // most bytes of all its instances; 0: no limit
}

// newEngine makes an engine; net may be nil if nothing is evaluated.
func newEngine(net *network) (*engine, error) {
	e, err := vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: new(clock.Virtual)})
	if err != nil {
		return nil, err
	}
	impl := map[int]func(in *vm.Instance, stack []uint64){
		abi.CallStateGet:  net.stateGet,
		abi.CallStatePut:  net.statePut,
		abi.CallRouteNext: net.routeNext,
		abi.CallNeighbour: net.neighbour,
		abi.CallLog:       net.log,
	}
	var fs []vm.HostFunc
	for i, c := range abi.Calls {
		fs = append(fs, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Call: impl[i]})
	}
	class, err := e.NewClass(vm.ClassSpec{Name: "capsule", Imports: fs})
	if err != nil {
		e.Close()
		return nil, err
	}
	return &engine{engine: e, class: class}, nil
}

// load makes an instance of a module in the protocol's isolate.
func (e *engine) load(code []byte) (*vm.Instance, error) {
	c, err := e.engine.Load(code, e.class, nil)
	if err != nil {
		return nil, err
	}
	e.codes = append(e.codes, c)
	if e.iso == nil {
		if e.iso, err = e.engine.NewIsolate(vm.IsolateSpec{Name: "run", Memory: e.memory}); err != nil {
			return nil, err
		}
	}
	return e.iso.Instantiate(c)
}

func (e *engine) close() {
	if e.iso != nil {
		e.iso.Close()
	}
	for _, c := range e.codes {
		c.Release()
	}
	e.engine.Close()
}

// stateGet and the others are the calls of the ABI (sdk/abi/abi.yaml), for the evaluation that is under way.

func (n *network) stateGet(in *vm.Instance, stack []uint64) {
	key, ok := explicitKey(in, stack)
	if !ok {
		stack[0] = refusal32(errs.Invalid)
		return
	}
	v, found := n.puts[key]
	if !found {
		v, found = n.here.get(key, n.now)
	}
	switch {
	case !found || len(v.bytes) == 0:
		stack[0] = refusal32(errs.NotFound)
	case len(v.bytes) > int(uint32(stack[3])):
		stack[0] = refusal32(errs.TooBig)
	default:
		dst, ok := in.Memory(uint32(stack[2]), uint32(len(v.bytes)))
		if !ok {
			stack[0] = refusal32(errs.Invalid)
			return
		}
		stack[0] = uint64(copy(dst, v.bytes))
	}
}

// putsMax is how many values one evaluation may put, as in ee/ants.
const putsMax = 8

func (n *network) statePut(in *vm.Instance, stack []uint64) {
	key, ok := explicitKey(in, stack)
	v, there := in.Memory(uint32(stack[2]), uint32(stack[3]))
	_, again := n.puts[key]
	switch {
	case !ok:
		stack[0] = refusal32(errs.Invalid)
	case uint32(stack[3]) > abi.StateMax:
		stack[0] = refusal32(errs.TooBig)
	case !there:
		stack[0] = refusal32(errs.Invalid)
	case !again && len(n.puts) == putsMax:
		stack[0] = refusal32(errs.Limit)
	default:
		n.puts[key] = value{bytes: append([]byte(nil), v...), expires: n.expiry(uint32(stack[4])), seconds: uint32(stack[4])}
		if !again {
			n.order = append(n.order, key)
		}
		stack[0] = 0
	}
}

func (n *network) routeNext(_ *vm.Instance, stack []uint64) {
	hop, _ := n.next(n.here.addr, addr(stack[0]))
	stack[0] = uint64(hop)
}

func (n *network) neighbour(_ *vm.Instance, stack []uint64) {
	i := stack[0]
	stack[0] = 0
	if i < uint64(len(n.here.near)) {
		stack[0] = uint64(n.here.near[i])
	}
}

func (n *network) log(in *vm.Instance, stack []uint64) {
	if b, ok := in.Memory(uint32(stack[0]), min(uint32(stack[1]), abi.LogMax)); ok {
		text := make([]byte, len(b))
		for i, c := range b {
			if text[i] = c; c < ' ' || c > '~' {
				text[i] = '.'
			}
		}
		n.logs = append(n.logs, string(text))
	}
}

// explicitKey reads the key that the first two arguments point to.
func explicitKey(in *vm.Instance, stack []uint64) (k stateKey, ok bool) {
	if size := uint32(stack[1]); size >= 1 && size <= abi.KeyMax {
		if b, ok := in.Memory(uint32(stack[0]), size); ok {
			return stateKey{explicit: true, bytes: string(b)}, true
		}
	}
	return k, false
}

// refusal32 is an error as calls return it.
func refusal32(k errs.Kind) uint64 { return uint64(uint32(-int32(k))) }
