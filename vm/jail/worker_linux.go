package jail

// The worker. What it is told is believed: the node is not hostile to it. What it runs is: after a break-out everything here may be someone else's, which is why nothing
// here protects the node.

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// birthEnv is the variable with what a worker is told.
const birthEnv = "JANOS_JAIL"

// Enter runs the worker, and does not return, when the program was started as one; otherwise it does nothing. Programs that make jails call it first in main; in tests,
// in TestMain.
func Enter() {
	if len(os.Args) < 2 || os.Args[1] != command {
		entered.Store(true)
		return
	}
	err := work()
	fmt.Fprintln(os.Stderr, "jail-worker:", err)
	os.Exit(1)
}

// entered says that the program called Enter. Otherwise it would be started as a worker and do what else it does, again.
var entered atomic.Bool

// worker is the whole process.
type worker struct {
	birth
	layout layout
	mem    []byte
	engine *vm.Engine
	events []int

	mu        sync.Mutex
	classes   map[uint32]*vm.Class
	codes     map[uint32]*vm.Code
	instances atomic.Pointer[map[uint32]*guest] // replaced as a whole
}

// guest is an instance in an isolate of its own.
type guest struct {
	mu  sync.Mutex // one lane at a time
	iso *vm.Isolate
	in  *vm.Instance
	at  *station // of the evaluation under way
}

// work is the life of a worker.
func work() error {
	w, err := newWorker()
	if err != nil {
		return err
	}
	sealed, err := w.seal()
	if err != nil {
		return err
	}
	for n := range w.Lanes {
		go w.station(n).run()
	}
	return w.control(sealed)
}

// newWorker makes what the worker needs before it is sealed.
func newWorker() (*worker, error) {
	runtime.LockOSThread() // what a thread is asked for stays with it
	w := &worker{classes: map[uint32]*vm.Class{}, codes: map[uint32]*vm.Code{}}
	w.instances.Store(&map[uint32]*guest{})
	if err := json.Unmarshal([]byte(os.Getenv(birthEnv)), &w.birth); err != nil {
		return nil, errs.New(errs.Invalid, "%s is started by a node, not by hand: %w", command, err)
	}
	w.layout = layout{window: w.Window, lanes: w.Lanes}
	var err error
	if w.mem, err = unix.Mmap(fdMemory, 0, w.layout.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mapping the memory: %w", err)
	}
	for n := range w.Lanes + 1 {
		w.events = append(w.events, fdEvents+n)
	}
	w.engine, err = vm.NewEngine(vm.EngineSpec{Mode: w.Mode, Clock: clock.NewReal()})
	return w, err
}

// station makes the worker's side of a lane.
func (w *worker) station(n int) *station {
	return &station{w: w, lane: w.layout.lane(w.mem, n), event: w.events[n]}
}

// control answers the requests of the control area.
func (w *worker) control(sealed *Sealed) error {
	submitted, completed := sys.Word(w.mem, ctlSubmitted), sys.Word(w.mem, ctlCompleted)
	for done := uint32(0); ; {
		if submitted.Load() == done {
			sys.WaitWord(submitted, done)
			continue
		}
		var r ctlReq
		var resp ctlResp
		n, blob := sys.Word(w.mem, ctlReqLen).Load(), sys.Word(w.mem, ctlBlobLen).Load()
		err := json.Unmarshal(w.mem[ctlRequest:ctlRequest+n], &r)
		if err == nil {
			err = w.do(&r, w.mem[ctlRequest+ctlJSONMax:][:blob], &resp)
		}
		if r.Op == askHello {
			resp.Sealed = sealed
		}
		if err != nil {
			resp = ctlResp{Kind: errs.KindOf(err), Error: err.Error()}
		}
		length, err := putCtl(w.mem[ctlResponse:], &resp)
		if err != nil {
			return err
		}
		done++
		sys.Word(w.mem, ctlRespLen).Store(uint32(length))
		completed.Store(done)
		sys.Signal(w.events[w.Lanes])
	}
}

// do does what a request asks for.
func (w *worker) do(r *ctlReq, blob []byte, resp *ctlResp) error {
	if r.Op == askLoad {
		return w.load(r, blob, resp)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.Op {
	case askHello:
	case askClass:
		spec := vm.ClassSpec{Name: r.Name}
		if r.Limits != nil {
			spec.Limits = *r.Limits
		}
		for k, f := range r.Imports {
			spec.Imports = append(spec.Imports, vm.HostFunc{Module: f.Module, Name: f.Name, Params: f.Params, Result: f.Result, Fuel: f.Fuel, Spans: f.Spans,
				Call: func(in *vm.Instance, stack []uint64) { in.Data.(*guest).at.hostCall(in, k, f, stack) }})
		}
		c, err := w.engine.NewClass(spec)
		if err != nil {
			return err
		}
		w.classes[r.ID] = c
	case askRelease:
		if c := w.codes[r.ID]; c != nil {
			c.Release()
			delete(w.codes, r.ID)
		}
	case askClose:
		if g := (*w.instances.Load())[r.ID]; g != nil { // nothing is under way in it
			w.change(r.ID, nil)
			return g.iso.Close()
		}
	default:
		return errs.New(errs.Invalid, "unknown request %q", r.Op)
	}
	return nil
}

// load passes a module through the gate. The lanes go on meanwhile.
func (w *worker) load(r *ctlReq, blob []byte, resp *ctlResp) error {
	w.mu.Lock()
	class := w.classes[r.Of]
	w.mu.Unlock()
	if class == nil {
		return errs.New(errs.NotFound, "no class %d", r.Of)
	}
	c, err := w.engine.Load(append([]byte(nil), blob...), class, nil)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.codes[r.ID] = c
	w.mu.Unlock()
	resp.Manifest, resp.Info = putManifest(c.Manifest()), c.Info()
	return nil
}

// instantiate makes an instance when it is evaluated for the first time.
func (w *worker) instantiate(id, code uint32, fresh bool) (*guest, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := (*w.instances.Load())[id]; g != nil { // by another lane
		return g, nil
	}
	c := w.codes[code]
	if c == nil {
		return nil, errs.New(errs.Dead, "the code has been released")
	}
	iso, err := w.engine.NewIsolate(vm.IsolateSpec{Name: "guest", Fresh: fresh})
	if err != nil {
		return nil, err
	}
	g := &guest{iso: iso}
	if g.in, err = iso.Instantiate(c); err != nil {
		_ = iso.Close()
		return nil, err
	}
	g.in.Data = g
	w.change(id, g)
	return g, nil
}

// change replaces the table of instances, which the lanes read without a lock.
func (w *worker) change(id uint32, g *guest) {
	old := *w.instances.Load()
	m := make(map[uint32]*guest, len(old)+1)
	for k, v := range old {
		m[k] = v
	}
	if m[id] = g; g == nil {
		delete(m, id)
	}
	w.instances.Store(&m)
}

// station is the worker's side of a lane, with a goroutine of its own.
type station struct {
	w     *worker
	lane  *lane
	event int
	call  vm.Call
	now   uint32 // request under way
	calls uint32
	state [ringSlots]left
}

// left is the state that an evaluation left, for those that continue it.
type left struct {
	n     int // -1: none
	value [abi.StateMax]byte
}

// run evaluates.
func (s *station) run() {
	l := s.lane
	for {
		end := l.submitted.Load()
		if end == s.now {
			l.sleeping.Store(1)
			if l.submitted.Load() == s.now {
				sys.WaitWord(l.submitted, s.now)
			}
			l.sleeping.Store(0)
			continue
		}
		for s.now != end {
			s.evaluate()
			s.now++
			l.completed.Store(s.now)
			if s.now%(ringSlots/2) == 0 && s.now != end {
				sys.Signal(s.event)
			}
		}
		sys.Signal(s.event)
	}
}

// evaluate does one request.
func (s *station) evaluate() {
	b, to := s.lane.request(s.now), s.lane.answer(s.now)
	c := &s.call
	getIn(b, &c.In)
	c.Budget = le.Uint64(b[reqBudget:])
	c.Window = b[reqData : reqData+le.Uint32(b[reqWindow:])]
	c.State = nil
	mine := &s.state[s.now%ringSlots]
	mine.n = -1
	if back := le.Uint32(b[reqAfter:]); back != 0 {
		if from := &s.state[(s.now-back)%ringSlots]; from.n >= 0 {
			mine.n = from.n
			copy(mine.value[:], from.value[:from.n])
		}
	} else if n := le.Uint32(b[reqState:]); n > 0 {
		mine.n = copy(mine.value[:], b[reqStateAt:reqStateAt+n-1])
	}
	var v abi.Verdict
	var err error
	c.Used = 0
	id := le.Uint32(b[reqInstance:])
	g := (*s.w.instances.Load())[id]
	if g == nil {
		g, err = s.w.instantiate(id, le.Uint32(b[reqCode:]), le.Uint32(b[reqFresh:]) != 0)
	}
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.at = s
		if mine.n >= 0 {
			c.State = mine.value[:min(mine.n, int(g.in.Code().Manifest().StateSize))]
		}
		v, err = g.in.Evaluate(nil, c)
	}
	clear(to[:respHead])
	le.PutUint64(to[respUsed:], c.Used)
	if err != nil {
		s.fail(to, err)
		return
	}
	le.PutUint32(to[respVerdict:], uint32(v))
	o := &c.Out
	putOut(to[respBlock:respBlock+abi.BlockSize], o)
	switch o.StateAct {
	case abi.StateWrite:
		copy(to[respBlock+abi.BlockStateOff:], c.Put)
		mine.n = copy(mine.value[:], c.Put)
	case abi.StateDelete:
		mine.n = -1
	}
	le.PutUint32(to[respPayload:], uint32(copy(to[respData:respData+s.w.Window], c.Payload)))
	at := respData + s.w.Window
	for i := range o.Emits[:o.NumEmits] {
		at += copy(to[at:], g.in.EmitBytes(&o.Emits[i]))
	}
	le.PutUint32(to[respEmits:], uint32(at-respData-s.w.Window))
	le.PutUint32(to[respStatus:], statusVerdict)
}

// fail writes the answer of an evaluation that came to no verdict.
func (s *station) fail(to []byte, err error) {
	var f *vm.Fault
	text := err.Error()
	if errors.As(err, &f) {
		text = ""
		if f.Err != nil {
			text = f.Err.Error()
		}
		le.PutUint32(to[respReason:], uint32(f.Reason))
		le.PutUint32(to[respFunc:], uint32(int32(f.Func)))
		le.PutUint32(to[respOffset:], uint32(int32(f.Offset)))
		le.PutUint32(to[respStatus:], statusFault)
	} else {
		le.PutUint32(to[respKind:], uint32(errs.KindOf(err)))
		le.PutUint32(to[respStatus:], statusError)
	}
	le.PutUint32(to[respText:], uint32(copy(to[respTextAt:respTextAt+textMax], text)))
}

// hostCall asks the node for a host function and waits for the answer.
func (s *station) hostCall(in *vm.Instance, fn int, f hostFunc, stack []uint64) {
	l := s.lane
	m := l.mem[laneCall : laneCall+callBytes]
	le.PutUint32(m[callSlot:], s.now)
	le.PutUint32(m[callFn:], uint32(fn))
	le.PutUint32(m[callViews:], uint32(len(f.Spans)))
	for k := range maxArgs {
		v := uint32(0)
		if k < f.Params {
			v = uint32(stack[k])
		}
		le.PutUint32(m[callArgs+4*k:], v)
	}
	var views [maxViews][]byte
	at := callData
	for k, sp := range f.Spans {
		addr := uint32(stack[sp.Addr])
		v := m[callView+12*k:]
		le.PutUint32(v, addr)
		b, ok := in.Memory(addr, min(uint32(stack[sp.Len]), sp.Max))
		if !ok {
			le.PutUint32(v[4:], absent)
			continue
		}
		le.PutUint32(v[4:], uint32(len(b)))
		views[k] = b
		at += copy(m[at:], b) // what is written too: the function may leave some of it as it is
	}
	s.calls++
	l.calls.Store(s.calls)
	sys.Signal(s.event)
	for {
		n := l.replies.Load()
		if n == s.calls {
			break
		}
		sys.WaitWord(l.replies, n)
	}
	r := l.mem[laneReply : laneReply+callBytes]
	if le.Uint32(r[replyFail:]) != 0 {
		panic("the host function failed in the node")
	}
	at = replyData
	for k, sp := range f.Spans {
		if sp.Write {
			at += copy(views[k], r[at:])
		}
	}
	stack[0] = uint64(le.Uint32(r[replyValue:]))
}
