package resctl

import "sync/atomic"

// Meter is one worker's access to one account. All methods but the account's own reading
// of it belong to that worker's goroutine; none allocates or locks.
//
// The counters are atomic only so that reports may read them; a worker never waits.
type Meter struct {
	account *Account
	credit  [NumResources]atomic.Int64 // taken from the tree, not yet used
	spent   [NumResources]atomic.Int64 // consumed, not yet told to the tree (Spend)
	aside   [NumResources]int64        // part of credit that is not free: held, or owed. The worker's own, as
	owed    [NumResources]int64        // what Settle has debited since the last fold
	dirty   bool
	_       [64]byte // keep two workers' meters off one cache line
}

// Meter returns worker's meter of a. The pointer stays valid as long as a does.
func (a *Account) Meter(worker int) *Meter { return &a.meters[worker] }

// Account returns the account that m debits.
func (m *Meter) Account() *Account { return m.account }

// TryTake debits n of r and reports whether the limits allowed it. A refusal is
// counted at the account whose limit it was.
func (m *Meter) TryTake(r Resource, n int64) bool {
	if c := m.credit[r].Load(); c-m.aside[r] >= n && n >= 0 {
		m.credit[r].Store(c - n)
		m.dirty = true
		return true
	}
	return m.refill(r, n) == nil
}

// Take is TryTake for callers that want the refusal as an error.
func (m *Meter) Take(r Resource, n int64) error {
	if c := m.credit[r].Load(); c-m.aside[r] >= n && n >= 0 {
		m.credit[r].Store(c - n)
		m.dirty = true
		return nil
	}
	return m.refill(r, n)
}

// refill takes n and a chunk for later or, near a limit, n alone.
func (m *Meter) refill(r Resource, n int64) error {
	a := m.account
	if n < 0 {
		return a.Take(r, n) // which refuses
	}
	if extra := chunk[r]; extra > 0 && a.room(r, n+extra) {
		if a.Take(r, n+extra) == nil {
			m.credit[r].Store(m.credit[r].Load() + extra)
			m.dirty = true
			return nil
		}
	}
	have := m.credit[r].Load() - m.aside[r]
	if have > 0 { // use up the credit before asking for the rest
		m.credit[r].Store(m.aside[r])
	}
	if err := a.Take(r, n-have); err != nil {
		m.credit[r].Store(m.aside[r] + have)
		return err
	}
	return nil
}

// Hold sets n of r aside for something whose use is known only afterwards, when Settle debits that. It is refused as Take is. Both are a few
// additions, where Take and Return wait for the memory that they write to be seen by others.
func (m *Meter) Hold(r Resource, n int64) error {
	if n < 0 || m.credit[r].Load()-m.aside[r] < n {
		if err := m.Take(r, n); err != nil {
			return err
		}
		m.credit[r].Store(m.credit[r].Load() + n)
	}
	m.aside[r] += n
	return nil
}

// Settle debits used of what Hold has set aside, which was n, and releases the rest. used is not above n. Reports see it after the next Fold.
func (m *Meter) Settle(r Resource, n, used int64) {
	m.aside[r] -= n - used
	m.owed[r] += used
	m.dirty = true
	if m.credit[r].Load()-m.owed[r] > 4*chunk[r] {
		m.fold(r)
	}
}

// room reports whether n more of r fit everywhere up the tree, without counting a refusal.
func (a *Account) room(r Resource, n int64) bool {
	for b := a; b != nil; b = b.parent {
		c := &b.counters[r]
		limit := c.limit.Load()
		if limit == Unlimited {
			continue
		}
		b.rollWindow(c, r)
		in := c.use.Load()
		if !r.Held() {
			in -= c.base.Load()
		}
		// Leave the last chunks to exact requests, so that credit of one worker does not
		// starve another near the limit.
		if limit == Nothing || n+4*chunk[r]*int64(a.tree.workers) > limit-in {
			return false
		}
	}
	return true
}

// Return gives back n of r. An n below 1 changes nothing.
func (m *Meter) Return(r Resource, n int64) {
	if chunk[r] == 0 || n < 1 {
		m.account.Return(r, n)
		return
	}
	m.credit[r].Store(m.credit[r].Load() + n)
	m.dirty = true
	if m.credit[r].Load() > 4*chunk[r] {
		m.fold(r)
	}
}

// Spend records a consumption that has happened; the tree learns of it at the next Fold.
func (m *Meter) Spend(r Resource, n int64) {
	m.spent[r].Store(m.spent[r].Load() + n)
	m.dirty = true
}

// Fold settles m with the tree. A worker calls it once a turn for every meter it used.
func (m *Meter) Fold() {
	if !m.dirty {
		return
	}
	m.dirty = false
	for r := range NumResources {
		m.fold(r)
	}
}

func (m *Meter) fold(r Resource) {
	if n := m.spent[r].Load(); n != 0 {
		m.account.Spend(r, n)
		m.spent[r].Store(0)
	}
	m.aside[r] -= m.owed[r]
	c := m.credit[r].Load()
	n := c - m.owed[r] - m.aside[r]
	m.owed[r] = 0
	if c != m.aside[r] {
		m.credit[r].Store(m.aside[r])
	}
	if n != 0 {
		m.account.give(r, n)
	}
}

// TakeFrames debits n frames; with ReturnFrames it makes Meter a packet.Payer.
func (m *Meter) TakeFrames(n int) bool { return m.TryTake(Frames, int64(n)) }

// ReturnFrames gives back n frames.
func (m *Meter) ReturnFrames(n int) { m.Return(Frames, int64(n)) }
