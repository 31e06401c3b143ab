package analysis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AdjustTimestamp", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &AdjustTimestamp{} },
		Doc: click.Doc{
			Group: "analysis", Title: "moves timestamps by a fixed time",
			Args:     []string{"TIME: What is added, in seconds; may be negative.", "FIRST: Whether the first-timestamp annotation is moved instead; default false.", "ALL: Whether packets without a timestamp get one too; default false."},
			Handlers: []string{"time (rw): The TIME argument."}, Example: "FromDump(trace.pcap) -> AdjustTimestamp(-3600) -> ...;", See: []string{"SetTimestamp", "SetTimestampDelta"},
		},
	})
	click.Register(click.Class{
		Name: "SetTimestampDelta", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &SetTimestampDelta{} },
		Doc: click.Doc{
			Group: "analysis", Title: "replaces timestamps by differences of time",
			Text: "Packets without a timestamp stay as they are.",
			Args: []string{
				"TYPE: The difference: RANGE, to the first timestamp that was seen; NOW, between the timestamp and now; FIRST, between the first-timestamp annotation and the timestamp. Default RANGE.",
			},
			Handlers: []string{"first (r): The first timestamp that was seen.", "reset (w): Forgets it."}, Example: "... -> SetTimestampDelta -> ToIPSummaryDump(-, FIELDS timestamp);", See: []string{"AdjustTimestamp", "TimeRange"},
		},
	})
	click.Register(click.Class{
		Name: "TimeRange", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &TimeRange{} },
		Doc: click.Doc{
			Group: "analysis", Title: "notes the first and the last timestamp",
			Text: "Packets without a timestamp are passed over.",
			Args: []string{"SIMPLE: Whether timestamps are known to grow; default false."},
			Handlers: []string{
				"first (r): The least timestamp.", "last (r): The greatest.", "range (r): Both.", "interval (r): Their difference in seconds.", "reset (w): Forgets both.",
			},
			Example: "FromDump(trace.pcap, STOP true) -> t :: TimeRange -> Discard; DriverManager(wait, print t.range);", See: []string{"TimeFilter"},
		},
	})
	click.Register(click.Class{
		Name: "TimeFilter", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &TimeFilter{} },
		Doc: click.Doc{
			Group: "analysis", Title: "lets packets through whose timestamps lie in a range",
			Text: "From START on and up to, but not including, END. What is outside goes to output 1, or is dropped. At most one of START, START_AFTER and START_DELAY may be given, at most one of END, END_AFTER, END_DELAY and " +
				"INTERVAL, and STOP or END_CALL. The call of END_CALL may extend the interval, so that the packet passes; it is made again when the new end comes.",
			Args: []string{
				"START: Time of the calendar, in seconds since 1970.", "END: Likewise.", "START_AFTER: Time after the first timestamp.", "START_DELAY: Time after the element is made.", "END_AFTER: Time after the first timestamp.", "END_DELAY: Time after the element is made.",
				"INTERVAL: Time after the start.", "STOP: Whether to ask the router to stop when the end comes; default false.", "END_CALL: HANDLER VALUE to be written when it comes; $t in it is the packet's timestamp.",
			},
			Handlers: []string{"start (rw): The start.", "end (rw): The end.", "interval (rw): Their difference; a write moves the end.", "extend_interval (w): Moves the end by a time.", "drop_count (r): Packets outside of the range."},
			Example:  "FromDump(trace.pcap, STOP true) -> TimeFilter(START_AFTER 60, INTERVAL 10, STOP true) -> ...;", See: []string{"SetTimestamp", "TimeRange"},
		},
	})
}

// seconds parses seconds with up to nine decimals, or a time with a unit, and a sign if that is allowed, as nanoseconds.
func seconds(to *int64, signed bool) click.Value {
	return func(s string, _ *click.Args) error {
		bare := s
		if signed {
			bare = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
		}
		v, ok := parseTime(1e9)(bare)
		if !ok {
			var d time.Duration
			if err := click.Duration(&d)(bare, nil); err != nil || bare == "" {
				return fmt.Errorf("expected a time in seconds, not '%s'", s)
			}
			v.n = uint64(d)
		}
		*to = int64(v.n)
		if strings.HasPrefix(s, "-") {
			*to = -*to
		}
		return nil
	}
}

func stamp(ns int64) string { return string(click.AppendTime(nil, ns)) }

// AdjustTimestamp adds to timestamps.
type AdjustTimestamp struct {
	click.Base
	by         int64
	first, all bool
}

// Configure implements click.Element.
func (e *AdjustTimestamp) Configure(a *click.Args) {
	a.Parse(click.Must("TIME", seconds(&e.by, true)), click.Key("FIRST", click.Bool(&e.first)), click.Key("ALL", click.Bool(&e.all)))
}

// Act implements click.Actor.
func (e *AdjustTimestamp) Act(b *packet.Batch) {
	r := e.Router()
	for _, p := range b.Packets() {
		t := p.Anno.Time
		if e.first {
			t = click.FirstTime(p)
		}
		if t == 0 && !e.all {
			continue
		}
		t = r.TimeOf(r.WallOf(t) + e.by)
		if e.first {
			click.SetFirstTime(p, t)
		} else {
			p.Anno.Time = t
		}
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *AdjustTimestamp) AddHandlers(h *click.Handlers) {
	h.Value("time", func() string { return stamp(e.by) }, seconds(&e.by, true))
}

// SetTimestampDelta replaces timestamps by differences.
type SetTimestampDelta struct {
	click.Base
	kind  string
	first int64
}

// Configure implements click.Element.
func (e *SetTimestampDelta) Configure(a *click.Args) {
	e.kind = "RANGE"
	a.Parse(click.May("TYPE", click.String(&e.kind)))
	e.kind = strings.ToUpper(e.kind)
	if e.kind != "RANGE" && e.kind != "NOW" && e.kind != "FIRST" {
		a.Errorf("TYPE: expected RANGE, NOW or FIRST, not '%s'", e.kind)
	}
}

// Act implements click.Actor.
func (e *SetTimestampDelta) Act(b *packet.Batch) {
	r := e.Router()
	for _, p := range b.Packets() {
		if p.Anno.Time == 0 {
			continue
		}
		t := r.WallOf(p.Anno.Time)
		if e.first == 0 {
			e.first = t
		}
		switch e.kind {
		case "NOW":
			t = r.WallOf(e.Now()) - t
		case "FIRST":
			t -= r.WallOf(click.FirstTime(p))
		default:
			t -= e.first
		}
		p.Anno.Time = r.TimeOf(t)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *SetTimestampDelta) AddHandlers(h *click.Handlers) {
	h.Read("first", func() string { return stamp(e.first) })
	h.Write("reset", func(string) error {
		e.first = 0
		return nil
	})
}

// TimeRange notes the range of timestamps.
type TimeRange struct {
	click.Base
	first, last int64
	simple      bool
}

// Configure implements click.Element.
func (e *TimeRange) Configure(a *click.Args) { a.Parse(click.Key("SIMPLE", click.Bool(&e.simple))) }

// Act implements click.Actor.
func (e *TimeRange) Act(b *packet.Batch) {
	r := e.Router()
	for _, p := range b.Packets() {
		if p.Anno.Time == 0 {
			continue
		}
		t := r.WallOf(p.Anno.Time)
		if e.first == 0 || t < e.first && !e.simple {
			e.first = t
		}
		if e.last == 0 || t > e.last || e.simple {
			e.last = t
		}
	}
}

// Inherit implements click.Inheritor.
func (e *TimeRange) Inherit(old click.Element) error {
	if o, ok := old.(*TimeRange); ok {
		e.first, e.last = o.first, o.last
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *TimeRange) AddHandlers(h *click.Handlers) {
	h.Read("first", func() string { return stamp(e.first) })
	h.Read("last", func() string { return stamp(e.last) })
	h.Read("range", func() string { return stamp(e.first) + " " + stamp(e.last) })
	h.Read("interval", func() string { return stamp(e.last - e.first) })
	h.Write("reset", func(string) error {
		e.first, e.last = 0, 0
		return nil
	})
}

// endCall is a handler to be written when a time has come, or the wish that the router stops.
type endCall struct {
	stop           bool
	handler, value string
	made           bool
}

// parse reads "HANDLER VALUE".
func (c *endCall) parse(s string, _ *click.Args) error {
	h, v, _ := strings.Cut(strings.TrimSpace(s), " ")
	if h == "" {
		return errors.New("expected a handler, and perhaps a value")
	}
	c.handler, c.value = h, strings.TrimSpace(v)
	return nil
}

// make makes the call, once, for a packet of a time.
func (c *endCall) make(e *click.Base, t int64) {
	if c.made {
		return
	}
	c.made = true
	switch {
	case c.handler != "":
		if err := e.WriteHandler(c.handler, strings.ReplaceAll(c.value, "$t", stamp(t))); err != nil {
			fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
		}
	case c.stop:
		e.Router().RequestStop()
	}
}

// TimeFilter lets a range of time through.
type TimeFilter struct {
	click.Base
	start, end                   int64 // since 1970
	startAfter, endAfter, length int64 // -1: not given
	hasEnd, fixed                bool  // fixed: start and end are known
	call                         endCall
	outside                      uint64
}

// Configure implements click.Element.
func (e *TimeFilter) Configure(a *click.Args) {
	e.startAfter, e.endAfter, e.length = -1, -1, -1
	startDelay, endDelay := int64(-1), int64(-1)
	var given [7]bool
	var called bool
	if !a.Parse(click.May("START", seconds(&e.start, false)).Given(&given[0]), click.May("END", seconds(&e.end, false)).Given(&given[3]),
		click.Key("START_AFTER", seconds(&e.startAfter, false)).Given(&given[1]), click.Key("START_DELAY", seconds(&startDelay, false)).Given(&given[2]),
		click.Key("END_AFTER", seconds(&e.endAfter, false)).Given(&given[4]), click.Key("END_DELAY", seconds(&endDelay, false)).Given(&given[5]),
		click.Key("INTERVAL", seconds(&e.length, false)).Given(&given[6]), click.Key("STOP", click.Bool(&e.call.stop)), click.Key("END_CALL", e.call.parse).Given(&called)) {
		return
	}
	count := func(list []bool) (n int) {
		for _, g := range list {
			if g {
				n++
			}
		}
		return n
	}
	if count(given[:3]) > 1 {
		a.Errorf("at most one of START, START_AFTER and START_DELAY may be given")
	}
	if count(given[3:]) > 1 {
		a.Errorf("at most one of END, END_AFTER, END_DELAY and INTERVAL may be given")
	}
	if called && e.call.stop {
		a.Errorf("at most one of STOP and END_CALL may be given")
	}
	now := e.Router().Wall().UnixNano()
	if startDelay >= 0 {
		e.start = now + startDelay
	}
	if endDelay >= 0 {
		e.end = now + endDelay
	}
	e.hasEnd = count(given[3:]) > 0
	e.fixed = e.startAfter < 0 && e.endAfter < 0
	if e.fixed && e.length >= 0 {
		e.end = e.start + e.length
	}
}

// passes reports whether a packet does, and makes the call at the end.
func (e *TimeFilter) passes(p *packet.Packet) bool {
	t := e.Router().WallOf(p.Anno.Time)
	if !e.fixed {
		e.fixed = true
		if e.startAfter >= 0 {
			e.start = t + e.startAfter
		}
		switch {
		case e.endAfter >= 0:
			e.end = t + e.endAfter
		case e.length >= 0:
			e.end = e.start + e.length
		}
	}
	if e.hasEnd && t >= e.end {
		e.call.make(&e.Base, t)
	}
	return t >= e.start && (!e.hasEnd || t < e.end)
}

// Push implements click.Pusher.
func (e *TimeFilter) Push(_ int, b *packet.Batch) {
	// One by one, since a call may look at what has gone before.
	one := e.Thread().Scratch()
	for b.Len() > 0 {
		p := b.At(0)
		b.Drop1st(1)
		one.Append(p)
		if e.passes(p) {
			e.Out(0).Push(one)
			continue
		}
		e.outside++
		e.Forward(1, one)
	}
	e.Thread().Release(one)
}

// Pull implements click.Puller.
func (e *TimeFilter) Pull(_ int, b *packet.Batch, n int) {
	for range n {
		had := b.Len()
		if e.In(0).Pull(b, 1) == 0 {
			return
		}
		if p := b.At(had); !e.passes(p) {
			b.Truncate(had)
			e.outside++
			e.ForwardOne(1, p)
		}
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *TimeFilter) AddHandlers(h *click.Handlers) {
	set := func(to *int64, done func()) click.Value {
		return func(s string, _ *click.Args) error {
			if err := seconds(to, false)(s, nil); err != nil {
				return err
			}
			e.call.made = false
			done()
			return nil
		}
	}
	h.Value("start", func() string { return stamp(e.start) }, set(&e.start, func() { e.startAfter = -1 }))
	h.Value("end", func() string { return stamp(e.end) }, set(&e.end, func() { e.hasEnd, e.endAfter, e.length = true, -1, -1 }))
	var interval int64
	h.Value("interval", func() string { return stamp(e.end - e.start) }, set(&interval, func() { e.hasEnd, e.end = true, e.start+interval }))
	h.Write("extend_interval", func(s string) error {
		return set(&interval, func() { e.hasEnd, e.end = true, e.end+interval })(strings.TrimSpace(s), nil)
	})
	h.Read("drop_count", func() string { return strconv.FormatUint(e.outside, 10) })
}
