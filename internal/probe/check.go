package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// check is a probe and what to say of its answer.
type check struct {
	group  string
	name   string // the row's key: it does not change
	use    string // what it is for
	remedy string // if it is not there
	probe  func() (why string, err error)
}

// patience is how long a probe may take. One that takes longer is left alone.
const patience = 3 * time.Second

// Errors of probes that decide the answer whatever they wrap.
var (
	errAbsent      = errors.New("turned off")
	errUnsupported = errors.New("not supported")
	errUndecided   = errors.New("not decided here")
)

// absent says that an error means that the feature is not there, which its number alone does not say.
func absent(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUnsupported, err)
}

// undecided says that an error is of something that the probe needs and not of the feature. Missing rights are missing rights.
func undecided(what string, err error) error {
	if err == nil || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w, for %s is missing: %w", errUndecided, what, err)
}

// denials are what errors say when a feature is not there or not allowed. Others, such as a lack of memory or of descriptors, say nothing about it.
var denials = []error{
	errAbsent, errUnsupported, errors.ErrUnsupported, fs.ErrPermission, fs.ErrNotExist,
	syscall.EOPNOTSUPP, syscall.EAFNOSUPPORT, syscall.EPROTONOSUPPORT, syscall.ENOSYS, syscall.ENOPROTOOPT,
}

// answer judges what a probe has returned.
func answer(err error) Answer {
	if err == nil {
		return Yes
	}
	if errors.Is(err, errUndecided) {
		return Inconclusive
	}
	for _, d := range denials {
		if errors.Is(err, d) {
			return No
		}
	}
	return Inconclusive
}

// run asks the check's probe. One that panics or does not answer is inconclusive.
func (c *check) run(patience time.Duration) Result {
	type outcome struct {
		why string
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- outcome{"", fmt.Errorf("%w: the probe failed: %v", errUndecided, p)}
			}
		}()
		why, err := c.probe()
		done <- outcome{why, err}
	}()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		o.err = fmt.Errorf("%w: no answer within %v: %w", errUndecided, patience, os.ErrDeadlineExceeded)
	}
	r := Result{Group: c.group, Name: c.name, Answer: answer(o.err), Why: o.why, For: c.use}
	if o.err == nil && r.Why == "" {
		r.Why = "tried, and it works"
	}
	if o.err != nil {
		r.Why = o.err.Error()
		if o.why != "" {
			r.Why = o.why + ": " + r.Why
		}
		r.Remedy = c.remedy
	}
	return r
}
