package bench

import (
	"github.com/janos-os/janos/errs"
)

// outsideTrial measures what lies between two interfaces of the user's.
type outsideTrial struct {
	env    *Env
	tester *tester
}

// openOutside opens the tester on the user's interfaces. Frames carry packets from 10.0.0.0/24 to 10.0.1.2.
func openOutside(e *Env) (Trial, error) {
	traffic := toOneNet(e.rand(3))
	for i, f := range traffic {
		traffic[i] = frame64(e.To, macA0, [4]byte{10, 0, 0, f[14+15]}, [4]byte{10, 0, 1, 2}, uint16(1024+i), 5678)
	}
	t, err := newTester(e.Clock, nil, e.In, nil, e.Out, traffic)
	if err != nil {
		return nil, err
	}
	return &outsideTrial{e, t}, nil
}

// Measure implements Trial.
func (t *outsideTrial) Measure(r *Round) error {
	if _, err := t.tester.paced(1000, t.env.Time); err != nil {
		return err
	}
	if t.tester.ledger.received == 0 {
		return errs.New(errs.Unreachable, "no frame that was sent by %s came out at %s: what is between them must forward frames to %x, or packets to 10.0.1.2",
			t.env.In, t.env.Out, t.env.To)
	}
	rate, atLeast, err := search(t.env, t.tester.paced, func() bool { return t.tester.ledger.clean(t.tester.sent) })
	if err != nil {
		return err
	}
	r.Add("outside loss-free", "packets/s", rate)
	if atLeast {
		r.GeneratorBound("outside loss-free")
	}
	// What happens at twice that rate.
	got, err := t.tester.paced(2*max(rate, 1000), t.env.Time)
	if err != nil {
		return err
	}
	l := &t.tester.ledger
	r.Add("offered at twice the rate", "packets/s", got)
	r.Add("lost at twice the rate", "%", 100*(1-float64(l.received)/float64(max(t.tester.sent, 1))))
	r.Add("duplicates at twice the rate", "frames", float64(l.duplicates))
	r.Add("overtaken at twice the rate", "frames", float64(l.overtaken))
	r.Note("The user's interfaces: frames go out by %s and are expected at %s; what is between them is measured, and no processor time of it is known.", t.env.In, t.env.Out)
	return nil
}

// Close implements Trial.
func (t *outsideTrial) Close() error { return t.tester.close() }
