package sys

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Constants of linux/if_packet.h that x/sys does not have.
const (
	packetVNetHdr = 0xf
	vnetHdrLen    = 10 // struct virtio_net_hdr
)

// Flags and types of struct virtio_net_hdr (linux/virtio_net.h).
const (
	VNetNeedsCsum = 1

	VNetGSONone  = 0
	VNetGSOTCPv4 = 1
	VNetGSOUDP   = 3
	VNetGSOTCPv6 = 4
	VNetGSOUDPL4 = 5
	VNetGSOECN   = 0x80
)

// VNetHdr is what the kernel says about the offloads of a frame: a checksum that is to be
// completed, or a frame that stands for several.
type VNetHdr struct {
	Flags, GSOType                         uint8
	HdrLen, GSOSize, CsumStart, CsumOffset uint16
}

// RxFrame is a frame in a receive ring.
type RxFrame struct {
	Data    []byte // valid until the next call of Next or Release
	Len     int    // on the wire; more than len(Data) when it was cut
	VLAN    uint16 // tag control information, taken out of Data
	TPID    uint16 // of that tag
	HasVLAN bool
	Kind    uint8 // PACKET_HOST and so on of linux/if_packet.h
	VNet    VNetHdr
}

// RingSpec says what a receive ring should be.
type RingSpec struct {
	Ifindex int
	Frames  int  // capacity in full-sized frames
	MaxLen  int  // longest frame that must fit in one slot, headers and tag included
	Blocks  bool // TPACKET_V3: blocks that are handed over when full or RetireMS after their first frame; otherwise TPACKET_V2
	// RetireMS is for Blocks; the kernel's least is 1.
	RetireMS int
	Promisc  bool
	VNet     bool // ask for VNetHdr
}

// PacketRing is an AF_PACKET socket (SOCK_RAW) with a mapped receive ring on one interface. Next and Release belong to
// one goroutine; the other methods are safe for concurrent use, Close excepted. It needs CAP_NET_RAW.
//
// The ring is not bound until Bind, so that a filter can be attached before the first frame.
type PacketRing struct {
	fd      int
	ifindex int
	mem     []byte
	v3      bool
	vnet    int // bytes in front of a frame
	unit    int // size of a slot or a block
	units   int
	at      int // slot or block to look at

	// TPACKET_V3: the block that is being read.
	open bool
	left uint32
	pkt  int // offset in mem of the next frame

	held bool   // TPACKET_V2: slot at is read and not given back
	big  []byte // TPACKET_V2: a frame too large for its slot, read from the socket
}

// blockSize holds the largest frame, a GSO frame of 64 KiB, and its headers. manyBlocks is how many milliseconds a reader may be late, for the kernel closes a
// block in each one in which a frame came, however little is in it.
const (
	blockSize  = 128 << 10
	manyBlocks = 64
)

// OpenPacketRing makes the socket and maps the ring.
func OpenPacketRing(spec RingSpec) (*PacketRing, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &PacketRing{fd: fd, ifindex: spec.Ifindex, v3: spec.Blocks}
	if err := r.setup(spec); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *PacketRing) setup(spec RingSpec) error {
	version := unix.TPACKET_V2
	if r.v3 {
		version = unix.TPACKET_V3
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, version); err != nil {
		return fmt.Errorf("packet ring version: %w", err)
	}
	// Since Linux 4.20; before that, own frames come back and are told apart by their kind.
	_ = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if spec.VNet {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, packetVNetHdr, 1); err != nil {
			return fmt.Errorf("packet ring: offload header: %w", err)
		}
		r.vnet = vnetHdrLen
	}
	// What the kernel puts in front of a frame: its header, an address, alignment, the offload header.
	slot := 256
	for slot < spec.MaxLen+unix.SizeofTpacket2Hdr+unix.SizeofSockaddrLinklayer+64+r.vnet {
		slot *= 2
	}
	var err error
	if r.v3 {
		r.unit = blockSize
		r.units = max((spec.Frames*slot+blockSize-1)/blockSize, min(spec.Frames, manyBlocks), 4)
		err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: blockSize, Block_nr: uint32(r.units), Frame_size: uint32(slot),
			Frame_nr: uint32(r.units * (blockSize / slot)), Retire_blk_tov: uint32(max(spec.RetireMS, 1)),
		})
	} else {
		block := max(slot, 64<<10)
		blocks := max((spec.Frames*slot+block-1)/block, 1)
		r.unit, r.units = slot, blocks*(block/slot)
		// Frames larger than a slot are also put on the socket's queue, whole.
		if err = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1<<16); err == nil {
			r.big = make([]byte, 1<<16+512)
			// Without CAP_NET_ADMIN the default stays, which holds a few of them.
			_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
			err = unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
				Block_size: uint32(block), Block_nr: uint32(blocks), Frame_size: uint32(slot), Frame_nr: uint32(r.units),
			})
		}
	}
	if err != nil {
		return fmt.Errorf("packet ring of %d frames: %w", spec.Frames, err)
	}
	size := r.units * r.unit
	if r.mem, err = unix.Mmap(r.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping a packet ring of %d bytes: %w", size, err)
	}
	if spec.Promisc {
		m := unix.PacketMreq{Ifindex: int32(spec.Ifindex), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("promiscuous mode: %w", err)
		}
	}
	return nil
}

// Bind begins reception from the interface.
func (r *PacketRing) Bind() error {
	sa := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: r.ifindex}
	if err := unix.Bind(r.fd, sa); err != nil {
		return fmt.Errorf("binding a packet socket: %w", err)
	}
	return nil
}

// Fanout makes the bound ring one of those that share the frames of their interface, those of one flow, in either direction,
// to one ring; frames that are not IP go to the first (PACKET_FANOUT_HASH). The group is 0 for the first ring, which makes a new
// one in its network namespace, and for the others what it returned. Frames that the group's member has no room for are lost.
func (r *PacketRing) Fanout(group uint16) (uint16, error) {
	how := unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	if group == 0 {
		how |= unix.PACKET_FANOUT_FLAG_UNIQUEID // Linux 4.12
	}
	err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, how<<16|int(group))
	if err == unix.EINVAL { // before Linux 5.16 the flag of the ring itself decides
		how &^= unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
		err = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, how<<16|int(group))
	}
	if err != nil {
		return 0, fmt.Errorf("sharing an interface among packet sockets (PACKET_FANOUT): %w", err)
	}
	id, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return uint16(id), err
}

// FD returns the socket's descriptor, which stays the ring's.
func (r *PacketRing) FD() int { return r.fd }

// AttachBPF makes the eBPF program prog decide which frames the ring takes, instead of a former one.
func (r *PacketRing) AttachBPF(prog int) error {
	return unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, prog)
}

// Drops returns and resets the kernel's count of frames that found the ring full.
func (r *PacketRing) Drops() (uint64, error) {
	if r.v3 {
		st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return 0, err
		}
		return uint64(st.Drops), nil
	}
	st, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, err
	}
	return uint64(st.Drops), nil
}

// SocketError returns and clears the socket's pending error, such as ENETDOWN after the interface went down.
func (r *PacketRing) SocketError() error {
	n, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// Next sets f to the next frame and returns true, or false when there is none. It gives the frame before back.
func (r *PacketRing) Next(f *RxFrame) bool {
	if r.v3 {
		return r.nextV3(f)
	}
	return r.nextV2(f)
}

// Release gives back the frame that Next returned last, for callers that will not call Next soon.
func (r *PacketRing) Release() {
	if r.held {
		r.releaseV2()
	}
	if r.open && r.left == 0 {
		r.releaseV3()
	}
}

func (r *PacketRing) word(off int) *uint32 { return (*uint32)(unsafe.Pointer(&r.mem[off])) }

func (r *PacketRing) nextV2(f *RxFrame) bool {
	if r.held {
		r.releaseV2()
	}
	base := r.at * r.unit
	status := atomic.LoadUint32(r.word(base))
	if status&unix.TP_STATUS_USER == 0 {
		return false
	}
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[base]))
	r.held = true
	r.fill(f, base, status, h.Mac, h.Snaplen, h.Len, h.Vlan_tci, h.Vlan_tpid)
	// The link-layer address stands behind the header, aligned to 16.
	sll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[base+alignTPacket(unix.SizeofTpacket2Hdr)]))
	f.Kind = sll.Pkttype
	if status&unix.TP_STATUS_COPY != 0 {
		// The whole frame waits on the queue with its offload header; the slot has its beginning.
		n, _, err := unix.Recvfrom(r.fd, r.big, unix.MSG_DONTWAIT)
		if err == nil && n >= r.vnet && n-r.vnet == f.Len {
			f.Data = r.big[r.vnet:n]
			if r.vnet > 0 {
				f.VNet = *(*VNetHdr)(unsafe.Pointer(&r.big[0]))
			}
		}
	}
	return true
}

func (r *PacketRing) releaseV2() {
	atomic.StoreUint32(r.word(r.at*r.unit), unix.TP_STATUS_KERNEL)
	r.held = false
	if r.at++; r.at == r.units {
		r.at = 0
	}
}

// Offsets in struct tpacket_block_desc: version, offset_to_priv, then tpacket_hdr_v1.
const blockHdr = 8

func (r *PacketRing) nextV3(f *RxFrame) bool {
	if r.open && r.left == 0 {
		r.releaseV3()
	}
	if !r.open {
		base := r.at * r.unit
		if atomic.LoadUint32(r.word(base+blockHdr))&unix.TP_STATUS_USER == 0 {
			return false
		}
		h := (*unix.TpacketHdrV1)(unsafe.Pointer(&r.mem[base+blockHdr]))
		r.open, r.left, r.pkt = true, h.Num_pkts, base+int(h.Offset_to_first_pkt)
		if r.left == 0 {
			r.releaseV3()
			return false
		}
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.pkt]))
	r.fill(f, r.pkt, h.Status, h.Mac, h.Snaplen, h.Len, uint16(h.Hv1.Vlan_tci), h.Hv1.Vlan_tpid)
	sll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[r.pkt+alignTPacket(unix.SizeofTpacket3Hdr)]))
	f.Kind = sll.Pkttype
	r.left--
	r.pkt += int(h.Next_offset)
	return true
}

func (r *PacketRing) releaseV3() {
	atomic.StoreUint32(r.word(r.at*r.unit+blockHdr), unix.TP_STATUS_KERNEL)
	r.open = false
	if r.at++; r.at == r.units {
		r.at = 0
	}
}

func alignTPacket(n int) int { return (n + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1) }

func (r *PacketRing) fill(f *RxFrame, base int, status uint32, mac uint16, snap, length uint32, tci, tpid uint16) {
	at := base + int(mac)
	f.Data = r.mem[at : at+int(snap) : at+int(snap)]
	f.Len = int(length)
	f.HasVLAN = status&unix.TP_STATUS_VLAN_VALID != 0
	f.VLAN, f.TPID = tci, 0x8100
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		f.TPID = tpid
	}
	f.VNet = VNetHdr{}
	if r.vnet > 0 && int(mac) >= r.vnet {
		f.VNet = *(*VNetHdr)(unsafe.Pointer(&r.mem[at-r.vnet]))
	}
}

// Close unmaps the ring and closes the socket. Frames that Next returned are gone with it.
func (r *PacketRing) Close() error {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
		r.mem = nil
	}
	return unix.Close(r.fd)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// OpenPacketSender makes an AF_PACKET socket that only sends, bound to an interface. bypass skips the
// interface's queueing discipline (PACKET_QDISC_BYPASS).
func OpenPacketSender(ifindex int, bypass bool) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if bypass {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("bypassing the queueing discipline: %w", err)
		}
	}
	// A larger buffer only helps; without CAP_NET_ADMIN the default stays.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2<<20)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("binding a packet socket: %w", err)
	}
	return fd, nil
}

// OpenPromisc keeps an interface promiscuous as long as the returned descriptor is open, by a packet socket that receives nothing.
func OpenPromisc(ifindex int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	m := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("promiscuous mode: %w", err)
	}
	return fd, nil
}

// CloseFD closes a descriptor that a function of this package opened.
func CloseFD(fd int) error { return unix.Close(fd) }
