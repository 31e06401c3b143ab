package bench

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// attach attaches an XDP program, natively, to an interface of the calling thread's namespace.
func attach(ifname, name string, code asm.Instructions) (closer func() error, err error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "GPL", Instructions: code})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: i.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attaching program %s to %s: %w", name, ifname, err), prog.Close())
	}
	return func() error { return firstError(l.Close(), prog.Close()) }, nil
}

// openRedirect makes an XDP program on one interface that sends every frame to another as it is: the least that forwards in the kernel.
func openRedirect(from, to string) (func() error, error) {
	i, err := net.InterfaceByName(to)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", to, err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "jnb_redirect", Type: ebpf.DevMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("map of interfaces: %w", err)
	}
	var detach func() error
	if err = m.Put(uint32(0), uint32(i.Index)); err == nil {
		detach, err = attach(from, "jnb_redirect", asm.Instructions{
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Imm(asm.R2, 0),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnRedirectMap.Call(),
			asm.Return(),
		})
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return func() error { return firstError(detach(), m.Close()) }, nil
}

// bareLoop forwards by AF_XDP with as little as that takes: one thread, frames that never leave the rings, no counters, no decision. Its sockets are
// set up as those of driver xdp.
type bareLoop struct {
	region  []byte
	rx, tx  *sys.XSK
	sockets *ebpf.Map
	detach  func() error
	tid     int
	stop    atomic.Bool
	done    chan struct{}
}

// bareTx is the transmit ring, as that of driver xdp.
const bareTx = 512

const bareCtxQueue = 16 // of struct xdp_md: rx_queue_index

// openBareLoop starts it between two interfaces of the calling thread's namespace, with a receive ring of so many frames, a power of two, of which
// credit are lent to the kernel.
func openBareLoop(from, to string, ring, credit int) (_ *bareLoop, err error) {
	in, err := net.InterfaceByName(from)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", from, err)
	}
	out, err := net.InterfaceByName(to)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", to, err)
	}
	b := &bareLoop{done: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = b.release()
		}
	}()
	const place = 2048
	if b.region, err = sys.MapAnon((credit + bareTx) * place); err != nil {
		return nil, err
	}
	if b.rx, err = sys.OpenXSK(sys.XSKSpec{Ifindex: in.Index, Region: b.region, ChunkSize: place, Rx: ring, Fill: ring, Completion: 64, NeedWakeup: true}); err != nil {
		return nil, err
	}
	if b.tx, err = sys.OpenXSK(sys.XSKSpec{Ifindex: out.Index, Share: b.rx, ChunkSize: place, Tx: bareTx, Fill: 64, Completion: bareTx}); err != nil {
		return nil, err
	}
	if b.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "jnb_bare", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		return nil, err
	}
	if err = b.sockets.Put(uint32(0), uint32(b.rx.FD())); err != nil {
		return nil, err
	}
	if b.detach, err = attach(from, "jnb_bare", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, bareCtxQueue, asm.Word),
		asm.LoadMapPtr(asm.R1, b.sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}); err != nil {
		return nil, err
	}
	for i := range credit {
		b.rx.PutFill(uint64(i * place))
	}
	b.rx.PublishFill()
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(b.done)
		b.tid = unix.Gettid()
		close(started)
		b.run()
	}()
	<-started
	return b, nil
}

func (b *bareLoop) run() {
	fds := []unix.PollFd{{Fd: int32(b.rx.FD()), Events: unix.POLLIN}}
	for !b.stop.Load() {
		b.harvest()
		n := min(b.rx.RxReady(), b.tx.TxRoom(), packet.MaxBatch)
		if n == 0 {
			if b.rx.RxReady() == 0 {
				_, _ = unix.Poll(fds, 20)
			}
			b.kick()
			continue
		}
		for i := range n {
			b.tx.PutTx(b.rx.Rx(i))
		}
		b.rx.ReleaseRx(n)
		b.tx.PublishTx()
		b.kick()
	}
}

// kick makes the kernel send what the ring holds.
func (b *bareLoop) kick() {
	for b.tx.TxWaiting() > 0 && b.tx.TxNeedsKick() {
		if err := b.tx.KickTx(); err == unix.EAGAIN || err == unix.ENOBUFS {
			break
		}
		b.tx.TxTaken()
	}
	b.tx.TxTaken()
}

// harvest lends again what was sent.
func (b *bareLoop) harvest() {
	n := min(b.tx.CompReady(), b.rx.FillRoom())
	if n == 0 {
		return
	}
	for i := range n {
		b.rx.PutFill(b.tx.Comp(i) &^ 2047)
	}
	b.tx.ReleaseComp(n)
	b.rx.PublishFill()
}

func (b *bareLoop) time() (time.Duration, error)     { return timeOfThread(b.tid), nil }
func (b *bareLoop) place(cpus []int, nice int) error { return placeThread(b.tid, cpus, nice) }

func (b *bareLoop) close() error {
	b.stop.Store(true)
	<-b.done
	return b.release()
}

func (b *bareLoop) release() error {
	var first error
	if b.detach != nil {
		first = b.detach()
	}
	for _, x := range []*sys.XSK{b.tx, b.rx} {
		if x != nil {
			first = firstError(first, x.Close())
		}
	}
	if b.sockets != nil {
		first = firstError(first, b.sockets.Close())
	}
	if b.region != nil {
		first = firstError(first, sys.Unmap(b.region))
	}
	return first
}
