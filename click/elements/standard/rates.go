package standard

import (
	"math/bits"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
)

// tick is how often tokens come into a bucket. Click has it too; configurations that were tuned with it behave the same here.
const tick = clock.Time(time.Millisecond)

// tokens is a token bucket that is filled once a tick, with the arithmetic of Click: the tokens are scaled so that a full bucket is the largest
// 32-bit number, and what comes in a tick is rounded down.
type tokens struct {
	level   uint64
	full    uint64
	scale   uint64 // units in a token
	perTick uint64
	last    clock.Time // in ticks
	primed  bool
}

const ticksPerSecond = uint64(time.Second) / uint64(tick)

// set makes the bucket full with capacity tokens, refilled at rate tokens per second.
func (k *tokens) set(rate, capacity uint64) {
	capacity = max(capacity, rate/ticksPerSecond+1)
	k.full = 1<<32 - 1
	if capacity >= 1<<28 {
		k.full = 1<<62 - 1
	}
	k.scale = k.full / capacity
	hi, lo := bits.Mul64(k.scale, rate)
	k.perTick, _ = bits.Div64(hi, lo, ticksPerSecond) // the quotient fits, since scale*rate/ticksPerSecond < full
	k.level, k.primed = k.full, false
}

// refill adds what came until now.
func (k *tokens) refill(now clock.Time) {
	t := now / tick
	if !k.primed {
		k.primed, k.last = true, t
	}
	if n := uint64(t - k.last); t > k.last && k.perTick > 0 {
		if n >= (k.full-k.level)/k.perTick+1 {
			k.level = k.full
		} else {
			k.level += n * k.perTick
		}
	}
	k.last = max(k.last, t)
}

// has reports whether there are n tokens.
func (k *tokens) has(n uint64) bool { return k.level >= n*k.scale }

// count returns how many whole tokens there are.
func (k *tokens) count() uint64 { return k.level / k.scale }

// remove takes n tokens, or all if there are less.
func (k *tokens) remove(n uint64) { k.level -= min(k.level, n*k.scale) }

// wait returns how long it takes until there are n tokens.
func (k *tokens) wait(n uint64) time.Duration {
	if k.has(n) {
		return 0
	}
	if k.perTick == 0 {
		return time.Hour
	}
	return time.Duration((n*k.scale-k.level+k.perTick-1)/k.perTick) * time.Duration(tick)
}

// reserve is how many bytes a bucket for a bandwidth may go below empty, so that a packet larger than the burst still passes, at the cost of
// those after it.
const reserve = 1 << 17

// limit is what elements have that let packets pass at a rate, with bursts.
type limit struct {
	bytes    bool
	rate     uint64
	size     uint64        // burst in packets or bytes; 0: by duration
	duration time.Duration // of the burst
	tokens   tokens
}

// limitArgs are the arguments of limit.params.
func limitArgs(bytes bool) []string {
	if bytes {
		return []string{"RATE: A bandwidth, such as 10Mbps; without a unit bytes per second.", "BURST_DURATION: A burst may have what comes in this time at the rate; default 20ms.", "BURST_BYTES: A burst may have so many bytes."}
	}
	return []string{"RATE: Packets per second.", "BURST_DURATION: A burst may have what comes in this time at the rate; default 20ms.", "BURST_SIZE: A burst may have so many packets."}
}

// configure reads RATE and the keywords for bursts, and whatever more there is.
func (l *limit) configure(a *click.Args, more ...click.Param) {
	var byTime, bySize bool
	n := 0
	l.duration = 20 * time.Millisecond
	name := "BURST_SIZE"
	if l.bytes {
		name = "BURST_BYTES"
	}
	a.Parse(append(more, click.Must("RATE", rateValue(&l.rate, l.bytes)), click.Key("BURST_DURATION", click.Duration(&l.duration)).Given(&byTime),
		click.Key(name, click.IntRange(&n, 1, 1<<40)).Given(&bySize))...)
	if byTime && bySize {
		a.Errorf("at most one of BURST_DURATION and %s may be given", name)
	}
	l.size = uint64(n)
	l.fill()
}

// fill makes the bucket full.
func (l *limit) fill() {
	size := l.size
	if size == 0 {
		hi, lo := bits.Mul64(l.rate, uint64(l.duration))
		if hi < uint64(time.Second) {
			size, _ = bits.Div64(hi, lo, uint64(time.Second))
		}
		size = min(max(size, 1), 1<<40)
	}
	if l.bytes {
		size += reserve
	}
	l.tokens.set(l.rate, size)
}

// take takes over the arguments of another one.
func (l *limit) take(o *limit) {
	if l.rate != o.rate || l.size != o.size || l.duration != o.duration {
		*l = *o
	}
}

// least returns how many tokens there must be for a packet to pass.
func (l *limit) least() uint64 {
	if l.bytes {
		return reserve
	}
	return 1
}

// pass takes the tokens for a packet of n bytes if it may pass.
func (l *limit) pass(n int) bool {
	if l.rate == 0 || !l.tokens.has(l.least()) {
		return false
	}
	if !l.bytes {
		n = 1
	}
	l.tokens.remove(uint64(n))
	return true
}

func (l *limit) rateText() string { return strconv.FormatUint(l.rate, 10) }

// rateValue parses packets per second or a bandwidth.
func rateValue(p *uint64, bytes bool) click.Value {
	if bytes {
		return click.Bandwidth(p)
	}
	return func(s string, a *click.Args) error {
		n := 0
		if err := click.IntRange(&n, 0, 1_000_000_000)(s, a); err != nil {
			return err
		}
		*p = uint64(n)
		return nil
	}
}

// pace spreads units evenly over each second of the clock.
type pace struct {
	rate   uint64
	second clock.Time
	count  uint64 // of this second
	begun  bool
}

// due reports whether another unit may pass now.
func (k *pace) due(now clock.Time) bool {
	s := now / clock.Time(time.Second)
	switch need := k.need(now); {
	case k.rate == 0:
		return false
	case !k.begun:
		k.begun, k.second, k.count = true, s, need
	case s == k.second+1:
		k.second, k.count = s, k.count-min(k.count, k.rate) // what was sent beyond the last second's share counts for this one
	case s != k.second:
		k.second, k.count = s, need // after a pause: no burst for what was not used
	}
	return k.need(now) >= k.count
}

// need returns how many units belong to the part of the second that has passed.
func (k *pace) need(now clock.Time) uint64 {
	hi, lo := bits.Mul64(uint64(now%clock.Time(time.Second)), k.rate)
	n, _ := bits.Div64(hi, lo, uint64(time.Second))
	return n
}

// wait returns how long it takes until due.
func (k *pace) wait(now clock.Time) time.Duration {
	part := uint64(now % clock.Time(time.Second))
	if k.count >= k.rate { // the next second's
		return time.Duration(uint64(time.Second) - part)
	}
	hi, lo := bits.Mul64(k.count, uint64(time.Second))
	at, rem := bits.Div64(hi, lo, k.rate)
	if rem > 0 {
		at++
	}
	return time.Duration(max(at, part+1) - part)
}
