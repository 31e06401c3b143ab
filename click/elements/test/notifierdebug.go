package test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "NotifierDebug", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &NotifierDebug{} },
		Doc: click.Doc{
			Group: "looking", Title: "passes packets on and shows the notifiers around it",
			Text: "Where it pushes these are the full notifiers downstream, and else the empty notifiers upstream. Each is shown as KIND.GROUP/BIT:VALUE in hexadecimal, with a star while it is awake; " +
				"always* stands for a way without a notifier.",
			Handlers: []string{"signal (r): The notifiers."}, Example: "a -> n :: NotifierDebug -> Queue -> b :: Idle;",
		},
	})
	click.Register(click.Class{
		Name: "NeighborhoodTest", Ports: "-/-", Processing: "a/a", Flow: "x/y", New: func() click.Element { return &NeighborhoodTest{} },
		Doc: click.Doc{
			Group: "looking", Title: "names the elements around it",
			Text: "The handlers take a distance in connections as parameter, by default 1, and name all elements up to it, the nearest first. upstream0, downstream1 and so on name those of a single port; they are not in the list of handlers.",
			Handlers: []string{
				"upstream (r): Elements from which packets come.", "downstream (r): Elements to which packets go.",
			},
			Example: "Idle -> n :: NeighborhoodTest -> Discard;",
		},
	})
	click.Register(click.Class{
		Name: "TimerTest", Ports: "0/0", Processing: "a", New: func() click.Element { return &TimerTest{} },
		Doc: click.Doc{
			Group: "looking", Title: "prints a line when a timer fires",
			Args:     []string{"DELAY: Time from the start, or from schedule_after; none: the timer is not set at the start."},
			Handlers: []string{"schedule_after (w): Sets the timer to a time from now; without a value to DELAY.", "unschedule (w): Stops the timer.", "scheduled (r): Whether the timer is set.", "expiry (r): When it will fire, in seconds."},
			Example:  "TimerTest(DELAY 10ms);",
		},
	})
	click.Register(click.Class{
		Name: "BlockThread", Ports: "0/0", Processing: "a", New: func() click.Element { return &BlockThread{} },
		Doc: click.Doc{
			Group: "looking", Title: "blocks its thread on request",
			Handlers: []string{"block (w): Blocks the thread for a time, at most 10 seconds, in which nothing else runs on it."},
			Example:  "b :: BlockThread;",
		},
	})
}

// NotifierDebug shows signals.
type NotifierDebug struct {
	click.Base
	signal *click.Signal
}

// Configure implements click.Element.
func (e *NotifierDebug) Configure(a *click.Args) { a.Parse() }

// Initialize implements click.Initializer.
func (e *NotifierDebug) Initialize() error {
	if e.OutputKind(0) == click.PushKind {
		e.signal = e.DownstreamFull(0, nil)
	} else {
		e.signal = e.UpstreamEmpty(0, nil)
	}
	return nil
}

// Act implements click.Actor.
func (e *NotifierDebug) Act(*packet.Batch) {}

// AddHandlers implements click.HandlerAdder.
func (e *NotifierDebug) AddHandlers(h *click.Handlers) { h.Read("signal", e.signal.String) }

// NeighborhoodTest names neighbours.
type NeighborhoodTest struct{ click.Base }

// Configure implements click.Element.
func (e *NeighborhoodTest) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *NeighborhoodTest) Push(_ int, b *packet.Batch) { e.Drop(b) }

// Pull implements click.Puller.
func (e *NeighborhoodTest) Pull(int, *packet.Batch, int) {}

func (e *NeighborhoodTest) list(name string, ports int, port int, walk func(int, func(click.Element, int) bool)) *click.Handler {
	if port >= ports {
		return nil
	}
	return &click.Handler{Name: name, Read: func(param string) (string, error) {
		limit := 1
		if param = strings.TrimSpace(param); param != "" {
			if err := click.IntRange(&limit, 1, 1<<20)(param, nil); err != nil {
				return "", err
			}
		}
		var b strings.Builder
		walk(port, func(el click.Element, distance int) bool {
			if distance <= limit {
				b.WriteString(el.(interface{ Name() string }).Name() + "\n")
			}
			return distance < limit
		})
		return b.String(), nil
	}}
}

func (e *NeighborhoodTest) handler(name string) *click.Handler {
	for prefix, walk := range map[string]func(int, func(click.Element, int) bool){"upstream": e.Upstream, "downstream": e.Downstream} {
		n := e.Inputs()
		if prefix == "downstream" {
			n = e.Outputs()
		}
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if port, err := strconv.ParseUint(rest, 10, 16); err == nil {
				return e.list(name, n, int(port), walk)
			}
		}
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *NeighborhoodTest) AddHandlers(h *click.Handlers) {
	h.Add(*e.list("upstream", 1, -1, e.Upstream))
	h.Add(*e.list("downstream", 1, -1, e.Downstream))
	h.Others(e.handler)
}

// TimerTest prints when a timer fires.
type TimerTest struct {
	click.Base
	delay time.Duration
	set   bool
	timer *click.Timer
}

// Configure implements click.Element.
func (e *TimerTest) Configure(a *click.Args) {
	a.Parse(click.Key("DELAY", click.Duration(&e.delay)).Given(&e.set))
}

// Initialize implements click.Initializer.
func (e *TimerTest) Initialize() error {
	e.timer = e.NewTimer(func() {
		line := click.AppendTime(nil, e.Router().WallOf(e.Now()))
		fmt.Fprintf(e.Output(), "%s: %s :: %s fired\n", line, e.Name(), e.Class().Name)
	})
	return nil
}

// Start implements click.Starter.
func (e *TimerTest) Start() {
	if e.set {
		e.timer.SetAfter(e.delay)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *TimerTest) AddHandlers(h *click.Handlers) {
	h.Write("schedule_after", func(s string) error {
		d := e.delay
		if s = strings.TrimSpace(s); s != "" {
			if err := click.Duration(&d)(s, nil); err != nil {
				return err
			}
		}
		e.timer.SetAfter(d)
		return nil
	})
	h.Write("unschedule", func(string) error { e.timer.Stop(); return nil })
	h.Read("scheduled", func() string { return strconv.FormatBool(e.timer.Pending()) })
	h.Read("expiry", func() string {
		if !e.timer.Pending() {
			return "0"
		}
		return string(click.AppendTime(nil, e.Router().WallOf(e.timer.At())))
	})
}

// BlockThread blocks.
type BlockThread struct{ click.Base }

// Configure implements click.Element.
func (e *BlockThread) Configure(a *click.Args) { a.Parse() }

// maxBlock bounds what one write may do to everything else on the thread.
const maxBlock = 10 * time.Second

// AddHandlers implements click.HandlerAdder.
func (e *BlockThread) AddHandlers(h *click.Handlers) {
	h.Add(click.Handler{Name: "block", Private: true, Write: func(s string) error {
		var d time.Duration
		if err := click.Duration(&d)(strings.TrimSpace(s), nil); err != nil {
			return err
		}
		if d > maxBlock {
			return fmt.Errorf("%v is more than %v", d, maxBlock)
		}
		time.Sleep(d)
		return nil
	}})
}
