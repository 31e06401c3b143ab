package xdp

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/opts"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() { nodeos.RegisterDriver("xdp", Rank, Open) }

// DefaultRing is the credit of a queue in frames where LinkSpec.Ring is 0. It is less where the node has few frames.
const DefaultRing = 512

const (
	maxRing   = 1 << 15
	leastRing = 8
	txRing    = 512
)

// The kernel frees a queue some milliseconds after its socket was closed, even one of a process that is gone. So a queue that is taken is tried
// for two seconds.
const (
	busyPause = 4 * time.Millisecond
	busyTries = 500
)

// Open opens the interface that spec.Device names (empty: the link's name) in the network namespace of the
// calling thread. It is a nodeos.OpenFunc. The link takes nothing until it has claims and is attached.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	mode := o.OneOf("mode", "auto", "native", "generic")
	zeroCopy := o.OneOf("zerocopy", "false", "auto", "true")
	wakeup, promisc := o.Bool("wakeup", true), o.Bool("promisc", false)
	chosen := o.Text("queues", "all")
	if err := o.Done("xdp"); err != nil {
		return nil, err
	}
	device := spec.Device
	if device == "" {
		device = spec.Name
	}
	pool := n.Pool().Spec()
	l := &Link{device: device, promisc: -1, ctl: -1, shift: uint(bits.TrailingZeros(uint(pool.FrameSize)))}
	ifindex, sort, vlan, err := l.describe(number, spec)
	if err != nil {
		return nil, err
	}
	if longest := l.info.MTU + demux.EtherLen + 2*demux.VLANLen; longest > room(n.Pool()) {
		return nil, errs.New(errs.TooBig, "link %s: MTU %d of interface %s is more than a packet frame of the node holds under driver xdp (%d); use a smaller MTU, driver packet, or in a program of your own frames of 4096 bytes",
			spec.Name, l.info.MTU, device, room(n.Pool())-demux.EtherLen-2*demux.VLANLen)
	} else {
		l.limit = longest
	}
	if l.ctl, err = sys.OpenControl(); err != nil {
		return nil, kernelError(spec.Name, err)
	}
	stripped, err := sys.VLANStripped(l.ctl, device)
	if err == nil {
		err = l.seesTags(stripped, vlan)
	}
	if err != nil {
		l.Close()
		return nil, kernelError(spec.Name, err)
	}
	if err := l.open(n, spec, ifindex, mode, zeroCopy, wakeup, promisc, chosen); err != nil {
		l.Close()
		return nil, kernelError(spec.Name, err)
	}
	l.info.OwnOnly = !promisc
	// Only from other programs on this machine: a wire carries finished checksums.
	l.unfinished = sort == "veth" || sort == "tun" || l.mode == "generic"
	// A driver takes packets from a queue on one processor at a time. Those of a tun come in the system calls of who writes to it, and generic XDP runs wherever the
	// stack does.
	l.programs.serial = l.mode == "native" && sort != "tun"
	return l, nil
}

func (l *Link) open(n *nodeos.Node, spec nodeos.LinkSpec, ifindex int, mode, zeroCopy string, wakeup, promisc bool, chosen string) (err error) {
	if l.channels, err = sys.RxQueues(l.ctl, l.device); err != nil {
		return err
	}
	numbers, err := parseQueues(chosen, l.channels)
	if err != nil {
		return errs.New(errs.Invalid, "link %s: interface %s: %w", spec.Name, l.device, err)
	}
	if err := l.divide(n.Pool(), spec, numbers); err != nil {
		return err
	}
	if l.chans, err = chansOf(n); err != nil {
		return err
	}
	if l.programs, err = newPrograms(l.chans, l.channels, room(n.Pool()), l.info.HWAddr, promisc); err != nil {
		return err
	}
	if err := l.openCuts(ifindex); err != nil {
		return err
	}
	if err := l.attachProgram(ifindex, mode); err != nil {
		return err
	}
	if err := l.openSockets(n.Pool(), ifindex, zeroCopy, wakeup); err != nil {
		return err
	}
	if promisc {
		if l.promisc, err = sys.OpenPromisc(ifindex); err != nil {
			return err
		}
	}
	return nil
}

// divide makes a port for each worker and gives it queues, in turn, for whose rings it has reserved frames of the worker.
func (l *Link) divide(pool *packet.Pool, spec nodeos.LinkSpec, numbers []int) error {
	if spec.Ring < 0 || spec.Ring > maxRing {
		return errs.New(errs.Invalid, "link %s: ring of %d frames, want 1 to %d", spec.Name, spec.Ring, maxRing)
	}
	workers := spec.Workers
	if len(workers) == 0 {
		workers = []int{spec.Worker}
	}
	if len(workers) > len(numbers) {
		return errs.New(errs.Invalid, "link %s: %d workers for %d queues of interface %s; each worker needs a queue of its own (ethtool -L %s changes how many there are)",
			spec.Name, len(workers), len(numbers), l.device, l.device)
	}
	least, want := leastRing, DefaultRing
	if spec.Ring > 0 {
		least, want = spec.Ring, spec.Ring
	}
	frames := pool.Spec().Frames
	for i, w := range workers {
		p := &port{of: l, detached: true, most: txRing, lender: lender{pool, w}, with: make([]whose, frames)}
		l.ports = append(l.ports, p)
		queues := (len(numbers) - i + len(workers) - 1) / len(workers)
		each, most := p.lender.reserve(queues, least+slack, want+slack)
		if each == 0 {
			return errs.New(errs.NoMemory, "link %s: %d queues with a ring of %d frames need %d packet frames; three quarters of its worker's may be with the kernel, and %d are left of those; give the node more frames, or the link a smaller ring or fewer queues",
				spec.Name, queues, least, queues*(least+slack), max(most*queues, 0))
		}
		p.reserved = each * queues
		for j := i; j < len(numbers); j += len(workers) {
			p.queues = append(p.queues, &queue{number: numbers[j], ring: each - slack})
		}
	}
	l.port = l.ports[0]
	return nil
}

// attachProgram tries the modes that are wanted, native first.
func (l *Link) attachProgram(ifindex int, mode string) error {
	if mode != "generic" {
		err := l.programs.attach(ifindex, link.XDPDriverMode)
		if err == nil {
			l.mode = "native"
			return nil
		}
		if mode == "native" || taken(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENODEV) {
			return l.attachError("native", err)
		}
		l.info.Notes = append(l.info.Notes, fmt.Sprintf("XDP is generic, which costs more per packet: the interface's driver refuses it natively: %v", err))
	}
	if err := l.programs.attach(ifindex, link.XDPGenericMode); err != nil {
		return l.attachError("generic", err)
	}
	l.mode = "generic"
	return nil
}

func taken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

func (l *Link) attachError(mode string, err error) error {
	if taken(err) {
		return errs.New(errs.Exists, "link %s: interface %s has an XDP program of somebody else, which is left alone (ip link show %s names it); use driver packet, or have its owner detach it: %w",
			l.info.Name, l.device, l.device, err)
	}
	return fmt.Errorf("attaching to interface %s, mode %s: %w", l.device, mode, err)
}

// openSockets opens a socket for each queue; the first of each port can also send.
func (l *Link) openSockets(pool *packet.Pool, ifindex int, zeroCopy string, wakeup bool) error {
	l.mem = memory{pool: pool, zeroCopy: zeroCopy != "false", wakeup: wakeup}
	first := true
	for _, p := range l.ports {
		queues := p.queues
		p.queues, p.detached = nil, false
		for i, q := range queues {
			size := 1 << bits.Len(uint(q.ring+slack-1))
			spec := sys.XSKSpec{Ifindex: ifindex, Queue: q.number, Rx: size, Fill: size, Completion: txRing}
			if i == 0 {
				spec.Tx = txRing
			}
			x, err := l.openSocket(spec)
			if err != nil && first && zeroCopy == "auto" && l.mem.zeroCopy && !errors.Is(err, unix.EBUSY) {
				l.info.Notes = append(l.info.Notes, fmt.Sprintf("packets are copied between the interface and the node's memory: zero copy was refused: %v", err))
				l.mem.zeroCopy = false
				x, err = l.openSocket(spec)
			}
			switch {
			case err == nil:
			case errors.Is(err, unix.EBUSY):
				return errs.New(errs.Exists, "link %s: queue %d of interface %s has an AF_XDP socket of another program: %w", l.info.Name, q.number, l.device, err)
			case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
				return errs.New(errs.NoMemory, "link %s: the node's packet memory (%d MiB) cannot be locked for AF_XDP; it takes CAP_IPC_LOCK or a higher limit (ulimit -l): %w",
					l.info.Name, len(pool.Region())>>20, err)
			case errors.Is(err, unix.EOPNOTSUPP) && l.mem.zeroCopy:
				return errs.New(errs.NotSupported, "link %s: interface %s has no zero copy; use zerocopy: false: %w", l.info.Name, l.device, err)
			default:
				return err
			}
			first = false
			q.sock = x
			q.bindCell(l.programs.words)
			p.queues = append(p.queues, q)
		}
		p.tx = p.queues[0].sock
	}
	return nil
}

// openSocket opens a socket, waiting a little for a queue that is being freed.
func (l *Link) openSocket(spec sys.XSKSpec) (*sys.XSK, error) {
	x, err := l.mem.open(spec)
	for tries := 0; errors.Is(err, unix.EBUSY) && tries < busyTries; tries++ {
		time.Sleep(busyPause)
		x, err = l.mem.open(spec)
	}
	return x, err
}

// parseQueues reads "all" or a list of numbers and ranges, such as 0,2-3.
func parseQueues(s string, have int) ([]int, error) {
	var ns []int
	if s == "all" {
		for i := range have {
			ns = append(ns, i)
		}
		return ns, nil
	}
	for f := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(f), "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || b < a {
			return nil, fmt.Errorf("option queues=%.40q: want all, or numbers and ranges such as 0,2-3", s)
		}
		if b >= uint64(have) {
			return nil, fmt.Errorf("there is no queue %d, it has %d (ethtool -L changes that)", b, have)
		}
		for i := a; i <= b; i++ {
			if !slices.Contains(ns, int(i)) {
				ns = append(ns, int(i))
			}
		}
	}
	return ns, nil
}

// describe fills in l.info from the host's interface and returns its index, its sort, and the name of a VLAN interface on it,
// empty where there is none.
func (l *Link) describe(number uint16, spec nodeos.LinkSpec) (ifindex int, sort, vlan string, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, "", "", kernelError(spec.Name, err)
	}
	defer h.Close()
	nl, err := h.LinkByName(l.device)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return 0, "", "", errs.New(errs.NotFound, "link %s: there is no interface %s", spec.Name, l.device)
		}
		return 0, "", "", kernelError(spec.Name, err)
	}
	a := nl.Attrs()
	if a.EncapType != "ether" {
		return 0, "", "", errs.New(errs.NotSupported, "link %s: interface %s is not an Ethernet but %s", spec.Name, l.device, a.EncapType)
	}
	l.info = nodeos.LinkInfo{Name: spec.Name, Driver: "xdp", Number: number, Base: demux.Ether, MTU: a.MTU}
	copy(l.info.HWAddr[:], a.HardwareAddr)
	addrs, err := h.AddrList(nl, netlink.FAMILY_ALL)
	if err != nil {
		return 0, "", "", kernelError(spec.Name, err)
	}
	for _, ad := range addrs {
		if ip, ok := netip.AddrFromSlice(ad.IP); ok {
			ones, _ := ad.Mask.Size()
			l.info.Prefixes = append(l.info.Prefixes, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	all, err := h.LinkList()
	if err != nil {
		return 0, "", "", kernelError(spec.Name, err)
	}
	return a.Index, nl.Type(), vlanOn(all, a.Index), nil
}

// vlanOn returns the name of the first VLAN interface on the interface with the given index.
func vlanOn(all []netlink.Link, ifindex int) string {
	for _, l := range all {
		// The index counts in the parent's namespace, so one in another namespace may be meant: this errs on the safe side.
		if v, ok := l.(*netlink.Vlan); ok && v.ParentIndex == ifindex {
			return v.Name
		}
	}
	return ""
}

// seesTags refuses an interface with VLANs whose tags XDP would not see: claimed packets would lose them.
func (l *Link) seesTags(stripped bool, vlan string) error {
	if !stripped || vlan == "" {
		return nil
	}
	return errs.New(errs.NotSupported, "link %s: interface %s has the VLAN %s and takes tags out of frames before XDP sees them; turn that off (ethtool -K %s rxvlan off) or use driver packet",
		l.info.Name, l.device, vlan, l.device)
}

// kernelError turns a refusal of the kernel into a kind and a likely cause.
func kernelError(name string, err error) error {
	switch {
	case errs.KindOf(err) != errs.Internal:
		return err
	case errors.Is(err, fs.ErrPermission):
		return errs.New(errs.Permission, "link %s: driver xdp needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON outside of user namespaces: %w", name, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return errs.New(errs.NotFound, "link %s: the interface is gone: %w", name, err)
	case errors.Is(err, unix.ENOMEM):
		return errs.New(errs.NoMemory, "link %s: no memory for the rings; make them smaller: %w", name, err)
	}
	return errs.New(errs.NotSupported, "link %s: driver xdp: %w", name, err)
}
