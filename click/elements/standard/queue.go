package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	doc := click.Doc{
		Group: "standard", Title: "stores packets in the order of their arrival",
		Text: "Packets that find it full are dropped and counted. Its empty notifier wakes those that pull when packets come; its full notifier wakes sources that push when there is room again.",
		Args: []string{"CAPACITY: Packets it can hold; default 1000."},
		Handlers: []string{
			"length (r): Packets in it.", "highwater_length (r): The most it ever held.", "capacity (rw): The CAPACITY argument. Packets beyond a smaller one are dropped from the end.",
			"drops (r): Packets dropped.", "reset_counts (w): Sets drops and highwater_length to zero.", "reset (w): Drops all packets.",
		},
		Example: "... -> Queue(100) -> ToDevice(eth0);", See: []string{"Unqueue"},
	}
	for _, name := range []string{"Queue", "FullNoteQueue", "SimpleQueue"} {
		click.Register(click.Class{Name: name, Ports: "1/1", Processing: "h/l", New: func() click.Element { return &Queue{} }, Doc: doc})
	}
}

// Queue stores packets.
type Queue struct {
	click.Base
	capacity  int
	ring      []*packet.Packet
	head, n   int
	highwater int
	drops     uint64
	empty     click.Notifier
	room      click.Notifier
}

const maxQueue = 1 << 20

// Configure implements click.Element.
func (e *Queue) Configure(a *click.Args) {
	e.capacity = 1000
	a.Parse(click.May("CAPACITY", click.IntRange(&e.capacity, 0, maxQueue)))
}

// Initialize implements click.Initializer.
func (e *Queue) Initialize() error {
	e.ring = make([]*packet.Packet, e.capacity)
	e.room.Set(e.capacity > 0)
	return nil
}

// Inherit implements click.Inheritor: what is in the queue stays in it, as far as there is room.
func (e *Queue) Inherit(old click.Element) error {
	o, ok := old.(*Queue)
	if !ok {
		return nil
	}
	for o.n > 0 && e.n < len(e.ring) {
		e.ring[e.n] = o.take()
		e.n++
	}
	e.highwater, e.drops = max(o.highwater, e.n), o.drops+uint64(o.n)
	if e.n == len(e.ring) {
		e.room.Sleep()
	}
	if e.n > 0 {
		e.empty.Wake()
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *Queue) Cleanup() { e.clear() }

func (e *Queue) clear() {
	for e.n > 0 {
		e.Cache().Free(e.take())
	}
}

func (e *Queue) take() *packet.Packet {
	p := e.ring[e.head]
	e.ring[e.head] = nil
	if e.head++; e.head == len(e.ring) {
		e.head = 0
	}
	e.n--
	return p
}

// Push implements click.Pusher.
func (e *Queue) Push(_ int, b *packet.Batch) {
	pk := b.Packets()
	n := min(len(pk), len(e.ring)-e.n)
	tail := e.head + e.n
	if tail >= len(e.ring) {
		tail -= len(e.ring)
	}
	k := copy(e.ring[tail:], pk[:n])
	copy(e.ring, pk[k:n])
	e.n += n
	e.highwater = max(e.highwater, e.n)
	for _, p := range pk[n:] {
		e.drops++
		e.Cache().Free(p)
	}
	b.Reset()
	if e.n == len(e.ring) {
		e.room.Sleep()
	}
	if e.n > 0 {
		e.empty.Wake()
	}
}

// Pull implements click.Puller.
func (e *Queue) Pull(_ int, b *packet.Batch, n int) {
	n = min(n, e.n)
	for range n {
		b.Append(e.take())
	}
	if e.n == 0 {
		e.empty.Sleep()
	}
	if n > 0 {
		e.room.Wake()
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *Queue) EmptyNotifier(int) *click.Notifier { return &e.empty }

// FullNotifier implements click.FullNotifying.
func (e *Queue) FullNotifier(int) *click.Notifier { return &e.room }

// AddHandlers implements click.HandlerAdder.
func (e *Queue) AddHandlers(h *click.Handlers) {
	h.Read("length", func() string { return strconv.Itoa(e.n) })
	h.Read("highwater_length", func() string { return strconv.Itoa(e.highwater) })
	h.Count("drops", &e.drops)
	h.Write("reset_counts", func(string) error { e.drops, e.highwater = 0, 0; return nil })
	h.Write("reset", func(string) error {
		e.clear()
		e.empty.Sleep()
		e.room.Set(e.capacity > 0)
		return nil
	})
	h.Value("capacity", func() string { return strconv.Itoa(e.capacity) }, after(click.IntRange(&e.capacity, 0, maxQueue), e.resize))
}

func (e *Queue) resize() {
	old := make([]*packet.Packet, 0, e.n)
	for e.n > 0 {
		old = append(old, e.take())
	}
	e.ring, e.head = make([]*packet.Packet, e.capacity), 0
	for _, p := range old {
		if e.n < e.capacity {
			e.ring[e.n] = p
			e.n++
		} else {
			e.drops++
			e.Cache().Free(p)
		}
	}
	e.room.Set(e.n < e.capacity)
}
