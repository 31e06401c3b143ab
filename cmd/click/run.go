package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	_ "github.com/janos-os/janos/channels/all"
	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elements/control"
	_ "github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// simStart is what the calendar reads when simulated time begins.
const simStart = 1_000_000_000

// run is the whole command; it returns the exit status. A signal ends it unless a script of the configuration takes it.
func run(ctx context.Context, signals <-chan os.Signal, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "click: %v\nTry 'click --help'.\n", err)
		return 2
	case o.help:
		fmt.Fprint(stdout, usage)
		return 0
	case o.version:
		v := version
		if info, ok := debug.ReadBuildInfo(); ok && v == "unknown" && info.Main.Version != "" {
			v = info.Main.Version
		}
		fmt.Fprintf(stdout, "click (Janos) %s\n", v)
		return 0
	}
	name, text, err := source(o, stdin)
	if err != nil {
		fmt.Fprintf(stderr, "click: %v\n", err)
		return 1
	}
	spec, err := o.parse(name, text)
	if err != nil {
		fmt.Fprintf(stderr, "%v\n", err)
		return 1
	}
	if o.hasOutput {
		if err := write(o.output, spec.String(), stdout); err != nil {
			fmt.Fprintf(stderr, "click: %v\n", err)
			return 1
		}
	}
	s, err := start(o, spec, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%v\nRouter could not be initialized!\n", err)
		return 1
	}
	defer s.close()
	began := time.Now()
	if !o.quit {
		s.drive(ctx, signals)
	}
	if o.time {
		fmt.Fprintf(stderr, "%.3fs real\n", time.Since(began).Seconds())
	}
	s.router.Stop()
	return s.report(o, stdout, stderr)
}

// parse reads a configuration and adds the sockets that the options ask for.
func (o *options) parse(name, text string) (*click.GraphSpec, error) {
	path := os.Getenv("CLICKPATH")
	if o.hasPath {
		path = o.path
	}
	spec, err := click.Parse(name, text, click.ParseOptions{Vars: o.vars, Library: library(path), Lines: true})
	if err != nil {
		return nil, err
	}
	for i, args := range o.sockets {
		n := lang.Node{Name: "click_driver@@ControlSocket", Class: "ControlSocket", Args: lang.SplitArgs(args)}
		if i > 0 {
			n.Name += "@" + strconv.Itoa(i+1)
		}
		spec.Elements = append(spec.Elements, n)
	}
	return spec, nil
}

// source reads the configuration.
func source(o *options, stdin io.Reader) (name, text string, err error) {
	if o.hasText {
		return "config", o.text, nil
	}
	var b []byte
	if o.file == "" || o.file == "-" {
		name = "<stdin>"
		b, err = io.ReadAll(stdin)
	} else {
		name = o.file
		b, err = os.ReadFile(o.file)
	}
	return name, string(b), err
}

// library finds a file for require(library NAME): in the directories of path and their conf directories, then as it is.
func library(path string) func(name string) (file, text string, err error) {
	return func(name string) (file, text string, err error) {
		var tries []string
		for _, dir := range filepath.SplitList(path) {
			if dir != "" {
				tries = append(tries, filepath.Join(dir, "conf", name), filepath.Join(dir, name))
			}
		}
		for _, f := range append(tries, name) {
			b, rerr := os.ReadFile(f)
			if rerr == nil {
				return f, string(b), nil
			}
			err = rerr
		}
		return "", "", err
	}
}

func write(file, text string, stdout io.Writer) error {
	if file == "-" {
		_, err := io.WriteString(stdout, text)
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// session is a node with the router.
type session struct {
	node   *nodeos.Node
	clk    *clock.Virtual // with simulated time
	router *click.Router
	next   chan *click.Router // one that has taken the place of router
}

func start(o *options, spec *click.GraphSpec, stdout, out io.Writer) (*session, error) {
	s := &session{next: make(chan *click.Router, 1)}
	// As many views as frames: a smaller pool begins sooner, and programs that run for a moment are many.
	ns := nodeos.NodeSpec{Name: "click", Workers: o.threads, Packets: packet.PoolSpec{Packets: packet.DefaultFrames}}
	if o.sim {
		s.clk = clock.NewVirtual(time.Unix(simStart-1, 0))
		s.clk.Advance(time.Second) // so that the beginning is a time, and not none
		ns.Clock, ns.Stepped = s.clk, true
	} else {
		ns.Clock = clock.NewWarped()
		ns.Seed = uint64(time.Now().UnixNano())
	}
	var err error
	if s.node, err = nodeos.NewNode(ns); err != nil {
		return nil, err
	}
	if o.pinned && !o.sim {
		if err := pin(s.node, o.pin); err != nil {
			s.node.Close()
			return nil, err
		}
	}
	env := click.Env{Domain: s.node.Root(), Output: out, Stdout: stdout, Host: true, Threads: o.threads}
	if o.reconfigure {
		env.Parse = func(text string) (*click.GraphSpec, error) {
			spec, err := o.parse("hotconfig", text)
			if err != nil {
				return nil, err
			}
			return spec, openLinks(s.node, spec, o.driver)
		}
		env.Replaced = func(r *click.Router) {
			select {
			case <-s.next: // nobody has asked for the one before
			default:
			}
			s.next <- r
		}
	}
	if err = openLinks(s.node, spec, o.driver); err == nil {
		s.router, err = click.New(spec, env)
	}
	if err != nil {
		s.node.Close()
		return nil, err
	}
	return s, nil
}

// pin gives each worker a processor of its own, the first one that with the given number, which the process's first thread gets too.
func pin(n *nodeos.Node, first int) error {
	err := sys.Pin(os.Getpid(), first)
	for i := range n.Workers() {
		n.Worker(i).Call(func() {
			if werr := sys.Pin(0, (first+i)%runtime.NumCPU()); err == nil {
				err = werr
			}
		})
	}
	if err != nil {
		return fmt.Errorf("--affinity: %w", err)
	}
	return nil
}

// openLinks opens the links that the elements of spec name.
func openLinks(n *nodeos.Node, spec *click.GraphSpec, driver string) error {
	for i := range spec.Elements {
		e := &spec.Elements[i]
		switch e.Class {
		case "FromDevice", "ToDevice", "FromChannel", "ToChannel":
		default:
			continue
		}
		if len(e.Args) == 0 {
			continue // the element complains
		}
		first := lang.Unquote(e.Args[0])
		first = strings.TrimPrefix(strings.TrimPrefix(first, "DEVNAME "), "PROTOCOL ")
		p, err := demux.ParseProtocol(first)
		if err != nil || p.Link == demux.AnyLink {
			continue
		}
		if _, err := n.Link(p.Link); err == nil {
			continue
		}
		link := nodeos.LinkSpec{Name: p.Link, Driver: driver}
		if promiscuous(spec, p.Link) {
			link.Opts = map[string]string{"promisc": "true"}
		}
		if _, err := n.OpenLink(link); err != nil {
			return fmt.Errorf("%v: '%s :: %s': %w", e.Pos, e.Name, e.Class, err)
		}
	}
	return nil
}

// promiscuous reports whether a FromDevice of spec wants frames for other hardware addresses from a link.
func promiscuous(spec *click.GraphSpec, link string) bool {
	for i := range spec.Elements {
		e := &spec.Elements[i]
		if e.Class != "FromDevice" || len(e.Args) == 0 || strings.TrimPrefix(lang.Unquote(e.Args[0]), "DEVNAME ") != link {
			continue
		}
		for at, arg := range e.Args {
			word, value := lang.NextWord(arg)
			if at == 1 && value == "" {
				word, value = "PROMISC", arg
			}
			var on bool
			if word == "PROMISC" && click.Bool(&on)(value, nil) == nil && on {
				return true
			}
		}
	}
	return false
}

// drive runs the router until it stops, ctx ends or a signal comes that no script takes.
func (s *session) drive(ctx context.Context, signals <-chan os.Signal) {
	for s.clk == nil {
		select {
		case <-ctx.Done():
			return
		case s.router = <-s.next:
		case <-s.router.Done():
			if s.replaced() {
				continue
			}
			return
		case sig := <-signals:
			if !control.Handles(s.router, sig) {
				return
			}
		}
	}
	for {
		select {
		case sig := <-signals:
			if !control.Handles(s.router, sig) {
				return
			}
		case <-ctx.Done():
			return
		case s.router = <-s.next:
		case <-s.router.Done():
			if s.replaced() {
				continue
			}
			return
		default:
		}
		if s.node.Step() {
			continue
		}
		at := s.node.NextEvent()
		if at == clock.Never {
			return // nothing will ever happen again
		}
		s.clk.AdvanceTo(at)
	}
}

// replaced goes on to the router that has taken the place of the present one, if any has.
func (s *session) replaced() bool {
	n := s.router.Next()
	if n != nil {
		s.router = n
	}
	return n != nil
}

func (s *session) close() {
	s.router.Close()
	s.node.Close()
}

// report prints the handlers that were asked for.
func (s *session) report(o *options, stdout, stderr io.Writer) int {
	code := 0
	for _, h := range o.handlers {
		v, err := s.router.Read(h, "")
		if err != nil {
			fmt.Fprintf(stderr, "click: %v\n", err)
			code = 1
			continue
		}
		if len(o.handlers) > 1 {
			fmt.Fprintf(stdout, "%s:\n", h)
		}
		fmt.Fprint(stdout, v)
		if !strings.HasSuffix(v, "\n") {
			fmt.Fprintln(stdout)
		}
		if len(o.handlers) > 1 {
			fmt.Fprintln(stdout)
		}
	}
	if o.exit != "" {
		v, err := s.router.Read(o.exit, "")
		switch strings.TrimSpace(v) {
		case "true", "0":
		default:
			code = 1
		}
		if err != nil {
			fmt.Fprintf(stderr, "click: %v\n", err)
		}
	}
	return code
}
