package nodeos

import (
	"slices"
	"sync"

	"github.com/janos-os/janos/errs"
)

// guest is something that runs for a domain elsewhere than on its workers, such as an isolate with a goroutine of its own.
type guest struct {
	end  func(reason error)
	once sync.Once
}

// Host keeps the domain from being dead, once it is terminated, until release is called: something runs on its account elsewhere than on a worker. end is called
// once, when the domain begins to end, with the reason and without locks; it must not wait. release may be called before that, and more than once. Host
// is refused with errs.Dead where the domain ends already, and with errs.Invalid for the root.
func (d *Domain) Host(end func(reason error)) (release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.parent == nil:
		return nil, errs.New(errs.Invalid, "domain %s is the node's own: make one below it", d.Path())
	case d.State() != Active:
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	}
	g := &guest{end: end}
	d.guests = append(d.guests, g)
	return func() {
		g.once.Do(func() {
			d.mu.Lock()
			i := slices.Index(d.guests, g)
			if i >= 0 {
				d.guests = slices.Delete(d.guests, i, i+1)
			}
			d.mu.Unlock()
			if i < 0 { // Terminate has counted it
				d.countDown()
			}
		})
	}, nil
}
