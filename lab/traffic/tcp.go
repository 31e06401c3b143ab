package traffic

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/janos-os/janos/errs"
)

// Transfer is what one end of a TCP transfer saw.
type Transfer struct {
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
}

// SendTCP connects and sends bytes that seed determines.
func SendTCP(ctx context.Context, to netip.AddrPort, bytes int64, seed uint64) (Transfer, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return Transfer{}, errs.New(errs.Unreachable, "tcp transfer: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	start, h := time.Now(), sha256.New()
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	n, err := io.CopyN(io.MultiWriter(conn, h), rand.NewChaCha8(key), bytes)
	if err != nil {
		return Transfer{}, errs.New(errs.Unreachable, "tcp transfer to %s after %d bytes: %w", to, n, err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return Transfer{}, err
	}
	_, _ = io.Copy(io.Discard, conn) // until the receiver has everything
	return Transfer{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil)), Seconds: time.Since(start).Seconds()}, nil
}

// ReceiveTCP listens, writes a line "ready" to w, and takes one transfer.
func ReceiveTCP(ctx context.Context, w io.Writer, listen netip.AddrPort) (Transfer, error) {
	conn, err := acceptOne(ctx, w, listen)
	if err != nil {
		return Transfer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	start, h := time.Now(), sha256.New()
	n, err := io.Copy(h, conn)
	if err != nil {
		return Transfer{}, errs.New(errs.Unreachable, "tcp transfer from %s after %d bytes: %w", conn.RemoteAddr(), n, err)
	}
	return Transfer{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil)), Seconds: time.Since(start).Seconds()}, nil
}

func acceptOne(ctx context.Context, w io.Writer, listen netip.AddrPort) (net.Conn, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen.String())
	if err != nil {
		return nil, errs.New(errs.Invalid, "tcp: %w", err)
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	io.WriteString(w, "ready\n")
	conn, err := l.Accept()
	if err != nil {
		return nil, errs.New(errs.Timeout, "tcp: nobody connected to %s: %w", listen, err)
	}
	return conn, nil
}

// SessionResult is what a session saw.
type SessionResult struct {
	Lines   int           `json:"lines"`  // said
	Echoed  int           `json:"echoed"` // heard back, in order and unchanged
	Longest time.Duration `json:"longest_ns"`
	Broken  string        `json:"broken,omitempty"` // why it ended early
}

// Session connects, says a line at an interval, waits for each echo, and goes on until the context ends. An echo that takes
// longer than patience breaks the session.
func Session(ctx context.Context, to netip.AddrPort, interval, patience time.Duration) (SessionResult, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return SessionResult{}, errs.New(errs.Unreachable, "session: %w", err)
	}
	defer conn.Close()
	var r SessionResult
	in := bufio.NewReader(conn)
	for ctx.Err() == nil {
		line := fmt.Sprintf("line %d\n", r.Lines)
		start := time.Now()
		if err := conn.SetDeadline(start.Add(patience)); err != nil {
			return r, err
		}
		if _, err := io.WriteString(conn, line); err != nil {
			r.Broken = err.Error()
			return r, nil
		}
		r.Lines++
		got, err := in.ReadString('\n')
		if err != nil || got != line {
			r.Broken = fmt.Sprintf("echo of line %d: %q, %v", r.Lines-1, got, err)
			return r, nil
		}
		r.Echoed++
		r.Longest = max(r.Longest, time.Since(start))
		t := time.NewTimer(interval)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	return r, nil
}

// ServeSession listens, writes a line "ready" to w, and echoes lines to one client until it leaves or the context ends.
func ServeSession(ctx context.Context, w io.Writer, listen netip.AddrPort) (SessionResult, error) {
	conn, err := acceptOne(ctx, w, listen)
	if err != nil {
		return SessionResult{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var r SessionResult
	in := bufio.NewScanner(conn)
	for in.Scan() {
		r.Lines++
		if _, err := fmt.Fprintf(conn, "%s\n", in.Text()); err != nil {
			break
		}
		r.Echoed++
	}
	return r, nil
}
