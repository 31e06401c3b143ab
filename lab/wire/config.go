package wire

import "github.com/janos-os/janos/linkmodel"

// Config says which interfaces of the current network namespace are joined.
type Config struct {
	Seed  uint64       `json:"seed"` // determines which frames get lost
	Links []LinkConfig `json:"links"`
}

// LinkConfig is one link.
type LinkConfig struct {
	Name   string               `json:"name"`
	Ports  [2]string            `json:"ports"` // interface names
	Impair linkmodel.Impairment `json:"impairment"`
}

// Stats counts one direction of a link since the start. Every frame that arrived at the interface is in exactly one of the
// counts after Received, or still under way.
type Stats struct {
	Received    uint64 `json:"received"`    // frames read
	Delivered   uint64 `json:"delivered"`   // sent at the other end
	Lost        uint64 `json:"lost"`        // lost by chance
	QueueFull   uint64 `json:"queue_full"`  // too many waited for the rate
	Overflow    uint64 `json:"overflow"`    // too many were under way in the whole wire
	Undelivered uint64 `json:"undelivered"` // the other end was down
	Overrun     uint64 `json:"overrun"`     // not read: the wire itself was too slow; not part of Received
}

// LinkStats are the counts of a link; direction 0 is from port 0 to port 1.
type LinkStats struct {
	Name       string   `json:"name"`
	Directions [2]Stats `json:"directions"`
}
