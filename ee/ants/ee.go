package ants

import (
	"log/slog"
	"math/rand/v2"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// DefaultCredit is what Send gives a capsule that brings no credit; DefaultTTL is its TTL if that is zero.
const (
	DefaultCredit = 1024
	DefaultTTL    = 64
)

// Spec says what an EE should be. Domain, Engine, Addr and Router are required.
type Spec struct {
	Name     string         // of the node, for reports
	Domain   *nodeos.Domain // the EE's own; domains of protocols and applications are made below it
	Engine   *vm.Engine
	Addr     NodeAddr
	Router   Router
	Limits   Limits
	Budget   uint64      // fuel of one evaluation; 0: vm.DefaultBudget
	Jail     *jail.Jail  // where protocols run that come from the network, see RegisterIn; nil: in this process
	Protocol resctl.Spec // account of each protocol's domain; the name is filled in
	Events   EventSink   // nil: nobody wants them
	Log      *slog.Logger
}

// EE is the ANTS execution environment of one node. It lives on the home worker of its domain and ends with it.
// Methods with a *nodeos.Worker parameter are for that worker; the others are for the control side and may be called from
// any goroutine but a worker's.
type EE struct {
	spec   Spec
	domain *nodeos.Domain
	node   *nodeos.Node
	home   *nodeos.Worker
	class  *vm.Class
	jailed map[*jail.Jail]*vm.Class // the home worker's
	rand   *rand.Rand
	epoch  uint64 // Unix time of the clock's origin in nanoseconds
	inbox  *nodeos.InChan
	ended  atomic.Bool
	jobs   chan *job // for prepareLoop; nil when the node is stepped

	// The rest belongs to the home worker.
	methods   map[MethodID]member
	protocols map[ProtocolID]*flow
	flows     map[uint32]*flow // by number
	flowSeq   uint32
	loading   int
	refused   refusals
	ports     []*Port // by index
	byLink    []*Port // by link number
	apps      map[uint16]*App

	touchedFlows []*flow
	touchedPorts []*Port
	touchedApps  []*App
	one          packet.Batch // for packets that the EE makes itself
	sel          Capsule      // of the packet that is being classified

	loadRate, serveRate, errorRate, eventRate bucket
	skipped                                   uint64
	counts                                    Counts
	drops                                     [numCauses]uint64
	kills                                     []Kill
	killNext                                  int
	killTotal                                 uint64
}

// member says what a method id stands for on this node.
type member struct {
	flow  *flow
	class *class // nil while it is being loaded
}

// Counts are the EE's counters since it was made.
type Counts struct {
	Received     uint64 `json:"received"` // capsules and messages that came by links
	Injected     uint64 `json:"injected"` // by applications of this node
	Evaluated    uint64 `json:"evaluated"`
	Forwarded    uint64 `json:"forwarded"` // copies sent on
	Emitted      uint64 `json:"emitted"`   // new capsules made by capsules
	Delivered    uint64 `json:"delivered"` // to applications
	Punted       uint64 `json:"punted"`
	Fuel         uint64 `json:"fuel"`
	Loads        uint64 `json:"loads"` // begun
	LoadsDone    uint64 `json:"loads_done"`
	LoadsFailed  uint64 `json:"loads_failed"`
	Requests     uint64 `json:"requests"` // load requests sent
	ChunksIn     uint64 `json:"chunks_in"`
	Served       uint64 `json:"served"` // load requests answered
	ChunksOut    uint64 `json:"chunks_out"`
	DirsOut      uint64 `json:"directories_out"`
	ErrorsSent   uint64 `json:"errors_sent"`
	ErrorsIn     uint64 `json:"errors_in"`     // about capsules of this node
	ErrorsPassed uint64 `json:"errors_passed"` // on their way to other nodes
	DomainsEnded uint64 `json:"domains_ended"`
	StateRefused uint64 `json:"state_refused"`
	Terminated   uint64 `json:"terminated"` // domains ended for their faults
}

// New makes the EE in its domain.
func New(spec Spec) (*EE, error) {
	if spec.Domain == nil || spec.Engine == nil || spec.Router == nil || !spec.Addr.Valid() {
		return nil, errs.New(errs.Invalid, "ants: an EE needs a domain, an engine, a router and the address of its node, which is %s", spec.Addr)
	}
	if err := spec.Limits.fill(); err != nil {
		return nil, err
	}
	if spec.Budget == 0 {
		spec.Budget = vm.DefaultBudget
	}
	if spec.Budget > 1<<32 {
		return nil, errs.New(errs.Invalid, "ants: budget of %d units of fuel, at most %d", spec.Budget, uint64(1)<<32)
	}
	if spec.Log == nil {
		spec.Log = slog.New(slog.DiscardHandler)
	}
	node := spec.Domain.Node()
	if spec.Jail != nil && node.Stepped() {
		return nil, errs.New(errs.NotSupported, "ants: jail %s: a stepped node measures no real time, and has no jails", spec.Jail.Name())
	}
	e := &EE{
		spec: spec, domain: spec.Domain, node: node, home: spec.Domain.Home(), rand: node.NewRand(),
		epoch:   uint64(node.Clock().Wall().UnixNano() - int64(node.Clock().Now())),
		methods: make(map[MethodID]member), protocols: make(map[ProtocolID]*flow), flows: make(map[uint32]*flow), jailed: make(map[*jail.Jail]*vm.Class), apps: make(map[uint16]*App),
		loadRate:  newBucket(spec.Limits.LoadRate, float64(spec.Limits.LoadRate)),
		serveRate: newBucket(spec.Limits.ServeRate, float64(max(spec.Limits.ServeRate/4, 2*windowChunks))),
		errorRate: newBucket(spec.Limits.ErrorRate, float64(spec.Limits.ErrorRate)),
		eventRate: newBucket(spec.Limits.EventRate, float64(spec.Limits.EventRate)),
		kills:     make([]Kill, 0, spec.Limits.Kills),
	}
	e.refused.init(spec.Limits.Refused)
	var err error
	if e.class, err = spec.Engine.NewClass(vm.ClassSpec{Name: "capsule", Imports: hostFuncs()}); err != nil {
		return nil, err
	}
	e.inbox, err = e.domain.NewInChan(nodeos.InChanSpec{
		Protocol: "ants inbox", Worker: -1, Quota: 1024, HandOffOnly: true,
		Handler: func(w *nodeos.Worker, b *packet.Batch) { e.classify(w, b) },
	})
	if err != nil {
		return nil, err
	}
	if !node.Stepped() {
		e.jobs = make(chan *job, spec.Limits.Protocols)
		go prepareLoop(e.jobs)
	}
	// The protocols' domains have ended when this runs.
	end := func() {
		e.ended.Store(true)
		if e.jobs != nil {
			close(e.jobs)
		}
	}
	if !e.domain.OnDestroy(end) {
		end()
		return nil, errs.New(errs.Dead, "ants: domain %s has ended", e.domain.Path())
	}
	return e, nil
}

// Addr returns the node's address.
func (e *EE) Addr() NodeAddr { return e.spec.Addr }

// Domain returns the EE's domain.
func (e *EE) Domain() *nodeos.Domain { return e.domain }

// call runs fn on the home worker and waits. It must not be called from a worker.
func (e *EE) call(fn func()) error {
	if e.ended.Load() || !e.home.Call(fn) {
		return errs.New(errs.Dead, "ants: the EE of node %s has ended", e.spec.Addr)
	}
	return nil
}

// drop frees p and counts why.
func (e *EE) drop(w *nodeos.Worker, p *packet.Packet, c Cause) {
	e.drops[c]++
	w.Cache().Free(p)
}

// refusals remembers methods that are not to be loaded for a time. It is bounded: the oldest
// refusal makes room.
type refusals struct {
	byMethod map[MethodID]refusal
	order    []MethodID // a ring
	next     int
}

type refusal struct {
	until clock.Time
	slot  int
}

func (r *refusals) init(n int) {
	r.byMethod = make(map[MethodID]refusal, n)
	r.order = make([]MethodID, n)
}

func (r *refusals) add(m MethodID, until clock.Time) {
	if old, ok := r.byMethod[m]; ok {
		r.byMethod[m] = refusal{max(until, old.until), old.slot}
		return
	}
	if v, ok := r.byMethod[r.order[r.next]]; ok && v.slot == r.next {
		delete(r.byMethod, r.order[r.next])
	}
	r.order[r.next] = m
	r.byMethod[m] = refusal{until, r.next}
	r.next = (r.next + 1) % len(r.order)
}

// has reports whether m is refused at the given time.
func (r *refusals) has(m MethodID, now clock.Time) bool {
	if len(r.byMethod) == 0 {
		return false
	}
	v, ok := r.byMethod[m]
	if ok && now >= v.until {
		delete(r.byMethod, m)
		return false
	}
	return ok
}

func (r *refusals) forget(m MethodID) { delete(r.byMethod, m) }
