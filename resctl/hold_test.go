package resctl

import (
	"errors"
	"testing"

	"github.com/janos-os/janos/errs"
)

// TestHold: what is held cannot be taken a second time, nor given back by a fold; what is settled is debited exactly.
func TestHold(t *testing.T) {
	root, _ := newTree(t, Spec{}, 1)
	a, err := root.NewChild(Spec{Name: "a", Limit: Amounts{Fuel: 1000}, Window: -1})
	if err != nil {
		t.Fatal(err)
	}
	m := a.Meter(0)
	if err := m.Hold(Fuel, 600); err != nil {
		t.Fatal(err)
	}
	m.Fold()
	if err := m.Hold(Fuel, 500); !errors.Is(err, errs.Limit) {
		t.Errorf("1100 of 1000 are held: %v", err)
	}
	if m.TryTake(Fuel, 401) {
		t.Error("401 taken of 400")
	}
	if err := m.Hold(Fuel, 300); err != nil { // as a call within a call does
		t.Error(err)
	}
	m.Settle(Fuel, 300, 300)
	m.Fold()
	if got := a.Use(Fuel); got != 300 {
		t.Errorf("300 were used inside, the account says %d", got)
	}
	if !m.TryTake(Fuel, 100) || m.TryTake(Fuel, 1) {
		t.Error("there were 100 left")
	}
	m.Settle(Fuel, 600, 0)
	m.Fold()
	if got := a.Use(Fuel); got != 400 {
		t.Errorf("the account says %d, want 400", got)
	}
	if err := m.Hold(Fuel, -1); err == nil {
		t.Error("less than nothing is held")
	}
	if err := m.Hold(Fuel, 600); err != nil {
		t.Error(err)
	}
	m.Settle(Fuel, 600, 600)
	m.Fold()
	if got := a.Use(Fuel); got != 1000 {
		t.Errorf("the account says %d, want 1000", got)
	}
	for range 100 { // far from a limit
		if err := root.Meter(0).Hold(Fuel, 100_000); err != nil {
			t.Fatal(err)
		}
		root.Meter(0).Settle(Fuel, 100_000, 7)
	}
	root.Meter(0).Fold()
	if got := root.Use(Fuel); got != 1700 {
		t.Errorf("the root says %d, want 1700", got)
	}
}
