package xdp

import (
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Words of a channel's cell: those of all drivers, and ours.
//
//	40  cut   three words for what cut-through channels count
//	96  kind  0: to the socket; 1: cut through
//	104 cut   three words of the parameters of cut-through channels: see wordFlags
const (
	chanProduced  = cells.Produced
	chanFull      = cells.Full
	chanLimited   = cells.Limited
	chanNext      = cells.Next
	chanAlone     = cells.Alone
	chanCutCounts = cells.OwnCounts
	chanConsumed  = cells.Consumed
	chanCredit    = cells.Credit
	chanInterval  = cells.Interval
	chanTolerance = cells.Tolerance
	chanKind      = cells.OwnWords
	chanCutWords  = cells.OwnWords + 8
	chanSize      = cells.Size
)

// Kinds of channels, in their cells.
const (
	kindSocket = 0
	kindCut    = 1
)

// chans is what our links of a node have in common: the cells of its channels, so that a channel on several links has one credit, and what
// cut-through channels need.
type chans struct {
	*cells.Cells
	node  *nodeos.Node
	cuts  *cuts
	links int // that use it, under shared.mu
}

// shared is that of the process's nodes. shared.mu is taken before the locks of nodes.
var shared = struct {
	mu    sync.Mutex
	nodes map[*packet.Pool]*chans
}{nodes: make(map[*packet.Pool]*chans)}

// chansOf returns what a node's links share, for one link more; release gives it back.
func chansOf(n *nodeos.Node) (_ *chans, err error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c := shared.nodes[n.Pool()]; c != nil {
		c.links++
		return c, nil
	}
	c := &chans{node: n, links: 1}
	if c.Cells, err = cells.Of(n); err != nil {
		return nil, err
	}
	if c.cuts, err = newCuts(c.Cells); err != nil {
		c.Release()
		return nil, err
	}
	shared.nodes[n.Pool()] = c
	return c, nil
}

// release is for a link that has no program on its interface any more.
func (c *chans) release() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c.links--; c.links > 0 {
		return
	}
	delete(shared.nodes, c.node.Pool())
	c.cuts.close()
	c.Release()
}

// word returns a word of a slot's cell.
func (c *chans) word(slot uint32, off int) *atomic.Uint64 { return c.Word(slot, off) }
