package elementtest

import (
	"bytes"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/internal/script"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

var update = flag.Bool("update", false, "rewrite the expected transcripts of scripts")

// Session is a graph on a stepped node of its own.
type Session struct {
	Node   *nodeos.Node
	Clock  *clock.Virtual
	Router *click.Router
	out    bytes.Buffer
}

// Options of a session; the zero value is useful.
type Options struct {
	Vars   map[string]string
	Values map[string]any
	Frames int         // of the node's pool; 0: 4096
	Rand   *clock.Rand // the router's; nil: that of a node with seed 1
	Host   bool        // see click.Env
	// Unmerged is that of click.Env.
	Unmerged bool
	// Prepare sees the node before the router is made, to open links on it.
	Prepare func(n *nodeos.Node) error
}

// New starts a graph in a domain of its own on a new stepped node. The error is that of parsing or of click.New.
func New(t testing.TB, config string, opt Options) (*Session, error) {
	t.Helper()
	if opt.Frames == 0 {
		opt.Frames = 4096
	}
	s := &Session{Clock: clock.NewVirtual(time.Time{})}
	s.Clock.AdvanceTo(clock.Time(time.Second))
	var err error
	s.Node, err = nodeos.NewNode(nodeos.NodeSpec{Name: "test", Clock: s.Clock, Seed: 1, Stepped: true, Packets: packet.PoolSpec{Frames: opt.Frames}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Node.Close(); err != nil {
			t.Error(err)
		}
	})
	if opt.Prepare != nil {
		if err := opt.Prepare(s.Node); err != nil {
			t.Fatal(err)
		}
	}
	g, err := click.Parse("config", config, click.ParseOptions{Vars: opt.Vars})
	if err != nil {
		return s, err
	}
	d, err := s.Node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"elementtest": s}
	for k, v := range opt.Values {
		values[k] = v
	}
	s.Router, err = click.New(g, click.Env{Domain: d, Output: &s.out, Stdout: &s.out, Values: values, Host: opt.Host, Rand: opt.Rand, Unmerged: opt.Unmerged})
	return s, err
}

// Close ends the router and returns how many frames it still holds, which should be none.
func (s *Session) Close() int64 {
	d := s.Router.Domain()
	s.Router.Close()
	s.Node.Step()
	return d.Account().Use(resctl.Frames)
}

// Run lets d pass. It reports false when the graph never became idle.
func (s *Session) Run(d time.Duration) bool {
	until := s.Clock.Now().Add(d)
	for range 200_000 {
		if s.Node.Step() {
			continue
		}
		at := s.Node.NextEvent()
		if at > until {
			s.Clock.AdvanceTo(until)
			return true
		}
		s.Clock.AdvanceTo(at)
	}
	return false
}

// Send pushes packets in the notation of Build, apart by semicolons, into a ScriptIn as one batch.
func (s *Session) Send(in, packets string) error {
	el, ok := s.Router.Element(in).(*ScriptIn)
	if !ok {
		return fmt.Errorf("no ScriptIn named '%s'", in)
	}
	var err error
	derr := s.Router.Do(func() {
		b := el.Thread().Scratch()
		defer el.Thread().Release(b)
		for _, text := range strings.Split(packets, ";") {
			var p *packet.Packet
			if p, err = Build(el.Cache(), el.Owner(), text); err != nil {
				el.Cache().FreeBatch(b)
				return
			}
			b.Append(p)
		}
		el.Out(0).Push(b)
	})
	if derr != nil {
		return derr
	}
	return err
}

// Do runs one command of a script and returns what it printed.
func (s *Session) Do(line string) string {
	cmd, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	name, arg, _ := strings.Cut(strings.TrimSpace(rest), " ")
	var err error
	switch cmd {
	case "send":
		if err = s.Send(name, arg); err == nil && !s.Run(0) {
			err = fmt.Errorf("the graph does not become idle")
		}
	case "run":
		var d time.Duration
		if d, err = time.ParseDuration(name); err == nil && !s.Run(d) {
			err = fmt.Errorf("the graph does not become idle")
		}
	case "read":
		var v string
		if v, err = s.Router.Read(name, arg); err == nil {
			s.out.WriteString(v)
			if !strings.HasSuffix(v, "\n") {
				s.out.WriteByte('\n')
			}
		}
	case "write":
		if err = s.Router.Write(name, arg); err == nil {
			s.Run(0)
		}
	default:
		err = fmt.Errorf("unknown command '%s', known are send, run, read, write", cmd)
	}
	if err != nil {
		fmt.Fprintf(&s.out, "error: %v\n", err)
	}
	v := s.out.String()
	s.out.Reset()
	return v
}

// Transcript runs a whole script.
func (s *Session) Transcript(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		b.WriteString("> " + line + "\n" + s.Do(line))
	}
	return b.String()
}

// Run runs every script that the pattern names as a subtest, and checks that the graphs leave no frame behind. With the flag
// -update the expectations are rewritten.
func Run(t *testing.T, pattern string, opt Options) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts at %s", pattern)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := script.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			s, err := New(t, a.Text("config"), opt)
			if err != nil {
				got = err.Error() + "\n"
			} else {
				got = s.Transcript(a.Text("script"))
				if n := s.Close(); n != 0 {
					t.Errorf("%d frames are still held after the end", n)
				}
			}
			want := a.Get("out")
			if *update {
				if want == nil {
					a.Files = append(a.Files, script.File{Name: "out"})
					want = a.Get("out")
				}
				want.Data = got
				if err := a.Write(file); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != a.Text("out") {
				t.Errorf("got\n%s\nwant\n%s", got, a.Text("out"))
			}
		})
	}
}
