package traffic

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// free returns a loopback address with a port that nobody listens on now.
func free(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serve runs a server until it is ready and returns a function that waits for its result.
func serve[R any](t *testing.T, run func(w io.Writer) (R, error)) func() R {
	t.Helper()
	r, w := io.Pipe()
	var res R
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err = run(w)
		w.Close()
	}()
	line := make([]byte, 6)
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("server said %q, %v", line, err)
	}
	return func() R {
		t.Helper()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the server does not end")
		}
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
}

func TestTransferHashesAgree(t *testing.T) {
	at := free(t, "tcp")
	wait := serve(t, func(w io.Writer) (Transfer, error) { return ReceiveTCP(t.Context(), w, at) })
	sent, err := SendTCP(t.Context(), at, 3<<20+17, 5)
	if err != nil {
		t.Fatal(err)
	}
	got := wait()
	if got.Bytes != 3<<20+17 || got.SHA256 != sent.SHA256 || sent.SHA256 == "" {
		t.Fatalf("sent %+v, received %+v", sent, got)
	}
}

func TestStreamCounts(t *testing.T) {
	at := free(t, "udp")
	wait := serve(t, func(w io.Writer) (UDPReceived, error) { return ReceiveUDP(t.Context(), w, at, 5*time.Second) })
	sent, err := SendUDP(t.Context(), at, 100, time.Millisecond, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	got := wait()
	if sent.Sent != 50 || got.Received != 50 || got.Highest != 50 || got.Duplicates+got.Reordered != 0 {
		t.Fatalf("sent %+v, received %+v", sent, got)
	}
}

func TestSessionEchoes(t *testing.T) {
	at := free(t, "tcp")
	wait := serve(t, func(w io.Writer) (SessionResult, error) { return ServeSession(t.Context(), w, at) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	r, err := Session(ctx, at, time.Millisecond, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lines == 0 || r.Lines != r.Echoed || r.Broken != "" {
		t.Fatalf("client %+v", r)
	}
	if s := wait(); s.Echoed != r.Lines {
		t.Fatalf("client said %d lines, server echoed %d", r.Lines, s.Echoed)
	}
}

func TestEchoOnLoopback(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a raw socket needs root")
	}
	r, err := Echo(t.Context(), netip.MustParseAddr("127.0.0.1"), 5, 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 5 || r.Received != 5 || len(r.RTT) != 5 {
		t.Fatalf("%+v", r)
	}
}
