package bench

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// flowCode is capsules/flow.c, built by `janos capsule build`.
//
//go:embed capsules/flow.wasm
var flowCode []byte

// pingCode is capsules/ping.c.
//
//go:embed capsules/ping.wasm
var pingCode []byte

func init() {
	register(Scenario{Name: "vm-evaluate", Tier: "memory", Title: "one evaluation of a capsule through the guest ABI",
		Text: "The capsule of bench/capsules/flow.c counts packets and bytes of 1,024 flows in keyed state. Included for each packet: finding the flow's value in " +
			"a Go map and writing it back, taking the fuel budget from the domain's account and returning the rest (settled with the tree every 32 packets), the " +
			"context block, copying the whole packet in and what the capsule sends out again, the checks of what it asks for. Not included: the packet's way " +
			"to the capsule, which ants-evaluate has. 'state at hand' is the same where the flow's value is found by its number in an array: what the " +
			"machine for guests takes alone.",
		Open: openEvaluate})
	register(Scenario{Name: "vm-isolate", Tier: "memory", Title: "from nothing to the first result of an isolate",
		Text: "The same capsule, 64 bytes. 'fresh' makes an isolate with an account for code that is loaded already, evaluates once and closes it; 'reset' evaluates in " +
			"an isolate whose memory begins afresh each time; 'never seen' begins with the module's bytes at the gate and ends with the code released, that of flow.c and " +
			"a smaller one of bench/capsules/ping.c. " +
			"Garbage collection is included, as processor time of the process.",
		Open: openIsolate})
}

// guest is an engine with the capsule loaded, and an account.
type guest struct {
	engine *vm.Engine
	class  *vm.Class
	acct   *resctl.Account
	code   *vm.Code
}

func newGuest(e *Env, mode vm.Mode) (*guest, error) {
	g := &guest{}
	root, err := resctl.NewTree(resctl.Spec{Name: "node"}, e.Clock, 1)
	if err != nil {
		return nil, err
	}
	if g.acct, err = root.NewChild(resctl.Spec{Name: "protocol", Limit: resctl.Amounts{resctl.Memory: 16 << 20}}); err != nil {
		return nil, err
	}
	if g.engine, err = vm.NewEngine(vm.EngineSpec{Mode: mode, Clock: e.Clock}); err != nil {
		return nil, err
	}
	var imports []vm.HostFunc
	for _, c := range abi.Calls {
		imports = append(imports, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Call: func(*vm.Instance, []uint64) {}})
	}
	if g.class, err = g.engine.NewClass(vm.ClassSpec{Name: "capsule", Imports: imports}); err == nil {
		g.code, err = g.engine.Load(flowCode, g.class, g.acct)
	}
	if err != nil {
		_ = g.engine.Close()
		return nil, err
	}
	return g, nil
}

func (g *guest) close() error {
	g.code.Release()
	if err := g.engine.Close(); err != nil {
		return err
	}
	if n := g.acct.Use(resctl.Memory); n != 0 {
		return errs.New(errs.Internal, "%d bytes are charged after everything was closed", n)
	}
	return nil
}

// flowPackets are distinct packets of a size, each of a flow of its own.
func flowPackets(e *Env, size int) [][]byte {
	r := e.rand(uint64(size))
	ps := make([][]byte, distinct)
	for i := range ps {
		ps[i] = make([]byte, size)
		for k := range ps[i] {
			ps[i][k] = byte(r.Uint32())
		}
		binary.BigEndian.PutUint32(ps[i], uint32(i))
	}
	return ps
}

func flowCall(size int) *vm.Call {
	return &vm.Call{In: abi.In{Node: 1, Src: 2, Dst: 3, TTL: 10, Credit: 100, Length: uint32(size), Neighbours: 2}}
}

var modes = []vm.Mode{vm.ModeCompiled, vm.ModeInterpreter}

func openEvaluate(e *Env) (Trial, error) {
	t := &opsTrial{}
	for _, mode := range modes {
		g, err := newGuest(e, mode)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.closers = append(t.closers, g.close)
		iso, err := g.engine.NewIsolate(vm.IsolateSpec{Name: "bench", Account: g.acct})
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.closers = append(t.closers, iso.Close)
		in, err := iso.Instantiate(g.code)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		meter := g.acct.Meter(0)
		for _, size := range []int{64, 1500} {
			packets := flowPackets(e, size)
			state := make(map[uint32]*[8]byte)
			for i := range uint32(distinct) {
				state[i] = new([8]byte)
			}
			c := flowCall(size)
			array := make([][8]byte, distinct)
			each := func(n int, find func(flow uint32) *[8]byte) error {
				for i := range n {
					p := packets[i%distinct]
					value := find(binary.BigEndian.Uint32(p))
					c.Window, c.State = p, value[:]
					v, err := in.Evaluate(meter, c)
					if err != nil {
						return err
					}
					if v != abi.Forward || copy(value[:], c.Put) != 8 || copy(p, c.Payload) != len(p) {
						return errs.New(errs.Internal, "verdict %v, %d bytes of state, %d of payload", v, len(c.Put), len(c.Payload))
					}
					if i%32 == 31 {
						meter.Fold()
					}
				}
				meter.Fold()
				return nil
			}
			t.rows = append(t.rows,
				opsRow{fmt.Sprintf("%d bytes, %v", size, mode), "packet", func(n int) error {
					return each(n, func(flow uint32) *[8]byte { return state[flow] })
				}},
				opsRow{fmt.Sprintf("%d bytes, state at hand, %v", size, mode), "packet", func(n int) error {
					return each(n, func(flow uint32) *[8]byte { return &array[flow%distinct] })
				}})
		}
	}
	return t, nil
}

func openIsolate(e *Env) (Trial, error) {
	t := &opsTrial{}
	for _, mode := range modes {
		g, err := newGuest(e, mode)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.closers = append(t.closers, g.close)
		meter := g.acct.Meter(0)
		p := flowPackets(e, 64)[0]
		c := flowCall(64)
		c.Window = p
		evaluate := func(in *vm.Instance) error {
			if v, err := in.Evaluate(meter, c); err != nil || v != abi.Forward {
				return fmt.Errorf("verdict %v: %w", v, err)
			}
			meter.Fold()
			return nil
		}
		// once makes an isolate for code, evaluates, and closes it.
		once := func(code *vm.Code) error {
			iso, err := g.engine.NewIsolate(vm.IsolateSpec{Name: "fresh", Account: g.acct})
			if err != nil {
				return err
			}
			in, err := iso.Instantiate(code)
			if err == nil {
				err = evaluate(in)
			}
			return firstError(err, iso.Close())
		}
		reset, err := g.engine.NewIsolate(vm.IsolateSpec{Name: "reset", Account: g.acct, Fresh: true})
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.closers = append(t.closers, reset.Close)
		resetIn, err := reset.Instantiate(g.code)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		serial := uint32(0)
		const alphabet = "abcdefghijklmnopqrstuvwxyz012345"
		unseen := func(raw []byte, name string) (func(n int) error, error) {
			mod := bytes.Clone(raw)
			at := bytes.Index(mod, []byte(name))
			if at < 0 {
				return nil, errs.New(errs.Internal, "the module does not have its name")
			}
			return func(n int) error {
				for range n {
					// Another name in its manifest makes it another module; what the gate strips would not.
					serial++
					for k := range 4 {
						mod[at+k] = alphabet[serial>>(5*k)&31]
					}
					code, err := g.engine.Load(mod, g.class, g.acct)
					if err != nil {
						return err
					}
					err = once(code)
					code.Release()
					if err != nil {
						return err
					}
				}
				return nil
			}, nil
		}
		flow, err := unseen(flowCode, "flow")
		if err != nil {
			return nil, closeAfter(t, err)
		}
		ping, err := unseen(pingCode, "ping")
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.rows = append(t.rows,
			opsRow{fmt.Sprintf("fresh, %v", mode), "isolate", func(n int) error {
				for range n {
					if err := once(g.code); err != nil {
						return err
					}
				}
				return nil
			}},
			opsRow{fmt.Sprintf("reset, %v", mode), "evaluation", func(n int) error {
				for range n {
					if err := evaluate(resetIn); err != nil {
						return err
					}
				}
				return nil
			}},
			opsRow{fmt.Sprintf("never seen, %v", mode), "isolate", flow},
			opsRow{fmt.Sprintf("never seen, %d bytes, %v", len(pingCode), mode), "isolate", ping})
	}
	return t, nil
}
