package linkio

import (
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// Next says how an outbox goes on after the kernel refused a packet.
type Next uint8

const (
	Skip  Next = 0 // leave the packet out; a run is sent again as single datagrams
	Again Next = 1 // try it again: the error was not about it
	Stop  Next = 2 // give up all that is left
)

// Outbox collects packets and sends them through a socket with one system call. It belongs to the link's worker and allocates
// nothing after NewOutbox.
type Outbox struct {
	msgs    *sys.MsgQueue
	packets [sys.MaxMsgs]*packet.Packet
	n       int
}

// NewOutbox returns an empty outbox.
func NewOutbox() *Outbox { return &Outbox{msgs: sys.NewMsgQueue()} }

// Put takes p, which is not empty. It reports whether the outbox is full; then it must be flushed before the next one.
func (o *Outbox) Put(p *packet.Packet) (full bool) {
	o.msgs.Set(o.n, p.Data())
	o.packets[o.n] = p
	o.n++
	return o.n == len(o.packets)
}

// Flush sends all packets, frees them, and counts which went and which did not. refused is asked about every error of the
// kernel, with how many there were before in this call. sent is how many packets went; an empty outbox calls nothing.
func (o *Outbox) Flush(c *packet.Cache, fd int, counts *Counters, refused func(err error, before int) Next) (sent int) {
	if o.n == 0 {
		return 0
	}
	bytes, failures := 0, 0
send:
	for at := 0; at < o.n; {
		n, err := o.msgs.Send(fd, at, o.n)
		for _, p := range o.packets[at : at+n] {
			bytes += p.Len()
		}
		sent += n
		at += n
		if err == nil {
			break
		}
		next := refused(err, failures)
		failures++
		switch next {
		case Skip:
			at++
		case Stop:
			break send
		}
	}
	c.FreeAll(o.packets[:o.n])
	clear(o.packets[:o.n])
	counts.TxPackets.Add(uint64(sent))
	counts.TxBytes.Add(uint64(bytes))
	counts.TxDrops.Add(uint64(o.n - sent))
	o.n = 0
	return sent
}
