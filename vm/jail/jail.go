package jail

import (
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// Spec says what a jail should be.
type Spec struct {
	Name   string        // of the trust class: up to 32 letters, digits, '-', '_', '.'
	Mode   vm.Mode       // of the worker's engine; without machine code (vm.ModeInterpreter) the worker can make no memory executable
	Memory int64         // most bytes that the worker may have beside what its runtime begins with; 0: DefaultMemory
	CPU    time.Duration // processor time after which the worker is ended, and another started; 0: without end
	Hang   time.Duration // after which a worker that does not answer is killed; 0: DefaultHang
	Window int           // largest window of a guest in bytes; 0: DefaultWindow
	Queues int           // how many there may be at a time; 0: 1
	Log    *slog.Logger  // nil: none

	// OnDeath is called when a worker has ended, other than by Close, on a goroutine of the jail. It must not block.
	OnDeath func(reason error)
	// OnStart is called likewise when another worker takes the place of one that has ended.
	OnStart func()
}

// The defaults of a Spec.
const (
	DefaultMemory = 256 << 20
	DefaultHang   = 2 * time.Second
	DefaultWindow = 4096 // a frame's
)

// Bounds of a Spec, and of what waits for the next worker.
const (
	maxQueues    = 64
	minMemory    = 32 << 20
	minHang      = 10 * time.Millisecond
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 30 * time.Second
	goodLife     = 60 * time.Second // after which a death counts as the first
	startLimit   = 20 * time.Second
	loadLimit    = 20 * time.Second
)

// Sealed is what keeps a worker in, as it reported when it was sealed.
type Sealed struct {
	Namespaces []string `json:"namespaces"` // that it has for itself
	Root       string   `json:"root"`       // "empty", or what it is where it could not be changed
	User       int      `json:"user"`       // as the host counts
	Calls      int      `json:"calls"`      // system calls that it may make
	Filter     int      `json:"filter"`     // instructions of the filter
	Missing    []string `json:"missing,omitempty"`
}

// Status is how a jail is.
type Status struct {
	Name   string  `json:"name"`
	Alive  bool    `json:"alive"`
	PID    int     `json:"pid,omitempty"`
	Starts uint64  `json:"starts"`
	Deaths uint64  `json:"deaths"`
	Last   string  `json:"last_death,omitempty"`
	CPU    int64   `json:"cpu_ns"` // of all workers
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Jail is a trust class: a worker process, its successors, and the codes and instances in it. It is safe for concurrent use.
type Jail struct {
	spec   Spec
	layout layout
	events []int // one for each lane, and one for the control area at the end
	p      atomic.Pointer[process]

	mu     sync.Mutex
	last   error // why there is no process
	status Status
	live   []*Queue // by lane; nil: free
	stop   chan struct{}
	done   chan struct{}
	over   bool
	drains sync.WaitGroup // queues that were closed with evaluations under way

	sync  sync.Mutex // Evaluate
	alone *Queue
}

// New makes a jail and starts its worker. Where the kernel has no seccomp filters, the processor has no list of calls, or the program does not call Enter, it fails
// with errs.NotSupported.
func New(spec Spec) (*Jail, error) {
	if err := spec.fill(); err != nil {
		return nil, err
	}
	j := &Jail{spec: spec, stop: make(chan struct{}), done: make(chan struct{})}
	j.layout = layout{window: spec.Window, lanes: 1 + spec.Queues}
	j.status.Name = spec.Name
	for range j.layout.lanes + 1 {
		fd, err := newEvent()
		if err != nil {
			j.closeEvents()
			return nil, err
		}
		j.events = append(j.events, fd)
	}
	j.live = make([]*Queue, j.layout.lanes)
	j.alone = j.newQueue(0)
	first := make(chan error, 1)
	go j.supervise(first)
	if err := <-first; err != nil {
		<-j.done
		j.closeEvents()
		return nil, err
	}
	return j, nil
}

// Check reports what is wrong with a spec.
func (s *Spec) Check() error {
	x := *s
	return x.fill()
}

func (s *Spec) fill() error {
	bad := len(s.Name) == 0 || len(s.Name) > 32
	for _, c := range s.Name {
		bad = bad || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if bad {
		return errs.New(errs.Invalid, "vm/jail: jail %q: the name has 1 to 32 letters, digits, '-', '_' and '.'", s.Name)
	}
	if s.Memory == 0 {
		s.Memory = DefaultMemory
	}
	if s.Hang == 0 {
		s.Hang = DefaultHang
	}
	if s.Window == 0 {
		s.Window = DefaultWindow
	}
	if s.Queues == 0 {
		s.Queues = 1
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Window = (s.Window + 63) &^ 63
	switch {
	case s.Memory < minMemory:
		return errs.New(errs.Invalid, "vm/jail: jail %s: %d bytes of memory, at least %d", s.Name, s.Memory, int64(minMemory))
	case s.Hang < minHang || s.CPU < 0:
		return errs.New(errs.Invalid, "vm/jail: jail %s: %s without an answer, at least %s; %s of processor time", s.Name, s.Hang, minHang, s.CPU)
	case s.Window < 64 || s.Window > abi.WindowLimit:
		return errs.New(errs.Invalid, "vm/jail: jail %s: a window of %d bytes, want 64 to %d", s.Name, s.Window, abi.WindowLimit)
	case s.Queues < 0 || s.Queues > maxQueues:
		return errs.New(errs.Invalid, "vm/jail: jail %s: %d queues, want 1 to %d", s.Name, s.Queues, maxQueues)
	case s.Mode > vm.ModeCompiled:
		return errs.New(errs.Invalid, "vm/jail: jail %s: unknown %v", s.Name, s.Mode)
	}
	return nil
}

// Name returns the name of the trust class.
func (j *Jail) Name() string { return j.spec.Name }

// Status returns how the jail is.
func (j *Jail) Status() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.status
	if p := j.p.Load(); p != nil && p.Err() == nil {
		s.Alive, s.PID = true, p.pid
		s.CPU += p.cpu.Load()
	}
	return s
}

// newQueue makes the queue of a lane.
func (j *Jail) newQueue(n int) *Queue {
	q := &Queue{j: j, n: n, event: j.events[n], payload: make([]byte, j.spec.Window), emits: make([]byte, abi.EmitsMax*j.spec.Window)}
	j.live[n] = q
	if p := j.p.Load(); p != nil {
		p.queues[n].Store(q)
	}
	return q
}

// Queue makes a queue for one goroutine. errs.Limit: there are as many as the spec says.
func (j *Jail) Queue() (*Queue, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return nil, errs.New(errs.Dead, "vm/jail: jail %s is closed", j.spec.Name)
	}
	n := slices.Index(j.live, nil)
	if n < 0 {
		return nil, errs.New(errs.Limit, "vm/jail: jail %s has %d queues, which are in use", j.spec.Name, j.spec.Queues)
	}
	return j.newQueue(n), nil
}

// closed frees the lane of a queue.
func (j *Jail) closed(q *Queue) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live[q.n] = nil
	if p := j.p.Load(); p != nil {
		p.queues[q.n].Store(nil)
	}
}

// Close ends the worker. Codes and instances that are left are dead. Closing twice is fine. It refuses with errs.Exists while there are queues.
func (j *Jail) Close() error {
	j.mu.Lock()
	if !j.over {
		for _, q := range j.live[1:] {
			if q != nil && !q.gone.Load() {
				j.mu.Unlock()
				return errs.New(errs.Exists, "vm/jail: jail %s still has queues: close them first", j.spec.Name)
			}
		}
		j.over = true
		close(j.stop)
	}
	j.mu.Unlock()
	<-j.done
	j.drains.Wait()
	j.sync.Lock()
	defer j.sync.Unlock()
	j.alone.detach()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closeEvents()
	return nil
}

func (j *Jail) closeEvents() {
	for _, fd := range j.events {
		closeFD(fd)
	}
	j.events = nil
}

// current returns the process, or why there is none.
func (j *Jail) current() (*process, error) {
	p := j.p.Load()
	if p != nil && p.Err() == nil {
		return p, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.over:
		return nil, errs.New(errs.Dead, "vm/jail: jail %s is closed", j.spec.Name)
	case p != nil && p.Err() != nil:
		return nil, p.Err()
	default:
		return nil, errs.New(errs.Dead, "vm/jail: jail %s waits before it starts another worker: %v", j.spec.Name, j.last)
	}
}

// classRef is a class of guests, as a process knows it.
type classRef struct {
	id    uint32
	funcs []vm.HostFunc
}

// Code is a module in the worker. It implements vm.OutsideCode.
type Code struct {
	p        *process
	number   uint32
	id       vm.CodeID
	class    *classRef
	manifest *abi.Manifest
	info     vm.Info
}

// Manifest implements vm.OutsideCode.
func (c *Code) Manifest() *abi.Manifest { return c.manifest }

// Info implements vm.OutsideCode.
func (c *Code) Info() vm.Info { return c.info }

// Load implements vm.Outside: it passes a module through the gate in the worker.
func (j *Jail) Load(code []byte, class *vm.Class) (vm.OutsideCode, error) {
	p, err := j.current()
	if err != nil {
		return nil, err
	}
	ref, err := p.class(class)
	if err != nil {
		return nil, err
	}
	id := p.ids.Add(1)
	r, err := p.ask(&ctlReq{Op: askLoad, ID: id, Of: ref.id}, code, loadLimit)
	if err != nil {
		return nil, err
	}
	c := &Code{p: p, number: id, id: sha256.Sum256(code), class: ref, info: r.Info}
	if c.manifest, err = abi.ParseManifest(r.Manifest); err != nil {
		err = errs.New(errs.Corrupt, "it says that a module has the manifest %x: %v", r.Manifest, err)
		p.kill(err)
		return nil, p.Err()
	}
	// What the worker says that things cost is charged, so it must not be less than nothing, nor more than there is.
	for _, n := range []*int64{&c.info.Charge, &c.info.Instance, &c.info.MemoryMax} {
		if *n < 0 || *n > j.spec.Memory {
			p.kill(errs.New(errs.Corrupt, "it says that a module takes %d bytes, of %d", *n, j.spec.Memory))
			return nil, p.Err()
		}
	}
	for i, s := range c.info.Imports {
		c.info.Imports[i] = printable([]byte(s))
	}
	if int(c.manifest.WindowSize) > j.spec.Window {
		c.Release()
		return nil, errs.New(errs.Refused, "vm/jail: class %s has a window of %d bytes, jail %s has room for %d: make one of them fit", c.manifest.Name, c.manifest.WindowSize, j.spec.Name,
			j.spec.Window)
	}
	return c, nil
}

// Release implements vm.OutsideCode.
func (c *Code) Release() { c.p.forget(ctlReq{Op: askRelease, ID: c.number}) }

// Instantiate implements vm.OutsideCode. The worker makes the instance when it is first evaluated.
func (c *Code) Instantiate(in *vm.Instance) (vm.OutsideInstance, error) {
	if err := c.p.Err(); err != nil {
		return nil, err
	}
	x := &Instance{Instance: in, p: c.p, code: c, id: c.p.ids.Add(1)}
	if in.Isolate().Fresh() {
		x.fresh = 1
	}
	return x, nil
}

// Instance is a guest in the worker. It implements vm.OutsideInstance.
type Instance struct {
	*vm.Instance
	p     *process
	code  *Code
	id    uint32
	fresh uint32
	under atomic.Int32 // evaluations under way
	over  atomic.Bool
	bytes []byte // of emits
	kept  struct{ payload, put, emits []byte }
}

// EmitBytes implements vm.OutsideInstance.
func (x *Instance) EmitBytes(e *abi.Emit) []byte {
	if end := uint64(e.Offset) + uint64(e.Length); end <= uint64(len(x.bytes)) {
		return x.bytes[e.Offset:end:end]
	}
	return nil
}

// Close implements vm.OutsideInstance.
func (x *Instance) Close() {
	x.under.Add(1)
	x.over.Store(true)
	x.ended()
}

// ended counts out an evaluation. The last one of a closed instance takes it from the worker.
func (x *Instance) ended() {
	if x.under.Add(-1) == 0 && x.over.Load() {
		x.p.forget(ctlReq{Op: askClose, ID: x.id})
	}
}

// Dead returns why the process of an instance has ended, or nil: it lives, or in is not in a jail.
func Dead(in *vm.Instance) error {
	x, ok := in.Outside().(*Instance)
	if !ok {
		return nil
	}
	return x.p.Err()
}

// Evaluate implements vm.OutsideInstance. It waits for the worker, one evaluation of the jail at a time.
func (x *Instance) Evaluate(meter *resctl.Meter, c *vm.Call) (abi.Verdict, error) {
	j := x.p.j
	j.sync.Lock()
	defer j.sync.Unlock()
	q := j.alone
	if _, v, err := q.submit(x, meter, c, 0); v != abi.Drop || err != nil {
		return v, err
	}
	q.Flush()
	for {
		if d, ok := q.Collect(c); ok {
			k := &x.kept
			k.payload = append(k.payload[:0], c.Payload...)
			k.put = append(k.put[:0], c.Put...)
			k.emits = append(k.emits[:0], x.bytes...)
			c.Payload, x.bytes = k.payload, k.emits
			if c.Put != nil {
				c.Put = k.put
			}
			return d.Verdict, d.Err
		}
		_ = q.Wait(j.spec.Hang) // the watch sees to those that hang
	}
}

// process is one worker process.
type process struct {
	j      *Jail
	pid    int
	mem    []byte
	lanes  []*lane
	places []place
	queues []atomic.Pointer[Queue] // by lane, for the watch
	end    func()                  // kills
	dead   atomic.Pointer[error]
	refs   atomic.Int32
	ids    atomic.Uint32
	cpu    atomic.Int64
	sealed *Sealed

	trashMu sync.Mutex
	trash   []ctlReq
	more    chan struct{} // there is trash

	ctl     sync.Mutex
	asked   uint32
	asking  atomic.Bool
	classes map[*vm.Class]*classRef
}

// Err returns why the process has ended or is being ended, or nil.
func (p *process) Err() error {
	if e := p.dead.Load(); e != nil {
		return *e
	}
	return nil
}

// kill ends the process. The first reason counts.
func (p *process) kill(reason error) {
	err := errs.New(errs.Dead, "vm/jail: the worker of jail %s was ended: %w", p.j.spec.Name, reason)
	if p.dead.CompareAndSwap(nil, &err) {
		p.end()
	}
}

// hold keeps the process's memory mapped; false: it is not any more.
func (p *process) hold() bool {
	for {
		n := p.refs.Load()
		if n == 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *process) drop() {
	if p.refs.Add(-1) == 0 {
		unmap(p.mem)
	}
}

// ask makes a request of the control area and waits for the answer.
func (p *process) ask(r *ctlReq, blob []byte, limit time.Duration) (*ctlResp, error) {
	if len(blob) > ctlBlobMax {
		return nil, errs.New(errs.TooBig, "vm/jail: jail %s: a module of %d bytes, at most %d", p.j.spec.Name, len(blob), ctlBlobMax)
	}
	p.ctl.Lock()
	defer p.ctl.Unlock()
	if !p.hold() {
		return nil, p.Err()
	}
	defer p.drop()
	n, err := putCtl(p.mem[ctlRequest:], r)
	if err != nil {
		return nil, err
	}
	copy(p.mem[ctlRequest+ctlJSONMax:], blob)
	word := func(off int) *atomic.Uint32 { return sharedWord(p.mem, off) }
	word(ctlReqLen).Store(uint32(n))
	word(ctlBlobLen).Store(uint32(len(blob)))
	p.asked++
	p.asking.Store(true)
	defer p.asking.Store(false)
	word(ctlSubmitted).Store(p.asked)
	wake(word(ctlSubmitted))
	event := p.j.events[len(p.j.events)-1]
	for until := time.Now().Add(limit); ; {
		if err := p.Err(); err != nil {
			return nil, err
		}
		switch n := word(ctlCompleted).Load(); n {
		case p.asked:
			return p.answer(word(ctlRespLen).Load())
		case p.asked - 1:
		default:
			p.kill(errs.New(errs.Corrupt, "it says that it has answered request %d of %d", n, p.asked))
			continue
		}
		left := time.Until(until)
		if left <= 0 {
			p.kill(errs.New(errs.Timeout, "no answer to %q within %s", r.Op, limit))
			continue
		}
		if pollIn(event, left) {
			drain(event)
		}
	}
}

// forget has the worker give something back, some time. It does not wait.
func (p *process) forget(r ctlReq) {
	if p.Err() != nil {
		return
	}
	p.trashMu.Lock()
	p.trash = append(p.trash, r)
	p.trashMu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// clean is the goroutine that makes these requests.
func (p *process) clean(gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case <-p.more:
		}
		p.trashMu.Lock()
		list := p.trash
		p.trash = nil
		p.trashMu.Unlock()
		for i := range list {
			if _, err := p.ask(&list[i], nil, loadLimit); err != nil && p.Err() != nil {
				break
			}
		}
	}
}

// answer copies and reads the answer.
func (p *process) answer(n uint32) (*ctlResp, error) {
	if n > ctlJSONMax {
		p.kill(errs.New(errs.Corrupt, "an answer of %d bytes", n))
		return nil, p.Err()
	}
	var r ctlResp
	b := slices.Clone(p.mem[ctlResponse : ctlResponse+int(n)])
	if err := json.Unmarshal(b, &r); err != nil {
		p.kill(errs.New(errs.Corrupt, "an answer that cannot be read: %v", err))
		return nil, p.Err()
	}
	if r.Kind != errs.OK {
		if r.Kind > errs.Corrupt {
			r.Kind = errs.Internal
		}
		return nil, errs.New(r.Kind, "%s (in jail %s)", printable([]byte(r.Error[:min(len(r.Error), 1024)])), p.j.spec.Name)
	}
	return &r, nil
}

// class makes a class known to the worker.
func (p *process) class(c *vm.Class) (*classRef, error) {
	p.ctl.Lock()
	ref := p.classes[c]
	p.ctl.Unlock()
	if ref != nil {
		return ref, nil
	}
	spec := c.Spec()
	ref = &classRef{id: p.ids.Add(1), funcs: spec.Imports}
	r := &ctlReq{Op: askClass, ID: ref.id, Name: spec.Name, Limits: &spec.Limits}
	for _, f := range spec.Imports {
		if len(f.Spans) > maxViews || f.Params > maxArgs {
			return nil, errs.New(errs.NotSupported, "vm/jail: host function %s.%s has %d spans and %d parameters, at most %d and %d", f.Module, f.Name, len(f.Spans), f.Params, maxViews, maxArgs)
		}
		r.Imports = append(r.Imports, hostFunc{f.Module, f.Name, f.Params, f.Result, f.Fuel, f.Spans})
	}
	if _, err := p.ask(r, nil, loadLimit); err != nil {
		return nil, err
	}
	p.ctl.Lock()
	defer p.ctl.Unlock()
	if old := p.classes[c]; old != nil { // two at a time: the first counts
		return old, nil
	}
	p.classes[c] = ref
	return ref, nil
}

// watch looks after a process until gone is closed: what does not answer, and what works without work, is killed.
func (p *process) watch(gone <-chan struct{}, cpuTime func() (time.Duration, error)) {
	period := min(p.j.spec.Hang/4, 100*time.Millisecond)
	patience := int(p.j.spec.Hang / period)
	tick := time.NewTicker(period)
	defer tick.Stop()
	type seen struct {
		moved  uint32
		still  int
		weight uint64
	}
	lanes := make([]seen, len(p.queues))
	var idle, before time.Duration
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		busy := p.asking.Load()
		for n := range lanes {
			q, s := p.queues[n].Load(), &lanes[n]
			if q == nil || q.open.Load() == 0 {
				s.still = 0
				continue
			}
			busy = true
			if m := q.moved.Load(); m != s.moved {
				s.moved, s.still = m, 0
			} else if s.still++; s.still > patience {
				p.kill(errs.New(errs.Timeout, "it did not answer for %s", p.j.spec.Hang))
			}
		}
		used, err := cpuTime()
		if err != nil {
			continue // it has ended
		}
		p.cpu.Store(int64(used))
		total := uint64(0)
		var part [maxQueues + 1]uint64
		for n := range lanes {
			if q := p.queues[n].Load(); q != nil {
				w := q.weight.Load()
				if w < lanes[n].weight { // another queue than before
					lanes[n].weight = 0
				}
				part[n] = w - lanes[n].weight
				lanes[n].weight = w
				total += part[n]
			}
		}
		for n := range lanes {
			if q := p.queues[n].Load(); q != nil && part[n] > 0 {
				q.cost.Add(int64(float64(used-before) * float64(part[n]) / float64(total)))
			}
		}
		// Compilation in the background and garbage collection come to an end.
		if idle = max(0, idle+used-before-period/100); busy {
			idle = 0
		} else if idle > max(2*p.j.spec.Hang, idleLeast) {
			p.kill(errs.New(errs.Limit, "it used the processor for %s without having been asked anything", idle.Round(time.Millisecond)))
		}
		before = used
	}
}

// idleLeast is the least processor time that a worker may use, beside a hundredth of the time, without having been asked anything.
const idleLeast = 500 * time.Millisecond
