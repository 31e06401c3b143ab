package wire

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits of an impairment.
const (
	MaxDelay     = 10 * time.Second
	MaxQueue     = 100_000 // frames
	DefaultQueue = 1000    // frames, when a rate is given without a queue
	MinRate      = BitRate(1000)
	MaxRate      = BitRate(400_000_000_000)
)

// BitRate is bits per second, counted over whole frames without preamble and checksum.
type BitRate uint64

// rateUnits, longest suffix first.
var rateUnits = []struct {
	suffix string
	factor float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// ParseRate reads a rate like "10Mbit" or "1.5Gbit": decimal units bit, kbit, Mbit, Gbit per second, in any case.
func ParseRate(s string) (BitRate, error) {
	low := strings.ToLower(strings.TrimSpace(s))
	for _, u := range rateUnits {
		num, ok := strings.CutSuffix(low, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
		if err != nil || math.IsNaN(v) {
			break
		}
		if v *= u.factor; v < float64(MinRate) || v > float64(MaxRate) {
			return 0, fmt.Errorf("rate %q is outside %s to %s", clip(s), MinRate, MaxRate)
		}
		return BitRate(v), nil
	}
	return 0, fmt.Errorf("%q is not a rate; write a number and bit, kbit, Mbit or Gbit, for example 10Mbit", clip(s))
}

// String returns the rate in the form that ParseRate reads.
func (r BitRate) String() string {
	for _, u := range []struct {
		name   string
		factor BitRate
	}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}} {
		if r >= u.factor && r%u.factor == 0 {
			return strconv.FormatUint(uint64(r/u.factor), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(r), 10) + "bit"
}

// Impairment is what a link does to the frames of each direction. The zero value does nothing.
type Impairment struct {
	Delay time.Duration `json:"delay_ns,omitempty"`   // propagation: from the last bit sent to arrival
	Loss  float64       `json:"loss,omitempty"`       // probability that a frame is lost, 0 to 1, independent of the others
	Rate  BitRate       `json:"rate_bit_s,omitempty"` // zero means no limit
	Queue int           `json:"queue,omitempty"`      // frames that may wait for the rate; zero means DefaultQueue
}

// Check returns an error that says what is out of range, or nil.
func (im Impairment) Check() error {
	switch {
	case im.Delay < 0 || im.Delay > MaxDelay:
		return fmt.Errorf("delay %s is outside 0s to %s", im.Delay, MaxDelay)
	case !(im.Loss >= 0 && im.Loss <= 1):
		return fmt.Errorf("loss %v is outside 0 to 1 (0%% to 100%%)", im.Loss)
	case im.Rate != 0 && (im.Rate < MinRate || im.Rate > MaxRate):
		return fmt.Errorf("rate %s is outside %s to %s", im.Rate, MinRate, MaxRate)
	case im.Queue < 0 || im.Queue > MaxQueue:
		return fmt.Errorf("queue %d is outside 1 to %d", im.Queue, MaxQueue)
	case im.Queue != 0 && im.Rate == 0:
		return fmt.Errorf("queue %d without a rate: nothing ever waits; add a rate or remove the queue", im.Queue)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
