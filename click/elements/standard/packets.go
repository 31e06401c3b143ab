package standard

import (
	"fmt"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// defaultData is what sources send when they are not told: 64 bytes.
const defaultData = "This packet was made by a source element; it has sixty-four byte"

// source is what all sources have in common: what to send, how often, and what to do at the end.
type source struct {
	click.Base
	raw       []byte // as given
	data      []byte // as sent
	length    int    // of data; negative: that of raw
	limit     int    // packets; negative: no limit
	headroom  int    // in front of the data; negative: the node's
	active    bool
	stop      bool
	unstamped bool
	call      call // END_CALL
	called    bool
	count     uint64
}

func (s *source) params() []click.Param {
	s.raw, s.length, s.limit, s.headroom, s.active = []byte(defaultData), -1, -1, -1, true
	return []click.Param{
		click.Key("LENGTH", click.IntRange(&s.length, -1, 65535)),
		click.Key("STOP", click.Bool(&s.stop)),
	}
}

// finish applies LENGTH.
func (s *source) finish(a *click.Args) {
	if err := s.build(s.raw, s.length); err != nil {
		a.Errorf("DATA: %v", err)
	}
	if s.stop && s.call.handler != "" {
		a.Errorf("STOP and END_CALL exclude each other")
	}
}

// build makes packets hold raw, repeated or cut to a length that is not negative.
func (s *source) build(raw []byte, length int) error {
	d := raw
	if length >= 0 {
		d = make([]byte, length)
		for n := 0; n < length && len(raw) > 0; {
			n += copy(d[n:], raw)
		}
	}
	if len(d) > 65535 {
		return errs.New(errs.TooBig, "%d bytes are more than a packet can have", len(d))
	}
	s.raw, s.data, s.length = raw, d, length
	return nil
}

// done reports whether the limit has been reached.
func (s *source) done() bool { return s.limit >= 0 && s.count >= uint64(s.limit) }

// fill appends up to n fresh packets to b and returns how many.
func (s *source) fill(b *packet.Batch, n int) int {
	if s.limit >= 0 {
		n = min(n, int(uint64(s.limit)-s.count))
	}
	had := b.Len()
	got := s.Cache().AllocBatch(s.Owner(), b, n)
	now := s.Now()
	if s.unstamped {
		now = 0
	}
	for i, p := range b.Packets()[had:] {
		if s.headroom >= 0 {
			if n := s.headroom - p.Headroom(); n > 0 {
				p.Put(n)
				p.Pull(n)
			} else {
				p.Push(-n)
				p.Take(-n)
			}
		}
		d := p.Put(len(s.data))
		if d == nil { // DATA does not fit a frame
			for _, q := range b.Packets()[had+i:] {
				s.Cache().Free(q)
			}
			b.Truncate(had + i)
			got = i
			break
		}
		copy(d, s.data)
		p.Anno.Time = now
	}
	s.count += uint64(got)
	return got
}

// check refuses data that no frame of the node has room for.
func (s *source) check() error {
	k := s.Thread().Cache().Pool().Spec()
	head := k.Headroom
	if s.headroom >= 0 {
		head = s.headroom
	}
	if room := k.FrameSize - head; len(s.data) > room {
		return errs.New(errs.TooBig, "DATA has %d bytes, frames of this node have room for %d", len(s.data), room)
	}
	return nil
}

// ended stops the router if this was the last packet and STOP says so, or makes the call of END_CALL.
func (s *source) ended() {
	if !s.done() {
		s.called = false
		return
	}
	if s.stop {
		s.Router().RequestStop()
	}
	if s.call.handler != "" && !s.called {
		s.called = true
		if err := s.WriteHandler(s.call.handler, s.call.value); err != nil {
			fmt.Fprintf(s.Output(), "%s: END_CALL: %v\n", s.Name(), err)
		}
	}
}

// endParams are the keywords of sources that send as fast as they can.
func (s *source) endParams() []click.Param {
	stamp := func(text string, a *click.Args) error {
		on := false
		err := click.Bool(&on)(text, a)
		s.unstamped = err == nil && !on
		return err
	}
	end := func(text string, _ *click.Args) error {
		h, v := lang.NextWord(text)
		if h == "" {
			return fmt.Errorf("expected 'HANDLER [VALUE]'")
		}
		s.call.handler, s.call.value = lang.Unquote(h), lang.Unquote(v)
		return nil
	}
	return []click.Param{click.Key("END_CALL", end), click.Key("TIMESTAMP", stamp)}
}

var endArgs = []string{
	"END_CALL: HANDLER [VALUE]: written after the last packet; excludes STOP.",
	"TIMESTAMP: Whether packets get the present time as timestamp annotation; default true.",
}

// fits refuses data for which frames of the node have no room.
func (s *source) fits(raw []byte, length int) error {
	old := *s
	err := s.build(raw, length)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		s.raw, s.data, s.length = old.raw, old.data, old.length
	}
	return err
}

// inherit is for Inherit of sources: counting goes on.
func (s *source) inherit(o *source) { s.count, s.called = o.count, o.called }

// handlers adds what all sources have; wake is called when there may be something to do again.
func (s *source) handlers(h *click.Handlers, wake func()) {
	h.Count("count", &s.count)
	h.Value("limit", func() string { return strconv.Itoa(s.limit) }, after(click.IntRange(&s.limit, -1, 1<<62), wake))
	h.Value("active", func() string { return strconv.FormatBool(s.active) }, after(click.Bool(&s.active), wake))
	h.Value("stop", func() string { return strconv.FormatBool(s.stop) }, click.Bool(&s.stop))
	h.Read("data", func() string { return string(s.raw) })
	h.Write("data", func(v string) error { return s.fits([]byte(lang.Unquote(v)), s.length) })
	h.Value("length", func() string { return strconv.Itoa(s.length) }, func(v string, a *click.Args) error {
		n := 0
		if err := click.IntRange(&n, -1, 65535)(v, a); err != nil {
			return err
		}
		return s.fits(s.raw, n)
	})
	h.Write("reset", func(string) error { s.count, s.called = 0, false; wake(); return nil })
}

// after calls fn when a value was accepted.
func after(v click.Value, fn func()) click.Value {
	return func(s string, a *click.Args) error {
		err := v(s, a)
		if err == nil {
			fn()
		}
		return err
	}
}

var sourceHandlers = []string{
	"count (r): Packets sent so far.",
	"limit (rw): The LIMIT argument.",
	"active (rw): The ACTIVE argument.",
	"stop (rw): The STOP argument.",
	"data (rw): The DATA argument.", "length (rw): The LENGTH argument.",
	"reset (w): Sets the count to zero, so that a source that has reached its limit starts again.",
}

// bucket is a token bucket in exact arithmetic: tokens are kept times 1e9.
type bucket struct {
	rate   uint64 // tokens per second
	size   uint64 // tokens
	credit uint64 // tokens times 1e9
	last   int64  // ns
	primed bool
}

const token = 1_000_000_000

// fillTo adds what has accrued up to now.
func (k *bucket) fillTo(now int64) {
	full := k.size * token
	if !k.primed {
		k.primed, k.last, k.credit = true, now, min(token, full)
		return
	}
	dt := uint64(max(now-k.last, 0))
	k.last = max(k.last, now)
	if k.rate > 0 && dt > (full-min(k.credit, full))/k.rate {
		k.credit = full
	} else {
		k.credit += dt * k.rate
	}
}

// tokens returns how many whole ones there are.
func (k *bucket) tokens() int { return int(k.credit / token) }

// take removes n tokens.
func (k *bucket) take(n int) { k.credit -= min(k.credit, uint64(n)*token) }

// wait returns how long it takes until n tokens are there.
func (k *bucket) wait(n int) time.Duration {
	need := uint64(n) * token
	if k.credit >= need || k.rate == 0 {
		return 0
	}
	return time.Duration((need - k.credit + k.rate - 1) / k.rate)
}
