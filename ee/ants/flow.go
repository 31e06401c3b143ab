package ants

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// flow is a protocol on this node: a domain, an isolate, a bounded queue, soft state. It exists before the
// first byte of its code is asked for, so that everything is charged to it. It belongs to the home worker.
type flow struct {
	ee     *EE
	number uint32
	domain *nodeos.Domain
	meter  *resctl.Meter
	in     *nodeos.InChan
	task   *nodeos.Task
	idle   *nodeos.Timer
	state  flowState
	pinned bool // registered here, not loaded: it stays

	name     string // what it calls itself, or the method id before that is known
	id       ProtocolID
	groupIDs []GroupID
	groups   []*group
	methods  []MethodID // its entries in EE.methods
	isolate  *vm.Isolate
	jail     *jail.Jail // where its code runs; nil: in the node's process
	cell     *cell      // in the jail
	store    *store
	load     *load
	gone     chan struct{} // closed when f has left the tables
	jobs     []*job        // code that is prepared beside the worker
	counted  bool          // what waited at the end has been counted

	pending      packet.Batch // step 2
	waiting      int          // capsules that wait for the code
	waitingBytes int
	batch        packet.Batch // step 3: what this and the next runs evaluate
	lastUse      clock.Time
	started      clock.Time

	charged   int64  // for f itself
	logs      bucket // guest logs
	strikes   int
	strikesAt clock.Time
	counts    ProtocolCounts
	journal   journal
	call      vm.Call
	capsule   Capsule
	dests     [abi.OutputsMax + abi.EmitsMax]dest
	key       stateKey
	callKey   stateKey // of a host call
	keyBytes  [abi.KeyMax]byte
}

// flowBytes is what a protocol's domain is charged for its own structures and queues; logRate is how many lines its capsules may
// log in a second.
const (
	flowBytes = 16 << 10
	logRate   = 10
)

type flowState uint8

const (
	flowLoading flowState = iota
	flowActive
	flowEnded
)

var flowStates = [...]string{"loading", "active", "ended"}

// ProtocolCounts are a protocol's counters.
type ProtocolCounts struct {
	Evaluated uint64 `json:"evaluated"`
	Forwarded uint64 `json:"forwarded"` // copies sent on
	Emitted   uint64 `json:"emitted"`
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"` // by its own code
	Errors    uint64 `json:"errors"`  // malformed, says its own code
	Punted    uint64 `json:"punted"`
	Faults    uint64 `json:"faults"`
	Fuel      uint64 `json:"fuel"`
}

// group is a loaded code group.
type group struct {
	id        GroupID
	directory []byte   // as it is served
	classes   []*class // by name
}

// class is a loaded capsule class.
type class struct {
	flow     *flow
	group    *group
	name     string
	method   MethodID
	id       CodeID
	bytes    []byte
	code     *vm.Code
	inst     *vm.Instance
	manifest *abi.Manifest
	counts   ProtocolCounts
}

// newFlow makes a protocol's domain with its queue and its place in the tables. The name is that of its account; j is where its code will run.
func (e *EE) newFlow(account, name string, j *jail.Jail) (*flow, error) {
	if len(e.flows) >= e.spec.Limits.Protocols && !e.makeRoom() {
		return nil, errs.New(errs.Limit, "ants: node %s has %d protocols, which is the limit", e.spec.Addr, len(e.flows))
	}
	e.flowSeq++
	f := &flow{ee: e, number: e.flowSeq, name: name, lastUse: e.home.Now(), started: e.home.Now(), gone: make(chan struct{})}
	spec := e.spec.Protocol
	spec.Name = account + "." + strconv.FormatUint(uint64(f.number), 10)
	var err error
	f.domain, err = e.domain.NewDomain(nodeos.DomainSpec{Account: spec, Worker: e.home.ID(), OnExit: f.exited})
	if err != nil {
		return nil, err
	}
	f.meter = f.domain.Account().Meter(e.home.ID())
	f.in, err = f.domain.NewInChan(nodeos.InChanSpec{Protocol: "ants protocol", Worker: -1, Quota: e.spec.Limits.Queue, HandOffOnly: true})
	if err == nil {
		f.task, err = f.domain.NewTask(nodeos.TaskSpec{Name: "evaluate", Worker: -1, Run: f})
	}
	if err == nil {
		f.isolate, err = e.spec.Engine.NewIsolate(vm.IsolateSpec{Name: f.domain.Path(), Account: f.domain.Account(), Data: f})
	}
	if err == nil {
		err = f.imprison(j)
	}
	f.store = newStore(f.domain.Account(), e.spec.Limits.StateEntries)
	if err == nil {
		if err = f.domain.Account().Take(resctl.Memory, flowBytes); err == nil {
			f.charged = flowBytes
		}
	}
	if err == nil && !f.domain.OnDestroy(f.release) {
		err = errs.New(errs.Dead, "ants: domain %s has ended", f.domain.Path())
	}
	if err != nil {
		if f.isolate != nil {
			f.isolate.Close()
		}
		if f.cell != nil {
			f.cell.queue.Close()
		}
		f.domain.Account().Return(resctl.Memory, f.charged)
		f.state = flowEnded
		f.domain.Terminate(err)
		return nil, err
	}
	f.logs = newBucket(logRate, logRate)
	f.idle = f.domain.NewTimer(-1, f.checkIdle)
	e.flows[f.number] = f
	e.emit(Event{Kind: DomainStarted, Domain: f.domain.Path(), Protocol: f.name})
	return f, nil
}

// makeRoom ends the protocol that was not used for the longest time, if that is a second at least. Registered ones and
// those being loaded stay.
func (e *EE) makeRoom() bool {
	var old *flow
	for _, f := range e.flows {
		if f.state == flowActive && !f.pinned && (old == nil || f.lastUse < old.lastUse || f.lastUse == old.lastUse && f.number < old.number) {
			old = f
		}
	}
	if old == nil || e.home.Now().Sub(old.lastUse) < time.Second {
		return false
	}
	old.end(errs.New(errs.Limit, "made room for another protocol"), 0)
	return true
}

// claim enters a method of f into the table. A nil class means that it is being loaded.
func (f *flow) claim(m MethodID, c *class) {
	if old, ok := f.ee.methods[m]; !ok || old.flow != f {
		f.methods = append(f.methods, m)
	}
	f.ee.methods[m] = member{f, c}
}

// end takes f out of the tables and terminates its domain. With a refuse time, its methods are refused until then.
func (f *flow) end(reason error, refuse clock.Time) {
	f.leave(refuse)
	f.domain.Terminate(reason)
}

// leave takes f out of the tables, once.
func (f *flow) leave(refuse clock.Time) {
	if f.state == flowEnded {
		return
	}
	e := f.ee
	if f.state == flowLoading && !f.pinned {
		e.loading--
	}
	f.state = flowEnded
	close(f.gone)
	for _, m := range f.methods {
		if e.methods[m].flow == f {
			delete(e.methods, m)
			if refuse > 0 {
				e.refused.add(m, refuse)
			}
		}
	}
	if e.protocols[f.id] == f {
		delete(e.protocols, f.id)
	}
	delete(e.flows, f.number)
}

// release is the domain's hook: it gives back what the domain holds beside its frames. A preparation that is still running
// beside the worker ends within the time that the gate takes for one class. Whoever ended the domain from outside does not
// want it back at once, so its methods are refused for a moment.
func (f *flow) release() {
	f.leave(f.ee.home.Now().Add(f.ee.spec.Limits.Negative))
	if !f.counted {
		f.ee.drops[DropEnded] += uint64(f.batch.Len() + f.in.Stats().Held)
		if f.cell != nil {
			f.ee.drops[DropEnded] += uint64(f.cell.n)
		}
	}
	if f.cell != nil {
		f.cell.queue.Close()
	}
	f.stopJobs()
	if f.load != nil {
		f.load.close()
	}
	if err := f.isolate.Close(); err != nil {
		f.ee.spec.Log.Error("isolate does not close", "domain", f.domain.Path(), "err", err)
	}
	for _, g := range f.groups {
		g.release(f.domain.Account())
	}
	f.store.close()
	f.domain.Account().Return(resctl.Memory, f.charged)
}

func (g *group) release(account *resctl.Account) {
	for _, c := range g.classes {
		if c.code != nil {
			c.code.Release()
			c.code = nil
		}
		account.Return(resctl.Memory, int64(len(c.bytes)))
	}
	account.Return(resctl.Memory, int64(len(g.directory)))
}

// exited hears that the domain is dead.
func (f *flow) exited(x nodeos.Exit) {
	f.ee.counts.DomainsEnded++
	ev := Event{Kind: DomainEnded, Domain: x.Domain, Protocol: f.name, Frames: x.Frames}
	if x.Reason != nil {
		ev.Reason = x.Reason.Error()
	}
	f.ee.emit(ev)
}

// prepared is a class whose code has passed the gate, before it is installed.
type prepared struct {
	id    CodeID
	bytes []byte
	code  *vm.Code
}

// prepare passes codes through the gate for an account, which pays for the bytes already. It is called beside the worker, or on
// it when the node is stepped; on error, or when stop is closed, nothing stays loaded.
func (e *EE) prepare(codes [][]byte, class *vm.Class, account *resctl.Account, stop <-chan struct{}) (ps []prepared, err error) {
	for _, b := range codes {
		var c *vm.Code
		select {
		case <-stop:
			err = errs.New(errs.Dead, "ants: the domain ended while its code was loaded")
		default:
			c, err = e.spec.Engine.Load(b, class, account)
		}
		if err != nil {
			release(ps)
			return nil, err
		}
		ps = append(ps, prepared{CodeIDOf(b), b, c})
	}
	return ps, nil
}

// install makes a prepared group part of f, whose account has paid for the bytes and the directory. On error
// nothing of it is part of f, but the codes are still the caller's.
func (f *flow) install(dir []byte, id GroupID, ps []prepared) error {
	g := &group{id: id, directory: dir}
	for _, p := range ps {
		c := &class{flow: f, group: g, id: p.id, bytes: p.bytes, code: p.code, manifest: p.code.Manifest(), method: MethodIDOf(p.id, id, f.id)}
		c.name = c.manifest.Name
		g.classes = append(g.classes, c)
	}
	slices.SortFunc(g.classes, func(a, b *class) int {
		return cmp.Or(cmp.Compare(a.name, b.name), bytes.Compare(a.id[:], b.id[:]))
	})
	for i, c := range g.classes {
		var err error
		if i > 0 && g.classes[i-1].name == c.name {
			err = errs.New(errs.Refused, "load: two classes of group %s are called %s", id, c.name)
		} else {
			c.inst, err = f.isolate.Instantiate(c.code)
		}
		if err != nil {
			for _, c := range g.classes[:i] {
				c.inst.Close()
			}
			return err
		}
		c.inst.Data = c
	}
	f.groups = append(f.groups, g)
	for _, c := range g.classes {
		f.absorb(c.method)
		f.claim(c.method, c)
		f.ee.refused.forget(c.method)
	}
	return nil
}

// absorb takes over what waits for a method that another flow has begun to load.
func (f *flow) absorb(m MethodID) {
	o := f.ee.methods[m].flow
	if o == nil || o == f || o.state != flowLoading || o.pinned {
		return
	}
	f.takeOver(o)
	o.end(errs.New(errs.Exists, "its protocol is here already"), 0)
}

// takeOver moves the capsules that wait in o to f.
func (f *flow) takeOver(o *flow) {
	w := f.ee.home
	var b packet.Batch
	for o.in.Receive(&b) > 0 {
		n := b.Len()
		f.ee.drops[DropQueueFull] += uint64(n - f.in.HandOff(w, &b))
	}
	o.waiting, o.waitingBytes = 0, 0
}

// activate lets the protocol run.
func (f *flow) activate() {
	if f.state == flowLoading && !f.pinned {
		f.ee.loading--
	}
	f.state = flowActive
	f.waiting, f.waitingBytes = 0, 0
	f.ee.protocols[f.id] = f
	f.in.SetTask(f.task)
	if !f.pinned {
		f.idle.Set(f.ee.home.Now().Add(f.ee.spec.Limits.Idle))
	}
}

// checkIdle ends the protocol if nobody has used it for a while.
func (f *flow) checkIdle(now clock.Time) {
	if f.state != flowActive || f.pinned {
		return
	}
	until := f.lastUse.Add(f.ee.spec.Limits.Idle)
	if now < until {
		f.idle.Set(until)
		return
	}
	f.end(errs.New(errs.Timeout, "not used for %s", f.ee.spec.Limits.Idle), 0)
}
