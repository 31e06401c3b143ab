package routing

import (
	"testing"
	"time"
)

// grid makes a network of w times h nodes, with some wires across.
func grid(t testing.TB, seed uint64, w, h int) *network {
	n := newNetwork(t, seed, w*h)
	for i := range w * h {
		if i%w+1 < w {
			n.join(i, i+1)
		}
		if i+w < w*h {
			n.join(i, i+w)
		}
		if i%17 == 0 {
			if j := n.rand.IntN(w * h); j != i {
				n.join(i, j)
			}
		}
	}
	return n
}

func TestTwoHundredNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("200 nodes: not in short mode")
	}
	const dead = gridWidth * 5 // in the middle
	n := grid(t, 1, gridWidth, 10)
	n.startAll()
	took := n.until(5*time.Second, "all nodes reach all", n.converged)
	var st Stats
	sum := func() {
		st = Stats{}
		for _, b := range n.boxes {
			if b.node != nil {
				st.UpdatesOut += b.r.stats.UpdatesOut
				st.SummariesOut += b.r.stats.SummariesOut
				st.Computations += b.r.stats.Computations
				st.NoPacket += b.r.stats.NoPacket
			}
		}
	}
	sum()
	t.Logf("converged after %s: %d updates, %d summaries, %d computations, %d without a packet, %d turns",
		took, st.UpdatesOut, st.SummariesOut, st.Computations, st.NoPacket, n.turns)
	n.since(2 * time.Second)
	sum()
	calm := st
	n.boxes[dead].kill()
	took = n.until(2*time.Second, "everybody knows of the dead node", func() bool {
		for i, b := range n.boxes {
			if i != dead && (b.hop(dead) != nil || b.reaches() != len(n.boxes)-2) {
				return false
			}
		}
		return true
	})
	sum()
	t.Logf("a death known everywhere after %s: %d updates, %d computations", took, st.UpdatesOut-calm.UpdatesOut, st.Computations-calm.Computations)
	// A neighbour's word crosses each wire at most once in each direction, if nothing is lost. Some of the pieces are
	// renewed at the same time; what would be wrong is a storm.
	if limit := uint64(4 * 2 * 2 * len(n.wires)); st.UpdatesOut-calm.UpdatesOut > limit {
		t.Errorf("%d updates for one death in a network of %d wires, want at most %d", st.UpdatesOut-calm.UpdatesOut, len(n.wires), limit)
	}
	if limit := uint64(12 * len(n.boxes)); st.Computations-calm.Computations > limit {
		t.Errorf("%d computations for one death, want at most %d", st.Computations-calm.Computations, limit)
	}
}
