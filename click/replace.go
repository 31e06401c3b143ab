package click

// The way of a replacement, in the order of this file:
//
//  1. the new router is parsed, configured and initialized while the old one runs; any error ends it here
//  2. on the first worker, while all others wait, between two runs: the old one stops, elements of the same name hand over, the new one starts
//  3. what the old one still holds is given back

import (
	"errors"
	"fmt"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Inheritor is an element that goes on with what an element of the same name held in the router before: packets, counts, tables,
// connections.
type Inheritor interface {
	// Inherit takes over from old, which may be of another class and then has nothing to give. It runs on the worker when the element has been
	// initialized and before it starts; old runs no more and is cleaned up afterwards, so that what is taken from it must be
	// removed from it. An error is reported and changes nothing else.
	Inherit(old Element) error
}

// Before returns the element of the same name in the router whose place this one is to take, or nil. In Initialize, so that an element
// can leave alone what it will inherit; Inherit is called later unless the replacement fails.
func (e *Base) Before() Element {
	if e.router.before == nil {
		return nil
	}
	return e.router.before.Element(e.name)
}

// Replace puts a router of spec in the place of r, with r's surroundings. Elements hand over to those of the same name (see Inheritor), all
// others begin anew; r is closed. With an error r runs on as if nothing had been. It is for the control side and waits
// for the worker. The spec may be used again.
func (r *Router) Replace(spec *GraphSpec) (*Router, error) {
	if r.next.Load() != nil {
		return nil, errs.New(errs.Dead, "the router has been replaced already")
	}
	n, err := build(spec, r.env, r)
	if err != nil {
		return nil, err
	}
	done := false
	if !r.thread.worker.Call(func() { r.thread.alone(true, func() { done = r.yield(n) }) }) || !done {
		n.Close()
		return nil, errs.New(errs.Dead, "the router has ended, or was replaced meanwhile")
	}
	return n, n.tie()
}

// yield hands over to n and starts it. On the worker.
func (r *Router) yield(n *Router) bool {
	r.life.Lock()
	ok := !r.cleaned && r.next.CompareAndSwap(nil, n)
	r.life.Unlock()
	if !ok {
		return false
	}
	r.Stop()
	n.setNow()
	for i, el := range n.elements {
		to, ok := el.(Inheritor)
		old := r.Element(el.base().name)
		if !ok || old == nil {
			continue
		}
		if err := to.Inherit(old); err != nil {
			fmt.Fprintf(n.output, "%v: '%s': nothing was taken over: %v\n", n.spec.Elements[i].Pos, n.label(i), err)
		}
	}
	n.before = nil
	n.startHere()
	r.cleanup()
	r.closeTasks()
	if r.env.Replaced != nil {
		r.env.Replaced(n)
	}
	return true
}

// Next returns the router that has taken r's place, or nil.
func (r *Router) Next() *Router { return r.next.Load() }

// Reload replaces the router by one of a text, see Env.Parse. It is for the control side and returns when the new one runs.
func (r *Router) Reload(text string) error {
	for n := r.Next(); n != nil; n = r.Next() {
		r = n
	}
	if r.env.Parse == nil {
		return errs.New(errs.Permission, "this router cannot be changed from inside")
	}
	spec, err := r.env.Parse(text)
	if err != nil {
		return err
	}
	if _, err = r.Replace(spec); err != nil {
		return notInitialized(err)
	}
	return nil
}

// notInitialized adds Click's last line to the errors of a router, which those of a text alone do not have.
func notInitialized(err error) error {
	var list interface{ Unwrap() []error }
	if errors.As(err, &list) {
		textual := true
		for _, e := range list.Unwrap() {
			var u *undeclared
			textual = textual && errors.As(e, &u)
		}
		if textual {
			return err
		}
	}
	return errs.New(errs.KindOf(err), "%w\nRouter could not be initialized!", err)
}

// reloadHere is the handler hotconfig. What is wrong with the text is its error; the replacement follows when the worker has left the graph.
func (r *Router) reloadHere(text string) error {
	if strings.TrimSpace(text) == "" {
		return errs.New(errs.Invalid, "the new configuration is empty")
	}
	spec, err := r.env.Parse(text)
	if err != nil {
		return err
	}
	if err := Check(spec, r.env); err != nil {
		return notInitialized(err)
	}
	swap := func() {
		if _, err := r.Replace(spec); err != nil {
			fmt.Fprintf(r.output, "hotconfig: %v\n", err)
		}
	}
	if w := r.thread.worker; w.Poll() == nil { // a stepped node: whoever drives it runs this
		w.Post(swap)
	} else {
		go swap()
	}
	return nil
}
