package analysis

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// maxOptions is the most bytes of options that a header of IP or TCP holds.
const maxOptions = 40

// appendIPOptions writes options as text: names and values apart by semicolons, a period for none, a question mark if they make no sense.
func appendIPOptions(b, o []byte) []byte {
	start := len(b)
	for i := 0; i < len(o); {
		switch o[i] {
		case 0:
			i = len(o)
			continue
		case 1:
			i++
			continue
		}
		if i+1 >= len(o) || o[i+1] < 2 || i+int(o[i+1]) > len(o) {
			return append(b[:start], '?')
		}
		if len(b) > start {
			b = append(b, ';')
		}
		opt := o[i : i+int(o[i+1])]
		ok := true
		switch opt[0] {
		case 7, 131, 137:
			b, ok = appendRoute(b, opt)
		case 68:
			b, ok = appendStamps(b, opt)
		default:
			b = appendOther(b, opt)
		}
		if !ok {
			return append(b[:start], '?')
		}
		i += len(opt)
	}
	if len(b) == start {
		b = append(b, '.')
	}
	return b
}

func appendOther(b, opt []byte) []byte {
	b = strconv.AppendUint(b, uint64(opt[0]), 10)
	for i, x := range opt[2:] {
		b = append(b, "=:"[min(i, 1)])
		b = strconv.AppendUint(b, uint64(x), 10)
	}
	return b
}

func appendAddr(b, a []byte) []byte { return netip.AddrFrom4([4]byte(a)).AppendTo(b) }

// appendRoute writes RR, LSRR and SSRR: the addresses before the pointer, and what is behind it.
func appendRoute(b, opt []byte) ([]byte, bool) {
	if len(opt) < 3 || len(opt)%4 != 3 {
		return b, false
	}
	ptr := int(opt[2])
	if ptr < 4 || ptr%4 != 0 {
		return b, false
	}
	name := map[byte]string{7: "rr{", 131: "lsrr{", 137: "ssrr{"}[opt[0]]
	b = append(b, name...)
	at := 3
	for ; at+4 <= len(opt) && at+1 < ptr; at += 4 {
		if at > 3 {
			b = append(b, ',')
		}
		b = appendAddr(b, opt[at:at+4])
	}
	if opt[0] == 7 {
		b = append(b, '}')
		if at < len(opt) {
			b = append(b, '+')
			b = strconv.AppendInt(b, int64(len(opt)-at)/4, 10)
		}
		return b, true
	}
	for sep := byte('^'); at+4 <= len(opt); at += 4 {
		b = append(b, sep)
		b = appendAddr(b, opt[at:at+4])
		sep = ','
	}
	return append(b, '}'), true
}

// appendStamps writes the timestamp option in its three types.
func appendStamps(b, opt []byte) ([]byte, bool) {
	if len(opt) < 4 {
		return b, false
	}
	kind, over := opt[3]&15, opt[3]>>4
	size := 4
	switch kind {
	case 0:
		b = append(b, "ts{"...)
	case 1:
		b, size = append(b, "ts.ip{"...), 8
	case 3:
		b, size = append(b, "ts.preip{"...), 8
	default:
		return b, false
	}
	ptr := int(opt[2])
	if (len(opt)-4)%size != 0 || ptr < 5 || (ptr-5)%size != 0 {
		return b, false
	}
	at := 4
	for ; at+size <= len(opt) && at+1 < ptr; at += size {
		if at > 4 {
			b = append(b, ',')
		}
		if size == 8 {
			b = append(appendAddr(b, opt[at:at+4]), '=')
		}
		v := binary.BigEndian.Uint32(opt[at+size-4:])
		if v&(1<<31) != 0 {
			b, v = append(b, '!'), v&^(1<<31)
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	switch {
	case kind == 3:
		for sep := byte('^'); at+size <= len(opt); at += size {
			b = append(b, sep)
			b = appendAddr(b, opt[at:at+4])
			sep = ','
		}
		b = append(b, '}')
	case kind == 1 && at == len(opt):
		b = append(b, '^', '}')
	default:
		b = append(b, '}')
		if at < len(opt) {
			b = append(b, '+')
			b = strconv.AppendInt(b, int64(len(opt)-at)/int64(size), 10)
		}
	}
	if over > 0 {
		b = append(b, '+', '+')
		b = strconv.AppendUint(b, uint64(over), 10)
	}
	return b, true
}

// parseIPOptions reads what appendIPOptions writes, and eol and nop.
func parseIPOptions(s string) (value, bool) {
	if s == "." || s == "" {
		return value{ok: true}, true
	}
	var o []byte
	for _, part := range strings.Split(s, ";") {
		name, rest := part, ""
		if i := strings.IndexByte(part, '{'); i >= 0 {
			name, rest = part[:i], part[i:]
		}
		ok := true
		switch name {
		case "eol":
			o = append(o, 0)
		case "nop":
			o = append(o, 1)
		case "rr":
			o, ok = parseRoute(o, 7, rest)
		case "lsrr":
			o, ok = parseRoute(o, 131, rest)
		case "ssrr":
			o, ok = parseRoute(o, 137, rest)
		case "ts":
			kind := byte(0)
			if strings.ContainsAny(rest, "=.") {
				kind = 1
			}
			o, ok = parseStamps(o, kind, rest)
		case "ts.0":
			o, ok = parseStamps(o, 0, rest)
		case "ts.ip", "ts.1":
			o, ok = parseStamps(o, 1, rest)
		case "ts.preip", "ts.3":
			o, ok = parseStamps(o, 3, rest)
		default:
			o, ok = parseOther(o, part)
		}
		if !ok || len(o) > maxOptions {
			return value{}, false
		}
	}
	return value{ok: true, b: o}, true
}

func parseOther(o []byte, s string) ([]byte, bool) {
	kind, data, has := strings.Cut(s, "=")
	n, err := strconv.ParseUint(kind, 10, 8)
	if err != nil {
		return o, false
	}
	at := len(o)
	o = append(o, byte(n), 0)
	if has {
		for _, x := range strings.Split(data, ":") {
			v, err := strconv.ParseUint(x, 10, 8)
			if err != nil || len(o) > maxOptions {
				return o, false
			}
			o = append(o, byte(v))
		}
	}
	o[at+1] = byte(len(o) - at)
	return o, true
}

// braces splits "{A,B^C}+5++3" into items, the index of the pointer (-1 without one), the room behind it and the overflow count.
func braces(s string) (items []string, ptr, room, over int, ok bool) {
	if !strings.HasPrefix(s, "{") {
		return
	}
	in, tail, closed := strings.Cut(s[1:], "}")
	if !closed {
		return
	}
	ptr = -1
	word := ""
	end := func() {
		if word != "" {
			items = append(items, word)
			word = ""
		}
	}
	for _, c := range in {
		switch c {
		case ',':
			end()
		case '^':
			end()
			if ptr >= 0 {
				return
			}
			ptr = len(items)
		default:
			word += string(c)
		}
	}
	end()
	if i := strings.Index(tail, "++"); i >= 0 {
		n, err := strconv.Atoi(tail[i+2:])
		if err != nil || n < 0 || n > 15 {
			return
		}
		over, tail = n, tail[:i]
	}
	if tail != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(tail, "+"))
		if err != nil || tail[0] != '+' || n < 0 || n > maxOptions {
			return
		}
		room = n
	}
	return items, ptr, room, over, len(items) <= maxOptions
}

func parseRoute(o []byte, kind byte, s string) ([]byte, bool) {
	items, ptr, room, over, ok := braces(s)
	if !ok || over > 0 {
		return o, false
	}
	if ptr < 0 {
		ptr = len(items)
	}
	at := len(o)
	o = append(o, kind, 0, byte(4+4*ptr))
	for _, x := range items {
		v, ok := formAddr.parse(x)
		if !ok {
			return o, false
		}
		o = binary.BigEndian.AppendUint32(o, uint32(v.n))
	}
	o = append(o, make([]byte, 4*room)...)
	if len(o)-at > maxOptions {
		return o, false
	}
	o[at+1] = byte(len(o) - at)
	return o, true
}

func parseStamps(o []byte, kind byte, s string) ([]byte, bool) {
	items, ptr, room, over, ok := braces(s)
	if !ok {
		return o, false
	}
	if ptr < 0 {
		ptr = len(items)
	}
	size := 8
	if kind == 0 {
		size = 4
	}
	at := len(o)
	o = append(o, 68, 0, byte(5+size*ptr), byte(over)<<4|kind)
	for _, x := range items {
		addr, stamp, has := x, x, true
		if kind != 0 {
			if addr, stamp, has = strings.Cut(x, "="); !has {
				stamp = "0"
			}
			v, ok := formAddr.parse(addr)
			if !ok {
				return o, false
			}
			o = binary.BigEndian.AppendUint32(o, uint32(v.n))
		}
		if stamp == "?" {
			stamp = "0"
		}
		bare := strings.TrimPrefix(stamp, "!")
		n, err := strconv.ParseUint(bare, 0, 31)
		if err != nil {
			return o, false
		}
		if bare != stamp {
			n |= 1 << 31
		}
		o = binary.BigEndian.AppendUint32(o, uint32(n))
	}
	o = append(o, make([]byte, size*room)...)
	if len(o)-at > maxOptions {
		return o, false
	}
	o[at+1] = byte(len(o) - at)
	return o, true
}

// Which TCP options are written.
const (
	allOptions = iota
	noTimestamps
	onlySACK
)

// appendTCPOptions writes options as text, like appendIPOptions.
func appendTCPOptions(b, o []byte, which int) []byte {
	start := len(b)
	for i := 0; i < len(o); {
		switch o[i] {
		case 0:
			i = len(o)
			continue
		case 1:
			i++
			continue
		}
		if i+1 >= len(o) || o[i+1] < 2 || i+int(o[i+1]) > len(o) {
			return append(b[:start], '?')
		}
		opt := o[i : i+int(o[i+1])]
		i += len(opt)
		if which == noTimestamps && opt[0] == 8 || which == onlySACK && opt[0] != 5 {
			continue
		}
		if len(b) > start {
			b = append(b, ';')
		}
		switch {
		case opt[0] == 2 && len(opt) == 4:
			b = strconv.AppendUint(append(b, "mss"...), uint64(binary.BigEndian.Uint16(opt[2:])), 10)
		case opt[0] == 3 && len(opt) == 3:
			b = strconv.AppendUint(append(b, "wscale"...), uint64(opt[2]), 10)
		case opt[0] == 4 && len(opt) == 2:
			b = append(b, "sackok"...)
		case opt[0] == 5 && len(opt)%8 == 2 && len(opt) > 2:
			for j := 2; j < len(opt); j += 8 {
				if j > 2 {
					b = append(b, ';')
				}
				b = strconv.AppendUint(append(b, "sack"...), uint64(binary.BigEndian.Uint32(opt[j:])), 10)
				b = strconv.AppendUint(append(b, '-'), uint64(binary.BigEndian.Uint32(opt[j+4:])), 10)
			}
		case opt[0] == 8 && len(opt) == 10:
			b = strconv.AppendUint(append(b, "ts"...), uint64(binary.BigEndian.Uint32(opt[2:])), 10)
			b = strconv.AppendUint(append(b, ':'), uint64(binary.BigEndian.Uint32(opt[6:])), 10)
		case opt[0] >= 2 && opt[0] <= 5 || opt[0] == 8:
			return append(b[:start], '?')
		default:
			b = appendOther(b, opt)
		}
	}
	if len(b) == start {
		b = append(b, '.')
	}
	return b
}

// parseTCPOptions reads what appendTCPOptions writes, and eol and nop. SACK blocks next to each other become one option.
func parseTCPOptions(s string) (value, bool) {
	if s == "." || s == "" {
		return value{ok: true}, true
	}
	var o []byte
	sack := -1 // where the option is that another block may join
	for _, part := range strings.Split(s, ";") {
		ok := true
		last := sack
		sack = -1
		num := func(prefix string, bits int) uint64 {
			n, err := strconv.ParseUint(strings.TrimPrefix(part, prefix), 0, bits)
			ok = ok && err == nil
			return n
		}
		pair := func(prefix, sep string) (uint32, uint32) {
			x, y, has := strings.Cut(strings.TrimPrefix(part, prefix), sep)
			a, err1 := strconv.ParseUint(x, 0, 32)
			b, err2 := strconv.ParseUint(y, 0, 32)
			ok = ok && has && err1 == nil && err2 == nil
			return uint32(a), uint32(b)
		}
		switch {
		case part == "eol":
			o = append(o, 0)
		case part == "nop":
			o = append(o, 1)
		case part == "sackok":
			o = append(o, 4, 2)
		case strings.HasPrefix(part, "mss"):
			o = binary.BigEndian.AppendUint16(append(o, 2, 4), uint16(num("mss", 16)))
		case strings.HasPrefix(part, "wscale"):
			o = append(o, 3, 3, byte(num("wscale", 8)))
		case strings.HasPrefix(part, "sack"):
			sep := "-"
			if !strings.Contains(part, sep) {
				sep = ":" // which dumps of old have
			}
			a, b := pair("sack", sep)
			if sack = last; sack < 0 {
				sack = len(o)
				o = append(o, 5, 2)
			}
			o = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(o, a), b)
			o[sack+1] += 8
		case strings.HasPrefix(part, "ts"):
			a, b := pair("ts", ":")
			o = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(append(o, 8, 10), a), b)
		default:
			o, ok = parseOther(o, part)
		}
		if !ok || len(o) > maxOptions {
			return value{}, false
		}
	}
	return value{ok: true, b: o}, true
}
