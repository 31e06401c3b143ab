package main

import (
	"encoding"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/vm/jail"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shape returns the paths of the JSON that a type becomes, with the kinds of what stands there: what programs rely on. A path that may be missing ends in ?.
func shape(v any) string {
	var lines []string
	var walk func(path string, t reflect.Type)
	walk = func(path string, t reflect.Type) {
		switch {
		case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
			lines = append(lines, path+" text")
			return
		case t.Implements(reflect.TypeFor[json.Marshaler]()):
			lines = append(lines, path+" "+t.String())
			return
		}
		switch t.Kind() {
		case reflect.Pointer:
			walk(path, t.Elem())
		case reflect.Slice, reflect.Array:
			walk(path+"[]", t.Elem())
		case reflect.Map:
			walk(path+".*", t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				f := t.Field(i)
				tag, optional, _ := strings.Cut(f.Tag.Get("json"), ",")
				switch {
				case tag == "-" || !f.IsExported() && !f.Anonymous:
					continue
				case f.Anonymous && tag == "":
					walk(path, f.Type)
					continue
				case tag == "":
					tag = f.Name
				}
				if optional == "omitempty" {
					tag += "?"
				}
				walk(path+"."+tag, f.Type)
			}
		case reflect.String:
			lines = append(lines, path+" text")
		case reflect.Bool:
			lines = append(lines, path+" bool")
		default:
			lines = append(lines, path+" number")
		}
	}
	walk("", reflect.TypeOf(v))
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "shape", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s (go test -update writes it anew): %v\nhave\n%s\nwant\n%s", path, err, got, want)
	}
}

// full is a node with everything that show has rows for.
const full = `node: n1
address: 10.255.0.1
frames: 1024
links:
  - {name: a, device: s1, options: {addr: 10.0.0.1/24, mac: "02:00:00:00:00:01"}}
  - {name: b, device: s2, options: {addr: 10.0.1.1/24, mac: "02:00:00:00:01:01"}}
jails: [{name: j, hang: 1m0s}]
pools: [{name: big, limit: 1000000, deadline: 2s}, {name: part, parent: big}]
domains:
  - name: d
    share: 300
    pool: part
    max-run: 10s
    files: {dir: .}
    rights: [new-task, new-in-channel, new-out-channel, new-fd]
    graph: |
      FromChannel(a/ether/ip/udp, :7) -> c :: Counter -> Discard;
  - name: cut
    limits: {frames: 100}
    cut-through: [{in: a/ether/ip/udp, address: ":8", out: b/ether/ip/udp, to: "10.0.1.2:8"}]
`

// runFull runs that node in this process, with links in memory.
func runFull(t *testing.T) (socket string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "n.yaml", full)
	spec, err := node.Load(filepath.Join(dir, "n.yaml"))
	must0(t, err)
	net := mem.NewNet()
	n, err := node.Start(spec, node.Env{Clock: clock.NewReal(), OpenLink: func(n *nodeos.Node, l node.Link) (nodeos.Link, error) {
		return net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Device: l.Device, Opts: l.Options})
	}})
	must0(t, err)
	t.Cleanup(func() { must0(t, n.Close()) })
	socket = filepath.Join(dir, "s")
	s, err := control.Serve(n, socket, slog.New(slog.DiscardHandler))
	must0(t, err)
	t.Cleanup(func() { must0(t, s.Close()) })
	must0(t, n.Try("start", time.Hour, func() {}))
	return socket
}

func must0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestShapeOfJSON: what programs read stays where it is.
func TestShapeOfJSON(t *testing.T) {
	socket := runFull(t)
	show := func(cmd string) []string { return []string{"show", cmd, "--json", "--control", socket} }
	for _, c := range []struct {
		name string
		args []string
		v    any
	}{
		{"status", show("status"), &control.Status{}},
		{"links", show("links"), &[]node.LinkState{}},
		{"domains", show("domains"), &[]node.DomainState{}},
		{"pools", show("pools"), &[]node.PoolState{}},
		{"jails", show("jails"), &[]jail.Status{}},
		{"threads", show("threads"), &threads{}},
		{"accounts", show("accounts"), &[]control.Account{}},
		{"runtime", show("runtime"), &control.GraphRuntime{}},
		{"doctor", []string{"doctor", "--json"}, &doctorReport{}},
	} {
		golden(t, c.name+".txt", shape(c.v))
		out, _ := janos(t, t.TempDir(), 0, c.args...)
		d := json.NewDecoder(strings.NewReader(out))
		d.DisallowUnknownFields()
		if err := d.Decode(c.v); err != nil {
			t.Errorf("janos %s: %v in\n%s", strings.Join(c.args, " "), err, out)
		}
	}
}

// TestShowTables: the same for people.
func TestShowTables(t *testing.T) {
	socket := runFull(t)
	for cmd, wants := range map[string][]string{
		"links":   {"link  interface  asked  driver  state  opened  why\n", "a     s1         auto   mem     up     1       \n"},
		"domains": {"node/big/part/d", "10s ", "part  n1/d\n", "rights: new-task, new-fd, new-in-channel, new-out-channel\n", "files: 0 open", "0/100"},
		"pools":   {"node/big/part", "node/big ", "0/1000000", "2s", "node/big/part/d\n"},
		"jails":   {"namespaces mnt net pid ipc uts", "\nj "},
		"threads": {"worker  turns  own time\n", "link a"},
		"config":  {"node: \"n1\"\n", "cut-through:\n", "    pool: \"part\"\n", "graph: |\n"},
		"status":  {"the start is undone in "},
	} {
		out, _ := janos(t, t.TempDir(), 0, "show", cmd, "--control", socket)
		for _, w := range wants {
			if !strings.Contains(out, w) {
				t.Errorf("show %s: no %q in\n%s", cmd, w, out)
			}
		}
	}
	// What is printed is a node file, and the same node.
	dir := t.TempDir()
	out, _ := janos(t, dir, 0, "show", "config", "--control", socket)
	write(t, dir, "n.yaml", out)
	again, _ := janos(t, dir, 0, "node", "print", "n.yaml")
	if out != again {
		t.Errorf("printed again it differs:\n%s\n%s", out, again)
	}
}
