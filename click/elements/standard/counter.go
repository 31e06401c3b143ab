package standard

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Counter", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Counter{} },
		Doc: click.Doc{
			Group: "standard", Title: "counts packets and bytes",
			Text: "Rates are those of the last whole second or of the time since then.",
			Args: []string{
				"COUNT_CALL: N HANDLER VALUE: write VALUE to HANDLER when N packets have come, before the last of them goes on.",
				"BYTE_COUNT_CALL: The same when N bytes have come.",
			},
			Handlers: []string{
				"count (r): Packets.", "byte_count (r): Bytes.", "rate (r): Packets per second.",
				"byte_rate (r): Bytes per second.", "bit_rate (r): Bits per second.", "reset, reset_counts (w): Sets all to zero.",
				"count_call, byte_count_call (w): A new argument of that name; without a handler that of the old one is called, an empty value calls none.",
			},
			Example: "... -> c :: Counter(COUNT_CALL 100 stop) -> ...;",
		},
	})
}

// Counter counts what passes.
type Counter struct {
	click.Base
	count, bytes uint64
	calls        [2]call

	start           clock.Time // of the window of the rates
	startN, startB  uint64
	perSec, bytesPS float64
}

// call is a handler to be written at a count.
type call struct {
	at      uint64
	handler string
	value   string
}

func (k *call) parse(s string, _ *click.Args) error {
	n, rest := lang.NextWord(s)
	h, v := lang.NextWord(rest)
	at, err := strconv.ParseUint(n, 0, 64)
	if err != nil || at == 0 || h == "" && k.handler == "" {
		return fmt.Errorf("expected 'N HANDLER VALUE', not '%s'", s)
	}
	k.at = at
	if h != "" {
		k.handler, k.value = lang.Unquote(h), lang.Unquote(v)
	}
	return nil
}

// Inherit implements click.Inheritor: counting goes on.
func (e *Counter) Inherit(old click.Element) error {
	if o, ok := old.(*Counter); ok {
		calls := e.calls
		base := e.Base
		*e = *o
		e.Base, e.calls = base, calls
	}
	return nil
}

// Configure implements click.Element.
func (e *Counter) Configure(a *click.Args) {
	a.Parse(click.Key("COUNT_CALL", e.calls[0].parse), click.Key("BYTE_COUNT_CALL", e.calls[1].parse))
}

// Push implements click.Pusher.
func (e *Counter) Push(_ int, b *packet.Batch) {
	if e.calls[0].at != 0 || e.calls[1].at != 0 {
		e.pushSlowly(b)
		return
	}
	e.add(b.Packets())
	e.Out(0).Push(b)
}

// Plain returns false while there is a call to be made: what it does may concern the source of the packets.
func (e *Counter) Plain() bool { return e.calls[0].at == 0 && e.calls[1].at == 0 }

// pushSlowly makes a call before the packet that it is for, and after those in front of that one.
func (e *Counter) pushSlowly(b *packet.Batch) {
	first := e.Thread().Scratch()
	defer e.Thread().Release(first)
	for b.Len() > 0 {
		p := b.At(0)
		if e.due(p) {
			e.Out(0).Push(first)
			e.count++
			e.bytes += uint64(p.Len())
			e.ring()
		} else {
			e.count++
			e.bytes += uint64(p.Len())
		}
		first.Append(p)
		b.Drop1st(1)
	}
	e.Out(0).Push(first)
}

// due reports whether p is one that a call is for.
func (e *Counter) due(p *packet.Packet) bool {
	return e.calls[0].at != 0 && e.count+1 >= e.calls[0].at || e.calls[1].at != 0 && e.bytes+uint64(p.Len()) >= e.calls[1].at
}

// Pull implements click.Puller.
func (e *Counter) Pull(_ int, b *packet.Batch, n int) {
	had := b.Len()
	if e.calls[0].at != 0 || e.calls[1].at != 0 {
		n = 1 // what a call does may concern the packet after it
	}
	e.In(0).Pull(b, n)
	got := b.Packets()[had:]
	if len(got) == 0 {
		return
	}
	due := n == 1 && e.due(got[0])
	e.add(got)
	if due {
		e.ring()
	}
}

func (e *Counter) add(pk []*packet.Packet) {
	n := uint64(0)
	for _, p := range pk {
		n += uint64(p.Len())
	}
	e.count += uint64(len(pk))
	e.bytes += n
	if now := e.Now(); now.Sub(e.start) >= 1e9 {
		e.roll(now)
	}
}

// ring makes the calls that are due.
func (e *Counter) ring() {
	for i, n := range [2]uint64{e.count, e.bytes} {
		if k := &e.calls[i]; k.at != 0 && n >= k.at {
			k.at = 0
			if err := e.WriteHandler(k.handler, k.value); err != nil {
				fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
			}
		}
	}
}

func (e *Counter) roll(now clock.Time) {
	if d := now.Sub(e.start).Seconds(); d > 0 {
		e.perSec, e.bytesPS = float64(e.count-e.startN)/d, float64(e.bytes-e.startB)/d
	}
	e.start, e.startN, e.startB = now, e.count, e.bytes
}

func (e *Counter) rates() {
	if now := e.Now(); now.Sub(e.start) >= 1e9 || e.perSec == 0 {
		e.roll(now)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Counter) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Count("byte_count", &e.bytes)
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	h.Read("rate", func() string { e.rates(); return f(e.perSec) })
	h.Read("byte_rate", func() string { e.rates(); return f(e.bytesPS) })
	h.Read("bit_rate", func() string { e.rates(); return f(8 * e.bytesPS) })
	reset := func(string) error {
		e.count, e.bytes, e.startN, e.startB, e.perSec, e.bytesPS = 0, 0, 0, 0, 0, 0
		e.start = e.Now()
		return nil
	}
	h.Write("reset", reset)
	h.Write("reset_counts", reset)
	for i, name := range []string{"count_call", "byte_count_call"} {
		h.Write(name, func(s string) error {
			defer e.MergingChanged()
			if s = strings.TrimSpace(s); s == "" {
				e.calls[i] = call{}
				return nil
			}
			return e.calls[i].parse(s, nil)
		})
	}
}

// Numbers of Click's llrpc.h in their network form.
const (
	llrpcGetRate  = 0xc004c001
	llrpcGetCount = 0xc004c003
)

// LLRPC implements control.LLRPC: it reads the rate, or the count of packets (0) or bytes (1), as 32 bits.
func (e *Counter) LLRPC(n uint32, data []byte) ([]byte, error) {
	if len(data) == 4 {
		switch which := binary.LittleEndian.Uint32(data); {
		case n == llrpcGetRate && which == 0:
			e.rates()
			return binary.LittleEndian.AppendUint32(nil, uint32(e.perSec)), nil
		case n == llrpcGetCount && which == 0:
			return binary.LittleEndian.AppendUint32(nil, uint32(e.count)), nil
		case n == llrpcGetCount && which == 1:
			return binary.LittleEndian.AppendUint32(nil, uint32(e.bytes)), nil
		case n == llrpcGetRate || n == llrpcGetCount:
			return nil, errs.New(errs.Invalid, "there is no count %d", which)
		}
	}
	return nil, errs.New(errs.NotFound, "unknown LLRPC %#x with %d bytes", n, len(data))
}
