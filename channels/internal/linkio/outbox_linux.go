package linkio

import (
	"net/netip"

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

// Limits of a run, a message that the kernel cuts into datagrams.
const (
	maxRunPackets = 64
	maxRunBytes   = 65507
)

// Outbox collects packets and sends them through a socket with one system call. It belongs to the link's worker and allocates
// nothing after NewOutbox. A link uses either Put or PutTo.
type Outbox struct {
	msgs    *sys.MsgQueue
	packets [sys.MaxMsgs]*packet.Packet // in the order in which they are sent
	n       int
	count   [sys.MaxMsgs]int // packets of each message, when they are sent

	dests   *destinations // nil if PutTo makes no runs
	v6      bool
	singles *sys.MsgQueue // for a run that was refused
}

// NewOutbox returns an empty outbox.
func NewOutbox() *Outbox { return &Outbox{msgs: sys.NewMsgQueue()} }

// Runs makes PutTo join datagrams of one length to one address to a run, or ends that. The socket must take what
// sys.MsgQueue.SetRun says. The outbox must be empty. While runs are on, datagrams to different addresses may overtake each other, those to one
// address do not.
func (o *Outbox) Runs(on bool) {
	if !on {
		o.dests = nil
		return
	}
	o.dests = &destinations{}
	if o.singles == nil {
		o.singles = sys.NewMsgQueue()
	}
}

// Put takes p, which is not empty. It reports whether the outbox is full; then it must be flushed before the next one.
func (o *Outbox) Put(p *packet.Packet) (full bool) {
	o.msgs.Set(o.n, p.Data())
	return o.keep(p)
}

// PutTo is Put for a datagram to an address; v6 as in sys.MsgQueue.SetTo and always the same. p may be empty.
func (o *Outbox) PutTo(p *packet.Packet, to netip.AddrPort, v6 bool) (full bool) {
	o.v6 = v6
	if o.dests != nil {
		o.dests.add(o.n, p, to)
	} else {
		o.msgs.SetTo(o.n, p.Data(), to, v6)
	}
	return o.keep(p)
}

func (o *Outbox) keep(p *packet.Packet) (full bool) {
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
	messages := o.n
	if o.dests != nil {
		messages = o.makeRuns()
	} else {
		for i := range messages {
			o.count[i] = 1
		}
	}
	bytes, failures, first := 0, 0, 0 // first is the packet that the next message begins with
	went := func(packets int) {
		for _, p := range o.packets[first : first+packets] {
			bytes += p.Len()
		}
		sent += packets
		first += packets
	}
send:
	for at := 0; at < messages; {
		n, err := o.msgs.Send(fd, at, messages)
		for _, k := range o.count[at : at+n] {
			went(k)
		}
		if err == nil {
			break
		}
		at += n
		next := refused(err, failures)
		failures++
		switch next {
		case Skip:
			if run := o.count[at]; run > 1 {
				for end := first + run; first < end; {
					o.singles.SetTo(0, o.packets[first].Data(), o.dests.to[first], o.v6)
					_, err := o.singles.Send(fd, 0, 1)
					if err == nil {
						went(1)
						continue
					}
					next := refused(err, failures)
					failures++
					switch next {
					case Skip:
						first++
					case Stop:
						break send
					}
				}
			} else {
				first++
			}
			at++
		case Stop:
			break send
		}
	}
	for i, p := range o.packets[:o.n] {
		c.Free(p)
		o.packets[i] = nil
	}
	counts.TxPackets.Add(uint64(sent))
	counts.TxBytes.Add(uint64(bytes))
	counts.TxDrops.Add(uint64(o.n - sent))
	o.n = 0
	return sent
}

// makeRuns brings the packets in the order of their destinations and makes messages of them; it returns how many.
func (o *Outbox) makeRuns() (messages int) {
	o.dests.sort(&o.packets)
	for from := 0; from < o.n; {
		to, segment := o.dests.to[from], o.packets[from].Len()
		end, bytes := from, 0
		for ; end < o.n && end-from < maxRunPackets && o.dests.to[end] == to; end++ {
			n := o.packets[end].Len()
			if end > from && (n == 0 || n > segment || bytes+n > maxRunBytes) {
				break
			}
			o.msgs.SetPart(end, o.packets[end].Data())
			bytes += n
			if n < segment || n == 0 { // a shorter one is the last; an empty one is alone
				end++
				break
			}
		}
		if o.count[messages] = end - from; end-from > 1 {
			o.msgs.SetRun(messages, from, end-from, segment, to, o.v6)
		} else {
			o.msgs.SetOne(messages, from, to, o.v6)
		}
		from = end
		messages++
	}
	return messages
}
