package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
)

const asRoot = "run as root, or give the capabilities CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and CAP_BPF"

func machine() []Result {
	var rs []Result
	add := func(name, use, remedy string, probe func() (string, error)) {
		why, err := probe()
		r := Result{Group: "machine", Name: name, Answer: Yes, Why: why, For: use}
		if err != nil {
			r.Answer, r.Why, r.Remedy = No, err.Error(), remedy
			if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EOPNOTSUPP) &&
				!errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errAbsent) {
				r.Answer = Inconclusive
			}
		}
		rs = append(rs, r)
	}
	add("root", "everything below", asRoot, func() (string, error) {
		if os.Geteuid() != 0 {
			return "", fmt.Errorf("effective user is %d: %w", os.Geteuid(), unix.EPERM)
		}
		return "effective user is 0", nil
	})
	add("network namespaces", "laboratories on real links", asRoot, func() (string, error) {
		return "", inNamespace(func() error { return nil })
	})
	add("veth", "laboratories on real links", "load the kernel module veth", func() (string, error) {
		return "", inNamespace(func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnprobe0"}, PeerName: "jnprobe1"})
		})
	})
	add("packet sockets", "driver packet: nodes on real interfaces", asRoot, func() (string, error) {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		return "TPACKET_V3", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3)
	})
	add("eBPF", "keeping claimed packets from the host's stack", asRoot+"; a kernel with CONFIG_BPF_SYSCALL", func() (string, error) {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jn_probe", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0), asm.Return(),
		}})
		if err != nil {
			return "", err
		}
		return "SCHED_CLS programs load", p.Close()
	})
	const newer = asRoot + ", and CAP_PERFMON; a kernel with CONFIG_XDP_SOCKETS, 5.10 or newer"
	for _, m := range []struct {
		name, use string
		flags     link.XDPAttachFlags
	}{
		{"XDP native", "driver xdp: the program runs in the interface's driver", link.XDPDriverMode},
		{"XDP generic", "driver xdp: interfaces whose driver has no XDP", link.XDPGenericMode},
	} {
		add(m.name, m.use, newer, func() (string, error) {
			return "attaches to a virtual Ethernet; cards differ by their driver, and a link's notes say what it got", inNamespace(func() error { return attachXDP(m.flags) })
		})
	}
	add("AF_XDP", "driver xdp: packets go between the interface and the node without the host's stack", newer, func() (why string, err error) {
		return "sockets bind to a virtual Ethernet, with copying; zero copy is the card's driver's", inNamespace(bindXDP)
	})
	add("user namespaces", "laboratories without root", "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0", func() (string, error) {
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
		return "at most " + n, nil
	})
	add("CPUs", "workers; one for each beyond the first", "", func() (string, error) {
		return fmt.Sprintf("%d", runtime.NumCPU()), nil
	})
	return rs
}

// probeVeth makes a virtual Ethernet in the calling thread's namespace and returns the index of one end, which is up.
func probeVeth() (int, error) {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnprobe0"}, PeerName: "jnprobe1"}); err != nil {
		return 0, err
	}
	l, err := netlink.LinkByName("jnprobe0")
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, netlink.LinkSetUp(l)
}

func attachXDP(flags link.XDPAttachFlags) error {
	index, err := probeVeth()
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jn_probe", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // XDP_PASS
	}})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags})
	if err != nil {
		return err
	}
	return l.Close()
}

func bindXDP() error {
	index, err := probeVeth()
	if err != nil {
		return err
	}
	const chunks, chunk = 64, 2048
	region, err := sys.MapAnon(chunks * chunk)
	if err != nil {
		return err
	}
	defer sys.Unmap(region)
	x, err := sys.OpenXSK(sys.XSKSpec{Ifindex: index, Region: region, ChunkSize: chunk, Rx: chunks, Tx: chunks, Fill: chunks, Completion: chunks, NeedWakeup: true})
	if err != nil {
		return err
	}
	return x.Close()
}

var errAbsent = errors.New("turned off")

// inNamespace runs fn on a thread of its own in a new network namespace, which ends with the thread.
func inNamespace(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}
