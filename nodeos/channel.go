package nodeos

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// DefaultQuota is how many packets an in-channel holds where its Spec does not say.
const DefaultQuota = 256

// MaxQuota is the most that an in-channel may hold.
const MaxQuota = 1 << 16

// InChanSpec says which packets a domain wants.
type InChanSpec struct {
	Protocol string    // such as "eth0/ether/ip/udp"; "if/..." for any link
	Address  string    // local address of the top protocol, such as ":3322"; empty: any
	Key      demux.Key // over the payload of the top protocol; nil: any
	Quota    int       // packets held at most; 0: DefaultQuota
	Rate     int       // packets per second that are accepted at most; 0: any number
	Burst    int       // packets that may come at once under Rate; 0: as many as come in 10 ms at that rate, at least 1
	Worker   int       // which worker handles them; -1: the domain's home worker

	// Handler is given what arrives, in batches that it takes and leaves empty, in the domain's turn. If it is
	// nil, the creator gives the channel a task with SetTask and calls Receive.
	Handler func(w *Worker, b *packet.Batch)

	// Unclaimed channels take copies of nothing and claim nothing on links: only HandOff fills them.
	HandOffOnly bool
}

// InChan is a bounded queue of packets that match a demultiplexing key. Packets in it are charged
// to its domain; what finds it full, or the domain unable to pay, is dropped and counted.
type InChan struct {
	domain *Domain
	spec   InChanSpec
	proto  demux.Protocol
	local  demux.Address
	id     uint32
	quota  int
	ring   *ring
	worker *Worker
	task   atomic.Pointer[Task]
	own    *Task // the handler's; nil without one
	closed atomic.Bool
	cut    *CutChan // whose in-channel it is, or nil; under node.feeding

	interval, tolerance time.Duration // of Rate; 0: none
	next                atomic.Uint64 // when the next packet is due, in ns, while there is no cell

	slot    uint32                  // unless HandOffOnly
	cell    atomic.Pointer[sharing] // nil: none
	sharing sync.Mutex              // held while cell is taken away, and by those who read it outside of workers
	spent   atomic.Int64            // packets consumed, as credit.go has it
	arrived atomic.Uint64           // packets that came by credited ports

	// The audit's.
	lost     int64 // of those that were produced
	noted    bool
	produced uint64 // when it was noted

	packets, bytes     atomic.Uint64
	full, poor, killed atomic.Uint64
	limited, handed    atomic.Uint64
}

// ChanStats are a channel's counters since it was made.
type ChanStats struct {
	Packets uint64 `json:"packets"` // accepted by an in-channel, sent by an out-channel
	Bytes   uint64 `json:"bytes"`
	Full    uint64 `json:"full"`    // dropped: the queue was full, or as much as it holds was on its way from a link whose programs check that
	Limited uint64 `json:"limited"` // dropped: it came faster than the channel's rate
	Poor    uint64 `json:"poor"`    // dropped: the domain's account refused the frame
	Invalid uint64 `json:"invalid"` // dropped by an out-channel: no destination, no room, too big
	Handed  uint64 `json:"handed"`  // of Packets, those that another domain handed off
	Held    int    `json:"held"`    // in the queue now
}

// NewInChan makes an in-channel. Links' claims change before it returns. An unknown protocol module or
// link, a malformed address and a quota out of range are errs.Invalid or errs.NotFound.
func (d *Domain) NewInChan(spec InChanSpec) (*InChan, error) {
	if err := d.may(OpNewInChan, spec.Protocol, false); err != nil {
		return nil, err
	}
	return d.newInChan(spec)
}

func (d *Domain) newInChan(spec InChanSpec) (*InChan, error) {
	if spec.Quota == 0 {
		spec.Quota = DefaultQuota
	}
	if spec.Quota < 1 || spec.Quota > MaxQuota {
		return nil, errs.New(errs.Invalid, "in-channel %s: quota %d, want 1 to %d", spec.Protocol, spec.Quota, MaxQuota)
	}
	if spec.Worker == -1 {
		spec.Worker = d.home
	}
	if spec.Worker < 0 || spec.Worker >= len(d.node.workers) {
		return nil, errs.New(errs.Invalid, "in-channel %s: worker %d, the node has %d", spec.Protocol, spec.Worker, len(d.node.workers))
	}
	interval, tolerance, err := spec.pace()
	if err != nil {
		return nil, err
	}
	c := &InChan{domain: d, spec: spec, quota: spec.Quota, ring: newRing(spec.Quota), worker: d.node.workers[spec.Worker], interval: interval, tolerance: tolerance}
	if !spec.HandOffOnly {
		if c.proto, err = demux.ParseProtocol(spec.Protocol); err != nil {
			return nil, err
		}
		if c.local, err = c.proto.ParseAddress(spec.Address); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	if d.State() != Active {
		d.mu.Unlock()
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	}
	d.inChans = append(d.inChans, c)
	d.mu.Unlock()
	if err := d.node.addChan(c); err != nil {
		d.forgetChan(c)
		return nil, err
	}
	if spec.Handler != nil { // last, so that a refusal leaves no task behind; what has come meanwhile wakes it
		t, err := d.newTask(TaskSpec{Name: "in " + spec.Protocol, Worker: spec.Worker, Run: &chanHandler{c: c}})
		if err != nil {
			c.Close()
			return nil, err
		}
		c.own = t
		c.SetTask(t)
	}
	return c, nil
}

// chanHandler is the task of a channel with a handler.
type chanHandler struct {
	c     *InChan
	batch packet.Batch
}

// Run implements Runnable.
func (h *chanHandler) Run(b Budget) Used {
	n := h.c.Receive(&h.batch)
	if n == 0 {
		return Used{}
	}
	h.c.spec.Handler(b.Worker, &h.batch)
	if h.c.ring.len() > 0 {
		return Used{Packets: n, Next: More}
	}
	return Used{Packets: n}
}

// Domain returns the channel's domain.
func (c *InChan) Domain() *Domain { return c.domain }

// Protocol returns the protocol string.
func (c *InChan) Protocol() string { return c.spec.Protocol }

// Slot returns the channel's slot. Channels that only HandOff fills have none.
func (c *InChan) Slot() (slot uint32, ok bool) { return c.slot, !c.spec.HandOffOnly }

// SetTask names the task to wake when packets have come.
func (c *InChan) SetTask(t *Task) {
	c.task.Store(t)
	if c.ring.len() > 0 {
		t.Wake()
	}
}

// Receive appends waiting packets to b until it is full and returns how many; the caller then owns
// them. On the channel's worker.
func (c *InChan) Receive(b *packet.Batch) int {
	n := c.ring.takeAll(b)
	if n > 0 {
		c.spend(n)
	}
	return n
}

// putAll charges the packets of ps to the channel's domain and queues them, or drops some and counts why. It takes all, and returns how many it has accepted and
// how many bytes those have; they are for the caller to count, once for a batch. checked says that a program has checked the channel's
// rate. On the worker that w is, which need not be the channel's.
func (c *InChan) putAll(w *Worker, ps []*packet.Packet, checked bool) (n, bytes int) {
	if c.closed.Load() {
		c.killed.Add(uint64(len(ps)))
		w.cache.FreeAll(ps)
		return 0, 0
	}
	if !checked && c.interval != 0 {
		on := 0
		for _, p := range ps {
			if c.onTime(w) {
				ps[on] = p
				on++
				continue
			}
			c.limited.Add(1)
			w.cache.Free(p)
		}
		ps = ps[:on]
	}
	// What the queue has no room for is not charged, which costs more; the ring decides.
	some := ps[:min(max(c.quota-c.ring.len(), 0), len(ps))]
	if !w.cache.ChargeAll(some, c.domain.owner) { // near a limit, or something has to be copied
		return c.putEach(w, ps)
	}
	for _, p := range some { // while they are ours
		bytes += p.Len()
	}
	n = c.ring.putAll(some)
	for _, p := range some[n:] {
		bytes -= p.Len()
	}
	if n < len(ps) {
		c.full.Add(uint64(len(ps) - n))
		w.cache.FreeAll(ps[n:])
	}
	return n, bytes
}

// putEach is putAll one by one.
func (c *InChan) putEach(w *Worker, ps []*packet.Packet) (n, bytes int) {
	for _, p := range ps {
		size := p.Len()
		if c.ring.len() >= c.quota {
			c.full.Add(1)
		} else if !w.cache.Charge(p, c.domain.owner) {
			c.poor.Add(1)
		} else if c.ring.put(p) {
			n++
			bytes += size
			continue
		} else {
			c.full.Add(1)
		}
		w.cache.Free(p)
	}
	return n, bytes
}

// accepted counts packets that putAll has accepted.
func (c *InChan) accepted(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

func (c *InChan) wake() {
	if t := c.task.Load(); t != nil {
		t.Wake()
	}
}

// HandOff queues all packets of b in c, whose domain pays for them from now on; what c has no room
// for is dropped at the sender's cost. It takes the packets, leaves b empty and returns how many were
// accepted. On w, the worker it is called on.
func (c *InChan) HandOff(w *Worker, b *packet.Batch) int {
	n, bytes := c.putAll(w, b.Packets(), false)
	b.Reset()
	if n > 0 {
		c.accepted(n, bytes)
		c.spend(-n)
		c.handed.Add(uint64(n))
		c.wake()
	}
	return n
}

// drain frees what is queued.
func (c *InChan) drain(cache *packet.Cache) {
	n := 0
	for p := c.ring.take(); p != nil; p = c.ring.take() {
		n++
		cache.Free(p)
	}
	c.spend(n)
}

// Close ends the channel: links stop claiming for it, and what is queued is freed. It does not wait
// for the latter.
func (c *InChan) Close() {
	c.domain.node.removeChan(c)
	c.domain.forgetChan(c)
	c.domain.node.RevokeObject(c)
	// A worker may be about to put a packet that it matched before the change.
	for _, w := range c.domain.node.workers {
		w.Post(func() { c.drain(w.cache) })
	}
	if c.own != nil {
		c.worker.Post(c.own.Close)
	}
}

func (d *Domain) forgetChan(c *InChan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, x := range d.inChans {
		if x == c {
			d.inChans = append(d.inChans[:i], d.inChans[i+1:]...)
			return
		}
	}
}

// Stats reads the counters.
func (c *InChan) Stats() ChanStats {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	st := ChanStats{
		Packets: c.packets.Load(), Bytes: c.bytes.Load(), Full: c.full.Load(), Poor: c.poor.Load(), Limited: c.limited.Load(),
		Handed: c.handed.Load(), Held: c.ring.len(),
	}
	if s := c.cell.Load(); s != nil {
		st.Full += s.Full.Load()
		st.Limited += s.Limited.Load()
	}
	return st
}
