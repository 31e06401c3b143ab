package sys

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ethtoolIfreq is struct ifreq with its union used as a pointer; the union is 24 bytes on 64-bit machines.
type ethtoolIfreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// etFlagVLAN are the bits of ETHTOOL_SFLAGS that stand for VLAN tag insertion and stripping.
const (
	etFlagTxVLAN = 1 << 7
	etFlagRxVLAN = 1 << 8
)

// OffloadsOff turns checksum, segmentation, receive-merging and VLAN-tag offloads of an interface off, so
// that every frame on it is complete and no larger than its MTU. It acts in the network namespace of the
// calling thread and needs CAP_NET_ADMIN there. An offload that the device does not have, or does not let be
// changed, is left alone. Not for a hot path: each call opens a socket.
func OffloadsOff(ifname string) error {
	if len(ifname) == 0 || len(ifname) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface name %q: need 1 to %d bytes", ifname, unix.IFNAMSIZ-1)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	// Segmentation goes before checksums: with checksums off the kernel drops the former by itself, and
	// asking again would be an error on some devices.
	for _, cmd := range []uint32{
		unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO, unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SRXCSUM,
	} {
		v := ethtoolValue{cmd: cmd}
		if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil && err != unix.EOPNOTSUPP && err != unix.EINVAL {
			return fmt.Errorf("ethtool command %#x on %s: %w", cmd, ifname, err)
		}
	}
	v := ethtoolValue{cmd: unix.ETHTOOL_GFLAGS}
	if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil {
		return nil // no flags, so no VLAN offload
	}
	v.cmd, v.data = unix.ETHTOOL_SFLAGS, v.data&^(etFlagTxVLAN|etFlagRxVLAN)
	if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil && err != unix.EOPNOTSUPP && err != unix.EINVAL {
		return fmt.Errorf("ethtool flags on %s: %w", ifname, err)
	}
	return nil
}

// TxChecksumOffload reports whether the interface leaves checksums of sent packets to the device, in the
// network namespace of the calling thread.
func TxChecksumOffload(ifname string) (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	v := ethtoolValue{cmd: unix.ETHTOOL_GTXCSUM}
	if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil {
		return false, fmt.Errorf("ethtool tx checksum of %s: %w", ifname, err)
	}
	return v.data != 0, nil
}

// Carrier reports whether the interface, in the network namespace of the calling thread, has a carrier. Changes of the carrier that
// the kernel has put off (it handles about one a second) are carried out first, so that an interface for which it
// returns true can send at once.
func Carrier(ifname string) (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	// linux/net/ethtool/common.c: the standard get_link of a driver runs the queue of pending link changes.
	v := ethtoolValue{cmd: unix.ETHTOOL_GLINK}
	if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil {
		return false, fmt.Errorf("ethtool link of %s: %w", ifname, err)
	}
	return v.data != 0, nil
}

// ethtoolChannels is struct ethtool_channels.
type ethtoolChannels struct {
	cmd                                         uint32
	maxRx, maxTx, maxOther, maxCombined         uint32
	rxCount, txCount, otherCount, combinedCount uint32
}

// OpenControl returns a socket to ask about the interfaces of the calling thread's network namespace, from any thread; CloseFD closes it.
func OpenControl() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket for ethtool: %w", err)
	}
	return fd, nil
}

// RxQueues returns how many receive queues an interface uses now; ctl is from OpenControl. Drivers that do not say have one.
func RxQueues(ctl int, ifname string) (int, error) {
	c := ethtoolChannels{cmd: unix.ETHTOOL_GCHANNELS}
	err := ethtool(ctl, ifname, unsafe.Pointer(&c))
	if err == unix.EOPNOTSUPP {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ethtool channels of %s: %w", ifname, err)
	}
	return max(int(c.rxCount+c.combinedCount), 1), nil
}

// SetQueues sets how many receive queues, and as many to transmit, an interface uses, as ethtool -L does; ctl is from OpenControl. It needs CAP_NET_ADMIN.
func SetQueues(ctl int, ifname string, n int) error {
	c := ethtoolChannels{cmd: unix.ETHTOOL_SCHANNELS, rxCount: uint32(n), txCount: uint32(n)}
	if err := ethtool(ctl, ifname, unsafe.Pointer(&c)); err != nil {
		return fmt.Errorf("setting %d queues of %s: %w", n, ifname, err)
	}
	return nil
}

// VLANStripped reports whether an interface takes VLAN tags out of the frames that it receives; ctl is from OpenControl.
func VLANStripped(ctl int, ifname string) (bool, error) {
	v := ethtoolValue{cmd: unix.ETHTOOL_GFLAGS}
	err := ethtool(ctl, ifname, unsafe.Pointer(&v))
	if err == unix.EOPNOTSUPP {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ethtool flags of %s: %w", ifname, err)
	}
	return v.data&etFlagRxVLAN != 0, nil
}

func ethtool(fd int, ifname string, arg unsafe.Pointer) error {
	var req ethtoolIfreq
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	req.data = arg
	var pin runtime.Pinner // the kernel follows a pointer inside what it is given
	pin.Pin(arg)
	defer pin.Unpin()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}

// SetGRO turns receive merging of an interface on or off, in the network namespace of the calling thread; it needs CAP_NET_ADMIN. With it a virtual
// Ethernet takes the frames that XDP programs send to it, without a program of its own.
func SetGRO(ifname string, on bool) error {
	fd, err := OpenControl()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	v := ethtoolValue{cmd: unix.ETHTOOL_SGRO}
	if on {
		v.data = 1
	}
	if err := ethtool(fd, ifname, unsafe.Pointer(&v)); err != nil {
		return fmt.Errorf("ethtool receive merging of %s: %w", ifname, err)
	}
	return nil
}
