package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
)

// EchoResult is what ICMP echo measured. Times are in microseconds.
type EchoResult struct {
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	RTT      []int64 `json:"rtt_us"` // of those received, in the order of their numbers
}

// Echo sends count ICMP echo requests (RFC 792) to an IPv4 address and waits up to a second for the last answer. It
// needs a raw socket.
func Echo(ctx context.Context, to netip.Addr, count int, interval time.Duration) (EchoResult, error) {
	if !to.Is4() || count < 1 || count > 65535 {
		return EchoResult{}, errs.New(errs.Invalid, "echo to %s, %d times: want an IPv4 address and 1 to 65535", to, count)
	}
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return EchoResult{}, errs.New(errs.Permission, "echo needs a raw socket: %w", err)
	}
	defer conn.Close()
	id := uint16(os.Getpid())
	sent, rtt := make([]time.Time, count), make([]time.Duration, count)
	var r EchoResult
	buf := make([]byte, 1500)
	read := func(until time.Time) error {
		for {
			if err := conn.SetReadDeadline(until); err != nil {
				return err
			}
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if err != nil {
				return err
			}
			ip, _ := from.(*net.IPAddr)
			if n < 8 || buf[0] != 0 || binary.BigEndian.Uint16(buf[4:]) != id || ip == nil || !ip.IP.Equal(to.AsSlice()) {
				continue
			}
			if seq := int(binary.BigEndian.Uint16(buf[6:])); seq < count && rtt[seq] == 0 && !sent[seq].IsZero() {
				rtt[seq] = time.Since(sent[seq])
				if r.Received++; r.Received == count {
					return nil
				}
			}
		}
	}
	for i := range count {
		msg := make([]byte, 64)
		msg[0] = 8
		binary.BigEndian.PutUint16(msg[4:], id)
		binary.BigEndian.PutUint16(msg[6:], uint16(i))
		binary.BigEndian.PutUint16(msg[2:], demux.Checksum(msg))
		sent[i] = time.Now()
		if _, err := conn.WriteTo(msg, &net.IPAddr{IP: to.AsSlice()}); err == nil { // no route is a loss, not an end
			r.Sent++
		}
		if ctx.Err() != nil {
			break
		}
		if err := read(sent[i].Add(interval)); err != nil {
			return r, err
		}
	}
	if r.Received < r.Sent && ctx.Err() == nil {
		if err := read(time.Now().Add(time.Second)); err != nil {
			return r, err
		}
	}
	for _, d := range rtt {
		if d > 0 {
			r.RTT = append(r.RTT, d.Microseconds())
		}
	}
	return r, nil
}
