package ants

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// prepareFor passes codes through the gate for f, whose account pays, and calls then on the worker with the result. That may take
// milliseconds, so unless the node is stepped it is done beside the worker. When f's domain ends meanwhile, its end
// waits for the class at hand, then is called with an error, and nothing stays loaded.
func (e *EE) prepareFor(f *flow, codes [][]byte, then func(ps []prepared, err error)) {
	guarded := func(ps []prepared, err error) {
		if err == nil && (f.state == flowEnded || f.domain.State() != nodeos.Active) {
			release(ps)
			ps, err = nil, errs.New(errs.Dead, "ants: the domain of protocol %s ended while its code was loaded", f.name)
		}
		then(ps, err)
	}
	class, err := e.classIn(f.jail)
	if err != nil {
		guarded(nil, err)
		return
	}
	if e.node.Stepped() {
		guarded(e.prepare(codes, class, f.domain.Account(), f.gone))
		return
	}
	j := &job{done: make(chan struct{}), then: guarded}
	j.run = func() {
		ps, err := e.prepareBeside(codes, class, f.domain.Account(), f.gone)
		// The post comes first: what the domain's end does after it has waited is posted later.
		e.home.Post(func() {
			f.jobs = slices.DeleteFunc(f.jobs, func(k *job) bool { return k == j })
			guarded(ps, err)
		})
		close(j.done)
	}
	select {
	case e.jobs <- j:
		f.jobs = append(f.jobs, j)
	default:
		guarded(nil, errs.New(errs.Limit, "ants: too many protocols are being loaded on node %s", e.spec.Addr))
	}
}

// job is code to be prepared beside the worker.
type job struct {
	taken atomic.Bool // begun, or given up
	run   func()
	done  chan struct{} // closed after it has run
	then  func(ps []prepared, err error)
}

// prepareLoop is the EE's goroutine beside the worker. It prepares one protocol at a time, so that a flood of code
// leaves the other processors alone.
func prepareLoop(jobs <-chan *job) {
	for j := range jobs {
		if j.taken.CompareAndSwap(false, true) {
			j.run()
		}
	}
}

// stopJobs gives up what has not begun and waits for the rest, which ends with the class at hand. f has left the tables.
func (f *flow) stopJobs() {
	jobs := f.jobs
	f.jobs = nil
	for _, j := range jobs {
		if j.taken.CompareAndSwap(false, true) {
			j.then(nil, errs.New(errs.Dead, "ants: the domain of protocol %s ended before its code was loaded", f.name))
		} else {
			<-j.done
		}
	}
}

// prepareBeside is prepare at the account's full cost.
func (e *EE) prepareBeside(codes [][]byte, class *vm.Class, account *resctl.Account, stop <-chan struct{}) ([]prepared, error) {
	start, paid := e.node.Clock().Now(), account.Use(resctl.CPU)
	ps, err := e.prepare(codes, class, account, stop)
	// The engine charges what it compiles. The rest is the gate's work.
	took := int64(e.node.Clock().Now().Sub(start))
	account.Spend(resctl.CPU, max(0, took-(account.Use(resctl.CPU)-paid)))
	return ps, err
}

// Register makes a protocol known to this node, which can then send its capsules and give its code to neighbours. It stays until
// Unregister or the end of the EE, whatever its use. Registering what is here already is fine. Errors are those of Protocol.Check, of the
// gate (package vm/gate), errs.Invalid where a class's name differs from that in its manifest, and errs.Limit.
func (e *EE) Register(p *Protocol) error { return e.RegisterIn(p, nil) }

// RegisterIn is Register with the code in a jail, whose protocols share a process without rights; nil: in the node's own. A protocol that is here already stays where
// it is. Each protocol takes a queue of the jail. When the process ends, the domains of its protocols do too: their methods are refused for Limits.Negative, and
// registered ones have to be registered again. The jail must be closed after the EE has ended. Stepped nodes have none: errs.NotSupported.
func (e *EE) RegisterIn(p *Protocol, j *jail.Jail) error {
	if err := p.Check(); err != nil {
		return err
	}
	done := make(chan error, 1)
	var f *flow
	if err := e.call(func() {
		var err error
		if f, err = e.register(p, j, done); err != nil {
			done <- err
		}
	}); err != nil {
		return err
	}
	if f == nil || e.node.Stepped() {
		return <-done
	}
	select {
	case err := <-done:
		return err
	case <-f.domain.Done():
		select {
		case err := <-done:
			return err
		default:
			return errs.New(errs.Dead, "ants: the domain of protocol %s ended: %v", p.Name, f.domain.Reason())
		}
	}
}

// register is Register on the worker. It returns a flow if done will be told later.
func (e *EE) register(p *Protocol, j *jail.Jail, done chan<- error) (*flow, error) {
	id := p.ID()
	f := e.protocols[id]
	fresh := f == nil
	if fresh {
		var err error
		if f, err = e.newFlow(p.Name, p.Name, j); err != nil {
			return nil, err
		}
		f.id = id
		for i := range p.Groups {
			f.groupIDs = append(f.groupIDs, p.Groups[i].ID())
		}
		e.protocols[id] = f // who registers or loads it meanwhile joins in
	}
	f.pinned = true
	f.name = p.Name
	var todo []*Group
	var codes [][]byte
	need := int64(0)
	for i := range p.Groups {
		g := &p.Groups[i]
		if f.hasGroup(g.ID()) {
			continue
		}
		todo = append(todo, g)
		need += int64(len(e.directoryOf(f, g)))
		for _, c := range g.Classes {
			codes = append(codes, append([]byte(nil), c.Code...))
			need += int64(len(c.Code))
		}
	}
	if err := f.domain.Account().Take(resctl.Memory, need); err != nil {
		err = fmt.Errorf("protocol %s: %w", p.Name, err)
		if fresh {
			f.end(err, 0)
		}
		return nil, err
	}
	e.prepareFor(f, codes, func(ps []prepared, err error) {
		left := need
		for _, g := range todo {
			if err != nil {
				break
			}
			mine := ps[:len(g.Classes)]
			for i, c := range g.Classes {
				if name := mine[i].code.Manifest().Name; name != c.Name && err == nil {
					err = errs.New(errs.Invalid, "the manifest of class %s says its name is %s: use one name", c.Name, name)
				}
			}
			switch {
			case err != nil:
			case f.hasGroup(g.ID()): // it came another way meanwhile
				release(mine)
				ps = ps[len(mine):]
			default:
				dir := e.directoryOf(f, g)
				if err = f.install(dir, g.ID(), mine); err == nil {
					ps = ps[len(mine):]
					left -= int64(len(dir))
					for _, c := range g.Classes {
						left -= int64(len(c.Code))
					}
				}
			}
		}
		release(ps)
		f.domain.Account().Return(resctl.Memory, left)
		if err != nil {
			err = fmt.Errorf("protocol %s: %w", p.Name, err)
			if fresh {
				f.end(err, 0)
			}
		} else if f.state == flowLoading {
			f.activate()
		}
		done <- err
	})
	return f, nil
}

// hasGroup reports whether the group is loaded in f.
func (f *flow) hasGroup(id GroupID) bool {
	for _, g := range f.groups {
		if g.id == id {
			return true
		}
	}
	return false
}

// directoryOf encodes the directory of a group of f's protocol.
func (e *EE) directoryOf(f *flow, g *Group) []byte {
	d := directory{name: f.name, groups: f.groupIDs}
	for _, c := range g.Classes {
		d.classes = append(d.classes, dirClass{CodeIDOf(c.Code), len(c.Code)})
	}
	return d.put(nil)
}

// Unregister ends a protocol's domain, whether it was registered or loaded. errs.NotFound if it is not here.
func (e *EE) Unregister(id ProtocolID) error {
	var err error = errs.New(errs.NotFound, "ants: node %s does not have protocol %s", e.spec.Addr, id)
	if cerr := e.call(func() {
		if f := e.protocols[id]; f != nil {
			f.end(errs.New(errs.Dead, "unregistered"), clock.Time(0))
			err = nil
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

func release(ps []prepared) {
	for _, p := range ps {
		p.code.Release()
	}
}
