package sys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// auxSize is the room for one control message with a struct tpacket_auxdata.
var auxSize = unix.CmsgSpace(int(unsafe.Sizeof(unix.TpacketAuxdata{})))

// FrameHeadroom is the room before a received frame: a VLAN tag that the kernel took out is put back there.
const FrameHeadroom = 4

// FrameBatch moves batches of whole frames between packet sockets and memory, with one system call each and without allocation. The
// sockets have PACKET_AUXDATA set. Memory[i] is where frame i is received, FrameHeadroom first; the caller provides it, and may
// keep it after Receive by replacing it. Not safe for concurrent use.
type FrameBatch struct {
	Memory [][]byte
	aux    []byte
	rx     []mmsghdr
	rxv    []unix.Iovec
	got    []frameInfo
	tx     *MsgQueue
}

type frameInfo struct {
	length int
	tag    [4]byte // VLAN tag as on the wire
	tagged bool
}

// NewFrameBatch returns room for n frames to receive and MaxMsgs to send.
func NewFrameBatch(n int) *FrameBatch {
	return &FrameBatch{
		Memory: make([][]byte, n),
		aux:    make([]byte, n*auxSize),
		rx:     make([]mmsghdr, n),
		rxv:    make([]unix.Iovec, n),
		got:    make([]frameInfo, n),
		tx:     NewMsgQueue(),
	}
}

// Receive reads up to a batch of frames from fd without waiting. Every Memory[i] must be there.
func (b *FrameBatch) Receive(fd int) (int, error) {
	for i := range b.rx {
		m := b.Memory[i][FrameHeadroom:]
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
		b.got[i] = frameInfo{length: min(int(b.rx[i].n), len(b.Memory[i])-FrameHeadroom)}
		b.tag(i)
	}
	return int(n), nil
}

// tag looks for the VLAN tag that the kernel took out of frame i.
func (b *FrameBatch) tag(i int) {
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

// Frame returns frame i as it was on the wire.
func (b *FrameBatch) Frame(i int) []byte {
	m, g := b.Memory[i], &b.got[i]
	if !g.tagged || g.length < 12 {
		return m[FrameHeadroom : FrameHeadroom+g.length]
	}
	// Addresses move forward into the FrameHeadroom, the tag goes between them and the type.
	copy(m, m[FrameHeadroom:FrameHeadroom+12])
	copy(m[12:], g.tag[:])
	return m[:FrameHeadroom+g.length]
}

// Set puts a frame, which is not empty, in place i for Send. It must stay as it is until Send has returned.
func (b *FrameBatch) Set(i int, frame []byte) { b.tx.Set(i, frame) }

// Send sends the first n frames that were Set from fd, without waiting, and returns how many went, from the first on.
func (b *FrameBatch) Send(fd, n int) int {
	sent, _ := b.tx.Send(fd, 0, n) // why the next one did not go is of no interest: the caller tries it again first
	return sent
}
