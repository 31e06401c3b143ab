package analysis

// maxFlows bounds the flows that a table knows; beyond it the one that was used least recently ends.
const maxFlows = 1 << 20

// flowKey names a flow whatever its direction: the lesser end comes first.
type flowKey struct {
	a, b         uint32 // addresses
	aPort, bPort uint16
	proto        uint8
}

// keyOf returns the key of a packet's flow, and whether the packet goes from b to a.
func keyOf(src, dst uint32, sport, dport uint16, proto uint8) (k flowKey, swapped bool) {
	if src > dst || src == dst && sport > dport {
		return flowKey{dst, src, dport, sport, proto}, true
	}
	return flowKey{src, dst, sport, dport, proto}, false
}

// flow is what a table knows of a flow.
type flow struct {
	key         flowKey
	number      uint32 // its aggregate
	swapped     bool   // the first packet went from b to a
	closed      [2]bool
	kind        int // of timeout
	first, last int64
	packets     [2]uint64
	bytes       [2]uint64
	filepos     string // of the first packet
	prev, next  *flow  // in the list of its kind, which is in the order of last
}

// src returns the end that sent the first packet.
func (f *flow) src() (addr uint32, port uint16) {
	if f.swapped {
		return f.key.b, f.key.bPort
	}
	return f.key.a, f.key.aPort
}

func (f *flow) dst() (addr uint32, port uint16) {
	if f.swapped {
		return f.key.a, f.key.aPort
	}
	return f.key.b, f.key.bPort
}

// kinds of timeouts.
const (
	flowTCP = iota
	flowDone
	flowUDP
	flowKinds
)

// flowTable numbers flows, from 1.
type flowTable struct {
	notifier
	flows    map[flowKey]*flow
	lists    [flowKinds]flow // heads: next is the least recently used
	timeouts [flowKinds]int64
	reap     int64 // how often flows that have timed out are looked for
	reaped   int64
	number   uint32
	max      int
	spare    *flow
	onEnd    func(f *flow) // nil: nobody wants to know
}

func (t *flowTable) init() {
	t.flows = make(map[flowKey]*flow)
	t.max = maxFlows
	for i := range t.lists {
		h := &t.lists[i]
		h.prev, h.next = h, h
	}
}

func (f *flow) unlink() { f.prev.next, f.next.prev = f.next, f.prev }

func (t *flowTable) link(f *flow) {
	h := &t.lists[f.kind]
	f.prev, f.next = h.prev, h
	h.prev.next, h.prev = f, f
}

// find returns a known flow that has not timed out, or nil.
func (t *flowTable) find(k flowKey, now int64) *flow {
	f := t.flows[k]
	if f != nil && now-f.last > t.timeouts[f.kind] {
		t.end(f)
		return nil
	}
	return f
}

// use returns the flow of a packet, a new one if there is none, and notes the packet's time.
func (t *flowTable) use(k flowKey, swapped bool, kind int, now int64) (f *flow, fresh bool) {
	if now-t.reaped > t.reap {
		t.collect(now)
	}
	if f = t.find(k, now); f == nil {
		if len(t.flows) >= t.max {
			t.endOldest()
		}
		if f = t.spare; f != nil {
			t.spare = f.next
		} else {
			f = new(flow)
		}
		t.number++
		*f = flow{key: k, number: t.number, swapped: swapped, kind: kind, first: now}
		t.flows[k] = f
		t.link(f)
		t.notify(f.number, false)
		fresh = true
	}
	f.last = max(f.last, now)
	if h := &t.lists[f.kind]; h.prev != f {
		f.unlink()
		t.link(f)
	}
	return f, fresh
}

// move gives a flow another timeout.
func (t *flowTable) move(f *flow, kind int) {
	f.unlink()
	f.kind = kind
	t.link(f)
}

// end forgets a flow.
func (t *flowTable) end(f *flow) {
	delete(t.flows, f.key)
	f.unlink()
	if t.onEnd != nil {
		t.onEnd(f)
	}
	t.notify(f.number, true)
	f.next, t.spare = t.spare, f
}

// endOldest ends the flow that was used least recently.
func (t *flowTable) endOldest() {
	var oldest *flow
	for i := range t.lists {
		h := &t.lists[i]
		if f := h.next; f != h && (oldest == nil || f.last < oldest.last) {
			oldest = f
		}
	}
	if oldest != nil {
		t.end(oldest)
	}
}

// collect ends the flows that have timed out.
func (t *flowTable) collect(now int64) {
	t.reaped = now
	for i := range t.lists {
		for h := &t.lists[i]; h.next != h && now-h.next.last > t.timeouts[i]; {
			t.end(h.next)
		}
	}
}

// clear ends all flows, the oldest first.
func (t *flowTable) clear() {
	for len(t.flows) > 0 {
		t.endOldest()
	}
}
