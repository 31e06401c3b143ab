package nodeosabi

import (
	"math"
	"sync"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// minEvery is the shortest period of a timer, in nanoseconds.
const minEvery = 100_000

// timer is a time that a guest waits for. Nothing runs for it: who waits looks at the clock.
type timer struct {
	mu    sync.Mutex
	at    clock.Time // 0: not set
	every clock.Time
	bell  bell
}

// end implements closer.
func (t *timer) end(error) {}

// fired returns how often the timer has fired at now, without taking it.
func (t *timer) fired(now clock.Time) uint64 {
	switch {
	case t.at == 0 || now < t.at:
		return 0
	case t.every == 0:
		return 1
	}
	return uint64((now-t.at)/t.every) + 1
}

func callTimerNew(in *vm.Instance, s []uint64) (int, error) {
	h, err := in.Isolate().Put(vm.OpaqueHandle, new(timer), vm.AllRights)
	return int(h), err
}

func callTimerSet(in *vm.Instance, s []uint64) (int, error) {
	t, err := get[*timer](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	b, err := at(in, s[1], abi.NOTimerSize)
	if err != nil {
		return 0, err
	}
	when, every := le.Uint64(b[abi.NOTimerAtNSOff:]), le.Uint64(b[abi.NOTimerEveryNSOff:])
	if when > math.MaxInt64 || every > math.MaxInt64 || every > 0 && every < minEvery {
		return 0, errs.New(errs.Invalid, "nodeosabi: a timer at %d, every %d ns: want times below 2^63, and a period of at least %d", when, every, minEvery)
	}
	t.mu.Lock()
	t.at, t.every = clock.Time(when), clock.Time(every)
	t.mu.Unlock()
	t.bell.ring()
	return 0, nil
}

func callTimerTake(in *vm.Instance, s []uint64) (int, error) {
	t, err := get[*timer](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.fired(me(in).b.clk.Now())
	if n > 0 {
		if t.every == 0 {
			t.at = 0
		} else {
			t.at += clock.Time(n) * t.every
		}
	}
	return int(min(n, math.MaxInt32)), nil
}

// awaited is something that a call waits for.
type awaited struct {
	bell *bell
	when clock.Time               // when it fires; clock.Never: it does not
	look func(now clock.Time) int // what is ready
}

// awaitedOf finds what an event's handle names.
func awaitedOf(in *vm.Instance, id vm.Handle) (a awaited, err error) {
	o, err := in.Isolate().Get(id, vm.AnyHandle, vm.MaySee)
	if err != nil {
		return a, err
	}
	a.when = clock.Never
	switch o := o.(type) {
	case *inChannel:
		a.bell, a.look = &o.q.bell, func(clock.Time) (r int) {
			if o.q.Len() > 0 && o.server.Load() == nil {
				r = abi.NOReceive
			}
			if o.q.closed.Load() {
				r |= abi.NOEnded
			}
			return r
		}
	case *outChannel:
		a.bell, a.look = &o.q.bell, func(clock.Time) int {
			switch {
			case o.q.closed.Load():
				return abi.NOEnded
			case o.q.room():
				return abi.NOSend
			}
			return 0
		}
	case *timer:
		o.mu.Lock()
		if o.at != 0 {
			a.when = o.at
		}
		o.mu.Unlock()
		a.bell, a.look = &o.bell, func(now clock.Time) int {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.fired(now) > 0 {
				return abi.NOFired
			}
			return 0
		}
	case *domain:
		a.bell, a.look = &o.bell, func(clock.Time) int {
			if st, _ := o.State(); st == Dead {
				return abi.NOEnded
			}
			return 0
		}
	case *vm.Isolate:
		if e := me(in).b.endingOf(o); e != nil {
			a.bell = &e.bell
		} else {
			a.bell = new(bell)
		}
		a.look = func(clock.Time) int {
			if o.Status().State == vm.Terminated {
				return abi.NOEnded
			}
			return 0
		}
	default:
		return a, errs.New(errs.Invalid, "nodeosabi: isolate %s: handle %d names nothing that can be waited for", in.Isolate().Name(), id)
	}
	return a, nil
}

func callWait(in *vm.Instance, s []uint64) (int, error) {
	n := s[1]
	if n < 1 || n > abi.NOEventsMax {
		return 0, errs.New(errs.Invalid, "nodeosabi: %d events to wait for, want 1 to %d", n, abi.NOEventsMax)
	}
	b, err := at(in, s[0], n*abi.NOEventSize)
	if err != nil {
		return 0, err
	}
	in.Charge(abi.NOWaitEach * n)
	end := until(in, s[2])
	list, bells := make([]awaited, n), make([]*bell, n)
	for k := range list {
		if list[k], err = awaitedOf(in, vm.Handle(le.Uint32(b[k*abi.NOEventSize+abi.NOEventHOff:]))); err != nil {
			return 0, err
		}
		bells[k] = list[k].bell
	}
	var ready [abi.NOEventsMax]int
	clk := me(in).b.clk
	look := func() bool {
		some, now := false, clk.Now()
		for k := range list {
			ready[k] = list[k].look(now)
			some = some || ready[k] != 0
		}
		return some
	}
	if !look() && s[2] != 0 {
		for {
			next := end // of the timers, too
			for k := range list {
				next = min(next, list[k].when)
			}
			ok, err := await(in, next, bells, look)
			if err != nil {
				return 0, err
			}
			if ok || next == end {
				break
			}
			for k := range list { // a timer was set to another time meanwhile
				if a, err := awaitedOf(in, vm.Handle(le.Uint32(b[k*abi.NOEventSize+abi.NOEventHOff:]))); err == nil {
					list[k].when = a.when
				}
			}
			if clk.Now() >= end {
				break
			}
		}
	}
	some := 0
	for k := range list {
		le.PutUint32(b[k*abi.NOEventSize+abi.NOEventReadyOff:], uint32(ready[k]))
		if ready[k] != 0 {
			some++
		}
	}
	return some, nil
}
