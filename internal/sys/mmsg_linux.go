package sys

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxMsgs is the most messages of one MsgQueue.
const MaxMsgs = 64

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// control is the room for one control message with up to four bytes of data.
type control struct {
	hdr  unix.Cmsghdr
	data [8]byte
}

// MsgQueue holds the arguments of sendmmsg and recvmmsg for up to MaxMsgs messages. It belongs to one goroutine; after
// NewMsgQueue nothing is allocated. The buffers that are set must stay where they are until the call returns.
//
// The calls do not wait, so Go's scheduler is not told of them: it would give the worker's place to another goroutine after 20 us,
// and sending 64 packets may take longer.
type MsgQueue struct {
	hdrs  [MaxMsgs]mmsghdr
	iovs  [MaxMsgs]unix.Iovec
	names [MaxMsgs]unix.RawSockaddrInet6 // large enough for IPv4 too
	ctrl  [MaxMsgs]control
}

// NewMsgQueue returns an empty queue.
func NewMsgQueue() *MsgQueue {
	q := &MsgQueue{}
	for i := range q.hdrs {
		q.parts(i, i, 1)
	}
	return q
}

// parts makes message i consist of n buffers from the given one on, without control data.
func (q *MsgQueue) parts(i, from, n int) {
	h := &q.hdrs[i].hdr
	h.Iov = &q.iovs[from]
	h.SetIovlen(n)
	h.Control = nil
	h.SetControllen(0)
}

// Set makes b, which is not empty, the bytes of message i, without an address.
func (q *MsgQueue) Set(i int, b []byte) {
	q.parts(i, i, 1)
	q.iovs[i].Base = &b[0]
	q.iovs[i].SetLen(len(b))
	q.hdrs[i].hdr.Name, q.hdrs[i].hdr.Namelen = nil, 0
}

// SetTo makes b, which may be empty, the bytes of message i, to be sent to addr by a socket of IPv6 if v6, which
// reaches IPv4 by mapped addresses, or of IPv4.
func (q *MsgQueue) SetTo(i int, b []byte, addr netip.AddrPort, v6 bool) {
	q.parts(i, i, 1)
	q.SetPart(i, b)
	q.name(i, addr, v6)
}

// SetPart makes b, which may be empty, buffer i of those that SetRun makes messages of.
func (q *MsgQueue) SetPart(i int, b []byte) {
	q.iovs[i].Base = unsafe.SliceData(b)
	q.iovs[i].SetLen(len(b))
}

// SetOne makes the buffer with the given number message i to addr; v6 as in SetTo.
func (q *MsgQueue) SetOne(i, from int, addr netip.AddrPort, v6 bool) {
	q.parts(i, from, 1)
	q.name(i, addr, v6)
}

// SetRun makes n buffers, from the given one on, message i to addr; v6 as in SetTo. The kernel cuts it into datagrams
// of segment bytes, the last of which may be shorter (UDP_SEGMENT, Linux 4.18). It takes no more than UDPMaxSegments datagrams and 65507 bytes.
func (q *MsgQueue) SetRun(i, from, n, segment int, addr netip.AddrPort, v6 bool) {
	q.parts(i, from, n)
	q.name(i, addr, v6)
	c := &q.ctrl[i]
	c.hdr.Level, c.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.hdr.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.data[:], uint16(segment))
	h := &q.hdrs[i].hdr
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}

// name sets where message i goes to.
func (q *MsgQueue) name(i int, addr netip.AddrPort, v6 bool) {
	h := &q.hdrs[i].hdr
	h.Name = (*byte)(unsafe.Pointer(&q.names[i]))
	if v6 {
		q.names[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(addr.Port()), Addr: addr.Addr().As16()}
		h.Namelen = unix.SizeofSockaddrInet6
		return
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&q.names[i])) = unix.RawSockaddrInet4{
		Family: unix.AF_INET, Port: htons(addr.Port()), Addr: addr.Addr().Unmap().As4(),
	}
	h.Namelen = unix.SizeofSockaddrInet4
}

// SetFrom makes b, which is not empty, the buffer of message i, whose sender's address is wanted.
func (q *MsgQueue) SetFrom(i int, b []byte) {
	q.Set(i, b)
	q.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&q.names[i]))
	q.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
}

// SetFromLong is SetFrom for a message that may be joined of several; Segment says afterwards what it is made of.
func (q *MsgQueue) SetFromLong(i int, b []byte) {
	q.SetFrom(i, b)
	h := &q.hdrs[i].hdr
	h.Control = (*byte)(unsafe.Pointer(&q.ctrl[i]))
	h.SetControllen(unix.CmsgSpace(4))
}

// Segment returns the length of the datagrams that the kernel has joined to received message i, of which the last may be
// shorter, or 0 if it is one datagram.
func (q *MsgQueue) Segment(i int) int {
	c := &q.ctrl[i]
	if int(q.hdrs[i].hdr.Controllen) < unix.CmsgLen(4) || c.hdr.Level != unix.SOL_UDP || c.hdr.Type != unix.UDP_GRO {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(c.data[:])))
}

// UDPSegments reports by the error whether UDP socket fd takes the messages of SetRun (Linux 4.18).
func UDPSegments(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) // of messages that do not say: one datagram
}

var moreSegments atomic.Bool

// UDPMaxSegments returns how many datagrams a message of SetRun may have: 64, or 128 with newer kernels, which is asked by sending one to a socket of its
// own on the loopback interface.
func UDPMaxSegments() int {
	const few, many = 64, 128
	if moreSegments.Load() {
		return many
	}
	fd, addr, err := OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 1<<16)
	if err != nil {
		return few
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 1) != nil ||
		unix.Sendto(fd, make([]byte, many), unix.MSG_DONTWAIT, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}) != nil {
		return few // perhaps only here, where the interface may be down
	}
	moreSegments.Store(true)
	return many
}

// JoinUDP makes UDP socket fd receive datagrams of one length from one sender joined to long messages (UDP_GRO, Linux 5.0).
func JoinUDP(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) }

// Len returns how many bytes were received of message i, and whether it was longer than its buffer.
func (q *MsgQueue) Len(i int) (n int, cut bool) {
	return int(q.hdrs[i].n), q.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0
}

// From returns the sender of message i.
func (q *MsgQueue) From(i int) netip.AddrPort {
	n := &q.names[i]
	switch n.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), htons(v4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(n.Addr).Unmap(), htons(n.Port))
	}
	return netip.AddrPort{}
}

// Send sends the messages from to to-1 without waiting and returns how many went. An error belongs to the first that did
// not; it is nil when all went.
func (q *MsgQueue) Send(fd, from, to int) (int, error) {
	sent := 0
	for from+sent < to {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.hdrs[from+sent])), uintptr(to-from-sent), unix.MSG_DONTWAIT, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return sent, e
		}
		sent += int(n)
	}
	return sent, nil
}

// Receive receives up to n messages without waiting and returns how many came; unix.EAGAIN when there are none.
func (q *MsgQueue) Receive(fd, n int) (int, error) {
	for {
		got, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.hdrs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(got), nil
	}
}

// OpenUDP makes a UDP socket bound to addr, which has no zone, and returns the address that it got. An unspecified IPv6 address also receives IPv4.
func OpenUDP(addr netip.AddrPort, recvBuf int) (fd int, local netip.AddrPort, err error) {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if a := addr.Addr().Unmap(); a.Is4() {
		family = unix.AF_INET
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	// As much buffer as allowed: forced with CAP_NET_ADMIN, up to net.core.rmem_max without.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, recvBuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, recvBuf)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, recvBuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, recvBuf)
	}
	if err = unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, netip.AddrPort{}, err
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return -1, netip.AddrPort{}, err
	}
	switch g := got.(type) {
	case *unix.SockaddrInet4:
		local = netip.AddrPortFrom(netip.AddrFrom4(g.Addr), uint16(g.Port))
	case *unix.SockaddrInet6:
		local = netip.AddrPortFrom(netip.AddrFrom16(g.Addr), uint16(g.Port))
	}
	return fd, local, nil
}

// SocketDrops returns how many messages the socket's receive buffer had no room for since it was made (SO_MEMINFO, Linux 4.12).
func SocketDrops(fd int) (uint32, error) {
	var mem [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(mem))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&mem[0])), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return 0, e
	}
	return mem[unix.SK_MEMINFO_DROPS], nil
}
