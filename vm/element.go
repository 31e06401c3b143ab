package vm

import (
	"encoding/binary"
	"strings"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/sdk/abi/elem"
	"github.com/janos-os/janos/vm/gate"
)

// The way of an element, in the order of this file:
//
//  1. Load of a class of elements finds the records (elementRecords); NewElement makes an instance, gives it its arguments and asks whether they are right
//  2. Begin takes the fuel of a batch and sees to a living instance, Process runs it for a packet each, End gives back what was not used
//  3. a fault ends the instance's memory; the next Begin makes it anew and gives it its arguments again

var (
	elementOptional = []gate.Export{{Name: elem.ExportConfigure, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}
	elementNames    = []string{elem.ExportElement, elem.ExportPacket, elem.ExportWindow, elem.ExportConfig, elem.ExportCounter}
)

// elementLayout is where an element has its records.
type elementLayout struct {
	manifest *elem.Manifest
	config   uint32
	counters uint32
}

// elementRecords finds and checks the records of an element.
func (ent *entry) elementRecords() error {
	at := map[string]uint32{}
	for _, name := range elementNames {
		v, ok := ent.mod.Constant(name)
		if ok && v%8 != 0 {
			return errs.New(errs.Refused, "vm: load: %s is at %#x, want a multiple of 8", name, v)
		}
		if ok {
			at[name] = v
		}
	}
	need := func(name string) error {
		if _, ok := at[name]; !ok {
			return errs.New(errs.Refused, "vm: load: the module does not export %s as an immutable i32 global: use the macros of janos_element.h", name)
		}
		return nil
	}
	for _, name := range elementNames[:3] {
		if err := need(name); err != nil {
			return err
		}
	}
	var raw [elem.ElementSize]byte
	if !ent.mod.Data(at[elem.ExportElement], raw[:]) {
		return errs.New(errs.Refused, "vm: load: %s at %#x is outside the initial memory", elem.ExportElement, at[elem.ExportElement])
	}
	m, err := elem.ParseManifest(raw[:])
	if err != nil {
		return err
	}
	areas := []area{
		{elem.ExportElement, uint64(at[elem.ExportElement]), elem.ElementSize}, {elem.ExportPacket, uint64(at[elem.ExportPacket]), elem.PacketSize},
		{elem.ExportWindow, uint64(at[elem.ExportWindow]), uint64(m.WindowSize)},
	}
	if m.ConfigSize > 0 {
		if err := need(elem.ExportConfig); err != nil {
			return err
		}
		areas = append(areas, area{elem.ExportConfig, uint64(at[elem.ExportConfig]), elem.ConfigSize + uint64(m.ConfigSize)})
	}
	if m.Counters > 0 {
		if err := need(elem.ExportCounter); err != nil {
			return err
		}
		areas = append(areas, area{elem.ExportCounter, uint64(at[elem.ExportCounter]), elem.CounterSize * uint64(m.Counters)})
	}
	if err := ent.apart(areas); err != nil {
		return err
	}
	ent.manifest = &abi.Manifest{Name: m.Name, WindowSize: m.WindowSize, WindowMin: m.WindowMin}
	ent.block, ent.blockSize, ent.window = at[elem.ExportPacket], elem.PacketSize, at[elem.ExportWindow]
	ent.element = &elementLayout{m, at[elem.ExportConfig], at[elem.ExportCounter]}
	return nil
}

// Pass is one packet's way through an element. It is made to be reused.
type Pass struct {
	In   elem.In // Start, Length and Captured are set by Process; Network and Transport are offsets in the packet here, or elem.None
	Data []byte  // the packet, copied in

	// Results, valid until the next call. After an error only Used is.
	Used    uint64   // fuel
	Out     elem.Out // checked; Network is an offset in what goes on
	Payload []byte   // the part of what goes on that lies in the window: a view. Empty if the element does not write
	Kept    uint32   // bytes at the packet's end that were not shown and go on after Payload
}

// Element is an instance of a code of a class of elements. One goroutine may use it at a time.
type Element struct {
	in     *Instance
	lay    *elementLayout
	args   []byte // as the guest sees them
	count  uint32
	budget uint64 // of a packet
	writes bool   // of the manifest, as is the next
	room   uint32
	life   uint64 // that has been given its arguments

	meter *resctl.Meter // of the batch
	held  int64
	used  int64
}

// ErrShort and ErrLong are Process's answers to packets that the element cannot take, without running it.
var (
	ErrShort = errs.New(errs.Invalid, "the packet is shorter than the element's window_min")
	ErrLong  = errs.New(errs.TooBig, "the packet is longer than the element's window")
)

// ArgumentError says that an element refuses its arguments.
type ArgumentError struct {
	Number int // from 1; 0 if one is missing
}

// Error implements error.
func (e *ArgumentError) Error() string {
	if e.Number == 0 {
		return "the module misses an argument"
	}
	return "the module refuses an argument"
}

// NewElement makes an element of a code, with arguments, and runs its configure. budget is the fuel of one packet, and of configure; 0 is DefaultBudget.
// The errors are those of Instantiate, *ArgumentError, *Fault of configure, and errs.TooBig for more arguments than the element has room for. The
// isolate must not have Fresh. It is closed with Close.
func (i *Isolate) NewElement(code *Code, args []string, budget uint64) (*Element, error) {
	lay := code.entry.element
	if lay == nil {
		return nil, errs.New(errs.Invalid, "vm: isolate %s: %s is not a class of elements", i.spec.Name, code.Class().name)
	}
	if i.spec.Fresh {
		return nil, errs.New(errs.Invalid, "vm: isolate %s: elements need their memory from packet to packet", i.spec.Name)
	}
	e := &Element{lay: lay, count: uint32(len(args)), writes: lay.manifest.Writes(), room: lay.manifest.Room()}
	e.SetBudget(budget)
	for _, a := range args {
		if strings.IndexByte(a, 0) >= 0 || len(e.args)+len(a)+1 > int(lay.manifest.ConfigSize) {
			return nil, errs.New(errs.TooBig, "vm: element %s: it has room for %d bytes of arguments, each without zero bytes and with one behind it", lay.manifest.Name, lay.manifest.ConfigSize)
		}
		e.args = append(append(e.args, a...), 0)
	}
	in, err := i.Instantiate(code)
	if err != nil {
		return nil, err
	}
	e.in = in
	if err := e.configure(); err != nil {
		if cerr := e.Close(); cerr != nil {
			return nil, cerr
		}
		return nil, err
	}
	return e, nil
}

// Manifest returns what the module says about itself; it must not be changed.
func (e *Element) Manifest() *elem.Manifest { return e.lay.manifest }

// SetBudget changes the fuel of a packet, from the next batch on; 0 is DefaultBudget.
func (e *Element) SetBudget(n uint64) {
	if n == 0 {
		n = DefaultBudget
	}
	e.budget = min(n, 1<<32)
}

// Writes reports whether the element may change packets.
func (e *Element) Writes() bool { return e.writes }

// Instance returns the instance. It is the element's.
func (e *Element) Instance() *Instance { return e.in }

// Lives returns how often the element began in fresh memory.
func (e *Element) Lives() uint64 { return e.in.lives }

// configure gives a new life its arguments.
func (e *Element) configure() error {
	in := e.in
	if err := in.ready(); err != nil {
		return err
	}
	e.life = in.lives
	if e.lay.manifest.ConfigSize > 0 {
		at, text := in.mem.buf[e.lay.config:], in.mem.buf[e.lay.config+elem.ConfigSize:]
		binary.LittleEndian.PutUint32(at[elem.ConfigCountOff:], e.count)
		binary.LittleEndian.PutUint32(at[elem.ConfigLengthOff:], uint32(len(e.args)))
		copy(text, e.args)
		clear(text[len(e.args):e.lay.manifest.ConfigSize])
		in.hostWrote = true
	}
	fn := in.mod.ExportedFunction(elem.ExportConfigure)
	if fn == nil {
		return nil
	}
	acct := in.iso.spec.Account
	if acct != nil {
		if err := acct.Take(resctl.Fuel, int64(e.budget)); err != nil {
			return err
		}
	}
	left, err := in.call(fn, false, e.budget)
	if acct != nil {
		acct.Return(resctl.Fuel, int64(left))
	}
	in.used = true
	if err != nil {
		in.end()
		return err
	}
	switch n := int32(in.stack[0]); {
	case n == 0:
		return nil
	case n == -1:
		return &ArgumentError{}
	case n > 0 && uint32(n) <= e.count:
		return &ArgumentError{Number: int(n)}
	default:
		in.end()
		return &Fault{Reason: BadOutput, Code: in.code.entry.key.id, Class: e.lay.manifest.Name, Fuel: e.budget - left, Func: -1, Offset: -1,
			Err: errs.New(errs.Invalid, "configure returned %d, which is neither 0, nor -1, nor the number of one of its %d arguments", n, e.count)}
	}
}

// Begin prepares for n packets: it takes their fuel from meter, which may be nil, and begins a new life if the last one ended. It must be followed by
// End, unless it fails; errors are those of NewElement, errs.Limit of the meter, and errs.WouldBlock and *Fault of a suspended and an ended isolate.
func (e *Element) Begin(meter *resctl.Meter, n int) error {
	in := e.in
	if in.closed || in.running {
		return errs.New(errs.Dead, "vm: isolate %s: the element is closed or running", in.iso.spec.Name)
	}
	if err := in.stopped(); err != nil {
		return err
	}
	if in.body == nil || in.tier != int(in.code.entry.best.Load()) {
		if err := in.ready(); err != nil {
			return err
		}
	}
	if e.life != in.lives {
		if err := e.configure(); err != nil {
			return err
		}
	}
	e.meter, e.used, e.held = meter, 0, 0
	if meter != nil {
		held := int64(e.budget) * int64(n)
		if err := meter.Hold(resctl.Fuel, held); err != nil {
			return err
		}
		e.held = held
	}
	return nil
}

// End gives back the fuel that the batch did not use.
func (e *Element) End() {
	if e.meter != nil {
		e.meter.Settle(resctl.Fuel, e.held, e.used)
		e.meter = nil
	}
}

// Process runs the element for one packet. It does not block, and does not allocate unless it fails. Errors: ErrShort, ErrLong; a *Fault, after which the
// batch's other packets begin in fresh memory; those of Begin, if that is not possible.
func (e *Element) Process(p *Pass) error {
	in, m := e.in, e.lay.manifest
	p.Used = 0
	captured := uint32(len(p.Data))
	if captured < m.WindowMin {
		return ErrShort
	}
	p.In.Length = captured
	if captured > e.room {
		if m.Flags&elem.FlagPartial == 0 {
			return ErrLong
		}
		captured = e.room
	}
	if in.iso.flags.Load() != 0 {
		if err := in.stopped(); err != nil {
			return err
		}
	}
	if in.body == nil {
		if err := e.configure(); err != nil {
			return err
		}
	}
	p.In.Captured, p.In.Start = captured, m.Headroom
	network, transport := p.In.Network, p.In.Transport
	p.In.Network, p.In.Transport = shift(network, m.Headroom, captured), shift(transport, m.Headroom, captured)
	record := (*[elem.PacketSize]byte)(in.block)
	p.In.Put(record[:])
	p.In.Preset(record[:])
	copy(in.window[m.Headroom:], p.Data[:captured])
	in.used, in.written = true, max(in.written, m.Headroom+captured)
	left, err := in.call(in.fn, in.carries, e.budget)
	p.Used = e.budget - left
	e.used += int64(p.Used)
	if in.tier != compiled {
		in.iso.e.count(in.code.entry, p.Used)
	}
	if err == nil {
		if err = p.Out.Get(in.block, uint32(in.stack[0]), &p.In, m); err != nil {
			err = &Fault{Reason: BadOutput, Code: in.code.entry.key.id, Class: m.Name, Fuel: p.Used, Func: -1, Offset: -1, Err: err}
		}
	}
	p.Payload, p.Kept = nil, 0
	if err == nil && e.writes && p.Out.Output != elem.Drop {
		end := p.Out.Start + p.Out.Length
		if captured < p.In.Length {
			p.Kept = p.In.Length - captured
			end = p.In.Start + captured
		}
		p.Payload = in.window[p.Out.Start:end:end]
		if p.Out.Network != elem.None {
			p.Out.Network -= p.Out.Start
		}
	} else {
		p.Out.Network = network
	}
	p.In.Network, p.In.Transport = network, transport
	if err != nil {
		in.end()
	}
	return err
}

// shift moves an offset in a packet to one in the window; what is not captured is not there.
func shift(off, by, captured uint32) uint32 {
	if off > captured {
		return elem.None
	}
	return off + by
}

// Counter is one of an element's counters.
type Counter struct {
	Name  string `json:"name"` // empty: none was given, or it is not printable
	Value uint64 `json:"value"`
}

// Counters appends the element's counters to list. Between packets.
func (e *Element) Counters(list []Counter) []Counter {
	n := e.lay.manifest.Counters
	if e.in.body == nil || e.in.closed {
		return list
	}
	raw, ok := e.in.Memory(e.lay.counters, n*elem.CounterSize)
	for ; ok && len(raw) > 0; raw = raw[elem.CounterSize:] {
		name, err := abi.ParseName(raw[elem.CounterNameOff : elem.CounterNameOff+elem.LabelMax])
		if err != nil {
			name = ""
		}
		list = append(list, Counter{name, binary.LittleEndian.Uint64(raw[elem.CounterValueOff:])})
	}
	return list
}

// Close ends the element and gives back what it holds. Closing twice is fine.
func (e *Element) Close() error { return e.in.Close() }
