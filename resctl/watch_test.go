package resctl

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

// Only what the watched account's own limit says is told, and everything that comes back to it.
func TestWatchMemory(t *testing.T) {
	root, err := NewTree(Spec{Name: "node", Limit: Amounts{Memory: 1000}}, clock.NewVirtual(time.Time{}), 1)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := root.NewChild(Spec{Name: "pool", Limit: Amounts{Memory: 100, Frames: 1}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := pool.NewChild(Spec{Name: "a", Limit: Amounts{Memory: 90}})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	pool.WatchMemory(
		func(asked, use, limit int64) { told = append(told, fmt.Sprintf("refused %d %d %d", asked, use, limit)) },
		func(use int64) { told = append(told, fmt.Sprintf("use %d", use)) })
	if a.Take(Memory, 95) == nil || pool.Take(Memory, 30) != nil || a.Take(Memory, 80) == nil || a.Take(Memory, 60) != nil || a.Take(Frames, 2) == nil {
		t.Fatal("the limits do not hold")
	}
	a.Return(Memory, 10)
	pool.Return(Memory, 30)
	if want := []string{"refused 80 30 100", "use 80", "use 50"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
