package standard

import (
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DelayShaper", Ports: "1/1", Processing: "l", New: func() click.Element { return &DelayShaper{} },
		Doc: click.Doc{
			Group: "shaping", Title: "yields packets when they are old enough",
			Text: "A packet can be pulled DELAY after its timestamp annotation, which then becomes the present time. It holds one packet; while that is too young its empty notifier sleeps. " +
				"Packets without a timestamp are old enough.",
			Args:     []string{"DELAY: The least age."},
			Handlers: []string{"delay (rw): The DELAY argument."},
			Example:  "... -> SetTimestamp -> Queue -> DelayShaper(10ms) -> ToDevice(eth0);", See: []string{"DelayUnqueue", "SetTimestamp", "BandwidthShaper"},
		},
	})
}

// DelayShaper delays packets between pulls.
type DelayShaper struct {
	click.Base
	delay time.Duration
	held  *packet.Packet
	timer *click.Timer
	note  click.Notifier
	up    *click.Signal
}

// Configure implements click.Element.
func (e *DelayShaper) Configure(a *click.Args) {
	a.Parse(click.Must("DELAY", click.Duration(&e.delay)))
}

// Initialize implements click.Initializer.
func (e *DelayShaper) Initialize() error {
	e.timer = e.NewTimer(e.note.Wake)
	e.up = e.WatchEmpty(0, func() {
		if e.held == nil {
			e.note.Wake()
		}
	})
	e.note.Wake()
	return nil
}

// Inherit implements click.Inheritor: the packet that waits goes on waiting.
func (e *DelayShaper) Inherit(old click.Element) error {
	if o, ok := old.(*DelayShaper); ok {
		e.held, o.held = o.held, nil
	}
	return nil
}

// Reconfigure implements click.Reconfigurer.
func (e *DelayShaper) Reconfigure(from click.Element) error {
	e.delay = from.(*DelayShaper).delay
	e.note.Wake()
	return nil
}

// Cleanup implements click.Cleaner.
func (e *DelayShaper) Cleanup() {
	if e.held != nil {
		e.Cache().Free(e.held)
		e.held = nil
	}
}

// Pull implements click.Puller.
func (e *DelayShaper) Pull(_ int, b *packet.Batch, n int) {
	now := e.Now()
	s := e.Thread().Scratch()
	defer e.Thread().Release(s)
	for ; n > 0; n-- {
		if e.held == nil {
			if e.In(0).Pull(s, 1) == 0 {
				e.note.Set(e.up.Active())
				return
			}
			e.held = s.At(0)
			s.Reset()
		}
		if at := e.held.Anno.Time.Add(e.delay); e.held.Anno.Time != 0 && at > now {
			e.note.Sleep()
			e.timer.Set(at)
			return
		}
		e.held.Anno.Time = now
		b.Append(e.held)
		e.held = nil
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *DelayShaper) EmptyNotifier(int) *click.Notifier { return &e.note }

// AddHandlers implements click.HandlerAdder.
func (e *DelayShaper) AddHandlers(h *click.Handlers) {
	h.Keyword("delay", "DELAY", func() string { return timeText(e.delay) })
}
