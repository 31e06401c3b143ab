package routing

import "slices"

// subscriber is somebody who wants to know of new tables.
type subscriber struct{ fn func(*Table) }

// Subscribe makes fn be called on the home worker of the router's domain with the present table and then with every new
// one. It must not wait. cancel ends that; a call that has begun may still be under way when it returns.
func (r *Router) Subscribe(fn func(*Table)) (cancel func()) {
	s := &subscriber{}
	live := true // the worker's
	s.fn = func(t *Table) {
		if live {
			fn(t)
		}
	}
	r.worker.Post(func() {
		r.changeSubs(func(l []*subscriber) []*subscriber { return append(l, s) })
		s.fn(r.table.Load())
	})
	return func() {
		r.worker.Post(func() {
			live = false
			r.changeSubs(func(l []*subscriber) []*subscriber {
				return slices.DeleteFunc(l, func(x *subscriber) bool { return x == s })
			})
		})
	}
}

func (r *Router) changeSubs(f func([]*subscriber) []*subscriber) {
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	l := f(slices.Clone(*r.subs.Load()))
	r.subs.Store(&l)
}

// Watch returns a channel that has something in it whenever a table has come into force since it was last read, for
// goroutines off the workers: they read Table then, and so see the latest and skip those between. The present table counts as new.
func (r *Router) Watch() (news <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	cancel = r.Subscribe(func(*Table) {
		select {
		case ch <- struct{}{}:
		default:
		}
	})
	return ch, cancel
}
