package vm

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
)

// Recording is one evaluation of a handler with everything that its outcome depends on, so that it can be replayed (janos capsule debug). Its JSON form
// is stable. Recordings are immutable.
type Recording struct {
	Format string `json:"format"` // RecordingFormat
	Code   Hex    `json:"code"`   // CodeID of the module
	Class  string `json:"class"`  // from its manifest
	In     abi.In `json:"in"`
	Window Hex    `json:"window"`          // the captured bytes
	State  Hex    `json:"state,omitempty"` // stored under the declared key; absent: none was
	// Fresh tells that the evaluation began in fresh memory. Otherwise the guest may have found in its memory, beside block and window, what an evaluation before
	// left there; the ABI leaves that open, and a replay does not have it.
	Fresh bool `json:"fresh"`
	// Calls are what the host answered, in order. They are there if CallsKnown is set.
	Calls      []RecordedCall `json:"calls,omitempty"`
	CallsKnown bool           `json:"calls_known"`

	Verdict string `json:"verdict,omitempty"` // empty after a fault
	Fault   string `json:"fault,omitempty"`
	Used    uint64 `json:"used"` // fuel
}

// RecordedCall is a call of an imported function.
type RecordedCall struct {
	Module string            `json:"module"`
	Name   string            `json:"name"`
	Args   []uint32          `json:"args"`
	Result uint32            `json:"result"`
	Wrote  []RecordedContent `json:"wrote,omitempty"` // what it used of the guest's memory, as it was afterwards
}

// RecordedContent is a piece of the guest's memory.
type RecordedContent struct {
	Addr  uint32 `json:"addr"`
	Bytes Hex    `json:"bytes"`
}

// RecordingFormat is what Recording.Format says.
const RecordingFormat = "janos-recording-1"

// Hex is bytes that text forms write in hexadecimal.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(b []byte) error {
	out, err := hex.AppendDecode([]byte{}, b)
	*h = out
	return err
}

// Bounds of recordings.
const (
	keptRecordings   = 16       // of an engine, the oldest go first
	keptBytes        = 1 << 20  // of windows, states and calls in them
	faultsRecorded   = 2        // of each code without being asked
	recordedCalls    = 256      // of an evaluation; after more of them they count as not known
	recordedView     = 4 << 10  // bytes of a piece of memory
	recordedContents = 64 << 10 // bytes of all pieces in an evaluation
	// MaxRecording is the size of a text that ParseRecording looks at.
	MaxRecording = 4 << 20
)

// ParseRecording reads a recording, which may come from anybody.
func ParseRecording(text []byte) (*Recording, error) {
	if len(text) > MaxRecording {
		return nil, errs.New(errs.TooBig, "recording: %d bytes, at most %d", len(text), MaxRecording)
	}
	r := &Recording{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, errs.New(errs.Invalid, "recording: %w", err)
	}
	switch {
	case r.Format != RecordingFormat:
		return nil, errs.New(errs.Invalid, "recording: format %q, want %q", r.Format, RecordingFormat)
	case len(r.Code) != len(CodeID{}):
		return nil, errs.New(errs.Invalid, "recording: code is %d bytes, want the %d of a fingerprint", len(r.Code), len(CodeID{}))
	case len(r.Window) > abi.WindowLimit || uint64(len(r.Window)) > uint64(r.In.Length) || uint32(len(r.Window)) != r.In.Captured || len(r.State) > abi.StateMax:
		return nil, errs.New(errs.Invalid, "recording: window of %d bytes with %d captured of %d, state of %d", len(r.Window), r.In.Captured, r.In.Length, len(r.State))
	case r.In.Fuel > 1<<40:
		return nil, errs.New(errs.Invalid, "recording: a budget of %d", r.In.Fuel)
	}
	return r, nil
}

// noted is what a code has of recordings.
type noted struct {
	wanted atomic.Int32 // evaluations that are to be recorded
	faults atomic.Uint32
}

// recorder keeps an engine's recordings.
type recorder struct {
	mu    sync.Mutex
	list  []*Recording
	bytes int
}

func (r *Recording) size() int {
	n := len(r.Window) + len(r.State) + 512
	for i := range r.Calls {
		n += 128
		for _, c := range r.Calls[i].Wrote {
			n += len(c.Bytes) + 32
		}
	}
	return n
}

func (k *recorder) add(r *Recording) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, r)
	k.bytes += r.size()
	for len(k.list) > keptRecordings || k.bytes > keptBytes {
		k.bytes -= k.list[0].size()
		k.list[0] = nil
		k.list = k.list[1:]
	}
}

// Recordings returns the evaluations that were recorded last, the oldest first: the first faults of each code, and what Record asked for. There
// are at most 16, and fewer where they are large.
func (e *Engine) Recordings() []*Recording {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	return slices.Clone(e.recorder.list)
}

// MaxRecord is the most evaluations that Record takes.
const MaxRecord = keptRecordings

// Record has the next n evaluations of a code recorded, with the answers of the host. It is that many in all instances together; 0 ends it. A code that is
// not loaded is errs.NotFound.
func (e *Engine) Record(id CodeID, n int) error {
	if n < 0 || n > MaxRecord {
		return errs.New(errs.Invalid, "vm: record %d evaluations, want at most %d", n, MaxRecord)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := false
	for key, ent := range e.cache {
		if key.id == id {
			ent.wanted.Store(int32(n))
			found = true
		}
	}
	if !found {
		return errs.New(errs.NotFound, "vm: record: code %v is not loaded", id)
	}
	return nil
}

// Wanted returns how many evaluations that Record asked for have not been made.
func (e *Engine) Wanted() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ent := range e.cache {
		n += int(max(ent.wanted.Load(), 0))
	}
	return n
}

// tape is what is recorded during an evaluation.
type tape struct {
	calls    []RecordedCall
	contents int
	lost     bool        // it became too much
	open     bool        // a call is under way
	views    [][2]uint32 // pieces of memory that it has asked for
	asked    bool        // by Record
}

// taping is what an instance has of recordings.
type taping struct {
	faulted bool  // in some life: its calls are recorded from then on
	tape    *tape // nil: nothing is recorded
}

// listen begins to record an evaluation if it was asked for, or if this instance had a fault before.
func (in *Instance) listen(ent *entry) {
	asked := false
	for {
		n := ent.wanted.Load()
		if n <= 0 {
			break
		}
		if asked = ent.wanted.CompareAndSwap(n, n-1); asked {
			break
		}
	}
	if !asked && !in.faulted {
		in.tape = nil
		return
	}
	if in.tape == nil {
		in.tape = &tape{}
	}
	*in.tape = tape{calls: in.tape.calls[:0], views: in.tape.views[:0], asked: asked}
}

// before notes a call, after its result and what is in the memory that it used.
func (t *tape) before(f *HostFunc, stack []uint64) {
	if len(t.calls) == recordedCalls {
		t.lost = true
		return
	}
	c := RecordedCall{Module: f.Module, Name: f.Name, Args: make([]uint32, f.Params)}
	for i := range c.Args {
		c.Args[i] = uint32(stack[i])
	}
	t.calls = append(t.calls, c)
	t.open, t.views = true, t.views[:0]
}

func (t *tape) after(in *Instance, f *HostFunc, stack []uint64) {
	if !t.open {
		return
	}
	t.open = false
	c := &t.calls[len(t.calls)-1]
	if f.Result {
		c.Result = uint32(stack[0])
	}
	for _, v := range t.views {
		b, ok := in.Memory(v[0], v[1])
		if !ok {
			continue
		}
		if t.contents += len(b); t.contents > recordedContents {
			t.lost = true
			return
		}
		c.Wrote = append(c.Wrote, RecordedContent{v[0], slices.Clone(b)})
	}
}

// view notes that a host function asked for a piece of memory.
func (t *tape) view(addr, n uint32) {
	if t.open {
		if len(t.views) == 16 || n > recordedView {
			t.lost = true
			return
		}
		t.views = append(t.views, [2]uint32{addr, n})
	}
}

// keep makes a recording of the evaluation that has just ended, if it was asked for or is one of the first faults of its code. fresh is whether it began in
// fresh memory.
func (in *Instance) keep(c *Call, fresh bool, v abi.Verdict, err error) {
	ent, t := in.code.entry, in.tape
	var f *Fault
	fault := errors.As(err, &f)
	if fault {
		in.faulted = true
		fault = f.Reason != Killed && ent.faults.Add(1) <= faultsRecorded
	}
	if !fault && (t == nil || !t.asked) {
		return
	}
	id := ent.key.id
	r := &Recording{Format: RecordingFormat, Code: id[:], Class: ent.manifest.Name, In: c.In, Fresh: fresh, Used: c.Used,
		Window: slices.Clone(c.Window[:c.In.Captured]), CallsKnown: len(ent.mod.Imports) == 0}
	if c.State != nil {
		r.State = append(Hex{}, c.State...)
	}
	if t != nil && !t.lost {
		r.CallsKnown, r.Calls = true, slices.Clone(t.calls)
	}
	if err == nil {
		r.Verdict = v.String()
	} else if f != nil {
		r.Fault = f.Reason.String()
	} else {
		r.Fault = err.Error()
	}
	in.iso.e.recorder.add(r)
}
