package probe

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
)

// Verdicts of XDP programs (linux/bpf.h).
const (
	xdpDrop = 1
	xdpPass = 2
)

const (
	nativeXDP  = link.XDPDriverMode
	genericXDP = link.XDPGenericMode
)

// inNamespace runs fn on a thread of its own in a new network namespace, which ends with the thread.
func inNamespace(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%w: the probe failed: %v", errUndecided, p)
			}
		}()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// newVeth makes a virtual Ethernet in the calling thread's namespace and sets both ends up.
func newVeth(a, b string) error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b}); err != nil {
		return err
	}
	for _, name := range []string{a, b} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

func indexOf(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// onVeth runs fn with the index of one end of a virtual Ethernet.
func onVeth(fn func(index int) error) error {
	if err := newVeth("jnprobe0", "jnprobe1"); err != nil {
		return undecided("a virtual Ethernet to try it on", err)
	}
	index, err := indexOf("jnprobe0")
	if err != nil {
		return undecided("a virtual Ethernet to try it on", err)
	}
	return fn(index)
}

func attachXDP(flags link.XDPAttachFlags) error {
	return onVeth(func(index int) error {
		p, err := newProgram(ebpf.XDP, xdpPass)
		if err != nil {
			return err
		}
		defer p.Close()
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags})
		if err != nil {
			return err
		}
		return l.Close()
	})
}

// bindXDP binds a socket to a virtual Ethernet.
func bindXDP(s sys.XSKSpec) error {
	return onVeth(func(index int) error {
		const chunks, chunk = 64, 2048
		region, err := sys.MapAnon(chunks * chunk)
		if err != nil {
			return undecided("memory", err)
		}
		defer sys.Unmap(region)
		s.Ifindex, s.Region, s.ChunkSize, s.Rx, s.Tx, s.Fill, s.Completion = index, region, chunk, chunks, chunks, chunks, chunks
		x, err := sys.OpenXSK(s)
		if err != nil {
			return err
		}
		return x.Close()
	})
}

// devmap sends a frame into one virtual Ethernet, has a program redirect it, and waits for it at the end of another.
func devmap() (string, error) {
	return "a frame went from one virtual Ethernet to another", inNamespace(func() error {
		for _, ends := range [][2]string{{"jnprobe0", "jnprobe1"}, {"jnprobe2", "jnprobe3"}} {
			if err := newVeth(ends[0], ends[1]); err != nil {
				return undecided("a virtual Ethernet to try it on", err)
			}
		}
		var index [4]int
		for i := range index {
			var err error
			if index[i], err = indexOf(fmt.Sprint("jnprobe", i)); err != nil {
				return undecided("a virtual Ethernet to try it on", err)
			}
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "jn_probe", Type: ebpf.DevMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			return err
		}
		defer m.Close()
		if err := m.Put(uint32(0), uint32(index[2])); err != nil {
			return err
		}
		redirect, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jn_probe", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, 0), asm.FnRedirectMap.Call(), asm.Return(),
		}})
		if err != nil {
			return err
		}
		defer redirect.Close()
		pass, err := newProgram(ebpf.XDP, xdpPass)
		if err != nil {
			return err
		}
		defer pass.Close()
		// A virtual Ethernet takes redirected frames where its other end has a program too.
		for _, at := range []struct {
			p     *ebpf.Program
			index int
		}{{redirect, index[1]}, {pass, index[3]}} {
			l, err := link.AttachXDP(link.XDPOptions{Program: at.p, Interface: at.index, Flags: nativeXDP})
			if err != nil {
				return err
			}
			defer l.Close()
		}
		const etherType = 0x88b5 // for experiments, IEEE 802
		in, err := packetSocket(index[3], etherType)
		if err != nil {
			return undecided("a packet socket", err)
		}
		defer sys.CloseFD(in)
		out, err := packetSocket(index[0], 0)
		if err != nil {
			return undecided("a packet socket", err)
		}
		defer sys.CloseFD(out)
		frame := make([]byte, 64)
		copy(frame, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5janos probes")
		if _, err := unix.Write(out, frame); err != nil {
			return undecided("a frame", err)
		}
		return awaitBytes(in, frame[12:26])
	})
}

// packetSocket opens a raw socket on an interface that receives frames of a type, or none.
func packetSocket(index int, etherType uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: etherType<<8 | etherType>>8}); err != nil {
		return -1, errors.Join(err, sys.CloseFD(fd))
	}
	return fd, nil
}

// packetRings opens rings on a virtual Ethernet, which share it if they are several.
func packetRings(n int) error {
	return onVeth(func(index int) error {
		group := uint16(0)
		for range n {
			r, err := sys.OpenPacketRing(sys.RingSpec{Ifindex: index, Frames: 16, MaxLen: 1518, Blocks: true, RetireMS: 1, VNet: true})
			if err != nil {
				return err
			}
			defer r.Close()
			if err := r.Bind(); err != nil {
				return err
			}
			if n == 1 {
				continue
			}
			if group, err = r.Fanout(group); err != nil {
				if errors.Is(err, unix.EINVAL) {
					err = absent(err)
				}
				return err
			}
		}
		return nil
	})
}

func attachTCX() error {
	return onVeth(func(index int) error {
		p, err := newProgram(ebpf.SchedCLS, -1)
		if err != nil {
			return undecided("a program to attach", err)
		}
		defer p.Close()
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err != nil {
			if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
				err = absent(err)
			}
			return err
		}
		return l.Close()
	})
}

func attachClsact() error {
	return onVeth(func(index int) error {
		p, err := newProgram(ebpf.SchedCLS, -1)
		if err != nil {
			return undecided("a program to attach", err)
		}
		defer p.Close()
		// The kernel says ENOENT where the module of the one or of the other is missing.
		if err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}); err != nil {
			return fmt.Errorf("qdisc clsact: %w", err)
		}
		err = netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Protocol: unix.ETH_P_ALL, Priority: 1}, Fd: p.FD(), Name: "jn_probe", DirectAction: true,
		})
		if err != nil {
			return fmt.Errorf("filter bpf: %w", err)
		}
		return nil
	})
}
