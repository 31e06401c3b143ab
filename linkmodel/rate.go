package linkmodel

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limits of a rate that a laboratory's topology may give.
const (
	MinRate = BitRate(1000)
	MaxRate = BitRate(400_000_000_000)
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

func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
