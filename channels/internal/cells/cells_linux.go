package cells

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

// Offsets in a channel's cell, which is what the programs on all links of a node and user space share about one in-channel. Its place is the channel's
// slot. The first cache line is the programs', which run on several processors at once and so add atomically, unless they know better (Alone); the second is user space's.
const (
	Produced  = 0  // packets that were redirected to a socket for the channel
	Full      = 8  // packets that were dropped because the credit was used up
	Limited   = 16 // packets that were dropped because they came faster than the channel's rate
	Next      = 24 // the time, of the monotonic clock in ns, at which the next packet is due at the channel's rate; user space sets it as well
	Alone     = 32 // 1: the programs of one link only count in this cell; user space sets it
	OwnCounts = 40 // three words of one driver's programs
	Consumed  = 64 // of produced, those that have left the channel's queue or are known to be lost
	Credit    = 72 // how far produced may be ahead of consumed
	Interval  = 80 // ns between two packets at the channel's rate; 0: no limit
	Tolerance = 88 // ns by which a packet may come too early
	OwnWords  = 96 // four words of one driver's user space
	Size      = 128
)

// Cells are a node's. They implement nodeos.Cells.
type Cells struct {
	node  *nodeos.Node
	m     *ebpf.Map // array by slot
	words *sys.SharedWords
	links int // that use it, under shared.mu

	mu    sync.Mutex // what follows
	inner *ebpf.Map
	outer *ebpf.Map // array of one map, for Settle; nil: closed
}

// shared are the cells of the process's nodes. shared.mu is taken before the locks of nodes.
var shared = struct {
	mu    sync.Mutex
	nodes map[*packet.Pool]*Cells
}{nodes: make(map[*packet.Pool]*Cells)}

// Of returns the cells of a node, for one link more; Release gives them back. It waits for the node's workers and must not be called from one.
func Of(n *nodeos.Node) (_ *Cells, err error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c := shared.nodes[n.Pool()]; c != nil {
		c.links++
		return c, nil
	}
	c := &Cells{node: n, links: 1}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_chans", Type: ebpf.Array, KeySize: 4, ValueSize: Size, MaxEntries: nodeos.MaxInChans, Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return nil, fmt.Errorf("map of channels' cells: %w", err)
	}
	if c.words, err = sys.MapSharedWords(c.m.FD(), nodeos.MaxInChans*Size); err != nil {
		return nil, err
	}
	for slot := range uint32(nodeos.MaxInChans) {
		c.Word(slot, Credit).Store(math.MaxInt64)
	}
	inner := &ebpf.MapSpec{Name: "janos_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if c.inner, err = ebpf.NewMap(inner); err != nil {
		return nil, fmt.Errorf("inner map: %w", err)
	}
	if c.outer, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_outer", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner}); err != nil {
		return nil, fmt.Errorf("map of maps: %w", err)
	}
	if err = n.ShareCells(c); err != nil {
		return nil, err
	}
	shared.nodes[n.Pool()] = c
	return c, nil
}

// Release is for a link that has no program on its interface any more. The last one of a node closes the cells. It waits for the node's workers and must
// not be called from one, nor under a lock that Link.Claim takes.
func (c *Cells) Release() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c.links--; c.links > 0 {
		return
	}
	delete(shared.nodes, c.node.Pool())
	c.node.UnshareCells()
	c.close()
}

func (c *Cells) close() {
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

// FD returns the descriptor of the map, an array of cells by slot, for programs.
func (c *Cells) FD() int { return c.m.FD() }

// Settle implements nodeos.Cells. It replaces the inner map of a map of maps, after which the kernel
// waits for a grace period before it returns, so that who replaced the map knows the old one unused (maybe_wait_bpf_programs of
// kernel/bpf/syscall.c, since Linux 5.0).
func (c *Cells) Settle() error {
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
func (c *Cells) Cell(slot uint32) nodeos.Cell {
	return nodeos.Cell{
		Produced: c.Word(slot, Produced), Full: c.Word(slot, Full), Limited: c.Word(slot, Limited),
		Next: c.Word(slot, Next), Interval: c.Word(slot, Interval), Tolerance: c.Word(slot, Tolerance), Alone: c.Word(slot, Alone),
		Consumed: c.Word(slot, Consumed), Credit: c.Word(slot, Credit),
	}
}

// Reset implements nodeos.Cells.
func (c *Cells) Reset(slot uint32) {
	for off := 0; off < Size; off += 8 {
		c.Word(slot, off).Store(0)
	}
	c.Word(slot, Credit).Store(math.MaxInt64)
}

// Now implements nodeos.Cells: it is the clock of bpf_ktime_get_ns.
func (c *Cells) Now() int64 { return sys.Monotonic() }

// Word returns a word of a slot's cell.
func (c *Cells) Word(slot uint32, off int) *atomic.Uint64 {
	return c.words.At(int(slot)*Size + off)
}
