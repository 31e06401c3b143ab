package ants

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// ProbeSpec says what to measure: capsules that come back to the node they were sent from.
type ProbeSpec struct {
	Capsule   Capsule       // what is sent each time; its ports are set to the probe's
	Count     int           // how many, at most MaxProbes
	Interval  time.Duration // between two of them
	SeqOffset int           // where in Data the number of the capsule goes, 32 bits big endian, from 0
	Timeout   time.Duration // what has not come back so long after the last one was sent is lost; 0: 1 s
	Port      uint16        // 0: any
	Account   resctl.Spec   // of the probe's domain
}

// MaxProbes is the most capsules of a probe.
const MaxProbes = 1 << 20

// ProbeResult is what a probe found.
type ProbeResult struct {
	Sent       int             `json:"sent"`
	Received   int             `json:"received"`
	Duplicates int             `json:"duplicates"`
	Unsent     int             `json:"unsent"`          // that could not be sent, see Err
	Err        string          `json:"error,omitempty"` // why the last of them could not
	RTT        []time.Duration `json:"rtt_ns"`          // by number; -1: lost or unsent
	Lost       []int           `json:"lost"`            // numbers
	Started    clock.Time      `json:"started_ns"`      // when number 0 was sent
	Ended      clock.Time      `json:"ended_ns"`
}

// Quantile returns the round-trip time that a part q (0 to 1) of those that came back does not exceed, or -1 if none did.
func (r *ProbeResult) Quantile(q float64) time.Duration {
	var got []time.Duration
	for _, d := range r.RTT {
		if d >= 0 {
			got = append(got, d)
		}
	}
	if len(got) == 0 {
		return -1
	}
	slices.Sort(got)
	return got[min(len(got)-1, max(0, int(q*float64(len(got)))))]
}

// Probe is a running measurement: an application with a timer.
type Probe struct {
	ee     *EE
	spec   ProbeSpec
	app    *App
	timer  *nodeos.Timer
	start  clock.Time
	next   int
	sentAt []clock.Time
	result ProbeResult
	over   bool
	done   chan struct{}
}

// Probe begins a measurement. It ends by itself; Done tells when.
func (e *EE) Probe(spec ProbeSpec) (*Probe, error) {
	if spec.Count < 1 || spec.Count > MaxProbes || spec.Interval < 0 || spec.SeqOffset < 0 || spec.SeqOffset+4 > len(spec.Capsule.Data) {
		return nil, errs.New(errs.Invalid, "ants: probe of %d capsules every %s with their number at %d: want 1 to %d, and the number within the %d bytes of data",
			spec.Count, spec.Interval, spec.SeqOffset, MaxProbes, len(spec.Capsule.Data))
	}
	if spec.Timeout <= 0 {
		spec.Timeout = time.Second
	}
	spec.Capsule.Data = append([]byte(nil), spec.Capsule.Data...)
	p := &Probe{ee: e, spec: spec, done: make(chan struct{}), sentAt: make([]clock.Time, spec.Count)}
	p.result.RTT = make([]time.Duration, spec.Count)
	for i := range p.result.RTT {
		p.result.RTT[i] = -1
	}
	var err error
	if p.app, err = e.Attach(AppSpec{Name: "probe", Port: spec.Port, Account: spec.Account, Receive: p.received}); err != nil {
		return nil, err
	}
	c := &p.spec.Capsule
	c.HasPorts, c.SrcPort, c.DstPort = true, p.app.Port(), p.app.Port()
	p.timer = p.app.domain.NewTimer(-1, p.tick)
	if !p.app.domain.OnDestroy(p.finish) {
		return nil, errs.New(errs.Dead, "ants: the EE of node %s has ended", e.spec.Addr)
	}
	if err := e.call(func() {
		p.start = e.home.Now()
		p.timer.Set(p.start)
	}); err != nil {
		return nil, err
	}
	return p, nil
}

// tick sends what is due, and ends the probe when its time is over.
func (p *Probe) tick(now clock.Time) {
	w := p.ee.home
	for p.next < p.spec.Count && now >= p.due(p.next) {
		c := &p.spec.Capsule
		binary.BigEndian.PutUint32(c.Data[p.spec.SeqOffset:], uint32(p.next))
		at := p.ee.node.Clock().Now()
		if p.next == 0 {
			p.result.Started = at
		}
		if err := p.ee.Inject(w, c); err != nil {
			p.result.Unsent++
			p.result.Err = err.Error()
		} else {
			p.result.Sent++
			p.sentAt[p.next] = at
		}
		p.next++
		if p.spec.Interval > 0 {
			break
		}
	}
	switch {
	case p.next < p.spec.Count:
		p.timer.Set(p.due(p.next))
	case now >= p.end():
		p.finish()
	default:
		p.timer.Set(p.end())
	}
}

func (p *Probe) due(i int) clock.Time { return p.start.Add(time.Duration(i) * p.spec.Interval) }
func (p *Probe) end() clock.Time {
	return p.due(p.spec.Count - 1).Add(p.spec.Timeout)
}

// received notes a capsule that came back.
func (p *Probe) received(_ *nodeos.Worker, d *Delivery) {
	if p.over || len(d.Data) < p.spec.SeqOffset+4 {
		return
	}
	i := int(binary.BigEndian.Uint32(d.Data[p.spec.SeqOffset:]))
	switch {
	case i < 0 || i >= p.next:
	case p.result.RTT[i] >= 0:
		p.result.Duplicates++
	default:
		p.result.RTT[i] = p.ee.node.Clock().Now().Sub(p.sentAt[i])
		p.result.Received++
		if p.next == p.spec.Count && p.result.Received == p.result.Sent {
			p.finish()
		}
	}
}

// finish completes the result. On the worker.
func (p *Probe) finish() {
	if p.over {
		return
	}
	p.over = true
	p.result.Ended = p.ee.node.Clock().Now()
	p.result.Lost = []int{}
	for i, d := range p.result.RTT {
		if d < 0 {
			p.result.Lost = append(p.result.Lost, i)
		}
	}
	p.app.Close()
	close(p.done)
}

// Done is closed when the probe is over.
func (p *Probe) Done() <-chan struct{} { return p.done }

// Stop ends the probe early.
func (p *Probe) Stop() { p.app.Close() }

// Result returns what was found. It may be called once Done is closed.
func (p *Probe) Result() *ProbeResult { return &p.result }
