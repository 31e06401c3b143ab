package opts

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
)

// Reader reads one link's options.
type Reader struct {
	opts  map[string]string
	known []string
	bad   []string
}

// New returns a reader of o, which may be nil and is not changed.
func New(o map[string]string) *Reader { return &Reader{opts: o} }

// Text returns an option as it is written, or def where it is not.
func (r *Reader) Text(name, def string) string {
	r.known = append(r.known, name)
	if v, ok := r.opts[name]; ok {
		return v
	}
	return def
}

// Bool returns an option that is true or false.
func (r *Reader) Bool(name string, def bool) bool {
	v := r.Text(name, "")
	if v == "" {
		return def
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.fail(name, v, "want true or false")
	}
	return b
}

// Int returns a number from lo to hi.
func (r *Reader) Int(name string, def, lo, hi int) int {
	v := r.Text(name, "")
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < lo || n > hi {
		r.fail(name, v, fmt.Sprintf("want a number from %d to %d", lo, hi))
		return def
	}
	return n
}

// Duration returns a length of time from lo to hi, such as 100ms.
func (r *Reader) Duration(name string, def, lo, hi time.Duration) time.Duration {
	v := r.Text(name, "")
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < lo || d > hi {
		r.fail(name, v, fmt.Sprintf("want a time from %s to %s such as 100ms", lo, hi))
		return def
	}
	return d
}

// OneOf returns an option that has a fixed set of values, the first of which is the default.
func (r *Reader) OneOf(name string, values ...string) string {
	v := r.Text(name, values[0])
	if !slices.Contains(values, v) {
		r.fail(name, v, "want "+strings.Join(values, " or "))
		return values[0]
	}
	return v
}

// MAC returns a hardware address, zero where there is none.
func (r *Reader) MAC(name string) (mac [6]byte) {
	if v := r.Text(name, ""); v != "" {
		hw, err := net.ParseMAC(v)
		if err != nil || len(hw) != 6 {
			r.fail(name, v, "want a MAC address such as 02:00:00:00:00:01")
		}
		copy(mac[:], hw)
	}
	return mac
}

// Prefixes returns a list of addresses with prefix lengths, separated by commas.
func (r *Reader) Prefixes(name string) (ps []netip.Prefix) {
	v := r.Text(name, "")
	for f := range strings.SplitSeq(v, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		p, err := netip.ParsePrefix(f)
		if err != nil {
			r.fail(name, v, "want addresses with prefix lengths such as 10.0.0.1/24")
			return nil
		}
		ps = append(ps, p)
	}
	return ps
}

func (r *Reader) fail(name, value, want string) {
	r.bad = append(r.bad, fmt.Sprintf("option %s=%.40q: %s", name, value, want))
}

// Done returns an errs.Invalid error for what was malformed or not asked for.
func (r *Reader) Done(driver string) error {
	for _, name := range slices.Sorted(maps.Keys(r.opts)) {
		if !slices.Contains(r.known, name) {
			r.bad = append(r.bad, fmt.Sprintf("unknown option %.40q (there are %s)", name, strings.Join(r.known, ", ")))
		}
	}
	if len(r.bad) > 0 {
		return errs.New(errs.Invalid, "driver %s: %s", driver, strings.Join(r.bad, "; "))
	}
	return nil
}
