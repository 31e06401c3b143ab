package analysis

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

// value is what a field of a line says: a number, bytes, or nothing.
type value struct {
	ok bool
	n  uint64
	b  []byte
}

func number(n uint64) value            { return value{ok: true, n: n} }
func numberIf(ok bool, n uint64) value { return value{ok: ok, n: n} }

// form is how values of a kind are written.
type form struct {
	size  int    // bytes in binary records; -1: a length byte and so many; 0: cannot be in one
	split uint64 // of a time: it is two words, seconds and units of so many nanoseconds
	text  func(b []byte, v value) []byte
	parse func(s string) (value, bool)
}

func parseUint(max uint64) func(string) (value, bool) {
	return func(s string) (value, bool) {
		n, err := strconv.ParseUint(s, 0, 64)
		return number(n), err == nil && n <= max
	}
}

func appendUint(b []byte, v value) []byte { return strconv.AppendUint(b, v.n, 10) }

func uintForm(size int, bits uint) *form {
	return &form{size: size, text: appendUint, parse: parseUint(1<<bits - 1)}
}

var (
	form8  = uintForm(1, 8)
	form16 = uintForm(2, 16)
	form32 = uintForm(4, 32)
	// Lengths are of four bytes in records, whatever a packet can say.
	formLen = uintForm(4, 32)

	formTime  = &form{size: 8, split: 1000, text: func(b []byte, v value) []byte { return click.AppendTime(b, int64(v.n)) }, parse: parseTime(1e9)}
	formNano  = &form{size: 8, split: 1, text: formTime.text, parse: formTime.parse}
	formMicro = &form{size: 8, text: appendUint, parse: parseUint(1<<63 - 1)}

	formAddr = &form{size: 4,
		text: func(b []byte, v value) []byte {
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(v.n)))).AppendTo(b)
		},
		parse: func(s string) (value, bool) {
			a, err := netip.ParseAddr(s)
			if err != nil || !a.Is4() {
				return value{}, false
			}
			x := a.As4()
			return number(uint64(binary.BigEndian.Uint32(x[:]))), true
		}}

	formProto = &form{size: 1,
		text: func(b []byte, v value) []byte {
			switch v.n {
			case protoTCP:
				return append(b, 'T')
			case protoUDP:
				return append(b, 'U')
			case protoICMP:
				return append(b, 'I')
			}
			return appendUint(b, v)
		},
		parse: func(s string) (value, bool) {
			switch s {
			case "T", "tcp", "TCP":
				return number(protoTCP), true
			case "U", "udp", "UDP":
				return number(protoUDP), true
			case "I", "icmp", "ICMP":
				return number(protoICMP), true
			}
			return parseUint(255)(s)
		}}

	// A descriptor of fragments is the character itself.
	formFrag = &form{size: 1,
		text: func(b []byte, v value) []byte { return append(b, byte(v.n)) },
		parse: func(s string) (value, bool) {
			return number(uint64((s + " ")[0])), len(s) == 1 && strings.Contains("Ff.!", s)
		}}

	// The fragment word of the header, shown as an offset in bytes and the flags.
	formFragOff = &form{size: 2,
		text: func(b []byte, v value) []byte {
			b = strconv.AppendUint(b, v.n&0x1fff*8, 10)
			if v.n&0x2000 != 0 {
				b = append(b, '+')
			}
			if v.n&0x4000 != 0 {
				b = append(b, '!')
			}
			return b
		},
		parse: func(s string) (value, bool) {
			var flags uint64
			for strings.HasSuffix(s, "+") || strings.HasSuffix(s, "!") {
				if s[len(s)-1] == '+' {
					flags |= 0x2000
				} else {
					flags |= 0x4000
				}
				s = s[:len(s)-1]
			}
			n, err := strconv.ParseUint(s, 0, 16)
			return number(n/8 | flags), err == nil && n%8 == 0
		}}

	formECN = &form{size: 1,
		text: func(b []byte, v value) []byte { return append(b, [...]string{"no", "ect2", "ect1", "ce"}[v.n&3]...) },
		parse: func(s string) (value, bool) {
			for i, name := range [...]string{"no", "ect2", "ect1", "ce"} {
				if s == name {
					return number(uint64(i)), true
				}
			}
			return parseUint(3)(s)
		}}

	formFlags = &form{size: 1, text: appendFlags, parse: parseFlags}

	formPaint     = &form{size: 1, text: appendUint, parse: parsePaint}
	formDirection = &form{size: 1,
		text: func(b []byte, v value) []byte {
			switch v.n {
			case 0:
				return append(b, '>')
			case 1:
				return append(b, '<')
			}
			return appendUint(b, v)
		}, parse: parsePaint}

	formEther = &form{size: 6,
		text: func(b []byte, v value) []byte {
			for i, x := range v.b {
				if i > 0 {
					b = append(b, '-')
				}
				b = append(b, strings.ToUpper(hex.EncodeToString([]byte{x}))...)
			}
			return b
		},
		parse: func(s string) (value, bool) {
			m, err := click.ParseEther(s)
			return value{ok: true, b: m[:]}, err == nil
		}}

	formBytes = &form{
		text:  func(b []byte, v value) []byte { return append(append(append(b, '"'), escapePayload(v.b)...), '"') },
		parse: func(s string) (value, bool) { return value{ok: true, b: []byte(lang.Unquote(s))}, true },
	}
	formMD5    = &form{size: md5.Size, text: func(b []byte, v value) []byte { return appendDigest(b, v.b) }}
	formMD5Hex = &form{size: md5.Size, text: func(b []byte, v value) []byte { return hex.AppendEncode(b, v.b) }}

	formIPOpt  = &form{size: -1, text: func(b []byte, v value) []byte { return appendIPOptions(b, v.b) }, parse: parseIPOptions}
	formTCPOpt = &form{size: -1, text: func(b []byte, v value) []byte { return appendTCPOptions(b, v.b, allOptions) }, parse: parseTCPOptions}
	formNTOpt  = &form{size: -1, text: func(b []byte, v value) []byte { return appendTCPOptions(b, v.b, noTimestamps) }, parse: parseTCPOptions}
	formSACK   = &form{size: -1, text: func(b []byte, v value) []byte { return appendTCPOptions(b, v.b, onlySACK) }, parse: parseTCPOptions}

	formICMPType = &form{size: 1,
		text: func(b []byte, v value) []byte {
			if n, ok := icmpTypeNames[v.n]; ok {
				return append(b, n...)
			}
			return appendUint(b, v)
		}, parse: parseICMPType}
	formICMPTypeNumber = &form{size: 1, text: appendUint, parse: parseICMPType}
	// The type is in the upper byte: names of codes depend on it.
	formICMPCode = &form{size: 1,
		text: func(b []byte, v value) []byte {
			if n, ok := icmpCodeNames[uint16(v.n)]; ok {
				return append(b, n...)
			}
			return strconv.AppendUint(b, v.n&0xff, 10)
		}, parse: parseUint(255)}
)

const flagLetters = "FSRPAUECN"

func appendFlags(b []byte, v value) []byte {
	if v.n&0x1ff == 0 {
		return append(b, '.')
	}
	for i := range len(flagLetters) {
		if v.n>>i&1 != 0 {
			b = append(b, flagLetters[i])
		}
	}
	return b
}

func parseFlags(s string) (value, bool) {
	if s == "." {
		return number(0), true
	}
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		return parseUint(0x1ff)(s)
	}
	var n uint64
	for i := range len(s) {
		c := s[i]
		switch c {
		case 'W', 'Y':
			c = 'C'
		case 'X':
			c = 'E'
		}
		at := strings.IndexByte(flagLetters, c)
		if at < 0 {
			return value{}, false
		}
		n |= 1 << at
	}
	return number(n), s != ""
}

func parsePaint(s string) (value, bool) {
	switch s {
	case ">", "L":
		return number(0), true
	case "<", "R", "X":
		return number(1), true
	}
	return parseUint(255)(s)
}

// parseTime reads seconds with decimals as nanoseconds.
func parseTime(unit uint64) func(string) (value, bool) {
	return func(s string) (value, bool) {
		whole, frac, _ := strings.Cut(s, ".")
		sec, err := strconv.ParseUint(whole, 10, 63)
		if err != nil && (whole != "" || frac == "") || sec > 1<<62/unit {
			return value{}, false
		}
		var ns uint64
		if len(frac) > 9 {
			frac = frac[:9]
		}
		if frac != "" {
			if ns, err = strconv.ParseUint(frac, 10, 32); err != nil {
				return value{}, false
			}
			for range 9 - len(frac) {
				ns *= 10
			}
		}
		return number(sec*unit + ns), true
	}
}

// escapePayload writes bytes so that they stand between double quotes on one line.
func escapePayload(p []byte) []byte {
	var b []byte
	for _, c := range p {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			b = append(b, c)
		}
	}
	return b
}

const digestLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@"

// appendDigest writes bytes as letters of six bits, the lowest first.
func appendDigest(b, d []byte) []byte {
	var acc, bits uint
	for _, x := range d {
		acc |= uint(x) << bits
		for bits += 8; bits >= 6; bits -= 6 {
			b = append(b, digestLetters[acc&63])
			acc >>= 6
		}
	}
	if bits > 0 {
		b = append(b, digestLetters[acc&63])
	}
	return b
}

var icmpTypeNames = map[uint64]string{
	0: "echo-reply", 3: "unreach", 4: "sourcequench", 5: "redirect", 8: "echo", 9: "routeradvert", 10: "routersolicit", 11: "timxceed",
	12: "paramprob", 13: "tstamp", 14: "tstampreply", 15: "ireq", 16: "ireqreply", 17: "maskreq", 18: "maskreply",
}

var icmpTypeAliases = map[string]uint64{"echoreply": 0, "unreachable": 3, "timeexceeded": 11, "parameterproblem": 12, "timestamp": 13, "timestampreply": 14, "inforeq": 15, "inforeqreply": 16}

// icmpCodeNames have the type in the upper byte.
var icmpCodeNames = map[uint16]string{
	0x300: "net", 0x301: "host", 0x302: "protocol", 0x303: "port", 0x304: "needfrag", 0x305: "srcfail", 0x306: "net_unknown", 0x307: "host_unknown",
	0x308: "isolated", 0x309: "net_prohib", 0x30a: "host_prohib", 0x30b: "tosnet", 0x30c: "toshost", 0x30d: "filter_prohib", 0x30e: "host_precedence", 0x30f: "precedence_cutoff",
	0x500: "net", 0x501: "host", 0x502: "tosnet", 0x503: "toshost", 0xb00: "transit", 0xb01: "reassembly", 0xc00: "erroratptr", 0xc01: "missingopt", 0xc02: "length",
}

func parseICMPType(s string) (value, bool) {
	for n, name := range icmpTypeNames {
		if s == name {
			return number(n), true
		}
	}
	if n, ok := icmpTypeAliases[s]; ok {
		return number(n), true
	}
	return parseUint(255)(s)
}
