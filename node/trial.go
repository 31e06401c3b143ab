package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/janos-os/janos/errs"
)

// Trial is a change that is undone unless it is confirmed in time.
type Trial struct {
	What string        `json:"what"` // start or reload
	Left time.Duration `json:"left_ns"`
}

// trial is the change that waits, if one does. It goes by the machine's clock, for the operator does.
type trial struct {
	mu     sync.Mutex
	what   string // empty: none
	until  time.Time
	timers []*time.Timer
	number uint64
	closed bool
}

// MaxTrial is the longest time that a change may wait to be confirmed.
const MaxTrial = 24 * time.Hour

// marks are when it is told how much time is left.
var marks = []time.Duration{10 * time.Minute, 5 * time.Minute, time.Minute, 30 * time.Second, 10 * time.Second, 5 * time.Second, 2 * time.Second, time.Second}

// Try has undo called after d, on a goroutine of its own, unless Confirm is called before. What says what was changed, for the log, which
// tells how much time is left. One change waits at a time: while one does, Try is refused with
// errs.Exists. When the node closes, nothing is undone any more; an undo that is under way may close the node.
func (n *Node) Try(what string, d time.Duration, undo func()) error {
	if d <= 0 || d > MaxTrial {
		return errs.New(errs.Invalid, "%v to confirm in: want more than 0 and at most %v", d, MaxTrial)
	}
	t := &n.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errs.New(errs.Dead, "node %s is closed", n.os.Name())
	}
	if t.what != "" {
		return t.busy()
	}
	t.number++
	number := t.number
	t.what, t.until = what, time.Now().Add(d)
	for _, m := range marks {
		if m < d {
			t.timers = append(t.timers, time.AfterFunc(d-m, func() {
				if n.waits(number) {
					n.tellTrial(what, m)
				}
			}))
		}
	}
	t.timers = append(t.timers, time.AfterFunc(d, func() {
		t.mu.Lock()
		if t.number != number || t.what == "" {
			t.mu.Unlock()
			return
		}
		t.clear()
		t.mu.Unlock()
		undo()
	}))
	n.tellTrial(what, d)
	return nil
}

// tellTrial says how much time is left.
func (n *Node) tellTrial(what string, left time.Duration) {
	n.env.Log.Warn(fmt.Sprintf("the %s is undone in %v unless it is confirmed: janos node confirm --control %s", what, left, n.Spec().Control))
}

// busy is the error that another change waits. t.mu is held.
func (t *trial) busy() error {
	return errs.New(errs.Exists, "a %s waits to be confirmed for another %v: confirm it (janos node confirm), or wait until it is undone", t.what, time.Until(t.until).Round(time.Second))
}

func (n *Node) waits(number uint64) bool {
	n.trial.mu.Lock()
	defer n.trial.mu.Unlock()
	return n.trial.number == number && n.trial.what != ""
}

// clear forgets the change that waits. t.mu is held.
func (t *trial) clear() {
	for _, x := range t.timers {
		x.Stop()
	}
	t.what, t.timers = "", nil
}

// end forgets the change that waits, for good.
func (t *trial) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.clear()
}

// Confirm keeps the change that waits, and returns what it was. errs.NotFound if none does: it may have been undone already.
func (n *Node) Confirm() (Trial, error) {
	t := &n.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.what == "" {
		return Trial{}, errs.New(errs.NotFound, "node %s: no change waits to be confirmed; one that was not confirmed in time has been undone", n.os.Name())
	}
	c := Trial{t.what, time.Until(t.until)}
	t.clear()
	return c, nil
}

// Pending returns the change that waits to be confirmed, or false.
func (n *Node) Pending() (Trial, bool) {
	t := &n.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	return Trial{t.what, time.Until(t.until)}, t.what != ""
}

// ReloadFor is Reload on trial: unless Confirm is called within d, the configuration before is put in force again. While another change waits it is
// refused with errs.Exists; with d of 0 it is a plain Reload, refused likewise.
func (n *Node) ReloadFor(spec *Spec, d time.Duration) error {
	if d < 0 || d > MaxTrial {
		return errs.New(errs.Invalid, "%v to confirm in: want at most %v", d, MaxTrial)
	}
	n.reloads.Lock()
	defer n.reloads.Unlock()
	n.trial.mu.Lock()
	if n.trial.what != "" {
		defer n.trial.mu.Unlock()
		return n.trial.busy()
	}
	n.trial.mu.Unlock()
	old := n.Spec()
	if err := n.Reload(spec); err != nil || d == 0 {
		return err
	}
	err := n.Try("reload", d, func() {
		n.reloads.Lock()
		defer n.reloads.Unlock()
		if err := n.Reload(old); err != nil {
			n.env.Log.Error("the reload was not confirmed in time, and could not be undone", "error", err)
			return
		}
		n.env.Log.Warn("the reload was not confirmed in time: undone, the configuration before is in force again")
	})
	if err != nil { // somebody else's Try came between
		return errors.Join(err, n.Reload(old))
	}
	return nil
}
