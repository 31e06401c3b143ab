package packet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
)

// filterPrefix begins the name of every clsact filter that this driver makes. The number of the process follows, by which Sweep knows
// whose it is, and a number of the filter.
const filterPrefix = "janos-claim:"

var filters atomic.Uint32

// Verdicts of a program at tc ingress (linux/pkt_cls.h, the same numbers for tcx).
const (
	tcNext = -1 // the next program, or the host's stack
	tcDrop = 2
)

const (
	skbPktType      = 4   // in struct __sk_buff
	skbGSOSegs      = 164 // there, since Linux 5.1
	packetOtherHost = 3
	packetLoopback  = 5
)

// The stack of claimed.
const (
	claimKey  = -4
	claimCell = -16 // address of the channel's cell
	claimOld  = -24
)

// claims keeps the host's stack from the packets that a ring takes.
type claims struct {
	cell   *ebpf.Map     // per-CPU: 1 when the packet that the filter saw last is claimed
	gate   *ebpf.Program // at tc ingress
	chans  *cells.Cells  // by which filters hold channels to their rates; nil: the node does
	tables *demux.Tables
	rules  *demux.Program // that the tables follow; nil: none yet
	filter *ebpf.Program  // on the sockets; nil: none yet
	tcx    link.Link
	clsact func() error // removes the clsact filter, and the qdisc if we made it; nil: not used
}

// newClaims makes the cell and attaches the gate to the interface in the calling thread's network namespace. Without tcx (Linux 6.6) it uses a clsact filter, as it does if noTCX is set.
func newClaims(ifindex int, noTCX bool, chans *cells.Cells) (*claims, error) {
	cell, err := ebpf.NewMap(&ebpf.MapSpec{Name: "janos_claim", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("claim cell: %w", err)
	}
	c := &claims{cell: cell, chans: chans, tables: demux.NewTables(false)}
	if c.gate, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "janos_gate", Type: ebpf.SchedCLS, License: "GPL", Instructions: gateCode(cell.FD())}); err != nil {
		c.close()
		return nil, fmt.Errorf("ingress program: %w", err)
	}
	err = ebpf.ErrNotSupported
	// At the head: a program of others that takes packets elsewhere would leave our verdict behind.
	if !noTCX {
		c.tcx, err = link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: c.gate, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err == nil {
			return c, nil
		}
		c.tcx = nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		c.close()
		return nil, fmt.Errorf("attaching to tc ingress: %w", err)
	}
	if c.clsact, err = attachClsact(ifindex, c.gate.FD()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// gateCode takes the verdict from the cell and resets it. Packets that loop back from sending do not
// pass the socket filter, so the verdict in the cell is not theirs.
func gateCode(cell int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbPktType, asm.Word),
		asm.JEq.Imm(asm.R2, packetLoopback, "next"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, cell),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "next"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "next"),
		asm.StoreImm(asm.R0, 0, 0, asm.Word),
		asm.Mov.Imm(asm.R0, tcDrop),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcNext).WithSymbol("next"),
		asm.Return(),
	}
}

// all is more than any frame has bytes.
const all = 1 << 18

// verdict writes v to the cell: 1 if the packet is claimed. It ends a filter with how many bytes the socket takes, all or none. Its label is
// done.
func verdict(cell *ebpf.Map, v int64, take int32, done string) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, claimKey, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, cell.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, claimKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, done),
		asm.StoreImm(asm.R0, 0, v, asm.Word),
		asm.Mov.Imm(asm.R0, take).WithSymbol(done),
		asm.Return(),
	}
}

// claimed is what the filter does with a claimed packet, the context in R6 and the channel's slot in R7: it keeps the channel to its rate, if it has one. What comes too
// fast is not copied to the ring, and not the host's either. A super-frame counts as the frames that it stands for, and passes as a whole or not at all.
func (c *claims) claimed() asm.Instructions {
	take := verdict(c.cell, 1, all, "taken")
	if c.chans == nil {
		return take
	}
	take[0] = take[0].WithSymbol("accepted")
	ins := asm.Instructions{
		asm.StoreMem(asm.RFP, claimKey, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, c.chans.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, claimKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "accepted"),
		asm.LoadMem(asm.R1, asm.R0, cells.Interval, asm.DWord),
		asm.JEq.Imm(asm.R1, 0, "accepted"),
		asm.StoreMem(asm.RFP, claimCell, asm.R0, asm.DWord),
		asm.LoadMem(asm.R8, asm.R6, skbGSOSegs, asm.Word),
		asm.JNE.Imm(asm.R8, 0, "rate"),
		asm.Mov.Imm(asm.R8, 1),
	}
	ins = append(ins, cells.RateCode(claimCell, claimOld, asm.Instructions{asm.Mul.Reg(asm.R4, asm.R8)})...)
	ins = append(ins, asm.AddAtomic.Mem(asm.R3, asm.R8, asm.DWord, cells.Limited))
	ins = append(ins, verdict(c.cell, 1, 0, "dropped")...)
	return append(ins, take...)
}

// follow makes the rules of p those of all rings. Most changes are entries of maps that the filter looks at; others take another filter, which is swapped in ring by ring.
// On an error the rules before hold.
func (c *claims) follow(p *demux.Program, promisc bool, rings []*port) error {
	replace, err := c.tables.Follow(p)
	if err == nil && replace {
		err = c.swap(promisc, rings)
	}
	if err == nil {
		c.rules = p
		return nil
	}
	if c.rules != nil {
		// The filter before and its maps are still there, so that this cannot be refused for what it needs; new maps, if it makes any, are used by the
		// next filter.
		if again, undo := c.tables.Follow(c.rules); undo != nil || again && c.swap(promisc, rings) != nil {
			return fmt.Errorf("%w (and the claims before could not all be put back)", err)
		}
	}
	return err
}

// swap makes the filter of what the tables follow and attaches it.
func (c *claims) swap(promisc bool, rings []*port) error {
	f, err := c.newFilter(promisc)
	if err != nil {
		return err
	}
	for i, p := range rings {
		if err := p.ring.AttachBPF(f.FD()); err != nil {
			for _, q := range rings[:i] {
				if c.filter != nil {
					_ = q.ring.AttachBPF(c.filter.FD()) // it was there before
				}
			}
			f.Close()
			return fmt.Errorf("attaching the socket filter: %w", err)
		}
	}
	if c.filter != nil {
		c.filter.Close()
	}
	c.filter = f
	c.tables.Installed()
	return nil
}

// newFilter makes the socket filter of what the tables follow. Frames for other hardware addresses are nobody's, unless all are wanted; own frames
// that loop back neither.
func (c *claims) newFilter(promisc bool) (*ebpf.Program, error) {
	body, err := c.tables.Code(c.claimed(), verdict(c.cell, 0, 0, "left"))
	if err != nil {
		return nil, err
	}
	if !promisc {
		head := asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, skbPktType, asm.Word),
			asm.JEq.Imm(asm.R2, packetOtherHost, "foreign"),
		}
		tail := verdict(c.cell, 0, 0, "away")
		tail[0] = tail[0].WithSymbol("foreign")
		body = append(append(head, body...), tail...)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "janos_filter", Type: ebpf.SocketFilter, License: "GPL", Instructions: body})
	if err != nil {
		return nil, errs.New(errs.NotSupported, "the kernel refused the socket filter of %d instructions: %w", len(body), err)
	}
	return prog, nil
}

// close detaches the gate and forgets the programs. The order lets everything pass first.
func (c *claims) close() error {
	var first error
	if c.tcx != nil {
		first = c.tcx.Close()
	}
	if c.clsact != nil {
		if err := c.clsact(); err != nil && first == nil {
			first = err
		}
	}
	for _, p := range [...]*ebpf.Program{c.gate, c.filter} {
		if p != nil {
			p.Close()
		}
	}
	if err := c.tables.Close(); err != nil && first == nil {
		first = err
	}
	c.cell.Close()
	return first
}

// attachClsact is for kernels before 6.6, which have no tcx. It returns how to undo it; that works from any thread, for it keeps
// a socket in this network namespace.
func attachClsact(ifindex, prog int) (undo func() error, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if _, err := sweepLink(h, ifindex, stale); err != nil {
		h.Close()
		return nil, err
	}
	name := fmt.Sprintf("%s%d:%d", filterPrefix, os.Getpid(), filters.Add(1))
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}
	if err := h.QdiscAdd(q); err != nil && !errors.Is(err, unix.EEXIST) {
		h.Close()
		return nil, fmt.Errorf("adding clsact: %w", err)
	}
	f := &netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           prog,
		Name:         name,
		DirectAction: true,
	}
	if err := h.FilterAdd(f); err != nil {
		h.Close()
		return nil, fmt.Errorf("adding a filter to clsact: %w", err)
	}
	return func() error {
		defer h.Close()
		_, err := sweepLink(h, ifindex, func(n string) bool { return n == name })
		return err
	}, nil
}

// stale reports whether a filter's name is one of ours and its process is no more.
func stale(name string) bool {
	rest, ours := strings.CutPrefix(name, filterPrefix)
	if !ours {
		return false
	}
	pid, _, _ := strings.Cut(rest, ":")
	if n, err := strconv.Atoi(pid); err != nil || n <= 0 {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, fs.ErrNotExist)
}

// sweepLink removes the filters from an interface whose names are chosen. The qdisc stays, for others may have come to use it; without filters it costs
// nothing.
func sweepLink(h *netlink.Handle, ifindex int, chosen func(name string) bool) (removed int, err error) {
	l, err := h.LinkByIndex(ifindex)
	if err != nil {
		return 0, nil // gone, with everything on it
	}
	fs, err := h.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return 0, nil // no clsact
	}
	for _, f := range fs {
		if b, ok := f.(*netlink.BpfFilter); ok && chosen(b.Name) {
			if err := h.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) {
				return removed, fmt.Errorf("removing filter %s of %s: %w", b.Name, l.Attrs().Name, err)
			}
			removed++
		}
	}
	return removed, nil
}

// Sweep removes the filters that processes which died left on interfaces of the calling thread's network namespace, and returns how
// many there were. They drop nothing, as the package comment says, but should not pile up. A process
// counts as dead when the caller's /proc does not have it.
func Sweep() (removed int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	ls, err := h.LinkList()
	if err != nil {
		return 0, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, l := range ls {
		n, err := sweepLink(h, l.Attrs().Index, stale)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}
