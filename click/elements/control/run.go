package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
)

var errHasty = errors.New("the script cannot wait here: it runs for a packet, or waits already")

// exec runs instructions until the script ends or waits; then kept is set.
func (e *Script) exec() {
	e.frame.kept = false
	for e.pos < len(e.code) {
		k := &e.code[e.pos]
		switch k.verb {
		case vSet:
			e.setVar(k.what, e.text(k, k.text))
		case vPrint:
			e.print(k)
		case vRead:
			e.read(k)
		case vWrite:
			e.write(k)
		case vPause:
			if e.pending >= k.n {
				e.pending -= k.n
				break
			}
			if e.frame.hasty {
				e.fail(errHasty)
				return
			}
			e.left, e.pending = k.n-e.pending, 0
			e.waiting, e.frame.kept = forSteps, true
			return
		case vWait:
			d, err := waitFor(e.substitute(k.text))
			if err != nil {
				e.fail(fmt.Errorf("wait: %w", err))
				return
			}
			if e.pending > 0 {
				e.pending--
				break
			}
			if e.frame.hasty {
				e.fail(errHasty)
				return
			}
			e.waiting, e.frame.kept = forTime, true
			e.timer.Set(e.Router().Domain().Node().Clock().Now().Add(d)) // not from the run's time: what the script calls now is later
			return
		case vGoto:
			if k.text != "" {
				yes, err := truth(lang.Unquote(e.substitute(k.text)))
				if err != nil {
					e.fail(fmt.Errorf("goto: %w", err))
					return
				}
				if !yes {
					break
				}
			}
			if k.at < 0 {
				e.end(k.at)
				return
			}
			if e.frame.jumps++; e.frame.jumps >= maxJumps {
				e.disabled = true
				e.fail(errors.New("too many jumps, giving up"))
				return
			}
			e.pos = k.at
			continue
		case vEnd:
			e.end(toEnd)
			return
		case vExit:
			e.end(toExit)
			return
		case vStop:
			e.end(toStop)
			return
		case vReturn:
			e.frame.result = e.text(k, k.text)
			e.frame.out = 0
			if n, err := strconv.Atoi(strings.TrimSpace(e.frame.result)); err == nil {
				e.frame.out = max(n, -1)
			}
			e.pos = len(e.code)
			return
		case vError:
			msg := e.text(k, k.text)
			if msg == "" {
				msg = "error"
			}
			e.fail(errors.New(msg))
			return
		}
		e.pos++
	}
}

// end ends the script in one of the ways that are no instruction's place.
func (e *Script) end(how int) {
	e.pos = len(e.code)
	switch how {
	case toExit:
		e.frame.out = -1
	case toStop:
		if e.kind != driver { // whose end stops the router anyhow
			e.Router().RequestStop()
		}
	case toError:
		e.fail(errors.New("error"))
	}
}

func (e *Script) fail(err error) {
	e.pos = len(e.code)
	e.frame.err, e.frame.out = err, -1
}

// text returns the text of an instruction with its references replaced.
func (e *Script) text(k *instruction, s string) string {
	s = e.substitute(s)
	if k.unquote {
		s = lang.Unquote(s)
	}
	return s
}

func (e *Script) setVar(name, value string) {
	if _, there := e.vars[name]; !there && len(e.vars) >= maxVars || len(value) > maxValue {
		e.complain(fmt.Errorf("set %s: more than %d variables, or a value of more than %d bytes", name, maxVars, maxValue))
		return
	}
	e.vars[name] = value
}

func (e *Script) print(k *instruction) {
	text := ""
	if c := first(k.text); c == '_' || c == '@' || c|0x20 >= 'a' && c|0x20 <= 'z' {
		name, args := lang.NextWord(e.text(k, k.text))
		v, err := e.ask(name, args)
		if err != nil {
			e.complain(err)
			return
		}
		text = v
		if k.newline {
			text = strings.TrimSuffix(text, "\n")
		}
	} else {
		text = lang.Unquote(e.text(k, k.text))
	}
	if k.newline {
		text += "\n"
	}
	var out io.Writer = e.Stdout()
	if k.what != "" {
		f, err := e.file(k.what)
		if err != nil {
			e.complain(err)
			return
		}
		if f != nil {
			defer f.Close()
			out = f
		}
	}
	if _, err := io.WriteString(out, text); err != nil {
		e.complain(err)
	}
}

// file opens what stands behind print: >FILE begins anew, >>FILE appends; a dash is standard output.
func (e *Script) file(what string) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	name, app := strings.CutPrefix(what[1:], ">")
	if app {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	name = lang.Unquote(e.substitute(name))
	if name == "-" {
		return nil, nil
	}
	if !e.Router().Host() {
		return nil, errNoHost
	}
	return os.OpenFile(name, flags, 0o666)
}

func (e *Script) read(k *instruction) {
	name, args := lang.NextWord(e.substitute(k.text))
	if k.unquote {
		name, args = lang.Unquote(name), lang.Unquote(args)
	}
	v, err := e.ask(name, args)
	if err != nil {
		e.complain(err)
		return
	}
	if !strings.Contains(name, ".") && e.own(name) {
		name = e.Name() + "." + name
	}
	fmt.Fprintf(e.Output(), "%s:\n%s\n", name, strings.TrimSuffix(v, "\n"))
}

func (e *Script) write(k *instruction) {
	name, value := lang.NextWord(e.substitute(k.text))
	if k.unquote {
		name, value = lang.Unquote(name), lang.Unquote(value)
	}
	e.vars["?"] = "0"
	var err error
	if !strings.Contains(name, ".") && e.own(name) {
		err = e.WriteHandler(e.Name()+"."+name, value)
	} else {
		err = e.WriteHandler(name, value)
	}
	if err != nil {
		e.vars["?"] = "-1"
		if said := errors.Unwrap(err); said != nil { // by the handler, perhaps in several lines
			fmt.Fprintf(e.Output(), "While executing '%s :: %s': write %s:\n  %s\n", e.Name(), e.Class().Name, name, strings.ReplaceAll(strings.TrimRight(said.Error(), "\n"), "\n", "\n  "))
			return
		}
		e.complain(err)
	}
}

func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// own reports whether a name without an element is a handler of the script.
func (e *Script) own(name string) bool {
	return e.Router().HandlersOf(e.Name()).Has(name)
}

// ask reads a handler as the script names it.
func (e *Script) ask(name, args string) (string, error) {
	name = lang.Unquote(name)
	if !strings.Contains(name, ".") {
		if fn := functions[name]; fn != nil { // also of scripts that are still being started
			return fn(e, args)
		}
		if e.own(name) {
			name = e.Name() + "." + name
		}
	}
	return e.ReadHandler(name, args)
}

// substitute replaces $VAR, ${VAR} and $(HANDLER ARGS), outside of single quotes. What comes within double quotes keeps its bytes.
func (e *Script) substitute(s string) string {
	if strings.IndexByte(s, '$') < 0 {
		return s
	}
	if e.depth++; e.depth > maxDepth {
		e.depth--
		return ""
	}
	defer func() { e.depth-- }()
	var b strings.Builder
	var in byte
	for i := 0; i < len(s) && b.Len() <= maxValue; {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && (in == '"' || in == 0 && s[i+1] == '$'):
			if s[i+1] == '$' && in == 0 {
				b.WriteByte('$')
			} else {
				b.WriteString(s[i : i+2])
			}
			i += 2
			continue
		case in == 0 && (c == '"' || c == '\''):
			in = c
		case in != 0 && c == in:
			in = 0
		case c == '$' && in != '\'':
			if v, n := e.reference(s[i:]); n > 0 {
				if in == '"' {
					v = lang.Escape(v)
				}
				b.WriteString(v)
				i += n
				continue
			}
		}
		b.WriteByte(c)
		i++
	}
	return b.String()
}

// reference evaluates the reference at the start of s and returns how long it is, 0 if it is none.
func (e *Script) reference(s string) (string, int) {
	if len(s) < 2 {
		return "", 0
	}
	switch c := s[1]; {
	case c == '(':
		n := closing(s[2:])
		if n < 0 {
			return "", 0
		}
		name, args := lang.NextWord(e.substitute(s[2 : 2+n]))
		v, err := e.ask(name, args)
		if err != nil {
			e.complain(err)
		}
		return strings.TrimSuffix(v, "\n"), n + 3
	case c == '{':
		n := strings.IndexByte(s, '}')
		if n < 0 {
			return "", 0
		}
		return e.variable(s[2:n]), n + 1
	case c == '$' || c == '?' || c == '#' || c >= '0' && c <= '9':
		n := 2
		for c >= '0' && c <= '9' && n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return e.variable(s[1:n]), n
	}
	n := 1
	for n < len(s) && isName(s[1:n+1]) {
		n++
	}
	if n == 1 {
		return "", 0
	}
	return e.variable(s[1:n]), n
}

// closing returns the length of what stands before the closing parenthesis.
func closing(s string) int {
	depth := 0
	var in byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && in == '"':
			i++
		case in != 0:
			if c == in {
				in = 0
			}
		case c == '"' || c == '\'':
			in = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return i
			}
		}
	}
	return -1
}

// variable returns the value of a variable; unknown ones are empty.
func (e *Script) variable(name string) string {
	if v, ok := e.frame.special[name]; ok {
		return v
	}
	switch {
	case name == "$":
		return strconv.Itoa(os.Getpid())
	case name == "#":
		return strconv.Itoa(len(lang.SplitWords(e.frame.special["args"])))
	case name != "" && name[0] >= '0' && name[0] <= '9':
		n, err := strconv.Atoi(name)
		words := lang.SplitWords(e.frame.special["args"])
		if err != nil || n < 1 || n > len(words) {
			return ""
		}
		return words[n-1]
	}
	return e.vars[name]
}
