package linkmodel

import (
	"fmt"
	"time"
)

// Limits of an impairment.
const (
	MaxDelay     = 10 * time.Second
	MaxQueue     = 100_000 // frames
	DefaultQueue = 1000    // frames, when a rate is given without a queue
)

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
