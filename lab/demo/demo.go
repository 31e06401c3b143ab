package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
)

// Options say how the demo runs.
type Options struct {
	Topology string    // file
	Capsules string    // directory with the bundles ping, trace and multicast
	Janos    string    // this program, for processes inside the network
	JSON     string    // where to write the Report; empty: nowhere
	Out      io.Writer // the report for people
	Terminal bool      // Out is a terminal: show progress
	Form     lab.Form  // of the network, as lab.BestForm found it
	Why      string    // no better form is possible here
}

// run is what the forms of the demo share.
type run struct {
	opt   Options
	p     *printer
	rep   *Report
	start time.Time
}

// Run runs the demo in the form that Options name. The error says that it failed; why is in the report, which has been
// written in any case.
func Run(ctx context.Context, opt Options) error {
	r := &run{opt: opt, p: &printer{w: opt.Out, terminal: opt.Terminal}, start: time.Now(), rep: &Report{Form: opt.Form.String(), Failures: []string{}}}
	var err error
	if opt.Form == lab.OneProcess {
		err = r.inside(ctx)
	} else {
		err = r.onLinks(ctx)
	}
	return r.conclude(ctx, err)
}

// conclude writes the report and the last line.
func (r *run) conclude(ctx context.Context, err error) error {
	rep, out := r.rep, r.opt.Out
	rep.Took = time.Since(r.start)
	rep.OK = err == nil && len(rep.Failures) == 0
	if r.opt.JSON != "" {
		if werr := r.write(); werr != nil && err == nil {
			err = werr
		}
	}
	r.p.done()
	for _, l := range rep.LeftOut {
		fmt.Fprintf(out, "\nleft out: %s", l)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(out, "\ndemo: interrupted; everything was removed\n")
		return errs.New(errs.Timeout, "the demo was interrupted")
	case err != nil:
		fmt.Fprintf(out, "\ndemo: FAILED: %v\n", err)
		return errs.New(errs.KindOf(err), "the demo failed")
	case len(rep.Failures) > 0:
		fmt.Fprintf(out, "\ndemo: FAILED: %s\n", strings.Join(rep.Failures, "\n              "))
		return errs.New(errs.Corrupt, "%d of %d checks failed", len(rep.Failures), len(rep.Checks))
	}
	if r.opt.JSON != "" {
		fmt.Fprintf(out, "\nreport for programs: %s\n", r.opt.JSON)
	}
	fmt.Fprintf(out, "%d checks passed in %s\ndemo: ok\n", len(rep.Checks), short(rep.Took))
	return nil
}

func (r *run) write() error {
	b, err := json.MarshalIndent(r.rep, "", "  ")
	if err != nil {
		return errs.New(errs.Internal, "report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(r.opt.JSON), 0o755); err != nil {
		return errs.New(errs.Invalid, "report: %w", err)
	}
	if err := os.WriteFile(r.opt.JSON, append(b, '\n'), 0o644); err != nil {
		return errs.New(errs.Invalid, "report: %w", err)
	}
	return nil
}

// leaveOut says what this form of the demo cannot show.
func (r *run) leaveOut(format string, args ...any) {
	r.rep.LeftOut = append(r.rep.LeftOut, fmt.Sprintf(format, args...))
}

// check records a comparison and makes a failure of one that does not hold.
func (r *run) check(what string, ok bool, text string) {
	r.rep.Checks = append(r.rep.Checks, Check{What: what, OK: ok, Text: text})
	if ok {
		r.p.line("checked: %s", what)
		return
	}
	r.p.line("WRONG: %s: %s", what, text)
	r.rep.Failures = append(r.rep.Failures, what+": "+text)
}
