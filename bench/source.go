package bench

import (
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "BenchSource", Ports: "0/1", Processing: "h", Merging: click.Merged, New: func() click.Element { return &source{} },
		Doc: click.Doc{
			Group: "test", Title: "pushes the packets of a benchmark, one after the other and again",
			Text: "Each is a packet of its own, allocated and filled when it is sent.",
			Args: []string{"BURST: How many to push at a time, 1 to 256; default 32."},
		},
	})
}

// packetsValue is the name under which a router's environment has the packets of its BenchSource, a [][]byte.
const packetsValue = "bench.packets"

// source makes packets as fast as it can while it is on.
type source struct {
	click.Base
	data  [][]byte
	next  int
	burst int
	on    bool
	count uint64
	short uint64 // packets that there was no memory for
	task  *click.Task
	timer *click.Timer
	full  *click.Signal
}

// Configure implements click.Element.
func (e *source) Configure(a *click.Args) {
	e.burst = 32
	a.Parse(click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)))
}

// Initialize implements click.Initializer.
func (e *source) Initialize() error {
	e.data, _ = e.Router().Value(packetsValue).([][]byte)
	e.task = e.NewTask(e.run)
	e.full = e.DownstreamFull(0, e.task)
	e.timer = e.NewTimer(e.task.Schedule)
	return nil
}

// set turns the source on or off. On the worker.
func (e *source) set(on bool) {
	e.on = on && len(e.data) > 0
	if e.on {
		e.task.Schedule()
	}
}

func (e *source) run() (int, bool) {
	if !e.on || !e.full.Active() {
		return 0, false
	}
	b := e.Thread().Scratch()
	want := e.task.Merge(e.burst)
	n := e.Cache().AllocBatch(e.Owner(), b, want)
	now := e.Now()
	for _, p := range b.Packets() {
		d := e.data[e.next]
		if e.next++; e.next == len(e.data) {
			e.next = 0
		}
		copy(p.Put(len(d)), d)
		p.Anno.Time = now
	}
	e.count += uint64(n)
	e.short += uint64(want - n)
	if n > 0 {
		e.Out(0).Push(b)
	}
	e.Thread().Release(b)
	if n == 0 {
		e.timer.SetAfter(time.Millisecond)
		return 0, false
	}
	return n, true
}
