//go:build linux

package wire

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of socket(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// auxSize is the room for one control message with a struct tpacket_auxdata.
var auxSize = unix.CmsgSpace(int(unsafe.Sizeof(unix.TpacketAuxdata{})))

// batchIO moves batches of frames between sockets and memory with one system call each. Between receive and the next one,
// frame(i) and memory[i] are the caller's; memory[i] set to nil has been kept.
type batchIO struct {
	memory [][]byte // where frame i is received, headroom first
	aux    []byte
	rx, tx []mmsghdr
	rxv    []unix.Iovec
	txv    []unix.Iovec
	got    []frameInfo
}

type frameInfo struct {
	length int
	tag    [4]byte // VLAN tag as on the wire
	tagged bool
}

func newBatchIO(n int) *batchIO {
	return &batchIO{
		memory: make([][]byte, n),
		aux:    make([]byte, n*auxSize),
		rx:     make([]mmsghdr, n), tx: make([]mmsghdr, n),
		rxv: make([]unix.Iovec, n), txv: make([]unix.Iovec, n),
		got: make([]frameInfo, n),
	}
}

// receive reads up to a batch of frames from fd without waiting. Every memory[i] must be there.
func (b *batchIO) receive(fd int) (int, error) {
	for i := range b.rx {
		m := b.memory[i][headroom:]
		b.rxv[i] = unix.Iovec{Base: &m[0]}
		b.rxv[i].SetLen(len(m))
		h := &b.rx[i].hdr
		*h = unix.Msghdr{Iov: &b.rxv[i], Control: &b.aux[i*auxSize]}
		h.SetIovlen(1)
		h.SetControllen(auxSize)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.rx[0])), uintptr(len(b.rx)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range int(n) {
		b.got[i] = frameInfo{length: min(int(b.rx[i].n), len(b.memory[i])-headroom)}
		b.tag(i)
	}
	return int(n), nil
}

// tag looks for the VLAN tag that the kernel took out of frame i.
func (b *batchIO) tag(i int) {
	h := &b.rx[i].hdr
	if int(h.Controllen) < unix.CmsgLen(int(unsafe.Sizeof(unix.TpacketAuxdata{}))) {
		return
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&b.aux[i*auxSize]))
	if c.Level != unix.SOL_PACKET || c.Type != unix.PACKET_AUXDATA {
		return
	}
	a := (*unix.TpacketAuxdata)(unsafe.Pointer(&b.aux[i*auxSize+unix.CmsgLen(0)]))
	if a.Status&unix.TP_STATUS_VLAN_VALID == 0 {
		return
	}
	tpid := uint16(unix.ETH_P_8021Q)
	if a.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = a.Vlan_tpid
	}
	g := &b.got[i]
	g.tagged = true
	binary.BigEndian.PutUint16(g.tag[0:], tpid)
	binary.BigEndian.PutUint16(g.tag[2:], a.Vlan_tci)
}

// frame returns frame i as it was on the wire.
func (b *batchIO) frame(i int) []byte {
	m, g := b.memory[i], &b.got[i]
	if !g.tagged || g.length < 12 {
		return m[headroom : headroom+g.length]
	}
	// Addresses move forward into the headroom, the tag goes between them and the type.
	copy(m, m[headroom:headroom+12])
	copy(m[12:], g.tag[:])
	return m[:headroom+g.length]
}

// send sends frames from fd without waiting and returns how many went, from the first on.
func (b *batchIO) send(fd int, frames []flight) int {
	n := min(len(frames), len(b.tx))
	for i := range n {
		f := frames[i].frame
		if len(f) == 0 {
			n = i
			break
		}
		b.txv[i] = unix.Iovec{Base: &f[0]}
		b.txv[i].SetLen(len(f))
		h := &b.tx[i].hdr
		*h = unix.Msghdr{Iov: &b.txv[i]}
		h.SetIovlen(1)
	}
	if n == 0 {
		return 0
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.tx[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(sent)
}
