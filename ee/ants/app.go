package ants

import (
	"strconv"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// AppSpec says what an application of the node should be.
type AppSpec struct {
	Name    string
	Port    uint16      // 0: a free one from 49152
	Quota   int         // capsules that wait for it; 0: nodeos.DefaultQuota
	Account resctl.Spec // of its domain; the name is filled in

	// Receive is called for each capsule that is delivered to the port, on the EE's worker in the application's
	// turn. It must not wait. The delivery ends when it returns.
	Receive func(w *nodeos.Worker, d *Delivery)
}

// Delivery is a capsule that has arrived.
type Delivery struct {
	Capsule            // Data is a view of the packet
	Time    clock.Time // when it came to this node, on its clock
	Link    uint16     // the link it came by; 0: it never left the node
}

// App is an application: a domain with a bounded queue of capsules.
type App struct {
	ee      *EE
	spec    AppSpec
	domain  *nodeos.Domain
	in      *nodeos.InChan
	pending packet.Batch

	received, malformed uint64
	delivery            Delivery
}

const firstFreePort = 49152

// Attach makes an application. A port that is taken is errs.Exists.
func (e *EE) Attach(spec AppSpec) (*App, error) {
	if spec.Receive == nil {
		return nil, errs.New(errs.Invalid, "ants: application %s: nobody to receive", spec.Name)
	}
	a := &App{ee: e}
	var err error
	cerr := e.call(func() {
		if spec.Port == 0 {
			for p := firstFreePort; p < 1<<16 && spec.Port == 0; p++ {
				if e.apps[uint16(p)] == nil {
					spec.Port = uint16(p)
				}
			}
		}
		if e.apps[spec.Port] != nil || spec.Port == 0 {
			err = errs.New(errs.Exists, "ants: port %d of node %s is taken by application %s", spec.Port, e.spec.Addr, e.apps[spec.Port].spec.Name)
			return
		}
		spec.Account.Name = "app-" + strconv.Itoa(int(spec.Port))
		a.spec = spec
		if a.domain, err = e.domain.NewDomain(nodeos.DomainSpec{Account: spec.Account, Worker: e.home.ID()}); err != nil {
			return
		}
		a.in, err = a.domain.NewInChan(nodeos.InChanSpec{Protocol: "ants application", Worker: -1, Quota: spec.Quota, HandOffOnly: true, Handler: a.receive})
		if err == nil && !a.domain.OnDestroy(a.leave) {
			err = errs.New(errs.Dead, "ants: domain %s has ended", a.domain.Path())
		}
		if err != nil {
			a.domain.Terminate(err)
			return
		}
		e.apps[spec.Port] = a
	})
	if err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Port returns the application's port.
func (a *App) Port() uint16 { return a.spec.Port }

// Domain returns the application's domain.
func (a *App) Domain() *nodeos.Domain { return a.domain }

// Close ends the application. It does not wait; the port is free when the domain is dead.
func (a *App) Close() { a.domain.Terminate(errs.New(errs.Dead, "the application was closed")) }

func (a *App) leave() {
	if a.ee.apps[a.spec.Port] == a {
		delete(a.ee.apps, a.spec.Port)
	}
}

func (a *App) receive(w *nodeos.Worker, b *packet.Batch) {
	d := &a.delivery
	for _, p := range b.Packets() {
		if err := d.Capsule.Decode(p.Data()); err != nil {
			a.malformed++
		} else {
			d.Time, d.Link = p.Anno.Time, p.Anno.Link
			a.received++
			a.spec.Receive(w, d)
		}
		w.Cache().Free(p)
	}
	b.Reset()
}

// toApp makes p wait for its hand-off to the application on port. It takes p.
func (e *EE) toApp(w *nodeos.Worker, p *packet.Packet, port uint16) bool {
	a := e.apps[port]
	if a == nil {
		e.drop(w, p, DropNoApp)
		return false
	}
	if a.pending.Room() == 0 {
		a.handOff(w)
	}
	if a.pending.Len() == 0 {
		e.touchedApps = append(e.touchedApps, a)
	}
	a.pending.Append(p)
	return true
}

func (a *App) handOff(w *nodeos.Worker) {
	n := a.pending.Len()
	a.ee.drops[DropAppFull] += uint64(n - a.in.HandOff(w, &a.pending))
}

// The refusals of Inject are values, for traffic generators meet them often.
var (
	errNoMethod = errs.New(errs.NotFound, "ants: the capsule's method is not registered on this node")
	errNoFrame  = errs.New(errs.NoMemory, "ants: no frame for the capsule, or it does not fit into one")
	errCapsule  = errs.New(errs.Invalid, "ants: a capsule needs a destination and a ttl of at most %d", MaxTTL)
)

// Inject sends a capsule from this node, on the EE's worker. Method, Dst, Data and what options are wanted are the caller's; source
// and previous node are filled in, and so are, where they are zero, TTL and credit. The capsule is evaluated here first. Data is copied. Errors are
// errs.NotFound where the method is not registered here, errs.Invalid, and errs.NoMemory.
func (e *EE) Inject(w *nodeos.Worker, c *Capsule) error {
	x := *c
	x.Src, x.Prev = e.spec.Addr, 0
	if x.TTL == 0 {
		x.TTL = DefaultTTL
	}
	if !x.HasCredit {
		x.HasCredit, x.Credit = true, Credit{Count: DefaultCredit}
	}
	if x.TTL > MaxTTL || x.Dst == 0 {
		return errCapsule
	}
	m, ok := e.methods[x.Method]
	if !ok || m.class == nil {
		return errNoMethod
	}
	p := w.Cache().Alloc(e.domain.Owner())
	if p == nil {
		return errNoFrame
	}
	if !x.Encode(p) {
		w.Cache().Free(p)
		return errNoFrame
	}
	p.Anno.Time = e.node.Clock().Now() // the worker's time may be old when the control side calls
	e.counts.Injected++
	m.flow.enqueue(w, p, m.class)
	e.flush(w)
	return nil
}

// Send is Inject for the control side.
func (e *EE) Send(c *Capsule) error {
	var err error
	if cerr := e.call(func() { err = e.Inject(e.home, c) }); cerr != nil {
		return cerr
	}
	return err
}
