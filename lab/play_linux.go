package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
)

// maxReport bounds what an event keeps of a command's output.
const maxReport = 4096

// Act carries one action out now; its time is ignored. A command that exits with a code other than zero is an error.
func (l *Lab) Act(ctx context.Context, a Action) error {
	switch a.Do {
	case Kill:
		return l.Kill(a.Node)
	case Stop:
		return l.Stop(a.Node)
	case Start:
		return l.Start(ctx, a.Node)
	case LinkDown:
		return l.SetLink(a.Link, false)
	case LinkUp:
		return l.SetLink(a.Link, true)
	case Impair:
		return l.Impair(a.Link, a.Impair)
	case Exec:
		out := &report{}
		code, err := l.Exec(ctx, a.Node, a.Command, nil, out, out)
		if err != nil {
			return err
		}
		l.event("exec", a.Node, "", fmt.Sprintf("%s: exit %d: %s", strings.Join(a.Command, " "), code, out))
		if code != 0 {
			return errs.New(errs.Refused, "node %s: %s: exit code %d", a.Node, strings.Join(a.Command, " "), code)
		}
		return nil
	}
	if a.Do == Send || a.Do == Probe {
		if l.opt.Capsules == nil {
			return errs.New(errs.NotSupported, "the nodes of lab %s send no capsules", l.plan.Name)
		}
		n, err := l.node(a.Node)
		if err != nil {
			return err
		}
		to, err := l.node(a.Capsule.To)
		if err != nil {
			return err
		}
		l.mu.Lock()
		dir := l.state.Nodes[n.Index].Dir
		l.mu.Unlock()
		detail, err := l.opt.Capsules(ctx, n, dir, a, to)
		if err == nil {
			l.event(string(a.Do), n.Name, "", detail)
		}
		return err
	}
	return errs.New(errs.Invalid, "%q is not an action; use one of %s", clip(string(a.Do)), verbs)
}

// report keeps the beginning of what is written to it.
type report struct {
	buf  bytes.Buffer
	more bool
}

// Write implements io.Writer.
func (r *report) Write(b []byte) (int, error) {
	keep := min(len(b), maxReport-r.buf.Len())
	r.buf.Write(b[:keep])
	r.more = r.more || keep < len(b)
	return len(b), nil
}

// String returns what was kept.
func (r *report) String() string {
	s := strings.TrimSpace(r.buf.String())
	if r.more {
		s += " ..."
	}
	return s
}

// Play carries the topology's actions out, each at its time after now; an action that takes long delays those after it. It returns when the last is
// done and the topology's duration is over, with the errors of all actions that failed, or earlier when ctx ends.
func (l *Lab) Play(ctx context.Context) error {
	actions := slices.Clone(l.plan.Actions)
	slices.SortStableFunc(actions, func(a, b Action) int { return cmp.Compare(a.At, b.At) })
	start := l.events.clk.Now()
	wait := func(at time.Duration) error {
		t := time.NewTimer(start.Add(at).Sub(l.events.clk.Now()))
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-l.downed:
			return errs.New(errs.Dead, "lab %s was taken down", l.plan.Name)
		}
	}
	var all []error
	for _, a := range actions {
		if err := wait(a.At); err != nil {
			return errors.Join(append(all, err)...)
		}
		if err := l.Act(ctx, a); err != nil {
			l.event("failed", a.Node, a.Link, fmt.Sprintf("%s: %v", a.Do, err))
			all = append(all, fmt.Errorf("action at %s, %s: %w", a.At, a.Do, err))
		}
	}
	if err := wait(l.plan.Duration); err != nil {
		all = append(all, err)
	}
	return errors.Join(all...)
}
