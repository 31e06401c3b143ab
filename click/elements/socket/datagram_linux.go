package socket

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// datagrams carries packets as datagrams of an internet socket, many with one call.
type datagrams struct {
	p *port
	q *sys.MsgQueue
	// to returns where a packet goes; false refuses it. Nil where the socket is connected.
	to func(k *packet.Packet) (netip.AddrPort, bool)
	// from tells who has sent a packet; false leaves it out. May be nil.
	from func(k *packet.Packet, a netip.AddrPort) bool
	via  int // descriptor to send with, if it is another one, or -1
}

func (d *datagrams) out() int {
	if d.via >= 0 {
		return d.via
	}
	return d.p.fd
}

// recv implements carrier.
func (d *datagrams) recv(b *packet.Batch, n int) bool {
	s := d.p.Thread().Scratch()
	defer d.p.Thread().Release(s)
	for s.Len() < n {
		k := d.p.alloc()
		if k == nil {
			break
		}
		d.q.SetFrom(s.Len(), k.Data())
		s.Append(k)
	}
	if s.Len() == 0 { // no memory: it is freed by others
		d.p.retry()
		return false
	}
	got, err := d.q.Receive(d.p.fd, s.Len())
	if err != nil {
		got = 0
	}
	for i, k := range s.Packets() {
		if i >= got {
			d.p.Cache().Free(k)
			continue
		}
		size, _ := d.q.Len(i)
		k.Take(k.Len() - min(size, k.Len()))
		if d.from != nil && !d.from(k, d.q.From(i)) {
			d.p.Cache().Free(k)
			continue
		}
		b.Append(k)
	}
	full := got == s.Len()
	s.Reset()
	// An error of an earlier packet, such as a refused port, is no end.
	return full || err != nil && err != unix.EAGAIN
}

// send implements carrier.
func (d *datagrams) send(list []*packet.Packet) int {
	done := 0
	for done < len(list) {
		n := 0
		for n < sys.MaxMsgs && done+n < len(list) {
			k := list[done+n]
			if k.Len() == 0 && d.to == nil {
				break
			}
			if d.to == nil {
				d.q.Set(n, k.Data())
			} else if a, ok := d.to(k); ok {
				d.q.SetTo(n, k.Data(), a, false)
			} else {
				break
			}
			n++
		}
		if n == 0 { // the next one cannot be sent at all
			d.p.CountDrops(1)
			done++
			continue
		}
		sent, err := d.q.Send(d.out(), 0, n)
		d.p.sent += uint64(sent)
		done += sent
		if err == unix.EAGAIN || err == unix.ENOBUFS {
			return done
		}
		if err != nil { // too long, no route, refused by the peer: not this one
			d.p.CountDrops(1)
			done++
		}
	}
	return done
}

// open makes an internet socket that does not wait.
func open(family, typ, proto int) (int, error) {
	return unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
}

// address makes the kernel's form of an IPv4 address.
func address(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// orClose closes fd if there was an error, and says what was tried.
func orClose(fd int, what string, err error) error {
	if err == nil {
		return nil
	}
	unix.Close(fd)
	return fmt.Errorf("%s: %w", what, err)
}
