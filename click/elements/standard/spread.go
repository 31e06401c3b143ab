package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "HashSwitch", Ports: "1/1-", Processing: "h", New: func() click.Element { return &HashSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to outputs by a hash of some of their bytes",
			Text:    "Packets that are too short go to output 0.",
			Args:    []string{"OFFSET: Where the bytes begin.", "LENGTH: How many there are."},
			Example: "... -> h :: HashSwitch(16, 4); h[0] -> ...; h[1] -> ...;", See: []string{"Switch", "RoundRobinSwitch", "StrideSwitch", "RandomSwitch"},
		},
	})
	click.Register(click.Class{
		Name: "RandomSwitch", Ports: "1/1-", Processing: "h", New: func() click.Element { return &RandomSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends each packet to any of its outputs",
			Example: "... -> r :: RandomSwitch; r[0] -> ...; r[1] -> ...;", See: []string{"Switch", "RoundRobinSwitch", "StrideSwitch", "HashSwitch"},
		},
	})
}

// HashSwitch spreads packets by their bytes.
type HashSwitch struct {
	click.Base
	offset, length int
}

// Configure implements click.Element.
func (e *HashSwitch) Configure(a *click.Args) {
	a.Parse(click.Must("OFFSET", click.IntRange(&e.offset, 0, 1<<16)), click.Must("LENGTH", click.IntRange(&e.length, 1, 1<<16)))
}

// Push implements click.Pusher.
func (e *HashSwitch) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		d := p.Data()
		if len(d) < e.offset+e.length {
			continue
		}
		h := uint32(2166136261) // FNV-1a
		for _, c := range d[e.offset : e.offset+e.length] {
			h = (h ^ uint32(c)) * 16777619
		}
		ports[i] = uint16(uint64(h) * uint64(e.Outputs()) >> 32)
	}
	e.Split(b, &ports)
}

// RandomSwitch spreads packets at random.
type RandomSwitch struct{ click.Base }

// Configure implements click.Element.
func (e *RandomSwitch) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *RandomSwitch) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	r := e.Rand()
	for i := range b.Len() {
		ports[i] = uint16(r.IntN(e.Outputs()))
	}
	e.Split(b, &ports)
}
