package standard

import (
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// defaultData is what sources send when they are not told: 64 bytes.
const defaultData = "This packet was made by a source element; it has sixty-four byte"

// source is what all sources have in common: what to send, how often, and what to do at the end.
type source struct {
	click.Base
	data   []byte
	length int
	limit  int // packets; negative: no limit
	active bool
	stop   bool
	count  uint64
}

func (s *source) params() []click.Param {
	s.data, s.length, s.limit, s.active = []byte(defaultData), -1, -1, true
	return []click.Param{
		click.Key("LENGTH", click.IntRange(&s.length, -1, 65535)),
		click.Key("STOP", click.Bool(&s.stop)),
	}
}

// finish applies LENGTH.
func (s *source) finish(a *click.Args) {
	if s.length >= 0 {
		d := make([]byte, s.length)
		for n := 0; n < len(d) && len(s.data) > 0; {
			n += copy(d[n:], s.data)
		}
		s.data = d
	}
	if len(s.data) > 65535 {
		a.Errorf("DATA: %d bytes are more than a packet can have", len(s.data))
	}
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
	for i, p := range b.Packets()[had:] {
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
	if room := k.FrameSize - k.Headroom; len(s.data) > room {
		return errs.New(errs.TooBig, "DATA has %d bytes, frames of this node have room for %d", len(s.data), room)
	}
	return nil
}

// ended stops the router if this was the last packet and STOP says so.
func (s *source) ended() {
	if s.stop && s.done() {
		s.Router().RequestStop()
	}
}

// handlers adds what all sources have; wake is called when there may be something to do again.
func (s *source) handlers(h *click.Handlers, wake func()) {
	h.Count("count", &s.count)
	h.Value("limit", func() string { return strconv.Itoa(s.limit) }, after(click.IntRange(&s.limit, -1, 1<<62), wake))
	h.Value("active", func() string { return strconv.FormatBool(s.active) }, after(click.Bool(&s.active), wake))
	h.Value("stop", func() string { return strconv.FormatBool(s.stop) }, click.Bool(&s.stop))
	h.Value("data", func() string { return string(s.data) }, click.Bytes(&s.data))
	h.Write("reset", func(string) error { s.count = 0; wake(); return nil })
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
	"data (rw): The DATA argument.",
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
