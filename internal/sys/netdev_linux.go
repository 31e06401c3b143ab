package sys

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// XDPFeatures are what an interface can do for XDP (enum netdev_xdp_act of linux/netdev.h).
type XDPFeatures uint64

// TakesRedirects says that other interfaces' programs may send by this one (NETDEV_XDP_ACT_NDO_XMIT). A virtual Ethernet does so only while its
// other end has a program or merges received packets (GRO); what is redirected to one that does not is lost without a trace.
const TakesRedirects XDPFeatures = 4

// Netdev asks the kernel about interfaces of the network namespace that it was opened in, by generic netlink, family netdev (Linux 6.3). It is
// not safe for concurrent use.
type Netdev struct {
	fd     int
	family uint16
	seq    uint32
}

// Of linux/genetlink.h and linux/netdev.h.
const (
	ctrlGetFamily  = 3
	ctrlAttrID     = 1
	ctrlAttrName   = 2
	netdevGet      = 1
	netdevIfindex  = 1
	netdevFeatures = 3
)

// OpenNetdev opens a socket in the calling thread's namespace. It fails where the kernel does not have the family.
func OpenNetdev() (*Netdev, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	n := &Netdev{fd: fd}
	id, err := n.ask(unix.GENL_ID_CTRL, ctrlGetFamily, ctrlAttrName, []byte("netdev\x00"), ctrlAttrID)
	if err == nil && len(id) < 2 {
		err = unix.EPROTO
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("generic netlink, family netdev: %w", err)
	}
	n.family = binary.NativeEndian.Uint16(id)
	return n, nil
}

// XDPFeatures returns what an interface can do now.
func (n *Netdev) XDPFeatures(ifindex int) (XDPFeatures, error) {
	v, err := n.ask(n.family, netdevGet, netdevIfindex, binary.NativeEndian.AppendUint32(nil, uint32(ifindex)), netdevFeatures)
	if err == nil && len(v) < 8 {
		err = unix.EPROTO
	}
	if err != nil {
		return 0, fmt.Errorf("XDP features of interface %d: %w", ifindex, err)
	}
	return XDPFeatures(binary.NativeEndian.Uint64(v)), nil
}

// Close closes the socket.
func (n *Netdev) Close() error { return unix.Close(n.fd) }

// ask sends a request with one attribute and returns another of the answer; nil where it has none.
func (n *Netdev) ask(family uint16, cmd byte, attr uint16, value []byte, want uint16) ([]byte, error) {
	const header = unix.NLMSG_HDRLEN + 4 // netlink's and generic netlink's
	n.seq++
	m := make([]byte, header, 64)
	binary.NativeEndian.PutUint16(m[4:], family)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(m[8:], n.seq)
	m[16], m[17] = cmd, 1
	m = binary.NativeEndian.AppendUint16(m, uint16(4+len(value)))
	m = binary.NativeEndian.AppendUint16(m, attr)
	m = append(m, value...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	if err := unix.Sendto(n.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	b := make([]byte, 8192)
	for {
		k, from, err := unix.Recvfrom(n.fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 || k < unix.NLMSG_HDRLEN || binary.NativeEndian.Uint32(b[8:]) != n.seq {
			continue // not the kernel's, or an answer to somebody who did not wait for it
		}
		return attribute(b[:k], want)
	}
}

// attribute finds an attribute in the first message of b. Errors are the kernel's.
func attribute(b []byte, want uint16) ([]byte, error) {
	if l := int(binary.NativeEndian.Uint32(b)); l < len(b) {
		b = b[:max(l, unix.NLMSG_HDRLEN)]
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		if len(b) < unix.NLMSG_HDRLEN+4 {
			return nil, unix.EPROTO
		}
		return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])))
	}
	if len(b) < unix.NLMSG_HDRLEN+4 {
		return nil, unix.EPROTO
	}
	for b = b[unix.NLMSG_HDRLEN+4:]; len(b) >= 4; {
		l := int(binary.NativeEndian.Uint16(b))
		if l < 4 || l > len(b) {
			return nil, unix.EPROTO
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == want {
			return b[4:l], nil
		}
		b = b[min((l+3)&^3, len(b)):]
	}
	return nil, nil
}
