package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
)

const (
	asRoot = "run as root, or give the capabilities CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and CAP_BPF"
	newer  = asRoot + ", and CAP_PERFMON; a kernel with CONFIG_XDP_SOCKETS, 5.12 or newer"
)

// lockedBytes is the packet memory of a node whose file does not say otherwise.
const lockedBytes = 32 << 20

// checks returns what is asked of a Linux machine, in the order in which it is printed.
func checks() []check {
	return []check{
		{"machine", "root", "everything below", asRoot, func() (string, error) {
			if os.Geteuid() != 0 {
				return "", fmt.Errorf("effective user is %d: %w", os.Geteuid(), unix.EPERM)
			}
			return "effective user is 0", nil
		}},
		{"machine", "CPUs", "workers; one for each beyond the first", "", func() (string, error) { return fmt.Sprint(runtime.NumCPU()), nil }},
		{"machine", "locked memory", "driver xdp: the node's packet memory is locked", "give CAP_IPC_LOCK, or a higher limit (ulimit -l unlimited, LimitMEMLOCK=infinity)", lockMemory},
		{"machine", "cgroups v2", "keeping other programs from the node's processors, by hand; the node itself uses none", "mount cgroup2 on /sys/fs/cgroup, as systemd does by default", cgroups},
		{"machine", "perf counters", "janos bench: cycles and misses beside processor time", "sysctl kernel.perf_event_paranoid=1; virtual machines need a virtual counter unit from their host", perfCounters},
		{"machine", "membarrier", "nothing yet", "a kernel with CONFIG_MEMBARRIER", func() (string, error) { return "", sys.CanMembarrier() }},

		{"laboratory", "network namespaces", "laboratories on real links", asRoot, func() (string, error) {
			return "", inNamespace(func() error { return nil })
		}},
		{"laboratory", "veth", "laboratories on real links", "load the kernel module veth", func() (string, error) {
			return "", inNamespace(func() error { return newVeth("jnprobe0", "jnprobe1") })
		}},
		{"laboratory", "user namespaces", "laboratories without root", "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0; kernel.apparmor_restrict_unprivileged_userns=0", userNamespaces},

		{"eBPF", "eBPF", "keeping claimed packets from the host's stack", asRoot + "; a kernel with CONFIG_BPF_SYSCALL", func() (string, error) {
			p, err := newProgram(ebpf.SchedCLS, 0)
			if err != nil {
				return "", err
			}
			return "SCHED_CLS programs load", p.Close()
		}},
		{"eBPF", "BPF JIT", "all drivers on interfaces: programs at the speed of machine code", "sysctl net.core.bpf_jit_enable=1", bpfJIT},
		{"eBPF", "BPF mapped memory", "driver xdp: reading counters without system calls", "a kernel of 5.5 or newer", mappedMemory},
		{"eBPF", "BPF test run", "tests and measurements of programs without traffic", asRoot, testRun},
		{"eBPF", "live frames", "janos bench: load from the kernel itself", "a kernel of 5.18 or newer", liveFrames},

		{"driver xdp", "XDP native", "driver xdp: the program runs in the interface's driver", newer, func() (string, error) {
			return "attaches to a virtual Ethernet; cards differ by their driver, and a link's notes say what it got", inNamespace(func() error { return attachXDP(nativeXDP) })
		}},
		{"driver xdp", "XDP generic", "driver xdp: interfaces whose driver has no XDP", newer, func() (string, error) {
			return "attaches to a virtual Ethernet", inNamespace(func() error { return attachXDP(genericXDP) })
		}},
		{"driver xdp", "AF_XDP", "driver xdp: packets go between the interface and the node without the host's stack", newer, func() (string, error) {
			return "sockets bind to a virtual Ethernet, with copying", inNamespace(func() error { return bindXDP(sys.XSKSpec{}) })
		}},
		{"driver xdp", "AF_XDP need_wakeup", "driver xdp: the kernel is called only when it sleeps", "a kernel of 5.4 or newer", func() (string, error) {
			return "", inNamespace(func() error { return bindXDP(sys.XSKSpec{NeedWakeup: true}) })
		}},
		{"driver xdp", "AF_XDP zero copy", "driver xdp with zerocopy: auto, a card's driver writes into the node's memory", "a card whose driver has it; a link's notes say what it got", func() (string, error) {
			err := inNamespace(func() error { return bindXDP(sys.XSKSpec{ZeroCopy: true, NeedWakeup: true}) })
			if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
				err = fmt.Errorf("%w: a virtual Ethernet refuses it, cards may not: %w", errUndecided, err)
			}
			return "", err
		}},
		{"driver xdp", "devmap redirect", "cut-through channels in the kernel: from interface to interface", newer, devmap},
		{"driver xdp", "busy poll", "nothing yet", "a kernel of 5.11 or newer", func() (string, error) {
			return "", onUDP(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 1) })
		}},

		{"driver packet", "packet sockets", "driver packet: nodes on interfaces without XDP", asRoot, func() (string, error) {
			return "TPACKET_V3 rings with offload headers", inNamespace(func() error { return packetRings(1) })
		}},
		{"driver packet", "packet fanout", "driver packet: an interface's packets shared among workers", "a kernel of 4.12 or newer", func() (string, error) {
			return "", inNamespace(func() error { return packetRings(2) })
		}},
		{"driver packet", "qdisc bypass", "driver packet with bypass: true", "a kernel of 3.14 or newer", func() (string, error) {
			return "", inNamespace(func() error {
				fd, err := sys.OpenPacketSender(1, true)
				if err != nil {
					return err
				}
				return sys.CloseFD(fd)
			})
		}},
		{"driver packet", "tcx", "driver packet: claimed packets are kept from the host by a program that ends with the node", "a kernel of 6.6 or newer; clsact does instead", func() (string, error) {
			return "", inNamespace(attachTCX)
		}},
		{"driver packet", "clsact", "driver packet: the same on kernels without tcx", "load the kernel modules sch_ingress and cls_bpf", func() (string, error) {
			return "", inNamespace(attachClsact)
		}},

		{"driver udp", "UDP GSO", "driver udp: runs of datagrams leave by one pass of the kernel", "a kernel of 4.18 or newer", func() (string, error) {
			return "", onUDP(sys.UDPSegments)
		}},
		{"driver udp", "UDP GRO", "driver udp: runs of datagrams arrive by one pass of the kernel", "a kernel of 5.0 or newer", func() (string, error) {
			return "", onUDP(sys.JoinUDP)
		}},

		{"routing", "netlink routes", "routes and neighbours of the host, followed", asRoot, func() (string, error) {
			return "a route that was added was told", inNamespace(followRoute)
		}},
		{"routing", "netlink buffers", "following 100,000 routes and more without losing some", asRoot + ", or sysctl net.core.rmem_max=33554432", netlinkBuffer},
	}
}

func init() { denials = append(denials, ebpf.ErrNotSupported) }

func machine() []Result {
	var rs []Result
	for _, c := range checks() {
		rs = append(rs, c.run(patience))
	}
	return append(rs, interfaces()...)
}

func lockMemory() (string, error) {
	b, err := sys.MapAnon(lockedBytes)
	if err != nil {
		return "", err
	}
	defer sys.Unmap(b)
	if err := unix.Mlock(b); err != nil {
		var l unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) == nil && errors.Is(err, unix.ENOMEM) {
			return "", absent(fmt.Errorf("%d MiB cannot be locked, the limit is %d KiB: %w", lockedBytes>>20, l.Cur>>10, err))
		}
		return "", err
	}
	return fmt.Sprintf("%d MiB can be locked, a node's packet memory by default", lockedBytes>>20), nil
}

func cgroups() (string, error) {
	const dir = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", err
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("%s is not of version 2: %w", dir, errAbsent)
	}
	b, err := os.ReadFile(dir + "/cgroup.controllers")
	if err != nil {
		return "", err
	}
	return "controllers " + strings.TrimSpace(string(b)), nil
}

func perfCounters() (string, error) {
	a := unix.PerfEventAttr{Type: unix.PERF_TYPE_HARDWARE, Config: unix.PERF_COUNT_HW_CPU_CYCLES, Bits: unix.PerfBitDisabled | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	a.Size = uint32(unix.PERF_ATTR_SIZE_VER0)
	fd, err := unix.PerfEventOpen(&a, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("counting cycles of the own process: %w", err) // ENOENT: the machine shows no such counter
	}
	return "cycles of the own process", sys.CloseFD(fd)
}

func userNamespaces() (string, error) {
	b, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil {
		return "", err
	}
	n := strings.TrimSpace(string(b))
	if n == "0" {
		return "", fmt.Errorf("user.max_user_namespaces is 0: %w", errAbsent)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); err == nil && strings.TrimSpace(string(b)) == "0" {
		return "", fmt.Errorf("kernel.unprivileged_userns_clone is 0: %w", errAbsent)
	}
	path, err := exec.LookPath("true")
	if err != nil {
		return "", fmt.Errorf("%w: no program to try it with: %v", errUndecided, err)
	}
	c := exec.Command(path)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if err := c.Run(); err != nil {
		return "", err
	}
	return "a process ran in one, with a network of its own; at most " + n, nil
}

// newProgram loads a program that returns v.
func newProgram(t ebpf.ProgramType, v int32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jn_probe", Type: t, License: "Dual BSD/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()}})
}

func bpfJIT() (string, error) {
	b, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable")
	if err != nil {
		return "", undecided("the setting", err)
	}
	if strings.TrimSpace(string(b)) == "0" {
		return "", fmt.Errorf("net.core.bpf_jit_enable is 0: %w", errAbsent)
	}
	p, err := newProgram(ebpf.SocketFilter, 0)
	if err != nil {
		return "", undecided("a program to look at", err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", undecided("what the kernel tells of programs", err)
	}
	n, err := info.JitedSize()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("a program of two instructions became %d bytes", n), nil
}

func mappedMemory() (string, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "jn_probe", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 512, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = absent(err)
		}
		return "", err
	}
	defer m.Close()
	w, err := sys.MapSharedWords(m.FD(), 512)
	if err != nil {
		return "", err
	}
	return "", w.Close()
}

func testRun() (string, error) {
	p, err := newProgram(ebpf.XDP, xdpPass)
	if err != nil {
		return "", undecided("a program to run", err)
	}
	defer p.Close()
	v, _, err := p.Test(make([]byte, 64))
	if err == nil && v != xdpPass {
		err = fmt.Errorf("%w: a program that returns %d returned %d", errUndecided, xdpPass, v)
	}
	return "", err
}

func liveFrames() (string, error) {
	const live = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES
	p, err := newProgram(ebpf.XDP, xdpDrop)
	if err != nil {
		return "", undecided("a program to run", err)
	}
	defer p.Close()
	err = inNamespace(func() error {
		_, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: 1, Flags: live})
		return err
	})
	if errors.Is(err, unix.EINVAL) {
		err = absent(err)
	}
	return "", err
}

// onUDP runs fn on a UDP socket that is bound to nothing.
func onUDP(fn func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return undecided("a UDP socket", err)
	}
	defer sys.CloseFD(fd)
	return fn(fd)
}

// followRoute adds a route to the calling thread's namespace and waits to be told.
func followRoute() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return undecided("the loopback interface", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return undecided("the loopback interface", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer sys.CloseFD(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_IPV4_ROUTE - 1)}); err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR("192.0.2.0/24")
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
		return undecided("a route", err)
	}
	return awaitBytes(fd, dst.IP.To4())
}

// awaitBytes waits until a message that contains want comes by a socket.
func awaitBytes(fd int, want []byte) error {
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	b := make([]byte, 1<<14)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: it did not arrive within a second: %v", errUndecided, err)
		}
		if bytes.Contains(b[:n], want) {
			return nil
		}
	}
}

func netlinkBuffer() (string, error) {
	const want = 32 << 20
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return "", undecided("a netlink socket", err)
	}
	defer sys.CloseFD(fd)
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want); err != nil {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, want); err != nil {
			return "", err
		}
	}
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return "", err
	}
	if n < want {
		return "", absent(fmt.Errorf("%d KiB of %d KiB", n>>10, want>>10))
	}
	return fmt.Sprintf("%d MiB", n>>20), nil
}

// interfaces says of each of the machine's Ethernets in the calling thread's namespace what stands against driver xdp, without touching it.
func interfaces() []Result {
	ls, err := netlink.LinkList()
	if err != nil {
		return []Result{{Group: "interfaces", Name: "interfaces", Answer: Inconclusive, Why: err.Error(), For: "nodes on them"}}
	}
	var rs []Result
	for _, l := range ls {
		if a := l.Attrs(); a.EncapType == "ether" {
			rs = append(rs, ethernet(l))
		}
	}
	return rs
}

// longestMTU is the longest that driver xdp takes with packet frames of 2,048 bytes.
const longestMTU = 1770

func ethernet(l netlink.Link) Result {
	a := l.Attrs()
	r := Result{Group: "interfaces", Name: a.Name, For: "driver xdp on this interface", Answer: Yes, Why: "type " + l.Type() + ", nothing is in the way"}
	switch {
	case a.Xdp != nil && a.Xdp.Attached:
		r.Answer, r.Why, r.Remedy = No, fmt.Sprintf("it has XDP program %d", a.Xdp.ProgId), "driver packet; or have the program's owner detach it, if it is not a node's"
	case a.MTU > longestMTU:
		r.Answer, r.Why, r.Remedy = No, fmt.Sprintf("its MTU is %d, at most %d fits packet frames of 2,048 bytes", a.MTU, longestMTU), "driver packet, or ip link set "+a.Name+" mtu 1500"
	}
	return r
}
