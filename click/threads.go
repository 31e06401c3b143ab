package click

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Which thread runs an element is decided before anything runs, and never changes: an element is run by one thread, so that elements need no locks. Elements
// that are connected push to and pull from each other, so they are of one thread; but for elements that are made for passing packets
// from one thread to another (Crosser), whose two sides may be of two. So the graph falls into parts, and each gets the
// thread that StaticThreadSched names for any of its elements, or the first one.

// Crosser is an element that keeps packets and may be pushed to by one thread and pulled from by another one. It is of the thread that pulls.
type Crosser interface {
	Storer
	// MayCross returns false where the element cannot do that. After Configure.
	MayCross() bool
	// Cross says that packets are pushed by from, which is not the element's own thread. It comes after Configure and before Initialize.
	Cross(from *Thread)
}

// prefer is a wish for the thread of an element.
type prefer struct{ el, thread int }

// parts are the elements in sets that may not be run by different threads. The pull side of an element that is made for two threads is a member of its
// own, at the element's place behind all elements.
type parts []int

func (p parts) find(i int) int {
	for p[i] != i {
		p[i] = p[p[i]]
		i = p[i]
	}
	return i
}

func (p parts) join(a, b int) { p[p.find(b)] = p.find(a) }

// assign gives each element its thread.
func (r *Router) assign() {
	n := len(r.elements)
	r.crossed = make([]bool, n)
	if len(r.threads) == 1 {
		return
	}
	p := make(parts, 2*n)
	for i := range p {
		p[i] = i
	}
	crosses := make([]bool, n)
	for i, el := range r.elements {
		x, ok := el.(Crosser)
		if crosses[i] = ok && x.MayCross(); !crosses[i] {
			p.join(i, n+i)
		}
	}
	for _, e := range r.spec.Edges {
		f := r.elements[e.From].base()
		if e.FromPort < f.nout && e.ToPort < r.elements[e.To].base().nin {
			from := e.From
			if f.outKinds[e.FromPort] == PullKind {
				from += n
			}
			p.join(from, e.To)
		}
	}
	for _, x := range r.refers {
		p.join(x[0], x[1])
		p.join(x[0], n+x[1])
		p.join(x[0], n+x[0])
	}
	want := map[int]prefer{} // by part; of those of one element the last counts, of those of several the first
	last := make(map[int]int)
	for _, w := range r.prefers {
		last[w.el] = w.thread
	}
	for _, sides := range [...]bool{false, true} { // what keeps packets has a say where nobody else has one
		for i := range r.elements {
			thread, ok := last[i]
			if !ok || crosses[i] != sides {
				continue
			}
			for _, part := range [...]int{p.find(i), p.find(n + i)} {
				have, ok := want[part]
				if !ok {
					want[part] = prefer{i, thread}
				} else if have.thread != thread && !sides {
					fmt.Fprintf(r.output, "%v: '%s' and '%s' cannot run in threads %d and %d: no queue separates them; both run in %d\n",
						r.spec.Elements[i].Pos, r.label(have.el), r.label(i), have.thread, thread, have.thread)
				}
			}
		}
	}
	of := func(member int) *Thread { return r.threads[want[p.find(member)].thread] }
	for i, el := range r.elements {
		b := el.base()
		b.thread = of(n + i)
		if from := of(i); from != b.thread {
			r.crossed[i] = true
			el.(Crosser).Cross(from)
		}
	}
}

// ParseThread reads the number of a thread. One that the router does not have is the first one, with a message.
func (a *Args) ParseThread(text string) (int, error) {
	n := 0
	if err := IntRange(&n, -1<<31, 1<<31-1)(strings.TrimSpace(text), a); err != nil {
		return 0, err
	}
	if n < 0 || n >= len(a.router.threads) {
		if n != -1 {
			a.Messagef("warning: thread preference %d out of range", n)
		}
		n = 0
	}
	return n, nil
}

// sharedWriter is a writer for several threads.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
