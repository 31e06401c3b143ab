package click_test

import (
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
)

// alarm sets a timer before the router runs.
type alarm struct {
	click.Base
	timer *click.Timer
	fired []clock.Time
}

func (e *alarm) Configure(a *click.Args) { a.Parse() }

func (e *alarm) Initialize() error {
	e.timer = e.NewTimer(func() { e.fired = append(e.fired, e.Now()) })
	e.timer.SetAfter(time.Minute)
	return nil
}

func init() {
	click.Register(click.Class{Name: "TestAlarm", Ports: "0/0", Processing: "a/a", New: func() click.Element { return &alarm{} },
		Doc: click.Doc{Group: "test", Title: "sets a timer in Initialize", Example: "TestAlarm;"}})
}

// TestTimerSetBeforeTheRouterRuns makes a router long after the clock's zero.
func TestTimerSetBeforeTheRouterRuns(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	v.Advance(time.Hour)
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: v, Stepped: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	g, err := click.Parse("config", "a :: TestAlarm;", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := click.New(g, click.Env{Domain: n.Root(), Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := r.Element("a").(*alarm)
	want := v.Now().Add(time.Minute)
	for n.Step() {
	}
	if len(a.fired) != 0 || a.timer.At() != want {
		t.Errorf("fired at %v, set to %v, want %v", a.fired, a.timer.At(), want)
	}
	v.AdvanceTo(want)
	for n.Step() {
	}
	if len(a.fired) != 1 || a.fired[0] != want {
		t.Errorf("fired at %v, want %v", a.fired, want)
	}
}
