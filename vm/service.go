package vm

import (
	"sync"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// MaxVisitFuel is the most fuel that a visit may use, since it cannot be interrupted.
const MaxVisitFuel = 1_000_000

// Service is an instance that other isolates may call. A visit is such a call: the visitor's goroutine evaluates the instance, with the visitor's fuel and
// time, in the memory and with the handles of the service's isolate. One visitor is inside at a time.
//
// Neither side is torn down during a visit. Killing the visitor takes effect when the visit is over, killing the service's isolate when the visitor leaves; no
// other visit begins then. A fault of the service is the visitor's error, and the service begins afresh.
type Service struct {
	iso  *Isolate
	inst *Instance

	mu    sync.Mutex
	busy  bool
	queue waiters // visitors that wait
}

// NewService makes an instance of code in the isolate that other isolates may visit. It ends with the isolate. code is of a class of handlers.
func (i *Isolate) NewService(code *Code) (*Service, error) {
	if code.e != i.e || code.Class().process {
		return nil, errs.New(errs.Invalid, "vm: isolate %s: a service is of a class of handlers of the same engine", i.spec.Name)
	}
	if err := i.enter(true); err != nil {
		return nil, err
	}
	defer i.leave()
	in, err := i.instantiate(code)
	if err != nil {
		return nil, err
	}
	return &Service{iso: i, inst: in}, nil
}

// Isolate returns the isolate that the service is in.
func (s *Service) Isolate() *Isolate { return s.iso }

// payer is who pays: an account, or a worker's meter of one.
type payer interface {
	Take(r resctl.Resource, n int64) error
	Return(r resctl.Resource, n int64)
}

// TryVisit evaluates the service once, with fuel of meter, which may be nil. It does not wait: errs.WouldBlock tells that somebody else is inside. Results
// in c are valid until the next visit, by whomever: only a caller that knows that there is none may use Payload.
func (s *Service) TryVisit(meter *resctl.Meter, c *Call) (abi.Verdict, error) {
	if ok, err := s.acquire(nil); err != nil || !ok {
		return abi.Error, err
	}
	defer s.release()
	if meter == nil {
		return s.evaluate(nil, c)
	}
	return s.evaluate(meter, c)
}

func (s *Service) evaluate(by payer, c *Call) (abi.Verdict, error) {
	if c.Budget == 0 || c.Budget > MaxVisitFuel {
		c.Budget = MaxVisitFuel
	}
	return s.inst.evaluate(by, c)
}

// acquire lets a visitor in, or leaves w waiting and returns false.
func (s *Service) acquire(w *waiter) (bool, error) {
	if err := s.iso.enter(true); err != nil {
		return true, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		s.busy = true
		return true, nil
	}
	if w == nil {
		defer s.iso.leave()
		return false, errs.New(errs.WouldBlock, "vm: somebody is visiting the service of isolate %s", s.iso.spec.Name)
	}
	w.done.Store(false)
	s.queue.push(w)
	return false, nil
}

// release lets the next visitor in.
func (s *Service) release() {
	s.mu.Lock()
	if w := s.queue.first; w != nil {
		w.finish(nil) // it is busy for w now
	} else {
		s.busy = false
	}
	s.mu.Unlock()
	s.iso.leave()
}

// cancel takes a visitor that ends out of the queue, and reports whether it was there.
func (s *Service) cancel(w *waiter) bool {
	s.mu.Lock()
	if w.done.Load() {
		s.mu.Unlock()
		return false
	}
	w.at.remove(w)
	s.mu.Unlock()
	s.iso.leave()
	return true
}
