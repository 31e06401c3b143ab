package control

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

var errNoHost = errors.New("this graph has no rights on files and processes of the host")

// functions are the read handlers of every script. They get their parameter as it stands, with quotes. It is filled in init, for kill
// reaches scripts again.
var functions map[string]func(e *Script, args string) (string, error)

// hostOnly are those that no socket may call.
var hostOnly = map[string]bool{"cat": true, "catq": true, "kill": true}

func init() {
	functions = map[string]func(e *Script, args string) (string, error){
		"add":  arithmetic(func(a, b int64) (int64, bool) { c := a + b; return c, (c > a) == (b > 0) }, func(a, b float64) float64 { return a + b }),
		"sub":  arithmetic(func(a, b int64) (int64, bool) { c := a - b; return c, (c < a) == (b > 0) }, func(a, b float64) float64 { return a - b }),
		"mul":  arithmetic(mulInt, func(a, b float64) float64 { return a * b }),
		"div":  arithmetic(func(a, b int64) (int64, bool) { return quotient(a, b, true) }, func(a, b float64) float64 { return a / b }),
		"idiv": integer(arithmetic(func(a, b int64) (int64, bool) { return quotient(a, b, false) }, func(a, b float64) float64 { return a / b })),
		"min":  arithmetic(func(a, b int64) (int64, bool) { return min(a, b), true }, math.Min),
		"max":  arithmetic(func(a, b int64) (int64, bool) { return max(a, b), true }, math.Max),
		"mod":  mod,
		"rem":  arithmetic(func(a, b int64) (int64, bool) { return remainder(a, b) }, math.Mod),
		"neg":  unary(func(n number) number { return number{i: -n.i, f: -n.f, float: n.float || n.i == math.MinInt64} }),
		"abs": unary(func(n number) number {
			return number{i: max(n.i, -n.i), f: math.Abs(n.f), float: n.float || n.i == math.MinInt64}
		}),
		"eq": compare(func(c int) bool { return c == 0 }),
		"ne": compare(func(c int) bool { return c != 0 }),
		"lt": compare(func(c int) bool { return c == -1 }),
		"gt": compare(func(c int) bool { return c == 1 }),
		"le": compare(func(c int) bool { return c == -1 || c == 0 }),
		"ge": compare(func(c int) bool { return c == 0 || c == 1 }),
		"not": func(_ *Script, s string) (string, error) {
			v, err := truth(lang.Unquote(strings.TrimSpace(s)))
			return strconv.FormatBool(!v), err
		},
		"and":  logic(true, false),
		"nand": logic(true, true),
		"or":   logic(false, false),
		"nor":  logic(false, true),
		"if": func(_ *Script, s string) (string, error) {
			w := lang.SplitWords(s)
			if len(w) < 2 || len(w) > 3 {
				return "", errors.New("if: expected COND A B")
			}
			yes, err := truth(lang.Unquote(w[0]))
			switch {
			case err != nil:
				return "", fmt.Errorf("if: %w", err)
			case yes:
				return lang.Unquote(w[1]), nil
			case len(w) == 3:
				return lang.Unquote(w[2]), nil
			}
			return "", nil
		},
		"in": func(_ *Script, s string) (string, error) {
			w := words(s)
			if len(w) == 0 {
				return "", errors.New("in: a value is missing")
			}
			for _, x := range w[1:] {
				if x == w[0] {
					return "true", nil
				}
			}
			return "false", nil
		},
		"sprintf":  sprintf,
		"random":   random,
		"length":   func(_ *Script, s string) (string, error) { return strconv.Itoa(len(s)), nil },
		"unquote":  func(_ *Script, s string) (string, error) { return lang.Unquote(s), nil },
		"readable": capable(func(h *click.Handler) bool { return h.Read != nil }),
		"writable": capable(func(h *click.Handler) bool { return h.Write != nil }),
		"now": func(e *Script, _ string) (string, error) {
			t := e.Router().Wall()
			return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()), nil
		},
		"cat":  cat,
		"catq": func(e *Script, s string) (string, error) { v, err := cat(e, s); return lang.Quote(v), err },
		"kill": kill,
		"get":  func(e *Script, s string) (string, error) { return e.variable(strings.TrimSpace(s)), nil },
		"shift": func(e *Script, s string) (string, error) {
			name := strings.TrimSpace(s)
			word, rest := lang.NextWord(e.variable(name))
			if _, special := e.frame.special[name]; special {
				e.frame.special[name] = rest
			} else if _, there := e.vars[name]; there {
				e.vars[name] = rest
			}
			return lang.Unquote(word), nil
		},
		"htons": swap(16), "ntohs": swap(16), "htonl": swap(32), "ntohl": swap(32),
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Script) AddHandlers(h *click.Handlers) {
	for name, fn := range functions {
		h.Add(click.Handler{Name: name, Read: func(s string) (string, error) { return fn(e, s) }, Private: hostOnly[name], Raw: name == "cat"})
	}
	h.Write("step", func(s string) error {
		n := 1
		if s = strings.TrimSpace(s); s != "" {
			if err := click.IntRange(&n, 0, 1<<30)(s, nil); err != nil {
				return err
			}
		}
		if n > 0 {
			e.step(n)
		}
		return nil
	})
	h.Write("goto", e.jump)
	h.Write("set", func(s string) error {
		name, value := lang.NextWord(s)
		if !isName(name) {
			return fmt.Errorf("expected the name of a variable, not '%s'", name)
		}
		e.setVar(name, value)
		return nil
	})
	run := func(s string) (string, error) {
		if e.kind != passive {
			return "", errors.New("the script is not of TYPE PASSIVE")
		}
		r := e.call(map[string]string{"args": s})
		return r.result, r.err
	}
	h.Add(click.Handler{Name: "run", Read: run, Write: func(s string) error { _, err := run(s); return err }})
	for _, name := range e.exports {
		h.Read(name, func() string { return e.vars[name] })
	}
	if e.kind == proxy {
		h.Others(func(name string) *click.Handler {
			run := func(args, write string) (string, error) {
				r := e.call(map[string]string{"0": name, "args": args, "write": write})
				return r.result, r.err
			}
			return &click.Handler{Name: name,
				Read:  func(s string) (string, error) { return run(s, "false") },
				Write: func(s string) error { _, err := run(s, "true"); return err }}
		})
	}
}

// number is an integer as long as that is exact.
type number struct {
	i     int64
	f     float64
	float bool
}

func parseNumber(s string) (number, bool) {
	if i, err := strconv.ParseInt(strings.TrimPrefix(s, "+"), 0, 64); err == nil && !strings.Contains(s, "_") {
		return number{i: i, f: float64(i)}, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return number{f: f, float: true}, err == nil && s != "" && strings.IndexByte("+-.0123456789", s[0]) >= 0 && !strings.Contains(s, "_")
}

func (n number) String() string {
	if !n.float {
		return strconv.FormatInt(n.i, 10)
	}
	if n.f == math.Trunc(n.f) && math.Abs(n.f) < 1e15 {
		return strconv.FormatFloat(n.f, 'f', -1, 64)
	}
	return strconv.FormatFloat(n.f, 'g', 12, 64)
}

func words(s string) []string {
	w := lang.SplitWords(s)
	for i := range w {
		w[i] = lang.Unquote(w[i])
	}
	return w
}

func numbers(s string, least int) ([]number, error) {
	w := words(s)
	if len(w) < least {
		return nil, fmt.Errorf("%d numbers are too few", len(w))
	}
	ns := make([]number, len(w))
	for i, x := range w {
		n, ok := parseNumber(x)
		if !ok {
			return nil, fmt.Errorf("'%s' is no number", x)
		}
		ns[i] = n
	}
	return ns, nil
}

// arithmetic folds an operation over numbers. ints says whether its result is exact; if not, the rest is computed with floats.
func arithmetic(ints func(a, b int64) (int64, bool), floats func(a, b float64) float64) func(*Script, string) (string, error) {
	return func(_ *Script, s string) (string, error) {
		ns, err := numbers(s, 1)
		if err != nil {
			return "", err
		}
		acc := ns[0]
		for _, n := range ns[1:] {
			if !acc.float && !n.float {
				if i, ok := ints(acc.i, n.i); ok {
					acc = number{i: i, f: float64(i)}
					continue
				}
			}
			acc = number{f: floats(acc.f, n.f), float: true}
		}
		if math.IsNaN(acc.f) || math.IsInf(acc.f, 0) {
			return "", errors.New("the result is no number (a division by zero?)")
		}
		return acc.String(), nil
	}
}

func mulInt(a, b int64) (int64, bool) {
	c := a * b
	return c, a == 0 || c/a == b && !(a == -1 && b == math.MinInt64)
}

// quotient divides integers. It is not for what must be exact and is not.
func quotient(a, b int64, exact bool) (int64, bool) {
	if b == 0 || b == -1 || exact && a%b != 0 {
		return 0, false
	}
	return a / b, true
}

func remainder(a, b int64) (int64, bool) {
	if b == 0 || b == -1 {
		return 0, b == -1
	}
	return a % b, true
}

// integer truncates the result of fn.
func integer(fn func(*Script, string) (string, error)) func(*Script, string) (string, error) {
	return func(e *Script, s string) (string, error) {
		v, err := fn(e, s)
		if n, ok := parseNumber(v); ok && n.float {
			v = strconv.FormatFloat(math.Trunc(n.f), 'f', -1, 64)
		}
		return v, err
	}
}

func mod(_ *Script, s string) (string, error) {
	ns, err := numbers(s, 2)
	if err != nil {
		return "", err
	}
	if len(ns) != 2 || ns[0].float || ns[1].float {
		return "", errors.New("mod: expected two integers")
	}
	r, ok := remainder(ns[0].i, ns[1].i)
	if !ok {
		return "", errors.New("mod: division by zero")
	}
	return strconv.FormatInt(r, 10), nil
}

func unary(fn func(number) number) func(*Script, string) (string, error) {
	return func(_ *Script, s string) (string, error) {
		ns, err := numbers(s, 1)
		if err != nil {
			return "", err
		}
		if len(ns) != 1 {
			return "", errors.New("expected one number")
		}
		return fn(ns[0]).String(), nil
	}
}

func compare(ok func(c int) bool) func(*Script, string) (string, error) {
	return func(_ *Script, s string) (string, error) {
		w := words(s)
		if len(w) != 2 {
			return "", fmt.Errorf("expected two values, not %d", len(w))
		}
		a, aok := parseNumber(w[0])
		b, bok := parseNumber(w[1])
		c := 0
		switch {
		case !aok || !bok:
			c = strings.Compare(w[0], w[1])
		case a.float || b.float:
			c = cmp.Compare(a.f, b.f)
		default:
			c = cmp.Compare(a.i, b.i)
		}
		return strconv.FormatBool(ok(c)), nil
	}
}

func truth(s string) (bool, error) {
	var b bool
	err := click.Bool(&b)(s, nil)
	return b, err
}

// logic is a conjunction if all is true, else a disjunction, negated or not.
func logic(all, negate bool) func(*Script, string) (string, error) {
	return func(_ *Script, s string) (string, error) {
		v := all
		for _, w := range words(s) {
			x, err := truth(w)
			if err != nil {
				return "", err
			}
			if x != all {
				v = !all
			}
		}
		return strconv.FormatBool(v != negate), nil
	}
}

// capable tells whether all handlers that are named have something.
func capable(has func(h *click.Handler) bool) func(*Script, string) (string, error) {
	return func(e *Script, s string) (string, error) {
		for _, name := range words(s) {
			h, err := e.LookupHandler(name)
			if err != nil && !strings.Contains(name, ".") {
				h, err = e.LookupHandler(e.Name() + "." + name)
			}
			if err != nil || !has(h) {
				return "false", nil
			}
		}
		return "true", nil
	}
}

func random(e *Script, s string) (string, error) {
	ns, err := numbers(s, 0)
	if err != nil {
		return "", err
	}
	lo, hi := int64(0), int64(math.MaxInt32)
	switch len(ns) {
	case 0:
	case 1:
		hi = ns[0].i - 1
	case 2:
		lo, hi = ns[0].i, ns[1].i
	default:
		return "", errors.New("random: expected at most two numbers")
	}
	if hi < lo || hi-lo < 0 {
		return "", errors.New("random: the range is empty or too large")
	}
	return strconv.FormatInt(lo+int64(e.Rand().Uint64()%uint64(hi-lo+1)), 10), nil
}

func cat(e *Script, s string) (string, error) {
	if !e.Router().Host() {
		return "", errNoHost
	}
	f, err := os.Open(lang.Unquote(strings.TrimSpace(s)))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, maxValue+1)
	n := 0
	for n < len(b) {
		k, err := f.Read(b[n:])
		n += k
		if err != nil || k == 0 {
			break
		}
	}
	if n > maxValue {
		return "", fmt.Errorf("%s has more than %d bytes", s, maxValue)
	}
	return string(b[:n]), nil
}

// swap changes the order of the bytes of a number: both ways are the same.
func swap(bits uint) func(*Script, string) (string, error) {
	return func(_ *Script, s string) (string, error) {
		n, err := strconv.ParseUint(lang.Unquote(strings.TrimSpace(s)), 0, int(bits))
		if err != nil {
			return "", fmt.Errorf("expected a number of %d bits, not '%s'", bits, s)
		}
		var v uint64
		for i := uint(0); i < bits; i += 8 {
			v = v<<8 | n>>i&0xff
		}
		if !bigEndian {
			n = v
		}
		return strconv.FormatUint(n, 10), nil
	}
}

// sprintf formats words as C's function of that name does; each verb takes one.
func sprintf(_ *Script, s string) (string, error) {
	w := words(s)
	if len(w) == 0 {
		return "", errors.New("sprintf: a format is missing")
	}
	format, args := w[0], w[1:]
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		start := i
		for i++; i < len(format) && strings.IndexByte("-+ #0123456789.", format[i]) >= 0; i++ {
		}
		for ; i < len(format) && strings.IndexByte("hlqjzt", format[i]) >= 0; i++ {
		}
		if i == len(format) || i-start > 16 {
			return "", fmt.Errorf("sprintf: bad format '%s'", format[start:])
		}
		spec := strings.TrimRight(format[start:i], "hlqjzt")
		verb := format[i]
		if verb == '%' {
			b.WriteByte('%')
			continue
		}
		if len(args) == 0 {
			return "", errors.New("sprintf: too few arguments")
		}
		arg := args[0]
		args = args[1:]
		if wide := strings.FieldsFunc(spec, func(c rune) bool { return c < '0' || c > '9' }); len(wide) > 0 {
			for _, x := range wide {
				if n, err := strconv.Atoi(x); err != nil || n > 4096 {
					return "", fmt.Errorf("sprintf: width in '%s' is too large", spec)
				}
			}
		}
		switch verb {
		case 'd', 'i', 'u', 'o', 'x', 'X', 'c':
			n, ok := parseNumber(arg)
			if !ok {
				return "", fmt.Errorf("sprintf: '%s' is no number", arg)
			}
			if n.float {
				n.i = int64(n.f)
			}
			switch {
			case verb == 'c':
				b.WriteByte(byte(n.i))
			case verb == 'd' || verb == 'i':
				fmt.Fprintf(&b, spec+"d", n.i)
			case verb == 'u':
				fmt.Fprintf(&b, spec+"d", uint64(n.i))
			default:
				fmt.Fprintf(&b, spec+string(verb), uint64(n.i))
			}
		case 'e', 'E', 'f', 'g', 'G':
			n, ok := parseNumber(arg)
			if !ok {
				return "", fmt.Errorf("sprintf: '%s' is no number", arg)
			}
			fmt.Fprintf(&b, spec+string(verb), n.f)
		case 's':
			fmt.Fprintf(&b, spec+"s", arg)
		default:
			return "", fmt.Errorf("sprintf: unknown verb '%%%c'", verb)
		}
	}
	if len(args) > 0 {
		return "", errors.New("sprintf: too many arguments")
	}
	return b.String(), nil
}
