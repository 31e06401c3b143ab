package nodeos

import "github.com/janos-os/janos/clock"

// Runnable reports whether a stepped node has something to do at the present time.
func (n *Node) Runnable() bool {
	for _, w := range n.workers {
		if w.woken.Load() != nil || w.posted.Load() || w.nextWake() <= n.clk.Now() {
			return true
		}
	}
	return false
}

// Settle steps stepped nodes, in their order, until none has anything to do at the present time. Nodes that keep each other busy
// for ever without letting time pass never settle, so it gives up after the given number of rounds and
// returns false.
func Settle(rounds int, nodes ...*Node) bool {
	for range rounds {
		busy := false
		for _, n := range nodes {
			if n.Runnable() {
				n.Step()
				busy = true
			}
		}
		if !busy {
			return true
		}
	}
	return false
}

// settleRounds is enough for any network that comes to rest at all.
const settleRounds = 1_000_000

// Simulate runs stepped nodes under one virtual clock until the given time: whenever all of them are at rest, the
// clock jumps to the next event of any. The same nodes with the same seeds do the same, to the byte. It returns
// false if they did not come to rest at some instant.
func Simulate(clk *clock.Virtual, until clock.Time, nodes ...*Node) bool {
	for {
		if !Settle(settleRounds, nodes...) {
			return false
		}
		next := clock.Never
		for _, n := range nodes {
			next = min(next, n.NextEvent())
		}
		if next > until {
			clk.AdvanceTo(until)
			return Settle(settleRounds, nodes...)
		}
		clk.AdvanceTo(next)
	}
}
