package click

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click/lang"
)

// Value parses the text of an argument or of a handler's value and stores it. The Args knows the names that may be used there and may be
// nil; a refused text must change nothing.
type Value func(text string, a *Args) error

// Int parses an integer: decimal, 0 octal or 0x hexadecimal, with a sign.
func Int(p *int) Value { return IntRange(p, math.MinInt, math.MaxInt) }

// IntRange is Int for numbers from lo to hi.
func IntRange(p *int, lo, hi int) Value {
	return func(s string, _ *Args) error {
		n, err := strconv.ParseInt(strings.TrimPrefix(lang.Unquote(s), "+"), 0, 64)
		if err != nil {
			return fmt.Errorf("expected an integer, not '%s'", s)
		}
		if n < int64(lo) || n > int64(hi) {
			if hi == math.MaxInt {
				return fmt.Errorf("%s is out of range, must be at least %d", s, lo)
			}
			return fmt.Errorf("%s is out of range, must be %d to %d", s, lo, hi)
		}
		*p = int(n)
		return nil
	}
}

// Uint64 parses an unsigned integer.
func Uint64(p *uint64) Value {
	return func(s string, _ *Args) error {
		n, err := strconv.ParseUint(strings.TrimPrefix(lang.Unquote(s), "+"), 0, 64)
		if err != nil {
			return fmt.Errorf("expected a number from 0, not '%s'", s)
		}
		*p = n
		return nil
	}
}

// Bool parses true, false, yes, no, 1 and 0.
func Bool(p *bool) Value {
	return func(s string, _ *Args) error {
		switch lang.Unquote(s) {
		case "true", "yes", "1":
			*p = true
		case "false", "no", "0":
			*p = false
		default:
			return fmt.Errorf("expected true or false, not '%s'", s)
		}
		return nil
	}
}

// Fraction parses a number from 0 to 1, also as percentage.
func Fraction(p *float64) Value {
	return func(s string, _ *Args) error {
		t, pct := strings.CutSuffix(lang.Unquote(s), "%")
		v, err := strconv.ParseFloat(t, 64)
		if pct {
			v /= 100
		}
		if err != nil || !(v >= 0 && v <= 1) {
			return fmt.Errorf("expected a number from 0 to 1, not '%s'", s)
		}
		*p = v
		return nil
	}
}

// Fixed parses a decimal number from 0 into a fixed-point number with so many fraction bits.
func Fixed(p *uint64, bits int) Value {
	return func(s string, _ *Args) error {
		v, err := strconv.ParseFloat(lang.Unquote(s), 64)
		v = math.Round(math.Ldexp(v, bits))
		if err != nil || !(v >= 0 && v < 1<<63) {
			return fmt.Errorf("expected a decimal number from 0, not '%s'", s)
		}
		*p = uint64(v)
		return nil
	}
}

// unit splits a number from the unit behind it.
func unit(s string) (num float64, u string, ok bool) {
	s = strings.TrimSpace(lang.Unquote(s))
	i := len(s)
	for i > 0 && (s[i-1] >= 'a' && s[i-1] <= 'z' || s[i-1] >= 'A' && s[i-1] <= 'Z' || s[i-1] == '/' || s[i-1] == ' ') {
		i--
	}
	v, err := strconv.ParseFloat(s[:i], 64)
	return v, strings.TrimSpace(s[i:]), err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

var timeUnits = map[string]float64{
	"": 1e9, "s": 1e9, "sec": 1e9, "ms": 1e6, "msec": 1e6, "us": 1e3, "usec": 1e3, "ns": 1, "nsec": 1,
	"m": 60e9, "min": 60e9, "h": 3600e9, "hr": 3600e9,
}

// Duration parses a time from 0 with a unit: s, ms, us, ns, min, h; without one it is seconds.
func Duration(p *time.Duration) Value {
	return func(s string, _ *Args) error {
		v, u, ok := unit(s)
		f, known := timeUnits[u]
		if !ok || !known || v < 0 || v*f >= 1<<62 {
			return fmt.Errorf("expected a time such as 10ms, not '%s'", s)
		}
		*p = time.Duration(math.Round(v * f))
		return nil
	}
}

// Bandwidth parses a rate in bytes per second with a unit: Bps or bps (bits), with k, M or G; without one
// it is bytes.
func Bandwidth(p *uint64) Value {
	return func(s string, _ *Args) error {
		v, u, ok := unit(s)
		for _, name := range []string{"Bps", "bps", "B/s", "b/s", "baud", ""} {
			rest, found := strings.CutSuffix(u, name)
			if !found {
				continue
			}
			if name != "" && (name[0] == 'b') {
				v /= 8
			}
			switch rest {
			case "":
			case "k", "K":
				v *= 1e3
			case "M":
				v *= 1e6
			case "G":
				v *= 1e9
			default:
				ok = false
			}
			break
		}
		if !ok || !(v >= 0 && v < 1<<53) {
			return fmt.Errorf("expected a bandwidth such as 10Mbps, not '%s'", s)
		}
		*p = uint64(math.Round(v))
		return nil
	}
}

// String takes the text without quotes.
func String(p *string) Value {
	return func(s string, _ *Args) error {
		*p = lang.Unquote(s)
		return nil
	}
}

// Text takes the text as it stands, with quotes.
func Text(p *string) Value {
	return func(s string, _ *Args) error {
		*p = s
		return nil
	}
}

// Bytes takes the text without quotes as data.
func Bytes(p *[]byte) Value {
	return func(s string, _ *Args) error {
		*p = []byte(lang.Unquote(s))
		return nil
	}
}

// ParsePrefix parses A/LENGTH, A/MASK and A alone. An IPv4 address may lack its last parts before a
// length, as in 18.26/16. Bits beyond the length are kept.
func ParsePrefix(s string) (netip.Prefix, error) {
	bad := fmt.Errorf("expected an IP prefix such as 10.0.0.0/8, not '%s'", s)
	host, bits, slash := strings.Cut(s, "/")
	if slash && !strings.Contains(host, ":") {
		for n := strings.Count(host, "."); n < 3; n++ {
			host += ".0"
		}
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, bad
	}
	if !slash {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := strconv.Atoi(bits)
	if err != nil {
		m, err := netip.ParseAddr(bits)
		if err != nil || !m.Is4() || !a.Is4() {
			return netip.Prefix{}, bad
		}
		v := m.As4()
		mask := uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3])
		for n = 0; mask&(1<<31) != 0; n++ {
			mask <<= 1
		}
		if mask != 0 {
			return netip.Prefix{}, fmt.Errorf("mask %s is not contiguous", bits)
		}
	}
	if n < 0 || n > a.BitLen() {
		return netip.Prefix{}, bad
	}
	return netip.PrefixFrom(a, n), nil
}

// ParseEther parses a hardware address.
func ParseEther(s string) (m [6]byte, err error) {
	parts := strings.FieldsFunc(s, func(c rune) bool { return c == ':' || c == '-' })
	ok := len(parts) == 6 && strings.Count(s, ":")+strings.Count(s, "-") == 5
	for i := 0; ok && i < 6; i++ {
		v, perr := strconv.ParseUint(parts[i], 16, 8)
		ok = perr == nil
		m[i] = byte(v)
	}
	if !ok {
		return [6]byte{}, fmt.Errorf("expected an Ethernet address, not '%s'", s)
	}
	return m, nil
}

// Services are port names that arguments may use instead of numbers.
var Services = map[string]uint16{
	"echo": 7, "discard": 9, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37,
	"dns": 53, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "finger": 79, "www": 80, "http": 80,
	"pop3": 110, "sunrpc": 111, "auth": 113, "nntp": 119, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138,
	"netbios-ssn": 139, "imap2": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179, "irc": 194, "https": 443,
	"syslog": 514, "route": 520, "imaps": 993, "imap3": 220, "anep": 3322,
}

// ParsePort parses a port number or the name of a service.
func ParsePort(s string) (uint16, error) {
	if n, ok := Services[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return 0, fmt.Errorf("expected a port number or a service, not '%s'", s)
	}
	return uint16(n), nil
}

// Ref finds an element by name and says what kind it must be of.
func Ref[E any](p *E, what string) Value {
	return func(s string, a *Args) error {
		name := lang.Unquote(s)
		var el Element
		if a != nil {
			el = a.Element(name)
		}
		if el == nil {
			return fmt.Errorf("no element named '%s'", name)
		}
		x, ok := el.(E)
		if !ok {
			return fmt.Errorf("element '%s' is no %s", name, what)
		}
		*p = x
		return nil
	}
}
