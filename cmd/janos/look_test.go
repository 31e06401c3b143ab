package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
)

// TestLooking runs the commands that look into a graph.
func TestLooking(t *testing.T) {
	s := &node.Spec{Name: "n1", Addr: 0x0aff0001, Frames: 2048, Links: []node.Link{{Name: "eth0", Options: map[string]string{"addr": "10.0.0.1/24"}}}, ANTS: node.ANTS{Off: true},
		Graph: `src :: RatedSource(DATA \<4500001c 00000000 40110000 0a000001 0a000002 00010002 00080000>, RATE 2000) -> m :: MarkIPHeader -> q :: Queue -> u :: Unqueue -> d :: Discard;`}
	segments := mem.NewNet()
	n, err := node.Start(s, node.Env{OpenLink: func(o *nodeos.Node, l node.Link) (nodeos.Link, error) {
		return segments.Open(o, o.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Opts: l.Options})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	server, err := control.Serve(n, filepath.Join(t.TempDir(), "c"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	t.Setenv("JANOS_CONTROL", server.Path())
	file := filepath.Join(t.TempDir(), "x.pcapng")
	for _, c := range []struct {
		args string
		want string // a regular expression
		kind errs.Kind
	}{
		{"show graph", `m :: MarkIPHeader -> q`, 0},
		{"show graph --format text", `(?s)q :: Queue\n    inputs: push; outputs: pull\n    \[0\] -> u\n`, 0},
		{"show graph --format dot", `(?s)^digraph.*n2 \[label="q :: Queue"\];.*n2 -> n3 \[style=dashed\];`, 0},
		{"show graph --format svg", `(?s)^<svg .*stroke-dasharray.*>q :: Queue</text>.*</svg>\n$`, 0},
		{"show graph --format png", ``, errs.Invalid},
		{"show runtime", `(?s)over .*in elements\nelement .*\nm +MarkIPHeader +[1-9].*d +Discard +[1-9]`, 0},
		{"show runtime --for 50ms --json", `(?s)"over_ns": [1-9].*"name": "src"`, 0},
		{"show runtime --for 1us", ``, errs.Invalid},
		{"monitor --every 20ms --count 2 --lines 3", `(?s)over .*over .*`, 0},
		{"trace --count 2", `(?s)^1 +0\.\d+s +src -> m +28 bytes +10\.0\.0\.1:1 > 10\.0\.0\.2:2 udp ttl 64\n.*2 .*u -> d`, 0},
		{"trace --from q --json", `"from":"q".*"to":"u"`, 0},
		{"trace --from nobody", ``, errs.NotFound},
		{"trace --count 0", ``, errs.Invalid},
		{"tcpdump m --count 3 --snap 20", `\x0a\x0d\x0d\x0a`, 0},
		{"tcpdump [0]d --count 1 --write " + file, `^$`, 0},
		{"tcpdump", ``, errs.Invalid},
		{"click flatten -n -e Idle", `^Idle@1\n$`, 0},
		{"click names", `(?m)^click-undead$`, 0},
		{"click --help", `janos click TOOL`, 0},
		{"click flatten -e a::", ``, errs.Invalid},
		{"click nothing", ``, errs.Invalid},
		{"tcpdump m --count -1", ``, errs.Invalid},
	} {
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(io.Discard)
		root.SetArgs(strings.Fields(c.args))
		err := root.ExecuteContext(t.Context())
		switch {
		case c.kind != 0 && errs.KindOf(err) != c.kind:
			t.Errorf("janos %s: %v, want kind %v", c.args, err, c.kind)
		case c.kind == 0 && err != nil:
			t.Errorf("janos %s: %v", c.args, err)
		case !regexp.MustCompile(c.want).Match(out.Bytes()):
			t.Errorf("janos %s: want %s\n%s", c.args, c.want, &out)
		}
	}
	if b, err := os.ReadFile(file); err != nil || len(b) < 100 {
		t.Errorf("the file has %d bytes, %v", len(b), err)
	}
}
