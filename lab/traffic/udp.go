package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/janos-os/janos/errs"
)

// streamMagic begins every datagram of a stream, so that strays are not counted.
const streamMagic = 0x6a6e7564 // "jnud"

// streamHeader is magic, sequence number, and whether it is the last.
const streamHeader = 4 + 8 + 1

// UDPSent is what the sender of a stream did.
type UDPSent struct {
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"` // the kernel had no route or no room; not counted in Sent
}

// UDPReceived is what the receiver of a stream saw.
type UDPReceived struct {
	Received   uint64        `json:"received"`
	Duplicates uint64        `json:"duplicates"`
	Reordered  uint64        `json:"reordered"`
	Highest    uint64        `json:"highest"`    // sequence number, from 1
	LongestGap time.Duration `json:"gap_ns"`     // longest time without a datagram, once the first had come
	GapLost    uint64        `json:"gap_lost"`   // datagrams missing across that gap
	GapStart   int64         `json:"gap_start"`  // Unix nanoseconds
	FirstSeen  int64         `json:"first_seen"` // Unix nanoseconds
}

// SendUDP sends numbered datagrams of size bytes at an interval for a time, and three marked last at the end.
func SendUDP(ctx context.Context, to netip.AddrPort, size int, interval, length time.Duration) (UDPSent, error) {
	if size < streamHeader || size > 1472 || interval < 10*time.Microsecond || length <= 0 {
		return UDPSent{}, errs.New(errs.Invalid, "udp stream: want %d to 1472 bytes and an interval of at least 10us", streamHeader)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return UDPSent{}, errs.New(errs.Unreachable, "udp stream to %s: %w", to, err)
	}
	defer conn.Close()
	var s UDPSent
	buf := make([]byte, size)
	binary.BigEndian.PutUint32(buf, streamMagic)
	start := time.Now()
	for seq := uint64(1); ctx.Err() == nil; seq++ {
		due := start.Add(time.Duration(seq-1) * interval)
		if due.Sub(start) >= length {
			break
		}
		if d := time.Until(due); d > 0 {
			t := time.NewTimer(d)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
		binary.BigEndian.PutUint64(buf[4:], seq)
		if _, err := conn.Write(buf); err != nil {
			s.Failed++ // as if lost on the first link; the number is used up
			continue
		}
		s.Sent++
	}
	buf[12] = 1
	for range 3 {
		_, _ = conn.Write(buf)
	}
	return s, nil
}

// ReceiveUDP listens, writes a line "ready" to w, and counts until the stream ends, the context does, or nothing has
// come for idle after the first datagram.
func ReceiveUDP(ctx context.Context, w io.Writer, listen netip.AddrPort, idle time.Duration) (UDPReceived, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(listen))
	if err != nil {
		return UDPReceived{}, errs.New(errs.Invalid, "udp stream: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	io.WriteString(w, "ready\n")
	var r UDPReceived
	seen := make(map[uint64]bool)
	buf := make([]byte, 2048)
	var last time.Time
	var lastSeq uint64
	for {
		if r.Received > 0 && ctx.Err() == nil {
			conn.SetReadDeadline(time.Now().Add(idle))
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		if n < streamHeader || binary.BigEndian.Uint32(buf) != streamMagic {
			continue
		}
		if buf[12] == 1 {
			return r, nil
		}
		now, seq := time.Now(), binary.BigEndian.Uint64(buf[4:])
		switch {
		case seen[seq]:
			r.Duplicates++
			continue
		case seq < r.Highest:
			r.Reordered++
		}
		seen[seq] = true
		r.Received++
		r.Highest = max(r.Highest, seq)
		if last.IsZero() {
			r.FirstSeen = now.UnixNano()
		} else if d := now.Sub(last); d > r.LongestGap {
			r.LongestGap, r.GapStart = d, last.UnixNano()
			r.GapLost = 0
			if seq > lastSeq {
				r.GapLost = seq - lastSeq - 1
			}
		}
		last, lastSeq = now, seq
	}
}
