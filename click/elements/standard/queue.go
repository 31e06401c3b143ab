package standard

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	handlers := []string{
		"length (r): Packets in it.", "highwater_length (r): The most it ever held.",
		"capacity (rw): The CAPACITY argument. Packets beyond a smaller one are dropped from the end.",
		"drops (r): Packets dropped.", "reset_counts (w): Sets drops and highwater_length to zero.", "reset (w): Drops all packets.",
	}
	const (
		emptyText = "Its empty notifier wakes those that pull when packets come and sleeps some time after the last one has left, so that a queue that holds one or two packets does not put them to sleep all the time. "
		fullText  = "Its full notifier wakes sources that push when there is room again. "
		dropText  = "Packets that find it full go to output 1, or are dropped without one; both are counted as drops. "
	)
	for _, c := range []struct {
		names, ports, processing, title, text string
		kind                                  queueKind
	}{
		{"Queue FullNoteQueue", "1/1-2", "h/lh", "stores packets in the order of their arrival", dropText + emptyText + fullText, queueKind{empty: true, full: true}},
		{"QuickNoteQueue", "1/1-2", "h/lh", "stores packets in the order of their arrival and tells at once when it is empty",
			dropText + "Its empty notifier sleeps as soon as the last packet has left. " + fullText, queueKind{empty: true, full: true, quick: true}},
		{"NotifierQueue", "1/1-2", "h/lh", "stores packets in the order of their arrival and tells when it is empty", dropText + emptyText, queueKind{empty: true}},
		{"SimpleQueue", "1/1-2", "h/lh", "stores packets in the order of their arrival and tells nobody", dropText + "It has no notifiers: those that pull must try.", queueKind{}},
		{"FrontDropQueue", "1/1-2", "h/lh", "stores packets in the order of their arrival and drops the oldest",
			"A packet that finds it full takes the place of the one that has waited longest, which goes to output 1 or is dropped. " + emptyText + fullText, queueKind{empty: true, full: true, front: true}},
		{"MixedQueue", "1-2/1-2", "h/lh", "stores packets in the order of their arrival, those of input 1 in front of all others",
			"Packets of input 0 that find it full are dropped; one of input 1 then takes the place of the packet that is last. " + emptyText, queueKind{empty: true, mixed: true}},
	} {
		for _, name := range strings.Fields(c.names) {
			click.Register(click.Class{
				Name: name, Ports: c.ports, Processing: c.processing, Merging: click.Merged, New: func() click.Element { return &Queue{kind: c.kind} },
				Doc: click.Doc{
					Group: "standard", Title: c.title, Text: c.text, Args: []string{"CAPACITY: Packets it can hold; default 1000."}, Handlers: handlers,
					Example: "... -> " + name + "(100) -> ToDevice(eth0);", See: []string{"Unqueue"},
				},
			})
		}
	}
}

// queueKind is how queues differ.
type queueKind struct {
	empty, full bool // has such a notifier
	quick       bool // the empty notifier sleeps at once
	front       bool // makes room by dropping the oldest
	mixed       bool // input 1 puts packets in front
}

// Queue stores packets.
type Queue struct {
	click.Base
	kind      queueKind
	capacity  int
	ring      []*packet.Packet
	head, n   int
	highwater int
	drops     uint64
	vain      int // pulls in a row that found nothing
	empty     click.Notifier
	room      click.Notifier
	cross     *crossing // instead of the ring, where another thread pushes
}

const (
	maxQueue = 1 << 20
	// patience is how many pulls must find nothing before the empty notifier sleeps.
	patience = 8
)

// Configure implements click.Element.
func (e *Queue) Configure(a *click.Args) {
	e.capacity = 1000
	a.Parse(click.May("CAPACITY", click.IntRange(&e.capacity, 0, maxQueue)))
}

// Initialize implements click.Initializer.
func (e *Queue) Initialize() error {
	if e.cross != nil {
		e.cross.init(e)
		return nil
	}
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
	for o.Len() > 0 && e.Room() > 0 {
		e.put(o.take())
	}
	high, drops := o.marks()
	e.setMarks(max(high, e.Len()), drops+uint64(o.Len()))
	e.notify()
	return nil
}

// put stores a packet, for which there is room.
func (e *Queue) put(p *packet.Packet) {
	if e.cross != nil {
		e.cross.put(p)
		return
	}
	e.ring[(e.head+e.n)%len(e.ring)] = p
	e.n++
}

// marks returns the high-water mark and the count of drops.
func (e *Queue) marks() (highwater int, drops uint64) {
	if e.cross != nil {
		return int(e.cross.highwater.Load()), e.cross.drops.Load()
	}
	return e.highwater, e.drops
}

func (e *Queue) setMarks(highwater int, drops uint64) {
	if e.cross != nil {
		e.cross.highwater.Store(uint64(highwater))
		e.cross.drops.Store(drops)
		return
	}
	e.highwater, e.drops = highwater, drops
}

// Reconfigure implements click.Reconfigurer.
func (e *Queue) Reconfigure(from click.Element) error {
	e.Alone(func() {
		e.capacity = from.(*Queue).capacity
		e.resize()
	})
	return nil
}

// Cleanup implements click.Cleaner.
func (e *Queue) Cleanup() { e.clear() }

func (e *Queue) clear() {
	for e.Len() > 0 {
		e.Cache().Free(e.take())
	}
}

// take removes the first packet.
func (e *Queue) take() *packet.Packet {
	if e.cross != nil {
		return e.cross.take()
	}
	p := e.ring[e.head]
	e.ring[e.head] = nil
	if e.head++; e.head == len(e.ring) {
		e.head = 0
	}
	e.n--
	return p
}

// takeLast removes the last packet.
func (e *Queue) takeLast() *packet.Packet {
	e.n--
	i := e.head + e.n
	if i >= len(e.ring) {
		i -= len(e.ring)
	}
	p := e.ring[i]
	e.ring[i] = nil
	return p
}

// Push implements click.Pusher. Input 1 puts packets in front.
func (e *Queue) Push(port int, b *packet.Batch) {
	if e.cross != nil {
		e.cross.push(b)
		return
	}
	pk := b.Packets()
	if port == 1 {
		e.pushFront(pk)
		b.Reset()
		e.notify()
		return
	}
	if over := e.n + len(pk) - len(e.ring); over > 0 && e.kind.front {
		for range min(over, e.n) {
			e.drop(e.take())
		}
		for len(pk) > len(e.ring) { // more than all of the queue at once
			e.drop(pk[0])
			pk = pk[1:]
		}
	}
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
		e.drop(p)
	}
	b.Reset()
	if e.n == len(e.ring) {
		e.room.Sleep()
	}
	if e.n > 0 {
		e.vain = 0
		e.empty.Wake()
	}
}

func (e *Queue) pushFront(pk []*packet.Packet) {
	for _, p := range pk {
		if len(e.ring) == 0 {
			e.drop(p)
			continue
		}
		if e.n == len(e.ring) {
			e.drop(e.takeLast())
		}
		if e.head--; e.head < 0 {
			e.head = len(e.ring) - 1
		}
		e.ring[e.head] = p
		e.n++
	}
	e.highwater = max(e.highwater, e.n)
}

// drop counts p and gives it away.
func (e *Queue) drop(p *packet.Packet) {
	e.drops++
	if e.Outputs() > 1 {
		e.ForwardOne(1, p)
		return
	}
	e.Cache().Free(p)
}

// notify tells both sides what became of the queue.
func (e *Queue) notify() {
	if e.cross != nil {
		e.cross.notify()
		return
	}
	e.room.Set(e.n < len(e.ring))
	if e.n > 0 {
		e.vain = 0
		e.empty.Wake()
	}
}

// Pull implements click.Puller.
func (e *Queue) Pull(_ int, b *packet.Batch, n int) {
	if e.cross != nil {
		e.cross.pull(b, n)
		return
	}
	n = min(n, e.n)
	for range n {
		b.Append(e.take())
	}
	if n > 0 {
		e.room.Wake()
		if e.n == 0 && e.kind.quick {
			e.empty.Sleep()
		}
		return
	}
	if e.vain++; e.vain >= patience || e.kind.quick {
		e.empty.Sleep()
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *Queue) EmptyNotifier(port int) *click.Notifier {
	if !e.kind.empty || port > 0 {
		return nil
	}
	return &e.empty
}

// FullNotifier implements click.FullNotifying.
func (e *Queue) FullNotifier(int) *click.Notifier {
	if !e.kind.full {
		return nil
	}
	return &e.room
}

// Room implements click.Storer.
func (e *Queue) Room() int {
	if e.cross != nil {
		return e.cross.room()
	}
	return len(e.ring) - e.n
}

// Len returns how many packets are in the queue. On the element's thread.
func (e *Queue) Len() int {
	if e.cross != nil {
		return e.cross.len()
	}
	return e.n
}

// AddHandlers implements click.HandlerAdder.
func (e *Queue) AddHandlers(h *click.Handlers) {
	h.Read("length", func() string { return strconv.Itoa(e.Len()) })
	h.Read("highwater_length", func() string { high, _ := e.marks(); return strconv.Itoa(high) })
	h.Read("drops", func() string { _, n := e.marks(); return strconv.FormatUint(n, 10) })
	h.Write("reset_counts", func(string) error { e.Alone(func() { e.setMarks(e.Len(), 0) }); return nil })
	h.Write("reset", func(string) error {
		e.Alone(func() {
			high, drops := e.marks()
			e.setMarks(high, drops+uint64(e.Len()))
			e.clear()
			e.empty.Sleep()
			e.notify()
		})
		return nil
	})
	h.Keyword("capacity", "CAPACITY", func() string { return strconv.Itoa(e.capacity) })
}

// resize makes the ring as large as the capacity says. What does not fit is dropped from the end, or from the front where the queue makes
// room there.
func (e *Queue) resize() {
	if e.cross != nil {
		e.cross.resize()
		e.cross.notify()
		return
	}
	for e.n > e.capacity {
		if e.kind.front {
			e.drop(e.take())
		} else {
			e.drop(e.takeLast())
		}
	}
	old := make([]*packet.Packet, e.capacity)
	n := e.n
	for i := range n {
		old[i] = e.take()
	}
	e.ring, e.head, e.n = old, 0, n
	e.notify()
}
