package nth

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Nth", Ports: "1/2", Processing: "h", New: func() click.Element { return &Nth{} },
		Doc: click.Doc{
			Group: "own", Title: "sends every N-th packet to output 1",
			Text:     "The others leave by output 0.",
			Args:     []string{"N: At least 1.", "SKIP: Packets before the first that counts; default 0."},
			Handlers: []string{"n (rw): The N argument.", "count (r): Packets that came.", "reset (w): Begins counting anew."},
			Example:  "... -> s :: Nth(100); s[0] -> ...; s[1] -> Print(sample) -> ...;", See: []string{"RandomSample", "RoundRobinSwitch"},
		},
	})
}

// Nth sends every n-th packet to output 1.
type Nth struct {
	click.Base
	n, skip int
	count   uint64
}

// Configure implements click.Element.
func (e *Nth) Configure(a *click.Args) {
	a.Parse(click.Must("N", click.IntRange(&e.n, 1, 1<<30)), click.Key("SKIP", click.IntRange(&e.skip, 0, 1<<30)))
}

// Push implements click.Pusher.
func (e *Nth) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i := range b.Len() {
		e.count++
		if e.count > uint64(e.skip) && (e.count-uint64(e.skip))%uint64(e.n) == 0 {
			ports[i] = 1
		}
	}
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *Nth) AddHandlers(h *click.Handlers) {
	h.Value("n", func() string { return strconv.Itoa(e.n) }, click.IntRange(&e.n, 1, 1<<30))
	h.Count("count", &e.count)
	h.Write("reset", func(string) error {
		e.count = 0
		return nil
	})
}

// Inherit implements click.Inheritor: an element of the same name in a new configuration goes on counting.
func (e *Nth) Inherit(old click.Element) error {
	if o, ok := old.(*Nth); ok {
		e.count = o.count
	}
	return nil
}
