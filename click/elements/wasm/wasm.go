package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi/elem"
	"github.com/janos-os/janos/vm"
)

func init() {
	click.Register(click.Class{
		Name: "Wasm", Ports: "1-/0-", Processing: "h", New: func() click.Element { return &Wasm{} },
		Doc: click.Doc{
			Group: "untrusted", Title: "runs a WebAssembly module as an element, metered and contained",
			Text: "The module says how many inputs and outputs it can serve, looks at each packet, may change it, and names the output it leaves by. It sees nothing but the packets and its arguments, and calls nothing. What it is " +
				"made of and how to write one is in docs/abi-elements.md and docs/elements-howto.md.\n\n" +
				"Fuel and memory are charged to the router's domain. A packet whose evaluation faults (endless loop, trap, nonsense in what it leaves) is dropped, and the module begins anew in fresh memory with its arguments. After " +
				"FAULTS faults within WITHIN the element stops: it runs no more packets, and drops them or lets them pass by as THEN says, until restart is written. When the domain is out of fuel, packets are dropped and counted.",
			Args: []string{
				"FILENAME: The module.", "<argument>...: Those of the module, up to the first keyword.", "BUDGET: Most fuel for one packet, in units; default 20000.", "MEMORY: Most bytes of memory; default 4194304.",
				"FAULTS: Faults after which the element stops, 0 for never; default 32.", "WITHIN: Time in which they must come; default 10s.",
				"THEN: What becomes of packets when it has stopped: drop, or pass, to the output with the number of the input; default drop.",
				"KEEP: Whether an element of the same name that takes this one's place in a new graph goes on with its memory, if it is the same module with the same arguments; default false.",
			},
			Handlers: []string{
				"counters (r): The module's counters that have a name or are not 0, a line each: name and value. With a name or number as parameter, that value.", "budget (rw): The BUDGET argument.", "fuel (r): Fuel used by packets.", "faults (r): Packets dropped because the module faulted.",
				"fault (r): What the last fault was.", "too_short, too_long (r): Packets that the module cannot take.", "refused (r): Packets dropped because fuel, memory or room in the packet was not to be had.",
				"stopped (r): Whether the element has stopped.", "restart (w): Begins anew, in fresh memory.", "memory (r): Bytes charged to the domain for the module and its memory.", "code (r): Hash of the module, and the name it has for itself.",
				"lives (r): How often the module began in fresh memory.",
			},
			Example: "FromDevice(eth0) -> w :: Wasm(prefixes.wasm, 10.0.0.0/8, 192.168.0.0/16) -> ToDevice(eth1);", See: []string{"Script", "IPClassifier"},
		},
	})
}

// Wasm runs a module.
type Wasm struct {
	click.Base
	file   string
	args   []string
	budget uint64
	memory int64
	limit  int
	within time.Duration
	pass   bool
	keep   bool

	m    *machine
	code *vm.Code
	iso  *vm.Isolate
	el   *vm.Element

	meter   *resctl.Meter
	p       vm.Pass
	stopped bool
	recent  []clock.Time // of faults, a ring
	at      int
	fault   string

	fuel, faults, tooShort, tooLong, refused uint64
}

// Configure implements click.Element.
func (e *Wasm) Configure(a *click.Args) {
	e.budget, e.limit, e.within = 20_000, 32, 10*time.Second
	memory, then := 4<<20, "drop"
	a.Parse(click.Must("FILENAME", click.String(&e.file)), click.Rest(func(args []string) {
		for _, s := range args {
			e.args = append(e.args, lang.Unquote(s))
		}
	}), click.Key("BUDGET", budget(&e.budget)), click.Key("MEMORY", click.IntRange(&memory, 1<<16, 1<<30)), click.Key("FAULTS", click.IntRange(&e.limit, 0, 1<<16)),
		click.Key("WITHIN", click.Duration(&e.within)), click.Key("THEN", click.String(&then)), click.Key("KEEP", click.Bool(&e.keep)))
	e.memory = int64(memory)
	switch then {
	case "drop":
	case "pass":
		e.pass = true
	default:
		a.Errorf("THEN: '%s', want drop or pass", then)
	}
	e.recent = make([]clock.Time, e.limit)
}

// maxBudget is the most fuel that one packet may have: some tens of milliseconds.
const maxBudget = 10_000_000

func budget(to *uint64) click.Value {
	return func(s string, a *click.Args) error {
		var n uint64
		if err := click.Uint64(&n)(s, a); err != nil {
			return err
		}
		if n < 1 || n > maxBudget {
			return fmt.Errorf("%d is out of range, must be 1 to %d", n, maxBudget)
		}
		*to = n
		return nil
	}
}

// Initialize implements click.Initializer.
func (e *Wasm) Initialize() error {
	env, ok := e.Router().Value(Key).(*Env)
	if !ok && e.Router().Value(Key) != nil {
		return errs.New(errs.Internal, "the value %q is not of package wasm", Key)
	}
	read := ReadFile
	switch {
	case env != nil && env.Read != nil:
		read = env.Read
	case !e.Router().Host():
		return click.ErrHost
	}
	text, err := read(e.file)
	if err != nil {
		return err
	}
	if e.m, err = use(e.Router(), env); err != nil {
		return err
	}
	account := e.Router().Domain().Account()
	if e.code, err = e.m.engine.Load(text, e.m.class, account); err != nil {
		return errs.New(errs.KindOf(err), "%s: %w", e.file, err)
	}
	if err := e.begin(); err != nil {
		return err
	}
	m := e.el.Manifest()
	if e.Inputs() > m.Inputs || e.Outputs() > m.Outputs {
		return errs.New(errs.Invalid, "%s: %d inputs and %d outputs are connected, '%s' has at most %d and %d", e.file, e.Inputs(), e.Outputs(), m.Name, m.Inputs, m.Outputs)
	}
	e.meter = account.Meter(e.Thread().Worker().ID())
	return nil
}

// begin makes the element of the module, in an isolate of its own, and tells which argument is wrong. If it fails, nothing has changed.
func (e *Wasm) begin() error {
	iso, err := e.m.engine.NewIsolate(vm.IsolateSpec{Name: e.Name(), Account: e.Router().Domain().Account(), Memory: e.memory})
	if err != nil {
		return err
	}
	el, err := iso.NewElement(e.code, e.args, e.budget)
	if err == nil {
		e.iso, e.el = iso, el
		return nil
	}
	err = errors.Join(err, iso.Close())
	if a := new(vm.ArgumentError); errors.As(err, &a) {
		if a.Number == 0 {
			return errs.New(errs.Invalid, "%s: the module misses an argument, it was given %d", e.file, len(e.args))
		}
		return errs.New(errs.Invalid, "%s: the module refuses argument %d, '%s'", e.file, a.Number, e.args[a.Number-1])
	}
	return err
}

// Cleanup implements click.Cleaner.
func (e *Wasm) Cleanup() {
	if e.iso != nil {
		if err := e.iso.Close(); err != nil {
			fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
		}
	}
	if e.code != nil {
		e.code.Release()
	}
	if e.m != nil {
		if err := e.m.release(); err != nil {
			fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
		}
	}
	e.el, e.iso, e.code, e.m = nil, nil, nil, nil
}

// Inherit implements click.Inheritor.
func (e *Wasm) Inherit(old click.Element) error {
	o, ok := old.(*Wasm)
	if !ok {
		return nil
	}
	e.fuel, e.faults, e.tooShort, e.tooLong, e.refused = o.fuel, o.faults, o.tooShort, o.tooLong, o.refused
	if !e.keep {
		return nil
	}
	if e.m != o.m || e.code.ID() != o.code.ID() || !equal(e.args, o.args) {
		return errs.New(errs.Invalid, "it is another module, or has other arguments: its memory begins anew")
	}
	if o.el == nil || e.Router().Domain() != o.Router().Domain() {
		return errs.New(errs.Invalid, "the old element has stopped, or belongs to another domain: the memory begins anew")
	}
	e.el, o.el, e.iso, o.iso = o.el, e.el, o.iso, e.iso
	e.code, o.code = o.code, e.code
	e.el.SetBudget(e.budget)
	return nil
}

func equal(a, b []string) bool {
	return strings.Join(a, "\x00") == strings.Join(b, "\x00") && len(a) == len(b)
}

// Push implements click.Pusher.
func (e *Wasm) Push(port int, b *packet.Batch) {
	if e.stopped {
		e.divert(port, b)
		return
	}
	if err := e.el.Begin(e.meter, b.Len()); err != nil {
		e.refused += uint64(b.Len())
		e.note(err)
		if e.stopped {
			e.halt()
		}
		e.Drop(b)
		return
	}
	e.Thread().Worker().Touch(e.meter)
	var ports [packet.MaxBatch]uint16
	random := e.Rand().Uint64()
	in := &e.p.In
	in.Input, in.TimeNS = uint32(port), uint64(e.Now())
	n := 0
	ps := b.Packets()
	for _, p := range ps {
		if e.stopped {
			e.DropOne(p)
			continue
		}
		random, in.Random = scatter(random)
		if to, ok := e.evaluate(p); ok {
			ps[n], ports[n] = p, uint16(to)
			n++
		} else {
			e.DropOne(p)
		}
	}
	b.Truncate(n)
	e.el.End()
	if e.stopped {
		e.halt()
	}
	if n > 0 {
		e.Split(b, &ports)
	}
}

// evaluate runs the module for a packet and says by which output it leaves, if it does.
func (e *Wasm) evaluate(p *packet.Packet) (to uint32, ok bool) {
	in, out, data := &e.p.In, &e.p.Out, p.Data()
	e.p.Data = data
	in.Network, in.Transport = elem.None, elem.None
	if off, ok := p.NetworkOffset(); ok && off >= 0 {
		in.Network = uint32(off)
		if off, ok := p.TransportOffset(); ok && off >= 0 {
			in.Transport = uint32(off)
		}
	}
	in.Dst = 0
	if p.Anno.Dst.Is4() {
		a := p.Anno.Dst.As4()
		in.Dst = binary.BigEndian.Uint32(a[:])
	}
	in.Aggregate, in.Paint = click.Aggregate(p), uint32(p.Anno.Paint)
	err := e.el.Process(&e.p)
	e.fuel += e.p.Used
	if err != nil {
		e.failed(err)
		return 0, false
	}
	if out.Output >= uint32(e.Outputs()) {
		return 0, false // dropped, or nobody is there
	}
	if e.el.Writes() && !e.write(p) {
		e.refused++
		return 0, false
	}
	if out.Dst != in.Dst {
		p.Anno.Dst = netip.Addr{}
		if out.Dst != 0 {
			p.Anno.Dst = netip.AddrFrom4([4]byte{byte(out.Dst >> 24), byte(out.Dst >> 16), byte(out.Dst >> 8), byte(out.Dst)})
		}
	}
	if out.Aggregate != in.Aggregate {
		click.SetAggregate(p, out.Aggregate)
	}
	p.Anno.Paint = out.Paint
	return out.Output, true
}

// scatter returns the next state of a generator and a number that it gives: SplitMix64 (Steele, Lea, Flood 2014), whose state is drawn from the router's for
// every batch.
func scatter(state uint64) (next, n uint64) {
	state += 0x9e3779b97f4a7c15
	n = (state ^ state>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return state, n ^ n>>31
}

// write gives the packet the bytes that the module left, and reports whether there is room and memory for them.
func (e *Wasm) write(p *packet.Packet) bool {
	if !e.Cache().Unshare(p) {
		return false
	}
	in, out := &e.p.In, &e.p.Out
	if out.Start == in.Start && out.Length == in.Length && out.Network == in.Network { // what most do
		copy(p.Data(), e.p.Payload)
		return true
	}
	if off := int(out.Start) - int(in.Start); off < 0 {
		if p.Push(-off) == nil {
			return false
		}
	} else if !p.Pull(off) {
		return false
	}
	length := len(e.p.Payload) + int(e.p.Kept)
	if more := length - p.Len(); more > 0 {
		if p.Put(more) == nil {
			return false
		}
	} else if !p.Take(-more) {
		return false
	}
	copy(p.Data(), e.p.Payload)
	if out.Network == elem.None {
		p.ClearHeaders()
	} else if off, ok := p.NetworkOffset(); !ok || off != int(out.Network) {
		p.ClearHeaders()
		p.SetNetwork(int(out.Network))
	}
	return true
}

// failed counts what a packet was not evaluated, or not to the end, for.
func (e *Wasm) failed(err error) {
	var f *vm.Fault
	switch {
	case err == vm.ErrShort:
		e.tooShort++
	case err == vm.ErrLong:
		e.tooLong++
	case errors.As(err, &f):
		e.faults++
		e.note(err)
	default:
		e.refused++
		e.note(err)
	}
}

// note remembers a fault and stops the element if there were too many, or if it can never run again.
func (e *Wasm) note(err error) {
	if f := new(vm.Fault); !errors.As(err, &f) && errs.KindOf(err) == errs.Limit {
		return // of the domain, which may have more the next time
	}
	e.fault = err.Error()
	if errs.KindOf(err) == errs.Dead {
		e.stopped = true
		return
	}
	if e.limit == 0 {
		return
	}
	now := e.Now()
	e.recent[e.at] = now
	e.at = (e.at + 1) % e.limit
	first := e.recent[e.at] // of the last limit faults
	e.stopped = first != 0 && now.Sub(first) <= e.within
}

// halt gives the memory of an element that has stopped back.
func (e *Wasm) halt() {
	fmt.Fprintf(e.Output(), "%s: stopped: %s\n", e.Name(), e.fault)
	if err := e.el.Close(); err != nil {
		fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
	}
	e.el = nil
}

// divert does with packets what is to be done when the module does not run.
func (e *Wasm) divert(port int, b *packet.Batch) {
	if !e.pass {
		e.Drop(b)
		return
	}
	e.Forward(port, b)
}

// restart begins anew.
func (e *Wasm) restart() error {
	old := e.iso
	if err := e.begin(); err != nil {
		return err
	}
	if err := old.Close(); err != nil {
		return err
	}
	clear(e.recent)
	e.stopped, e.fault = false, ""
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *Wasm) AddHandlers(h *click.Handlers) {
	h.Add(click.Handler{Name: "counters", Read: e.counters})
	h.Read("budget", func() string { return strconv.FormatUint(e.budget, 10) })
	h.Write("budget", func(v string) error {
		if err := h.Parse(budget(&e.budget), v); err != nil {
			return err
		}
		if e.el != nil {
			e.el.SetBudget(e.budget)
		}
		return nil
	})
	h.Count("fuel", &e.fuel)
	h.Count("faults", &e.faults)
	h.Count("too_short", &e.tooShort)
	h.Count("too_long", &e.tooLong)
	h.Count("refused", &e.refused)
	h.Read("fault", func() string { return e.fault })
	h.Read("stopped", func() string { return strconv.FormatBool(e.stopped) })
	h.Write("restart", func(string) error { return e.restart() })
	h.Read("memory", func() string { return strconv.FormatInt(e.iso.Memory()+e.code.Info().Charge, 10) })
	h.Read("code", func() string { return e.code.ID().String() + " " + e.code.Manifest().Name })
	h.Read("lives", func() string {
		if e.el == nil {
			return "0"
		}
		return strconv.FormatUint(e.el.Lives(), 10)
	})
}

// counters shows the module's counters, or one.
func (e *Wasm) counters(which string) (string, error) {
	if e.el == nil {
		return "", errs.New(errs.Dead, "the element has stopped, its memory is gone")
	}
	var b strings.Builder
	for i, c := range e.el.Counters(nil) {
		named := c.Name != ""
		if !named {
			c.Name = strconv.Itoa(i)
		}
		if which == c.Name || which != "" && which == strconv.Itoa(i) {
			return strconv.FormatUint(c.Value, 10), nil
		}
		if named || c.Value != 0 {
			fmt.Fprintf(&b, "%s %d\n", c.Name, c.Value)
		}
	}
	if which != "" {
		return "", errs.New(errs.NotFound, "there is no counter '%s'", which)
	}
	return b.String(), nil
}
