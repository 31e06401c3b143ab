package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
)

// Codes of answers.
const (
	codeOK           = 200
	codeSyntax       = 500
	codeUnknown      = 501
	codeNoElement    = 510
	codeNoHandler    = 511
	codeHandlerError = 520
	codeTooBig       = 521
	codeLLRPC        = 522
	codePermission   = 530
	codeNoRouter     = 540
)

// LLRPC is an element that answers calls by number, which is how older clients reach some of Click's. The numbers are those of
// Click's llrpc.h in their network form; the data is little-endian.
type LLRPC interface {
	// LLRPC answers call number n, or returns an error of kind errs.NotFound. On the worker.
	LLRPC(n uint32, data []byte) ([]byte, error)
}

// server is a listening socket with its connections. It outlives the element that made it when the router is replaced.
type server struct {
	listener net.Listener
	element  atomic.Pointer[ControlSocket]
	done     chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func serve(e *ControlSocket, l net.Listener) *server {
	s := &server{listener: l, done: make(chan struct{}), conns: map[net.Conn]bool{}}
	s.element.Store(e)
	s.wg.Add(1)
	go s.accept()
	return s
}

func (s *server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors, say
				continue
			}
		}
		s.mu.Lock()
		full := len(s.conns) >= maxConnections
		select {
		case <-s.done:
			full = true
		default:
		}
		if !full {
			s.conns[c] = true
			s.wg.Add(1)
		}
		s.mu.Unlock()
		if full {
			c.Close()
			continue
		}
		go s.talk(c)
	}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// close ends all connections. It does not wait for their goroutines, one of which may be the caller's cause.
func (s *server) close() {
	close(s.done)
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		// What has been answered shall get there; what is asked from here on will not be.
		c.SetReadDeadline(time.Now())
	}
	s.mu.Unlock()
}

// client is one connection.
type client struct {
	s *server
	r *bufio.Reader
	w *bufio.Writer
}

func (s *server) talk(conn net.Conn) {
	defer s.wg.Done()
	e := s.element.Load()
	if e.verbose {
		fmt.Fprintf(e.Output(), "%s: opened connection from %v\n", e.Name(), conn.RemoteAddr())
	}
	c := &client{s: s, r: bufio.NewReaderSize(conn, 4096), w: bufio.NewWriter(conn)}
	c.w.WriteString("Click::ControlSocket/1.3\r\n")
	for c.w.Flush() == nil {
		line, err := c.line()
		if err != nil {
			if errors.Is(err, errTooLong) {
				c.message(codeSyntax, "a line has more than "+strconv.Itoa(maxLine)+" bytes")
				c.w.Flush()
			}
			break
		}
		if quit := c.command(line); quit {
			c.w.Flush()
			break
		}
	}
	conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

var errTooLong = errors.New("line too long")

// line reads a line that ends in LF, CR or both, or with the stream.
func (c *client) line() (string, error) {
	var b []byte
	for {
		x, err := c.r.ReadByte()
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				return string(b), nil
			}
			return "", err
		}
		switch x {
		case '\r':
			if c.r.Buffered() > 0 {
				if y, err := c.r.Peek(1); err == nil && y[0] == '\n' {
					c.r.Discard(1)
				}
			}
			return string(b), nil
		case '\n':
			return string(b), nil
		}
		if len(b) == maxLine {
			return "", errTooLong
		}
		b = append(b, x)
	}
}

// message writes an answer; all but the last of its lines are continued.
func (c *client) message(code int, text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		c.w.WriteString(strconv.Itoa(code) + sep + strings.TrimRight(l, "\r") + "\r\n")
	}
}

func (c *client) data(v string) {
	c.w.WriteString("DATA " + strconv.Itoa(len(v)) + "\r\n" + v)
}

// command answers one line.
func (c *client) command(line string) (quit bool) {
	word, rest, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	word = strings.ToUpper(strings.TrimSpace(word))
	name, arg, _ := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	name, arg = strings.TrimSpace(name), strings.TrimLeft(arg, " \t")
	switch word {
	case "":
		return false
	case "QUIT":
		c.message(codeOK, "Goodbye!")
		return true
	case "READ", "GET", "READDATA", "READUNTIL", "WRITE", "SET", "WRITEDATA", "WRITEUNTIL", "CHECKREAD", "CHECKWRITE", "LLRPC":
	default:
		c.message(codeUnknown, "Unknown command '"+clip(word)+"'")
		return false
	}
	if name == "" {
		c.message(codeSyntax, "Wrong number of arguments to '"+word+"'")
		return false
	}
	switch {
	case strings.HasSuffix(word, "DATA"):
		n, err := strconv.ParseUint(strings.TrimSpace(arg), 10, 32)
		if err != nil {
			c.message(codeSyntax, "Syntax error in '"+word+"': expected a number of bytes")
			return false
		}
		v, ok := c.bytes(n)
		if !ok {
			return true
		}
		arg = v
	case strings.HasSuffix(word, "UNTIL"):
		v, err := c.until(strings.TrimRight(arg, " \t"))
		if err != nil {
			return true
		}
		arg = v
	}
	switch word[0] {
	case 'R', 'G':
		c.read(name, arg)
	case 'W', 'S':
		c.write(name, arg)
	case 'C':
		c.check(name, word == "CHECKWRITE")
	case 'L':
		return c.llrpc(name, arg)
	}
	return false
}

// bytes reads n bytes of data. It returns false if the connection cannot go on.
func (c *client) bytes(n uint64) (string, bool) {
	if n > maxData {
		c.message(codeTooBig, "More than "+strconv.Itoa(maxData)+" bytes of data")
		return "", false
	}
	var b strings.Builder // grows with what comes, not with what is announced
	if _, err := io.CopyN(&b, c.r, int64(n)); err != nil {
		return "", false
	}
	return b.String(), true
}

// until reads lines up to one that is end.
func (c *client) until(end string) (string, error) {
	var b strings.Builder
	for {
		l, err := c.line()
		if err != nil {
			return "", err
		}
		if strings.TrimRight(l, " \t") == end {
			return b.String(), nil
		}
		if b.Len()+len(l) > maxData {
			c.message(codeTooBig, "More than "+strconv.Itoa(maxData)+" bytes of data")
			return "", errTooLong
		}
		b.WriteString(l + "\n")
	}
}

func clip(s string) string { return s[:min(len(s), 64)] }

// do runs fn on the worker for the element that is in charge now, and returns false if there is none any more.
func (c *client) do(fn func(e *ControlSocket)) bool {
	ran := make(chan bool, 1)
	e := c.s.element.Load()
	e.Thread().Worker().Post(func() {
		// It may have been replaced while this waited.
		cur := c.s.element.Load()
		ok := false
		if cur.server == c.s {
			ok = cur.Router().DoHere(func() { fn(cur) })
		}
		ran <- ok
	})
	select {
	case ok := <-ran:
		if !ok {
			c.message(codeNoRouter, "No router installed")
		}
		return ok
	case <-c.s.done:
		c.message(codeNoRouter, "No router installed")
		return false
	}
}

// find looks a handler up and explains its absence. On the worker.
func (c *client) find(e *ControlSocket, name string) (*click.Handler, bool) {
	full := e.handlerName(name)
	h, err := e.Router().LookupHandler(full)
	if err == nil && !h.Private {
		return h, true
	}
	if i := strings.IndexByte(full, '.'); i > 0 && e.Router().Element(full[:i]) == nil {
		c.message(codeNoElement, "No element named '"+clip(full[:i])+"'")
	} else {
		c.message(codeNoHandler, "No handler named '"+clip(name)+"'")
	}
	return nil, false
}

func (c *client) read(name, param string) {
	c.do(func(e *ControlSocket) {
		h, ok := c.find(e, name)
		if !ok {
			return
		}
		if h.Read == nil {
			c.message(codePermission, "Handler '"+clip(name)+"' write-only")
			return
		}
		v, err := h.Read(param)
		if err != nil {
			c.message(codeHandlerError, "Read handler '"+clip(name)+"' error:\n"+err.Error())
			return
		}
		c.message(codeOK, "Read handler '"+clip(name)+"' OK")
		c.data(v)
	})
}

func (c *client) write(name, value string) {
	var err error
	called, reload := false, false
	if !c.do(func(e *ControlSocket) {
		h, ok := c.find(e, name)
		switch {
		case !ok:
		case h.Write == nil:
			c.message(codePermission, "Handler '"+clip(name)+"' read-only")
		case e.readonly:
			c.message(codePermission, "Permission denied for '"+clip(name)+"'")
		case name == "hotconfig":
			reload = true // it has to wait for the worker
		default:
			called = true
			err = h.Write(value)
		}
	}) {
		return
	}
	if reload {
		called, err = true, c.s.element.Load().Router().Reload(value)
	}
	switch {
	case err != nil:
		c.message(codeHandlerError, "Write handler '"+clip(name)+"' error:\n"+err.Error())
	case called:
		c.message(codeOK, "Write handler '"+clip(name)+"' OK")
	}
}

func (c *client) check(name string, write bool) {
	c.do(func(e *ControlSocket) {
		h, ok := c.find(e, name)
		switch {
		case !ok:
		case write && (h.Write == nil || e.readonly):
			c.message(codePermission, "Handler '"+clip(name)+"' not writable")
		case !write && h.Read == nil:
			c.message(codePermission, "Handler '"+clip(name)+"' not readable")
		case write:
			c.message(codeOK, "Write handler '"+clip(name)+"' OK")
		default:
			c.message(codeOK, "Read handler '"+clip(name)+"' OK")
		}
	})
}

func (c *client) llrpc(name, arg string) (quit bool) {
	el, num, ok := strings.Cut(name, "#")
	n, err := strconv.ParseUint(num, 16, 32)
	if !ok || err != nil {
		c.message(codeSyntax, "Syntax error in LLRPC: expected ELEMENT#NUMBER")
		return false
	}
	var in string
	if arg = strings.TrimSpace(arg); arg != "" {
		size, err := strconv.ParseUint(arg, 10, 32)
		if err != nil {
			c.message(codeSyntax, "Syntax error in LLRPC: expected a number of bytes")
			return false
		}
		if in, ok = c.bytes(size); !ok {
			return true
		}
	}
	c.do(func(e *ControlSocket) {
		x := e.Router().Element(el)
		if x == nil {
			c.message(codeNoElement, "No element named '"+clip(el)+"'")
			return
		}
		l, ok := x.(LLRPC)
		if !ok {
			c.message(codeLLRPC, "LLRPC '"+clip(name)+"' error: the element has none")
			return
		}
		if e.readonly {
			c.message(codePermission, "Permission denied for '"+clip(name)+"'")
			return
		}
		out, err := l.LLRPC(uint32(n), []byte(in))
		if err != nil {
			code := codeLLRPC
			if errs.KindOf(err) == errs.NotFound {
				code = codeUnknown
			}
			c.message(code, "LLRPC '"+clip(name)+"' error:\n"+err.Error())
			return
		}
		c.message(codeOK, "LLRPC '"+clip(name)+"' OK")
		c.data(string(out))
	})
	return false
}
