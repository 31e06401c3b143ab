package sys

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// XDPHeadroom is how many bytes the kernel leaves free in front of a received packet, beside XSKSpec.Headroom.
const XDPHeadroom = unix.XDP_PACKET_HEADROOM

// TxBudget is how many packets one KickTx sends at most where they are copied (Linux 6.17; 32 before).
const TxBudget = 256

// XSKSpec says what an AF_XDP socket should be. Ring sizes are powers of two.
type XSKSpec struct {
	Ifindex, Queue int

	Region    []byte // memory that packets lie in, page-aligned
	ChunkSize int    // of one packet's place in it: 2048, or a power of two up to the page size
	Headroom  int    // more bytes in front of received packets than XDPHeadroom
	Share     *XSK   // an open socket that has registered Region already; nil: this one does

	Rx, Tx           int // entries; 0: none. One of them must be there
	Fill, Completion int

	// ZeroCopy asks for it and fails without; otherwise packets are copied. Both count only where Share is nil: a sharing
	// socket is like the first.
	ZeroCopy   bool
	NeedWakeup bool // be told when the kernel must be called (Linux 5.4)
}

// XSK is an AF_XDP socket bound to one queue of an interface, with its rings (Linux 4.18, XSKSpec.Share with other queues 5.10).
// It takes packets when it is in an XSKMAP and an XDP program redirects to it.
//
// The ring methods belong to one goroutine; Statistics and Error are safe for concurrent use until Close. The caller
// answers for what addresses it puts into rings: each place in the region is in one ring, or in none.
//
// The kernel tells whoever polls a socket of every packet that it has sent. So one that both receives and sends has a second socket
// for sending, on the same queue, which nobody polls.
type XSK struct {
	fd       int
	txfd     int // of the transmit ring; fd, where there is one socket only
	rx, tx   xskRing
	fill     xskRing
	comp     xskRing
	taken    uint32 // transmit ring: up to where TxTaken has counted
	zeroCopy bool
}

// xskRing is one mapped ring: a header with two counters and flags, then entries. The counters run on and wrap.
type xskRing struct {
	mem        []byte
	prod, cons *uint32
	flags      *uint32
	entries    unsafe.Pointer
	mask       uint32
	mine       uint32 // our own counter: of what is put, or of what is taken; published from here
	theirs     uint32 // the kernel's counter as it was seen last
}

// OpenXSK makes the socket, maps its rings and binds it, in the calling thread's network namespace. It needs CAP_NET_RAW, and
// CAP_IPC_LOCK for regions beyond the limit on locked memory. The kernel's refusal is in the error: unix.EBUSY, the
// queue has a socket already; unix.EINVAL, the interface has no such queue; unix.EOPNOTSUPP, no zero copy; unix.ENOBUFS, too much
// memory to lock.
func OpenXSK(spec XSKSpec) (*XSK, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("AF_XDP socket: %w", err)
	}
	x := &XSK{fd: fd, txfd: fd}
	if err := x.setup(&spec); err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

func (x *XSK) setup(spec *XSKSpec) error {
	if spec.Share == nil {
		reg := unix.XDPUmemReg{
			Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(spec.Region)))), Len: uint64(len(spec.Region)),
			Size: uint32(spec.ChunkSize), Headroom: uint32(spec.Headroom),
		}
		if _, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(x.fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
			uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0); e != 0 {
			return fmt.Errorf("registering %d bytes of packet memory: %w", len(spec.Region), e)
		}
	}
	var off unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(off))
	if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(x.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&off)), uintptr(unsafe.Pointer(&size)), 0); e != 0 {
		return fmt.Errorf("AF_XDP ring offsets: %w", e)
	}
	if int(size) != int(unsafe.Sizeof(off)) {
		return fmt.Errorf("AF_XDP ring offsets without flags: %w", unix.EOPNOTSUPP) // before Linux 5.4
	}
	const desc, addr = int(unsafe.Sizeof(unix.XDPDesc{})), 8
	if spec.Rx > 0 && spec.Tx > 0 {
		fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("AF_XDP socket: %w", err)
		}
		x.txfd = fd
	}
	for _, r := range []struct {
		fd      int
		ring    *xskRing
		name    string
		opt     int
		entries int
		size    int
		pgoff   int64
		off     *unix.XDPRingOffset
	}{
		{x.fd, &x.fill, "fill", unix.XDP_UMEM_FILL_RING, spec.Fill, addr, unix.XDP_UMEM_PGOFF_FILL_RING, &off.Fr},
		{x.fd, &x.comp, "completion", unix.XDP_UMEM_COMPLETION_RING, spec.Completion, addr, unix.XDP_UMEM_PGOFF_COMPLETION_RING, &off.Cr},
		{x.fd, &x.rx, "receive", unix.XDP_RX_RING, spec.Rx, desc, unix.XDP_PGOFF_RX_RING, &off.Rx},
		{x.txfd, &x.tx, "transmit", unix.XDP_TX_RING, spec.Tx, desc, unix.XDP_PGOFF_TX_RING, &off.Tx},
	} {
		if r.entries == 0 {
			continue
		}
		if err := unix.SetsockoptInt(r.fd, unix.SOL_XDP, r.opt, r.entries); err != nil {
			return fmt.Errorf("AF_XDP %s ring of %d: %w", r.name, r.entries, err)
		}
		mem, err := unix.Mmap(r.fd, r.pgoff, int(r.off.Desc)+r.entries*r.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			return fmt.Errorf("mapping the AF_XDP %s ring of %d: %w", r.name, r.entries, err)
		}
		*r.ring = xskRing{
			mem:  mem,
			prod: (*uint32)(unsafe.Pointer(&mem[r.off.Producer])), cons: (*uint32)(unsafe.Pointer(&mem[r.off.Consumer])),
			flags: (*uint32)(unsafe.Pointer(&mem[r.off.Flags])), entries: unsafe.Pointer(&mem[r.off.Desc]),
			mask: uint32(r.entries - 1),
		}
	}
	sa := &unix.SockaddrXDP{Ifindex: uint32(spec.Ifindex), QueueID: uint32(spec.Queue)}
	if spec.Share != nil {
		sa.Flags, sa.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(spec.Share.fd)
	} else {
		sa.Flags = unix.XDP_COPY
		if spec.ZeroCopy {
			sa.Flags = unix.XDP_ZEROCOPY
		}
		if spec.NeedWakeup {
			sa.Flags |= unix.XDP_USE_NEED_WAKEUP
		}
	}
	if err := unix.Bind(x.fd, sa); err != nil {
		return fmt.Errorf("binding an AF_XDP socket to queue %d: %w", spec.Queue, err)
	}
	if x.txfd != x.fd {
		sa.Flags, sa.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(x.fd)
		if err := unix.Bind(x.txfd, sa); err != nil {
			return fmt.Errorf("binding an AF_XDP socket for sending to queue %d: %w", spec.Queue, err)
		}
	}
	if spec.Tx > 0 {
		// More frames in one call (Linux 6.17) and a send buffer that holds them; without, it takes more calls.
		_ = unix.SetsockoptInt(x.txfd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, min(spec.Tx, TxBudget))
		_ = unix.SetsockoptInt(x.txfd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*spec.Tx*(spec.ChunkSize+1024))
	}
	var opts uint32
	size = 4
	if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(x.fd), unix.SOL_XDP, unix.XDP_OPTIONS,
		uintptr(unsafe.Pointer(&opts)), uintptr(unsafe.Pointer(&size)), 0); e == 0 {
		x.zeroCopy = opts&unix.XDP_OPTIONS_ZEROCOPY != 0
	}
	return nil
}

// FD returns the socket's descriptor, which stays the XSK's. It is readable when the receive ring holds something.
func (x *XSK) FD() int { return x.fd }

// ZeroCopy reports whether the interface reads and writes the region itself.
func (x *XSK) ZeroCopy() bool { return x.zeroCopy }

func (r *xskRing) addr(i uint32) *uint64 {
	return (*uint64)(unsafe.Add(r.entries, uintptr(i&r.mask)*8))
}

func (r *xskRing) desc(i uint32) *unix.XDPDesc {
	return (*unix.XDPDesc)(unsafe.Add(r.entries, uintptr(i&r.mask)*unsafe.Sizeof(unix.XDPDesc{})))
}

// span returns from which entry on mine is, and how many of n there are before the end.
func (r *xskRing) span(n int) (at uint32, fit int) {
	at = r.mine & r.mask
	return at, min(n, int(r.mask+1-at))
}

func (r *xskRing) addrs(n int) []uint64 {
	at, n := r.span(n)
	return unsafe.Slice(r.addr(at), n)
}

func (r *xskRing) places(n int) []Place {
	at, n := r.span(n)
	return unsafe.Slice((*Place)(unsafe.Pointer(r.desc(at))), n)
}

// room returns how many entries can be put, as a producer.
func (r *xskRing) room() int {
	if r.mem == nil {
		return 0
	}
	free := r.mask + 1 - (r.mine - r.theirs)
	if free <= r.mask/2 {
		r.theirs = atomic.LoadUint32(r.cons)
		free = r.mask + 1 - (r.mine - r.theirs)
	}
	return int(free)
}

// ready returns how many entries can be taken, as a consumer.
func (r *xskRing) ready() int {
	if r.mem == nil {
		return 0
	}
	if r.theirs == r.mine {
		r.theirs = atomic.LoadUint32(r.prod)
	}
	return int(r.theirs - r.mine)
}

func (r *xskRing) needsWakeup() bool {
	return r.mem != nil && atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}

// RxReady returns how many packets wait in the receive ring; 0 means that it was empty when the call looked.
func (x *XSK) RxReady() int { return x.rx.ready() }

// RxWaiting returns how many received packets are in the ring now, of which RxReady may not know the last yet.
func (x *XSK) RxWaiting() int {
	if x.rx.mem == nil {
		return 0
	}
	return int(atomic.LoadUint32(x.rx.prod) - x.rx.mine)
}

// Rx returns the place of waiting packet i, counted from 0, less than RxReady: its address in the region and its length.
func (x *XSK) Rx(i int) (addr uint64, n int) {
	d := x.rx.desc(x.rx.mine + uint32(i))
	return d.Addr, int(d.Len)
}

// RxSpan returns the places of the first waiting packets, at most n, which must not be more than RxReady: those before the ring's end, so that two calls may be
// needed for all. They are valid until ReleaseRx.
func (x *XSK) RxSpan(n int) []Place { return x.rx.places(n) }

// ReleaseRx gives the first n entries of the receive ring back to the kernel. The places are the caller's now.
func (x *XSK) ReleaseRx(n int) {
	x.rx.mine += uint32(n)
	atomic.StoreUint32(x.rx.cons, x.rx.mine)
}

// FillRoom returns how many places the fill ring can take.
func (x *XSK) FillRoom() int { return x.fill.room() }

// PutFill gives the place at addr to the kernel for a packet to be received. There must be room. PublishFill lets the kernel see it.
func (x *XSK) PutFill(addr uint64) {
	*x.fill.addr(x.fill.mine) = addr
	x.fill.mine++
}

// FillSpan returns the next free entries of the fill ring before the ring's end, at most n, which must not be more than FillRoom, for the caller to write the addresses
// of places to. FillPut says how many it has written.
func (x *XSK) FillSpan(n int) []uint64 { return x.fill.addrs(n) }

// FillPut is PutFill of the first n entries of FillSpan.
func (x *XSK) FillPut(n int) { x.fill.mine += uint32(n) }

// PublishFill hands over what PutFill and FillPut have put.
func (x *XSK) PublishFill() { atomic.StoreUint32(x.fill.prod, x.fill.mine) }

// TxRoom returns how many packets the transmit ring can take; TxTaken makes room.
func (x *XSK) TxRoom() int { return int(x.tx.mask + 1 - (x.tx.mine - x.taken)) }

// PutTx puts n bytes at addr into the transmit ring, which must have room. PublishTx lets the kernel see it.
func (x *XSK) PutTx(addr uint64, n int) {
	*x.tx.desc(x.tx.mine) = unix.XDPDesc{Addr: addr, Len: uint32(n)}
	x.tx.mine++
}

// PublishTx hands over what PutTx has put. The kernel may need KickTx.
func (x *XSK) PublishTx() { atomic.StoreUint32(x.tx.prod, x.tx.mine) }

// TxWaiting returns how many packets the kernel has not yet taken from the transmit ring.
func (x *XSK) TxWaiting() int {
	if x.tx.mem == nil {
		return 0
	}
	return int(x.tx.mine - atomic.LoadUint32(x.tx.cons))
}

// TxTaken returns how many packets, of how many bytes, the kernel has taken from the transmit ring since it was last asked, and
// the length of the last of them. Their entries are free from then on.
func (x *XSK) TxTaken() (packets, bytes, last int) {
	cons := atomic.LoadUint32(x.tx.cons)
	for ; x.taken != cons; x.taken++ {
		last = int(x.tx.desc(x.taken).Len)
		bytes += last
		packets++
	}
	return packets, bytes, last
}

// WithdrawTx takes the packet that was put last out of the transmit ring and returns its address; false if the kernel has
// taken all. Only for sockets without zero copy: there the kernel reads the ring in the caller's own system calls and at no other time.
func (x *XSK) WithdrawTx() (addr uint64, ok bool) {
	if x.zeroCopy || x.TxWaiting() == 0 {
		return 0, false
	}
	x.tx.mine--
	addr = x.tx.desc(x.tx.mine).Addr
	atomic.StoreUint32(x.tx.prod, x.tx.mine)
	return addr, true
}

// CompReady returns how many sent places wait in the completion ring.
func (x *XSK) CompReady() int { return x.comp.ready() }

// Comp returns the address of sent place i, counted from 0.
func (x *XSK) Comp(i int) uint64 { return *x.comp.addr(x.comp.mine + uint32(i)) }

// CompSpan returns the addresses of the first sent places, at most n, which must not be more than CompReady: those before the ring's end. They are valid until
// ReleaseComp.
func (x *XSK) CompSpan(n int) []uint64 { return x.comp.addrs(n) }

// ReleaseComp takes the first n entries out of the completion ring.
func (x *XSK) ReleaseComp(n int) {
	x.comp.mine += uint32(n)
	atomic.StoreUint32(x.comp.cons, x.comp.mine)
}

// TxNeedsKick reports whether the kernel wants KickTx before it looks at the transmit ring; always, where the socket was opened without
// NeedWakeup and packets are copied.
func (x *XSK) TxNeedsKick() bool { return !x.zeroCopy || x.tx.needsWakeup() }

// KickTx makes the kernel send from the transmit ring, without waiting. unix.EAGAIN and unix.ENOBUFS mean that some of it stays for another
// call, unix.EBUSY that the interface dropped the packet it was at; unix.ENETDOWN and unix.ENXIO that the interface is down or gone.
func (x *XSK) KickTx() error {
	for {
		_, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(x.txfd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return e
	}
}

// FillNeedsKick reports whether the kernel has run out of places to receive to and wants KickRx after there are some again. It is so
// with zero copy only.
func (x *XSK) FillNeedsKick() bool { return x.fill.needsWakeup() }

// KickRx makes the kernel look at the fill ring.
func (x *XSK) KickRx() {
	// What it returns, the next call says again.
	_, _, _ = unix.Syscall6(unix.SYS_RECVFROM, uintptr(x.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
}

// XSKStats are the kernel's counters of a socket since it was made.
type XSKStats struct {
	RxDropped   uint64 // too long for a place, or no place in the fill ring
	RxRingFull  uint64
	FillEmpty   uint64 // how often the fill ring was found empty; those packets are in RxDropped where they are copied
	TxInvalid   uint64
	RxBadPlaces uint64 // addresses in the fill ring that are none
}

// Statistics reads the kernel's counters.
func (x *XSK) Statistics() (XSKStats, error) {
	st, err := statistics(x.fd)
	if err == nil && x.txfd != x.fd {
		var tx unix.XDPStatistics
		tx, err = statistics(x.txfd)
		st.Tx_invalid_descs = tx.Tx_invalid_descs
	}
	if err != nil {
		return XSKStats{}, err
	}
	return XSKStats{
		RxDropped: st.Rx_dropped, RxRingFull: st.Rx_ring_full, FillEmpty: st.Rx_fill_ring_empty_descs,
		TxInvalid: st.Tx_invalid_descs, RxBadPlaces: st.Rx_invalid_descs,
	}, nil
}

func statistics(fd int) (st unix.XDPStatistics, err error) {
	size := uint32(unsafe.Sizeof(st))
	if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_STATISTICS,
		uintptr(unsafe.Pointer(&st)), uintptr(unsafe.Pointer(&size)), 0); e != 0 {
		return st, e
	}
	return st, nil
}

// Error returns and clears the pending error of the socket, or of both, such as unix.ENETDOWN after the interface was removed.
func (x *XSK) Error() error {
	err := pending(x.fd)
	if x.txfd != x.fd {
		if e := pending(x.txfd); err == nil {
			err = e
		}
	}
	return err
}

func pending(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// Close unbinds the socket and unmaps its rings. When it returns, the kernel writes to no place of the region on behalf of this socket
// any more: closing waits until the interface has stopped using it, some milliseconds.
func (x *XSK) Close() error {
	// The mappings come first: each keeps the socket, and so its binding, alive.
	for _, r := range [...]*xskRing{&x.rx, &x.tx, &x.fill, &x.comp} {
		if r.mem != nil {
			_ = unix.Munmap(r.mem)
			*r = xskRing{}
		}
	}
	var err error
	if x.txfd != x.fd {
		err = unix.Close(x.txfd)
	}
	if e := unix.Close(x.fd); err == nil {
		err = e
	}
	return err
}

// SharedWords is memory that user space shares with eBPF programs: the values of an array map with BPF_F_MMAPABLE, as 64-bit
// words in the host's order (Linux 5.5).
type SharedWords struct{ mem []byte }

// MapSharedWords maps the first n bytes of the values of the array map fd, which stays the caller's and may be closed.
func MapSharedWords(fd, n int) (*SharedWords, error) {
	page := unix.Getpagesize()
	n = (n + page - 1) / page * page
	mem, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes of an array map: %w", n, err)
	}
	return &SharedWords{mem: mem}, nil
}

// At returns the word at a byte offset, which must be a multiple of 8 and within the map. It must not be used after Close.
func (w *SharedWords) At(off int) *atomic.Uint64 {
	_ = w.mem[off+7]
	return (*atomic.Uint64)(unsafe.Pointer(&w.mem[off]))
}

// Close unmaps the words.
func (w *SharedWords) Close() error {
	mem := w.mem
	w.mem = nil
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}

// Monotonic returns the time of the kernel's monotonic clock, which eBPF programs read as well, in nanoseconds.
func Monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // there is always this clock
	return ts.Nano()
}
