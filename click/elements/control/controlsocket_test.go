package control_test

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
)

// start runs a configuration on a node with a worker of its own.
func start(t *testing.T, text string, replaced func(*click.Router)) *click.Router {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	parse := func(text string) (*click.GraphSpec, error) {
		return click.Parse("config", text, click.ParseOptions{Lines: true})
	}
	spec, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := click.New(spec, click.Env{Domain: n.Root(), Host: true, Parse: parse, Replaced: replaced})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for x := r.Next(); x != nil; x = r.Next() {
			r = x
		}
		r.Close()
	})
	return r
}

// talk sends requests and returns all that comes until the server closes.
func talk(t *testing.T, network, address, requests string) string {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte(requests)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := bufio.NewReader(c).WriteTo(&b); err != nil {
		t.Fatalf("%v after %q", err, b.String())
	}
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

func TestControlSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	start(t, `Idle -> s :: Switch(0) -> Discard; s[1] -> Discard; v :: Script(TYPE PASSIVE, return $args); ro :: ControlSocket(tcp, 0, READONLY true); cs :: ControlSocket(unix, "`+name+`");`, nil)
	got := talk(t, "unix", name, "read s.switch\r\nWRITE s.switch 1\nread 2.switch\rREADDATA v.run 3\na\nbreaduntil v.run END \nx\ny\nEND\nwriteuntil v.set\nz 5\n\n"+
		"writedata s.switch 1\n0check\nCHECKREAD s.switch\ncheckwrite s.name\nchecked s.name\nread nobody.x\nread s.nothing\nread\nwrite s.name 1\nread v.step\nwrite s.switch 9\nread v.kill INT 1\n"+
		"llrpc s#4004C005\nllrpc s#80044006 4\n\x01\x00\x00\x00llrpc s#1\nllrpc v#1\nllrpc x#1\nllrpc s\nllrpc s#1 x\nread s.switch\nreaddata s.switch -1\nread ro.connections\nwrite hotconfig Print\nwrite hotconfig Nonsense\n\nquit\n")
	want := `Click::ControlSocket/1.3
200 Read handler 's.switch' OK
DATA 1
0200 Write handler 's.switch' OK
200 Read handler '2.switch' OK
DATA 1
1200 Read handler 'v.run' OK
DATA 3
a
b200 Read handler 'v.run' OK
DATA 4
x
y
200 Write handler 'v.set' OK
200 Write handler 's.switch' OK
501 Unknown command 'CHECK'
200 Read handler 's.switch' OK
530 Handler 's.name' not writable
501 Unknown command 'CHECKED'
510 No element named 'nobody'
511 No handler named 's.nothing'
500 Wrong number of arguments to 'READ'
530 Handler 's.name' read-only
530 Handler 'v.step' write-only
520-Write handler 's.switch' error:
520 9 is out of range, must be -1 to 1
511 No handler named 'v.kill'
200 LLRPC 's#4004C005' OK
DATA 4
` + "\x00\x00\x00\x00" + `200 LLRPC 's#80044006' OK
DATA 0
501-LLRPC 's#1' error:
501 unknown LLRPC 0x1 with 0 bytes
522 LLRPC 'v#1' error: the element has none
510 No element named 'x'
500 Syntax error in LLRPC: expected ELEMENT#NUMBER
500 Syntax error in LLRPC: expected a number of bytes
200 Read handler 's.switch' OK
DATA 1
1500 Syntax error in 'READDATA': expected a number of bytes
200 Read handler 'ro.connections' OK
DATA 1
0520-Write handler 'hotconfig' error:
520-config:1: 'Print@1 :: Print' input 0 unused
520-config:1: 'Print@1 :: Print' output 0 unused
520 Router could not be initialized!
520-Write handler 'hotconfig' error:
520 config:1: undeclared element 'Nonsense'
200 Goodbye!
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestControlSocketReadOnly(t *testing.T) {
	r := start(t, `s :: Switch(0) -> Discard; Idle -> s; cs :: ControlSocket(tcp, 41700+, READONLY true, PROXY p); p :: Script(TYPE PROXY, return "$0 $args");`, nil)
	port, err := r.Read("cs.port", "")
	if err != nil {
		t.Fatal(err)
	}
	got := talk(t, "tcp", "localhost:"+port, "read a.b c\nwrite a.b c\nread list\nquit\n")
	if want := "Click::ControlSocket/1.3\n200 Read handler 'a.b' OK\nDATA 7\n\"a.b c\"530 Permission denied for 'a.b'\n200 Read handler 'list' OK\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s...", got, want)
	}
}

// TestReplaceKeepsConnections: a client replaces the router and goes on with the new one.
func TestReplaceKeepsConnections(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	config := func(out string) string {
		return `InfiniteSource(LIMIT 7) -> c :: Counter -> q :: Queue(100); Idle -> s :: Switch(` + out + `) -> Discard; s[1] -> Discard; cs :: ControlSocket(unix, "` + name + `"); q -> u :: Unqueue(ACTIVE false) -> Discard`
	}
	r := start(t, config("0"), nil)
	for range 100 { // until the source is done
		if v, err := r.Read("q.length", ""); err != nil || v == "7" {
			break
		}
	}
	next := strings.Replace(config("1"), "LIMIT 7", "LIMIT 0", 1)
	got := talk(t, "unix", name, "read q.length\nread s.switch\nwrite hotconfig "+next+"\nread s.switch\nread q.length\nread c.count\nquit\n")
	want := "Click::ControlSocket/1.3\n200 Read handler 'q.length' OK\nDATA 1\n7200 Read handler 's.switch' OK\nDATA 1\n0200 Write handler 'hotconfig' OK\n" +
		"200 Read handler 's.switch' OK\nDATA 1\n1200 Read handler 'q.length' OK\nDATA 1\n7200 Read handler 'c.count' OK\nDATA 1\n7200 Goodbye!\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
