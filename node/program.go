package node

import (
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/wasi"
)

// MaxWords bounds the arguments of a program, and the names of its environment.
const MaxWords = 256

// Program is an ordinary program, compiled for WASI preview 1, that a domain runs. Its files are those of the domain.
type Program struct {
	Code   string   // file of the module, relative to the node file
	Args   []string // nil: the name of the file
	Env    []string // NAME=VALUE
	Stdin  string
	Memory int64  // most bytes of its isolate; 0: what the domain has
	Fuel   uint64 // most in its life; 0: what the domain has
	Time   time.Duration
	Output int64 // bytes that it may print; 0: wasi.DefaultOut
	Names  int   // files and directories that it may make; 0: wasi.DefaultNew
}

// lines is how many lines of a program's output are logged in a second.
const lines = 20

// check reports what is wrong with a program without a node to start it on.
func (p *Program) check(bad func(format string, args ...any)) {
	if p.Code == "" {
		bad("a program without code: write the file of its module")
	}
	total := 0
	for _, s := range append(slices.Clone(p.Args), p.Env...) {
		total += len(s) + 1
		if strings.IndexByte(s, 0) >= 0 {
			bad("program: %q has a zero byte", s)
		}
	}
	if len(p.Args) > MaxWords || len(p.Env) > MaxWords || total > wasi.MaxArgs || p.Memory < 0 || p.Time < 0 || p.Output < 0 || p.Names < 0 {
		bad("program: %d arguments and %d names of the environment of %d bytes: want at most %d of each and %d bytes, and no negative bounds", len(p.Args), len(p.Env), total, MaxWords, wasi.MaxArgs)
	}
	for _, e := range p.Env {
		if !strings.Contains(e, "=") {
			bad("program: env %q: want NAME=VALUE", e)
		}
	}
}

// startProgram starts the program of a domain. n.change is held.
func (n *Node) startProgram(s *Spec, name string, p *Program, d *nodeos.Domain) error {
	if n.env.Stepped {
		return errs.New(errs.NotSupported, "program %s: processes run in real time, and this node is stepped", p.Code)
	}
	code, err := s.program(p.Code)
	if err != nil {
		return err
	}
	if err := n.needEngine(); err != nil {
		return err
	}
	if n.runner == nil {
		if n.runner, err = wasi.New(n.engine, gate.Limits{}); err != nil {
			return err
		}
	}
	says := func(stream string) func(string) {
		return func(line string) { n.env.Log.Info("program", "domain", name, stream, line) }
	}
	args := p.Args
	if args == nil {
		args = []string{p.Code}
	}
	run, err := n.runner.Start(d, wasi.Spec{
		Name: name, Code: code, Args: args, Env: p.Env, Stdin: []byte(p.Stdin), MaxOut: p.Output, MaxNew: p.Names,
		Stdout: wasi.LineLog(n.env.Clock, lines, says("out")), Stderr: wasi.LineLog(n.env.Clock, lines, says("err")),
		Memory: p.Memory, Fuel: p.Fuel, Time: p.Time,
	})
	if err != nil {
		return errs.New(errs.KindOf(err), "program %s: %w", p.Code, err)
	}
	n.cuts.Go(func() {
		<-run.Done()
		n.guestEnded(name, p.Code, d, run.Status())
	})
	return nil
}
