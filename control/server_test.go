package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
)

var quiet = slog.New(slog.DiscardHandler)

// start runs a node on a segment in memory.
func start(t *testing.T, edit func(*node.Spec)) *node.Node {
	t.Helper()
	s := &node.Spec{
		Name: "n1", Addr: 0x0aff0001, Frames: 2048,
		Links: []node.Link{{Name: "eth0", Options: map[string]string{"addr": "10.0.0.1/24"}}},
		ANTS:  node.ANTS{Protocols: []string{"../examples/capsules/ping/protocol.yaml"}},
	}
	if edit != nil {
		edit(s)
	}
	segments := mem.NewNet()
	n, err := node.Start(s, node.Env{OpenLink: func(o *nodeos.Node, l node.Link) (nodeos.Link, error) {
		return segments.Open(o, o.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Opts: l.Options})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// serve offers n on a socket of its own.
func serve(t *testing.T, n *node.Node) (*Server, *Client) {
	t.Helper()
	s, err := Serve(n, filepath.Join(t.TempDir(), "c"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, Dial(s.Path())
}

func TestEverythingIsAnswered(t *testing.T) {
	n := start(t, nil)
	s, c := serve(t, n)
	ctx := t.Context()
	if fi, err := os.Lstat(s.Path()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", fi, err)
	}
	st, err := c.Status(ctx)
	if err != nil || st.Node != "n1" || len(st.Links) != 1 || len(st.Workers) != 1 || len(st.Channels) == 0 || st.Frames["free"] == 0 {
		t.Errorf("status %+v, %v", st, err)
	}
	as, err := c.Accounts(ctx)
	if err != nil || len(as) < 4 || as[0].Path != "node" {
		t.Errorf("accounts %+v, %v", as, err)
	}
	if _, err := c.Routes(ctx); err != nil {
		t.Error(err)
	}
	a, err := c.ANTS(ctx)
	if err != nil || len(a.Protocols) != 1 || a.Protocols[0].Name != "ping" {
		t.Errorf("ants %+v, %v", a, err)
	}
	g, err := c.Graph(ctx)
	if err != nil || g != n.GraphText() {
		t.Errorf("graph %q, %v", g, err)
	}
	if v, err := c.ReadHandler(ctx, "ants.class"); err != nil || v != "ANTS" {
		t.Errorf("handler %q, %v", v, err)
	}
	if r, err := c.Register(ctx, "../examples/capsules/trace/protocol.yaml"); err != nil || r.Name != "trace" || len(r.Methods) == 0 {
		t.Errorf("registered %+v, %v", r, err)
	}
}

func TestBadRequests(t *testing.T) {
	n := start(t, nil)
	_, c := serve(t, n)
	ok := `"protocol":"ping","class":"ping","dst":"10.255.0.1"`
	for _, q := range []struct {
		method, path, body string
		kind               errs.Kind
		code               int
	}{
		{"GET", "/", "", errs.NotFound, 404},
		{"GET", "/v1/nothing", "", errs.NotFound, 404},
		{"DELETE", "/v1/status", "", errs.NotFound, 404},
		{"GET", "/v1/events?since=-1", "", errs.Invalid, 400},
		{"GET", "/v1/events?since=18446744073709551616", "", errs.Invalid, 400},
		{"GET", "/v1/handler?name=nobody.count", "", errs.NotFound, 404},
		{"GET", "/v1/handler", "", errs.NotFound, 404},
		{"GET", "/v1/ants/receive?port=65536", "", errs.Invalid, 400},
		{"GET", "/v1/ants/receive", "", errs.Invalid, 400},
		{"POST", "/v1/ants/send", "", errs.Invalid, 400},
		{"POST", "/v1/ants/send", "{", errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{"colour":"red"}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `} {}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `,"count":-1}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `,"count":1048577}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `,"interval_ns":-5}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `,"payload":"AAAAAA==","seq_at":2}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{` + ok + `,"payload":"AAAAAA==","seq_at":-1}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", fmt.Sprintf(`{%s,"payload":"AAAAAA==","seq_at":%d}`, ok, math.MaxInt64), errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{"protocol":"absent","class":"x","dst":"10.255.0.1"}`, errs.NotFound, 404},
		{"POST", "/v1/ants/probe", `{` + ok + `}`, errs.Invalid, 400},
		{"POST", "/v1/ants/probe", `{` + ok + `,"payload":"AAAAAA==","seq_at":1,"wait_ns":99000000000}`, errs.Invalid, 400},
		{"POST", "/v1/ants/send", `{"payload":"` + strings.Repeat("A", maxBody) + `"}`, errs.TooBig, 413},
	} {
		r, err := http.NewRequest(q.method, "http://node"+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Errorf("%s %s %.80s: %v", q.method, q.path, q.body, err)
			continue
		}
		var p Problem
		err = json.NewDecoder(resp.Body).Decode(&p)
		resp.Body.Close()
		if err != nil || p.Kind != q.kind || resp.StatusCode != q.code || p.Text == "" || p.Name == "" {
			t.Errorf("%s %s %.80s: status %d, %+v, %v; want %d and %v", q.method, q.path, q.body, resp.StatusCode, p, err, q.code, q.kind)
		}
	}
	if _, err := c.Register(t.Context(), "/no/such.yaml"); errs.KindOf(err) == errs.OK {
		t.Error("a bundle that is not there was registered")
	}
}

// Without the layers, their paths say that they are off.
func TestLayersThatAreOff(t *testing.T) {
	n := start(t, func(s *node.Spec) { s.ANTS, s.Routing = node.ANTS{Off: true}, node.Routing{Off: true} })
	_, c := serve(t, n)
	ctx := t.Context()
	_, routes := c.Routes(ctx)
	_, a := c.ANTS(ctx)
	_, send := c.Send(ctx, SendRequest{})
	_, read := c.ReadHandler(ctx, "x.y")
	for what, err := range map[string]error{
		"routes": routes, "ants": a, "send": send, "read": read, "write": c.WriteHandler(ctx, "x.y", ""),
		"receive": c.Receive(ctx, 1, func(Delivery) error { return nil }),
	} {
		if errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatLiesAtThePath(t *testing.T) {
	n := start(t, func(s *node.Spec) { s.ANTS, s.Routing = node.ANTS{Off: true}, node.Routing{Off: true} })
	path := filepath.Join(t.TempDir(), "c")

	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(n, path, quiet); errs.KindOf(err) != errs.Exists {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Fatalf("the file is %q, %v", b, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(n, path, quiet); errs.KindOf(err) != errs.Exists {
		t.Errorf("over somebody's socket of another type: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}

	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	first, err := Serve(n, path, quiet)
	if err != nil {
		t.Fatalf("over a socket that nobody answers on: %v", err)
	}
	if _, err := Serve(n, path, quiet); errs.KindOf(err) != errs.Exists {
		t.Errorf("over a running node: %v", err)
	}

	// Somebody removes the socket, and another node takes the path: the first one's end leaves it alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Serve(n, path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(path).Status(t.Context()); err != nil {
		t.Errorf("the second node's socket went with the first: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if es, err := os.ReadDir(filepath.Dir(path)); err != nil || len(es) != 0 {
		t.Errorf("left: %v, %v", es, err)
	}
	if _, err := Serve(n, filepath.Join(path, "no", "such"), quiet); errs.KindOf(err) != errs.Invalid {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestClientOfNobody(t *testing.T) {
	n := start(t, nil)
	s, c := serve(t, n)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.Status(gone); errs.KindOf(err) != errs.Timeout {
		t.Errorf("after the context's end: %v", err)
	}
	if err := n.Close(); err != nil { // the socket outlives the node for a moment
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status of a closed node: %v", err)
	}
	_, routes := c.Routes(t.Context())
	_, probe := c.Probe(t.Context(), ProbeRequest{SendRequest: SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, Payload: make([]byte, 8), SeqAt: 1}})
	for what, err := range map[string]error{
		"routes": routes, "probe": probe, "receive": c.Receive(t.Context(), 9, func(Delivery) error { return nil }),
	} {
		if k := errs.KindOf(err); k != errs.Dead {
			t.Errorf("%s of a closed node: %v", what, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := c.Status(t.Context()); errs.KindOf(err) != errs.Unreachable || !strings.Contains(err.Error(), c.Path()) {
			t.Errorf("of nobody: %v", err)
		}
	}
}

// Many clients at once, of everything, while protocols are registered and the graph is asked.
func TestManyClients(t *testing.T) {
	n := start(t, nil)
	_, c := serve(t, n)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := Dial(c.Path())
			for i := range 20 {
				var err error
				switch (g + i) % 6 {
				case 0:
					_, err = c.Status(t.Context())
				case 1:
					_, err = c.Accounts(t.Context())
				case 2:
					_, err = c.ANTS(t.Context())
				case 3:
					_, err = c.ReadHandler(t.Context(), "ants.config")
				case 4:
					_, err = c.Send(t.Context(), SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, SrcPort: 7, Payload: make([]byte, 8), Count: 10})
				case 5:
					err = c.Events(t.Context(), 0, false, func([]byte) error { return nil })
				}
				if err != nil {
					t.Errorf("client %d, request %d: %v", g, i, err)
				}
			}
		}()
	}
	wg.Wait()
}

func TestEventsFollow(t *testing.T) {
	n := start(t, func(s *node.Spec) { s.ANTS, s.Routing = node.ANTS{Off: true}, node.Routing{Off: true} })
	s, c := serve(t, n)
	for i := range 5 {
		n.Events().Add(map[string]int{"n": i})
	}
	read := func(line []byte) (v struct{ N int }) {
		if err := json.Unmarshal(line, &v); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		return v
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	next := 2
	err := c.Events(ctx, 2, true, func(line []byte) error {
		if v := read(line); v.N != next {
			t.Errorf("event %d, want %d", v.N, next)
		}
		if next++; next == 5 {
			n.Events().Add(map[string]int{"n": 5}) // comes although nobody asks again
		}
		if next == 6 {
			stop()
		}
		return nil
	})
	if err != nil || next != 6 {
		t.Errorf("followed to %d, %v", next, err)
	}

	// An error of the caller's ends it, and is what is returned.
	mine := errors.New("enough")
	if err := c.Events(t.Context(), 0, true, func([]byte) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("%v", err)
	}
	var all int
	if err := c.Events(t.Context(), 0, false, func([]byte) error { all++; return nil }); err != nil || all != 6 {
		t.Errorf("%d events, %v", all, err)
	}

	// The server's end is the stream's.
	ended := make(chan error)
	ready := make(chan struct{}, 10)
	go func() {
		ended <- c.Events(t.Context(), 5, true, func([]byte) error { ready <- struct{}{}; return nil })
	}()
	<-ready
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil && errs.KindOf(err) != errs.Unreachable {
		t.Errorf("%v", err)
	}
}

func TestReceive(t *testing.T) {
	n := start(t, nil)
	_, c := serve(t, n)
	const count = 50
	got := 0
	err := c.ReceiveFor(t.Context(), 99, 20*time.Second, func() error {
		s, err := c.Send(t.Context(), SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, SrcPort: 1, DstPort: 99, Payload: make([]byte, 8), SeqAt: 1, Count: count})
		if err == nil && s.Sent != count {
			err = fmt.Errorf("sent %+v", s)
		}
		return err
	}, func(d Delivery) error {
		if d.Src != 0x0aff0001 || d.DstPort != 99 || d.Lost != 0 {
			t.Errorf("delivery %+v", d)
		}
		if got++; got == count {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) || got != count {
		t.Errorf("%d deliveries, %v", got, err)
	}
	// The port is free again as soon as the node has noticed, and two cannot have it.
	busy := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := c.ReceiveReady(ctx, 98, func() { close(busy) }, func(Delivery) error { return nil }); err != nil {
			t.Error(err)
		}
	}()
	<-busy
	if err := c.Receive(t.Context(), 98, func(Delivery) error { return nil }); errs.KindOf(err) != errs.Exists {
		t.Errorf("a port twice: %v", err)
	}
	stop()
	wg.Wait()
}

// A client that does not read loses deliveries, is told how many, and holds up nobody.
func TestReceiveBySlowReader(t *testing.T) {
	n := start(t, nil)
	s, c := serve(t, n)
	conn, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/ants/receive?port=97 HTTP/1.1\r\nHost: node\r\n\r\n")
	for { // until the port is open
		var open bool
		a, err := c.ANTS(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, app := range a.Apps {
			open = open || app.Port == 97
		}
		if open {
			break
		}
	}
	delivered := func() (n uint64) {
		a, err := c.ANTS(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, app := range a.Apps {
			if app.Port == 97 {
				n = app.Queue.Packets
			}
		}
		return n
	}
	for delivered() < 3*receiveRing {
		if _, err := c.Send(t.Context(), SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, SrcPort: 1, DstPort: 97, Payload: make([]byte, 200), Count: 500}); err != nil {
			t.Fatal(err)
		}
	}
	// Now it reads: what had room, then what comes with the number of those that had none.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp := json.NewDecoder(answer.Body)
	var first Delivery
	if err := resp.Decode(&first); err != nil {
		t.Fatal(err)
	}
	var lost, seen uint64
	for lost == 0 {
		if seen%1000 == 0 {
			if _, err := c.Send(t.Context(), SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, SrcPort: 1, DstPort: 97, Payload: make([]byte, 200), Count: 500}); err != nil {
				t.Fatal(err)
			}
		}
		var d Delivery
		if err := resp.Decode(&d); err != nil {
			t.Fatal(err)
		}
		lost += d.Lost
		seen++
	}
	if total := delivered(); seen+lost > total {
		t.Errorf("%d came, %d were lost, of %d", seen, lost, total)
	}
	// The server ends although another client does not read at all.
	idle, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	fmt.Fprintf(idle, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: node\r\n\r\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
