package click

import (
	"io"

	"github.com/janos-os/janos/errs"
)

// Check reports what New would report about the text: classes and arguments, ports, push and pull, links that are
// named and not open; all of it at once. Nothing is initialized and nothing runs, so env's node may
// be one that is never stepped. env.Domain is required.
func Check(spec *GraphSpec, env Env) error {
	if env.Domain == nil {
		return errs.New(errs.Internal, "click: no domain")
	}
	r := &Router{spec: spec, domain: env.Domain, owner: env.Domain.Owner(), rand: env.Rand, output: io.Discard, host: env.Host,
		values: env.Values, done: make(chan struct{}), byName: map[string]int{}}
	if r.rand == nil {
		r.rand = env.Domain.Node().NewRand()
	}
	r.gate.cond.L = &r.gate.mu
	r.thread = r.newThread(env.Domain.Home())
	if err := r.make(); err != nil {
		return err
	}
	return r.check()
}
