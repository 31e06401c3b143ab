package xdp

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// A channel's cell is what the programs on all links of a node and user space share about one in-channel. Its place is the channel's slot. The
// first cache line is the programs', which run on several processors at once and so add atomically; the second is user space's.
//
//	  0  produced   packets that were redirected to a socket for the channel
//	  8  full       packets that were dropped because the credit was used up
//	 16  limited    packets that were dropped because they came faster than the channel's rate
//	 24  next       the time, of the monotonic clock in ns, at which the next packet is due at the channel's rate; user space sets it as well
//	 32  cut        four words for what cut-through channels count
//	 64  consumed   of produced, those that have left the channel's queue or are known to be lost
//	 72  credit     how far produced may be ahead of consumed
//	 80  interval   ns between two packets at the channel's rate; 0: no limit
//	 88  tolerance  ns by which a packet may come too early
//	 96  kind       0: to the socket; 1: cut through
//	104  cut        three words of the parameters of cut-through channels
const (
	chanProduced  = 0
	chanFull      = 8
	chanLimited   = 16
	chanNext      = 24
	chanCutCounts = 32
	chanConsumed  = 64
	chanCredit    = 72
	chanInterval  = 80
	chanTolerance = 88
	chanKind      = 96
	chanCutWords  = 104
	chanSize      = 128
)

// Kinds of channels, in their cells.
const (
	kindSocket = 0
	kindCut    = 1
)

// cells are a node's cells. All its links have them in common, so that a channel on several links has one credit. It implements nodeos.Cells.
type cells struct {
	node  *nodeos.Node
	m     *ebpf.Map // array by slot
	words *sys.SharedWords
	cuts  *cuts
	links int // that use it, under shared.mu

	mu    sync.Mutex // what follows
	inner *ebpf.Map
	outer *ebpf.Map // array of one map, for Settle; nil: closed
}

// shared are the cells of the process's nodes. shared.mu is taken before the locks of nodes.
var shared = struct {
	mu    sync.Mutex
	nodes map[*packet.Pool]*cells
}{nodes: make(map[*packet.Pool]*cells)}

// cellsOf returns the cells of a node, for one link more; release gives them back.
func cellsOf(n *nodeos.Node) (_ *cells, err error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c := shared.nodes[n.Pool()]; c != nil {
		c.links++
		return c, nil
	}
	c := &cells{node: n, links: 1}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_chans", Type: ebpf.Array, KeySize: 4, ValueSize: chanSize, MaxEntries: nodeos.MaxInChans, Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return nil, fmt.Errorf("map of channels' cells: %w", err)
	}
	if c.words, err = sys.MapSharedWords(c.m.FD(), nodeos.MaxInChans*chanSize); err != nil {
		return nil, err
	}
	for slot := range uint32(nodeos.MaxInChans) {
		c.word(slot, chanCredit).Store(math.MaxInt64)
	}
	inner := &ebpf.MapSpec{Name: "janos_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if c.inner, err = ebpf.NewMap(inner); err != nil {
		return nil, fmt.Errorf("inner map: %w", err)
	}
	if c.outer, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_outer", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner}); err != nil {
		return nil, fmt.Errorf("map of maps: %w", err)
	}
	if c.cuts, err = newCuts(c); err != nil {
		return nil, err
	}
	if err = n.ShareCells(c); err != nil {
		return nil, err
	}
	shared.nodes[n.Pool()] = c
	return c, nil
}

// release is for a link that has no program on its interface any more. The last one of a node closes the cells.
func (c *cells) release() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c.links--; c.links > 0 {
		return
	}
	delete(shared.nodes, c.node.Pool())
	c.node.UnshareCells()
	c.close()
}

func (c *cells) close() {
	if c.cuts != nil {
		c.cuts.close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.words != nil {
		c.words.Close()
	}
	for _, m := range [...]*ebpf.Map{c.outer, c.inner, c.m} {
		if m != nil {
			m.Close()
		}
	}
	c.outer = nil
}

// Settle implements nodeos.Cells. It replaces the inner map of a map of maps, after which the kernel
// waits for a grace period before it returns, so that who replaced the map knows the old one unused (maybe_wait_bpf_programs of
// kernel/bpf/syscall.c, since Linux 5.0).
func (c *cells) Settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outer == nil {
		return errs.New(errs.Dead, "the cells of node %s are closed", c.node.Name())
	}
	if err := c.outer.Put(uint32(0), c.inner); err != nil {
		return fmt.Errorf("waiting for programs to end: %w", err)
	}
	return nil
}

// Cell implements nodeos.Cells.
func (c *cells) Cell(slot uint32) nodeos.Cell {
	return nodeos.Cell{
		Produced: c.word(slot, chanProduced), Full: c.word(slot, chanFull), Limited: c.word(slot, chanLimited),
		Next: c.word(slot, chanNext), Interval: c.word(slot, chanInterval), Tolerance: c.word(slot, chanTolerance),
		Consumed: c.word(slot, chanConsumed), Credit: c.word(slot, chanCredit),
	}
}

// Reset implements nodeos.Cells.
func (c *cells) Reset(slot uint32) {
	for off := 0; off < chanSize; off += 8 {
		c.word(slot, off).Store(0)
	}
	c.word(slot, chanCredit).Store(math.MaxInt64)
}

// Now implements nodeos.Cells: it is the clock of bpf_ktime_get_ns.
func (c *cells) Now() int64 { return sys.Monotonic() }

// word returns a word of a slot's cell.
func (c *cells) word(slot uint32, off int) *atomic.Uint64 {
	return c.words.At(int(slot)*chanSize + off)
}
