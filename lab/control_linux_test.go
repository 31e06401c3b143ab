package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/linkmodel"
)

func TestClientDoesWhatTheOwnerCan(t *testing.T) {
	l := up(t, pairTopology("jtclient"), nil)
	base := l.opt.StateDir
	c, err := Dial(base, "jtclient")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	s, err := c.Status(ctx)
	if err != nil || s.Owner.PID != os.Getpid() || len(s.Nodes) != 2 || s.Nodes[1].PID == 0 || s.Plan.Node("b") == nil {
		t.Errorf("status = %+v, %v", s, err)
	}

	followed := make(chan []string, 1)
	first := make(chan struct{})
	go func() {
		var what []string
		err := c.Events(context.Background(), true, func(e Event) error {
			if what = append(what, e.What); e.What == "ready" {
				close(first)
			}
			return nil
		})
		if err != nil {
			what = append(what, err.Error())
		}
		followed <- what
	}()
	<-first

	var out, msg bytes.Buffer
	code, err := c.Exec(ctx, "a", []string{"sh", "-c", "echo out; echo err >&2; exit 5"}, &out, &msg)
	if code != 5 || err != nil || out.String() != "out\n" || msg.String() != "err\n" {
		t.Errorf("exec: %d, %v, %q, %q", code, err, &out, &msg)
	}
	if _, err := c.Exec(ctx, "z", []string{"true"}, &out, &msg); errs.KindOf(err) != errs.NotFound || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("exec at an unknown node: %v", err)
	}
	if err := c.Do(ctx, Action{Do: Impair, Link: "a-b", Impair: linkmodel.Impairment{Delay: time.Millisecond}}); err != nil {
		t.Error(err)
	}
	if err := c.Do(ctx, Action{Do: Kill, Node: "a"}); err != nil {
		t.Error(err)
	}
	if err := c.Do(ctx, Action{Do: "dance"}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("unknown action: %v", err)
	}
	if list, err := c.Counters(ctx); err != nil || len(list) != 4 {
		t.Errorf("counters = %v, %v", list, err)
	}
	if list, err := c.WireStats(ctx); err != nil || len(list) != 1 || list[0].Name != "a-b" {
		t.Errorf("wire = %v, %v", list, err)
	}
	if err := c.Down(ctx); err != nil {
		t.Error(err)
	}
	got, want := <-followed, []string{"building", "start", "start", "ready", "impair", "ended", "down"}
	if !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
	if _, err := Dial(base, "jtclient"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("Dial after Down: %v", err)
	}
}

func TestPlay(t *testing.T) {
	topo := pairTopology("jtplay")
	topo.Duration = 60 * time.Millisecond
	topo.Actions = []Action{
		{At: 50 * time.Millisecond, Do: LinkUp, Link: "a-b"},
		{At: 10 * time.Millisecond, Do: Kill, Node: "b"},
		{At: 20 * time.Millisecond, Do: Exec, Node: "a", Command: []string{"sh", "-c", "echo one; exit 3"}},
		{At: 30 * time.Millisecond, Do: Exec, Node: "a", Command: []string{"sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"}},
		{At: 40 * time.Millisecond, Do: LinkDown, Link: "a-b"},
	}
	l := up(t, topo, nil)
	start := l.Clock().Now()
	err := l.Play(t.Context())
	if took := l.Clock().Now().Sub(start); took < topo.Duration {
		t.Errorf("a run of %s was over after %s", topo.Duration, took)
	}
	if errs.KindOf(err) != errs.Refused || !strings.Contains(err.Error(), "action at 20ms, exec: node a: sh -c echo one; exit 3: exit code 3") {
		t.Errorf("Play = %v", err)
	}
	var got []string
	for _, e := range l.Events() {
		got = append(got, e.What)
		if len(e.Detail) > maxReport+200 {
			t.Errorf("event keeps %d bytes", len(e.Detail))
		}
	}
	want := []string{"building", "start", "start", "ready", "ended", "exec", "failed", "exec", "link-down", "link-up"}
	if !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Play(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Play of a cancelled context = %v", err)
	}
}

func TestUpRefusesLongSocketPath(t *testing.T) {
	needRoot(t)
	opt := testOptions(t.TempDir() + "/" + strings.Repeat("x", 100))
	if _, err := Up(t.Context(), pairTopology("jtlong"), opt); errs.KindOf(err) != errs.TooBig {
		t.Errorf("Up = %v", err)
	}
	checkGone(t, opt.StateDir, "jtlong")
}
