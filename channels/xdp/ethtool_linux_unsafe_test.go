package xdp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setChannels sets the number of an interface's receive and transmit queues, as ethtool -L does.
func setChannels(ifname string, n int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// struct ethtool_channels: cmd, four maxima, rx, tx, other, combined.
	ch := &[9]uint32{unix.ETHTOOL_SCHANNELS, 5: uint32(n), 6: uint32(n)}
	req := &struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(ch)}
	copy(req.name[:], ifname)
	var pin runtime.Pinner
	pin.Pin(ch)
	defer pin.Unpin()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req))); e != 0 {
		return e
	}
	return nil
}
