package bench

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

func init() {
	register(Scenario{Name: "vm-jail", Tier: "memory", Title: "one evaluation of a capsule in a worker process without rights",
		Text: "The capsule, and what is included, of vm-evaluate ('state at hand', compiled), evaluated in the worker process of a jail. 'batch 64' submits 64 packets, lets the " +
			"worker see them, waits, and collects 64 answers, and so 8 and 1; 'evaluate' is the call that has nothing to do with batches; 'stream' keeps up to 128 packets under way, " +
			"and submits what has room. 'ns/packet' is time that passes, 'node' and 'worker' are processor time of either process. 'start' is a worker from nothing until it is " +
			"sealed, and its end.",
		Open: openJail})
}

type jailTrial struct {
	opsTrial
	clock   func() time.Duration // of this trial
	j       *jail.Jail
	streams []jailStream
	starts  int
}

type jailStream struct {
	name string
	run  func(n int) error
}

// Measure implements Trial.
func (t *jailTrial) Measure(r *Round) error {
	for _, s := range t.streams {
		if err := r.elapsed(s.name, "packet", t.clock, t.j.Status().PID, s.run); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	const starts = 10
	began := t.clock()
	for range starts {
		j, err := jail.New(jail.Spec{Name: "bench-start"})
		if err != nil {
			return err
		}
		if err := j.Close(); err != nil {
			return err
		}
	}
	r.Add("start", "us/worker", float64((t.clock()-began).Nanoseconds())/1000/starts)
	return nil
}

// elapsed records what an operation takes: time that passes, and processor time of this process and another. op does n of them, as for PerUnit.
func (r *Round) elapsed(name, unit string, clock func() time.Duration, other int, op func(n int) error) error {
	n, ok := r.rec.counts[name]
	for !ok {
		n = max(n, 1)
		t0 := clock()
		if err := op(n); err != nil {
			return err
		}
		if took := clock() - t0; took*10 >= r.env.Time || n >= 1<<30 {
			n = int(max(1, float64(n)*float64(r.env.Time)/float64(max(took, 1))))
			break
		}
		n *= 4
	}
	r.rec.counts[name] = n
	t0, own, theirs := clock(), processTime(), timeOf(other)
	if err := op(n); err != nil {
		return err
	}
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(n) }
	r.Add(name, "ns/"+unit, per(clock()-t0))
	r.Add(name+", node", "ns/"+unit, per(processTime()-own))
	r.Add(name+", worker", "ns/"+unit, per(timeOf(other)-theirs))
	return nil
}

func openJail(e *Env) (Trial, error) {
	t := &jailTrial{}
	began := e.Clock.Now()
	t.clock = func() time.Duration { return e.Clock.Now().Sub(began) }
	fail := func(err error) (Trial, error) { return nil, closeAfter(t, err) }
	var err error
	if t.j, err = jail.New(jail.Spec{Name: "bench", Mode: vm.ModeCompiled, Hang: time.Minute}); err != nil {
		return nil, err
	}
	t.closers = append(t.closers, t.j.Close)
	root, err := resctl.NewTree(resctl.Spec{Name: "node"}, e.Clock, 1)
	if err != nil {
		return fail(err)
	}
	acct, err := root.NewChild(resctl.Spec{Name: "protocol", Limit: resctl.Amounts{resctl.Memory: 16 << 20}})
	if err != nil {
		return fail(err)
	}
	engine, err := vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: e.Clock})
	if err != nil {
		return fail(err)
	}
	t.closers = append(t.closers, engine.Close)
	class, err := engine.NewClass(vm.ClassSpec{Name: "capsule", Outside: t.j})
	if err != nil {
		return fail(err)
	}
	code, err := engine.Load(flowCode, class, acct)
	if err != nil {
		return fail(err)
	}
	t.closers = append(t.closers, func() error { code.Release(); return nil })
	iso, err := engine.NewIsolate(vm.IsolateSpec{Name: "bench", Account: acct})
	if err != nil {
		return fail(err)
	}
	t.closers = append(t.closers, iso.Close)
	in, err := iso.Instantiate(code)
	if err != nil {
		return fail(err)
	}
	q, err := t.j.Queue()
	if err != nil {
		return fail(err)
	}
	t.closers = append(t.closers, func() error { q.Close(); return nil })
	meter := acct.Meter(0)
	for _, size := range []int{64, 1500} {
		packets := flowPackets(e, size)
		values := make([][8]byte, distinct)
		c, answer := flowCall(size), new(vm.Call)
		next := 0 // packet to submit
		done := 0 // packet to be answered
		submit := func() error {
			p := packets[next%distinct]
			c.Window, c.State = p, values[binary.BigEndian.Uint32(p)%distinct][:]
			next++
			if _, v, err := q.Submit(in, meter, c, 0); err != nil || v != abi.Drop {
				return errs.New(errs.Internal, "verdict %v: %w", v, err)
			}
			return nil
		}
		conclude := func(c *vm.Call, v abi.Verdict, err error) error {
			if err != nil {
				return err
			}
			p := packets[done%distinct]
			value := &values[binary.BigEndian.Uint32(p)%distinct]
			done++
			if v != abi.Forward || copy(value[:], c.Put) != 8 || copy(p, c.Payload) != len(p) {
				return errs.New(errs.Internal, "verdict %v, %d bytes of state, %d of payload", v, len(c.Put), len(c.Payload))
			}
			if done%32 == 0 {
				meter.Fold()
			}
			return nil
		}
		// collect concludes what is answered, of at least some, which it waits for.
		collect := func(least int) error {
			for got := 0; q.Pending() > 0; {
				d, ok := q.Collect(answer)
				if !ok {
					if got >= least {
						return nil
					}
					if err := q.Wait(time.Minute); err != nil {
						return err
					}
					continue
				}
				got++
				if err := conclude(answer, d.Verdict, d.Err); err != nil {
					return err
				}
			}
			return nil
		}
		for _, batch := range []int{64, 8, 1} {
			t.streams = append(t.streams, jailStream{fmt.Sprintf("%d bytes, batch %d", size, batch), func(n int) error {
				for sent := 0; sent < n; {
					for k := 0; k < batch && sent < n; k++ {
						if err := submit(); err != nil {
							return err
						}
						sent++
					}
					q.Flush()
					if err := collect(q.Pending()); err != nil {
						return err
					}
				}
				meter.Fold()
				return nil
			}})
		}
		t.streams = append(t.streams, jailStream{fmt.Sprintf("%d bytes, stream", size), func(n int) error {
			for sent := 0; sent < n; {
				for sent < n && q.Pending() < jail.MaxBatch {
					if err := submit(); err != nil {
						return err
					}
					sent++
				}
				q.Flush()
				if err := collect(1); err != nil {
					return err
				}
			}
			return collect(q.Pending())
		}})
		t.streams = append(t.streams, jailStream{fmt.Sprintf("%d bytes, evaluate", size), func(n int) error {
			for range n {
				p := packets[next%distinct]
				c.Window, c.State = p, values[binary.BigEndian.Uint32(p)%distinct][:]
				next++
				v, err := in.Evaluate(meter, c)
				if err := conclude(c, v, err); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return t, nil
}
