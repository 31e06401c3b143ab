package lang

import "strings"

// quoting follows a configuration string from byte to byte.
type quoting struct{ in byte } // 0, '\'', '"' or '>' for \< ... >

// step returns how many bytes at s[i] belong together and whether they are plain,
// that is, not quoted and not quotes.
func (q *quoting) step(s string, i int) (n int, plain bool) {
	c := s[i]
	switch {
	case q.in != 0:
		if c == '\\' && q.in != '\'' && i+1 < len(s) {
			return 2, false
		}
		if c == q.in {
			q.in = 0
		}
		return 1, false
	case c == '\'' || c == '"':
		q.in = c
		return 1, false
	case c == '\\' && i+1 < len(s) && s[i+1] == '<':
		q.in = '>'
		return 2, false
	}
	return 1, true
}

// commentLen returns the length of the comment at the start of s, or 0.
func commentLen(s string) int {
	if strings.HasPrefix(s, "//") {
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return i + 1
		}
		return len(s)
	}
	if strings.HasPrefix(s, "/*") {
		if i := strings.Index(s[2:], "*/"); i >= 0 {
			return i + 4
		}
		return len(s)
	}
	return 0
}

// SplitArgs splits a configuration string at its commas. Comments become spaces,
// surrounding white space is removed, quotes stay. An empty last argument does not count.
func SplitArgs(config string) []string {
	var out []string
	var cur strings.Builder
	var q quoting
	for i := 0; i < len(config); {
		if q.in == 0 {
			if n := commentLen(config[i:]); n > 0 {
				cur.WriteByte(' ')
				i += n
				continue
			}
		}
		n, plain := q.step(config, i)
		if plain && config[i] == ',' {
			out = append(out, trim(cur.String()))
			cur.Reset()
		} else {
			cur.WriteString(config[i : i+n])
		}
		i += n
	}
	if s := trim(cur.String()); s != "" {
		out = append(out, s)
	}
	return out
}

// JoinArgs is the inverse of SplitArgs.
func JoinArgs(args []string) string {
	s := strings.Join(args, ", ")
	if n := len(args); n > 0 && args[n-1] == "" {
		s += ","
	}
	return s
}

// SplitWords splits an argument at its white space. Comments are space, quotes stay.
func SplitWords(arg string) []string {
	var out []string
	for {
		var w string
		if w, arg = NextWord(arg); w == "" {
			return out
		}
		out = append(out, w)
	}
}

// NextWord returns the first word of arg as it stands, and the rest of arg with the
// white space before it removed. Both are empty at the end.
func NextWord(arg string) (word, rest string) {
	arg = skipSpace(arg)
	var q quoting
	i := 0
	for i < len(arg) {
		if q.in == 0 && (isSpace(arg[i]) || commentLen(arg[i:]) > 0) {
			break
		}
		n, _ := q.step(arg, i)
		i += n
	}
	return arg[:i], skipSpace(arg[i:])
}

func skipSpace(s string) string {
	for s != "" {
		if isSpace(s[0]) {
			s = s[1:]
		} else if n := commentLen(s); n > 0 {
			s = s[n:]
		} else {
			break
		}
	}
	return s
}

// trim removes white space that is not quoted; quoted white space never is at an end.
func trim(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

// Unquote removes the quotes from an argument or word and replaces escape sequences:
// those of C and \< hex digits > within double quotes, the latter also outside of quotes,
// nothing within single quotes. The result may hold any bytes.
func Unquote(s string) string {
	if strings.IndexAny(s, `'"\`) < 0 {
		return s
	}
	var b strings.Builder
	var in byte
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case in == 0 && (c == '\'' || c == '"'):
			in = c
			i++
		case in != 0 && c == in:
			in = 0
			i++
		case c == '\\' && (in == '"' || in == 0 && i+1 < len(s) && s[i+1] == '<'):
			i += unescape(&b, s[i:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

// unescape writes what the backslash sequence at the start of s stands for and returns its length.
func unescape(b *strings.Builder, s string) int {
	if len(s) < 2 {
		b.WriteByte('\\')
		return len(s)
	}
	switch c := s[1]; c {
	case '\r':
		if len(s) > 2 && s[2] == '\n' {
			return 3
		}
		return 2
	case '\n':
		return 2
	case 'a', 'b', 't', 'n', 'v', 'f', 'r':
		b.WriteByte("\a\b\t\n\v\f\r"[strings.IndexByte("abtnvfr", c)])
		return 2
	case '0', '1', '2', '3', '4', '5', '6', '7':
		v, i := 0, 1
		for ; i < len(s) && i < 4 && s[i] >= '0' && s[i] <= '7'; i++ {
			v = v*8 + int(s[i]-'0')
		}
		b.WriteByte(byte(v))
		return i
	case 'x':
		v, i := 0, 2
		for ; i < len(s) && isHex(s[i]); i++ {
			v = (v<<4 | hexValue(s[i])) & 0xff
		}
		if i == 2 {
			b.WriteByte('x')
		} else {
			b.WriteByte(byte(v))
		}
		return i
	case '<':
		v, half, i := 0, false, 2
		for i < len(s) && s[i] != '>' {
			if n := commentLen(s[i:]); n > 0 {
				i += n
				continue
			}
			if isHex(s[i]) {
				if v = v<<4 | hexValue(s[i]); half {
					b.WriteByte(byte(v))
					v = 0
				}
				half = !half
			}
			i++
		}
		return min(i+1, len(s))
	default:
		b.WriteByte(c)
		return 2
	}
}

func hexValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a':
		return int(c-'a') + 10
	}
	return int(c-'A') + 10
}

// Quote returns s in a form that Unquote turns back into s and that is one word, with
// double quotes only where they are needed.
func Quote(s string) string {
	plain := s != ""
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		plain = c > ' ' && c < 0x7f && strings.IndexByte("'\"\\,()$", c) < 0 &&
			!(c == '/' && i+1 < len(s) && (s[i+1] == '/' || s[i+1] == '*'))
	}
	if plain {
		return s
	}
	return `"` + Escape(s) + `"`
}

// Escape returns s in a form that may stand within double quotes.
func Escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '$':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 0x7f:
			b.WriteString(`\<`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			b.WriteByte('>')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// balanced reports whether s can stand between parentheses as a configuration string and is
// read back whole. s has no comments.
func balanced(s string) bool {
	depth := 0
	var q quoting
	for i := 0; i < len(s); {
		if q.in == 0 && commentLen(s[i:]) > 0 {
			return false
		}
		n, plain := q.step(s, i)
		if plain && s[i] == '(' {
			depth++
		}
		if plain && s[i] == ')' {
			if depth--; depth < 0 {
				return false
			}
		}
		i += n
	}
	return depth == 0 && q.in == 0
}
