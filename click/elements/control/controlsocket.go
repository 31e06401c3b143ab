package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "ControlSocket", Ports: "0/0", Processing: "a", New: func() click.Element { return &ControlSocket{} },
		Doc: click.Doc{
			Group: "control", Title: "lets other programs call handlers over a socket",
			Text: "It speaks the line protocol Click::ControlSocket/1.3: READ, READDATA, READUNTIL, WRITE, WRITEDATA, WRITEUNTIL, CHECKREAD, CHECKWRITE, LLRPC and QUIT. " +
				"Handlers are named ELEMENT.HANDLER, NUMBER.HANDLER with elements numbered from 1, or by a global name. " +
				"When the router is replaced, an element of the same name, type and address keeps the connections.",
			Args: []string{
				"TYPE: TCP or UNIX.", "ADDRESS: A TCP port, which N+ lets be the first free one from N, or the name of a UNIX socket.",
				"READONLY: Whether write handlers are forbidden; default false.", "PROXY: Element whose handlers are called: E.H means PROXY.E.H.",
				"VERBOSE: Whether to report connections; default false.", "LOCALHOST: Whether TCP connections are taken from this host only; default true.",
				"RETRIES: How often to try again, each second, if the address is taken; default 0.", "RETRY_WARNINGS: Whether to report each failure; default true.",
			},
			Handlers: []string{"port (r): The TCP port.", "filename (r): The UNIX socket's name.", "connections (r): How many there are now."},
			Example:  "ControlSocket(unix, /run/click.sock);",
		},
	})
}

// Bounds of a connection.
const (
	maxConnections = 64
	maxLine        = 64 << 10
	maxData        = 16 << 20
	portsTried     = 100
)

// ControlSocket gives handlers to other programs.
type ControlSocket struct {
	click.Base
	unix      bool
	address   string
	firstFree bool // of TCP ports
	port      int
	readonly  bool
	verbose   bool
	localhost bool
	retries   int
	warn      bool
	proxy     string

	server *server
	timer  *click.Timer
}

// Configure implements click.Element.
func (e *ControlSocket) Configure(a *click.Args) {
	var kind string
	e.warn, e.localhost = true, true
	if !a.Parse(click.Must("TYPE", click.String(&kind)), click.Must("ADDRESS", click.String(&e.address)),
		click.Key("READONLY", click.Bool(&e.readonly)), click.Key("PROXY", click.String(&e.proxy)), click.Key("VERBOSE", click.Bool(&e.verbose)),
		click.Key("LOCALHOST", click.Bool(&e.localhost)), click.Key("RETRIES", click.IntRange(&e.retries, 0, 1<<20)), click.Key("RETRY_WARNINGS", click.Bool(&e.warn))) {
		return
	}
	if e.proxy != "" && a.Element(e.proxy) == nil {
		a.Errorf("PROXY: no element named '%s'", e.proxy)
	}
	switch strings.ToUpper(kind) {
	case "TCP":
		text, plus := strings.CutSuffix(e.address, "+")
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			a.Errorf("ADDRESS: expected a TCP port, not '%s'", e.address)
		}
		e.port, e.firstFree = int(n), plus
	case "UNIX":
		e.unix = true
		if e.address == "" || len(e.address) > 100 {
			a.Errorf("ADDRESS: expected the name of a socket, of at most 100 bytes")
		}
	default:
		a.Errorf("TYPE: expected TCP or UNIX, not '%s'", kind)
	}
}

// Initialize implements click.Initializer.
func (e *ControlSocket) Initialize() error {
	if !e.Router().Host() {
		return errNoHost
	}
	if old, ok := e.Before().(*ControlSocket); ok && e.same(old) {
		return nil // the socket is in use and will be inherited
	}
	err := e.listen()
	if err != nil && e.retries > 0 {
		e.timer = e.NewTimer(e.again)
		e.complain(err)
		return nil
	}
	return err
}

// Start implements click.Starter.
func (e *ControlSocket) Start() {
	if e.server == nil && e.timer != nil {
		e.timer.SetAfter(time.Second)
	}
}

func (e *ControlSocket) again() {
	err := e.listen()
	if err == nil {
		return
	}
	if e.retries--; e.retries > 0 {
		if e.warn {
			e.complain(err)
		}
		e.timer.SetAfter(time.Second)
		return
	}
	e.complain(err)
	e.Router().RequestStop()
}

func (e *ControlSocket) complain(err error) { fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err) }

func (e *ControlSocket) same(o *ControlSocket) bool {
	return o.server != nil && e.unix == o.unix && e.address == o.address && e.localhost == o.localhost
}

// Inherit implements click.Inheritor: connections stay open.
func (e *ControlSocket) Inherit(old click.Element) error {
	o, ok := old.(*ControlSocket)
	if !ok || !e.same(o) {
		return nil
	}
	e.server, o.server = o.server, nil
	e.server.element.Store(e)
	return nil
}

// Cleanup implements click.Cleaner.
func (e *ControlSocket) Cleanup() {
	if e.server != nil {
		e.server.close()
		e.server = nil
	}
}

func (e *ControlSocket) listen() error {
	if e.unix {
		l, err := listenUnix(e.address)
		if err != nil {
			return err
		}
		e.server = serve(e, l)
		return nil
	}
	host := ""
	if e.localhost {
		host = "localhost"
	}
	last := e.port
	if e.firstFree {
		last = min(e.port+portsTried, 1<<16-1)
	}
	for p := e.port; ; p++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err == nil {
			e.server = serve(e, l)
			return nil
		}
		if p >= last || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

// listenUnix takes the place of a socket that nobody listens on any more.
func listenUnix(name string) (net.Listener, error) {
	l, err := net.Listen("unix", name)
	if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if c, derr := net.DialTimeout("unix", name, time.Second); derr == nil {
		c.Close()
		return nil, err
	}
	if fi, serr := os.Lstat(name); serr != nil || fi.Mode()&os.ModeSocket == 0 {
		return nil, err
	}
	if err := os.Remove(name); err != nil {
		return nil, err
	}
	return net.Listen("unix", name)
}

// AddHandlers implements click.HandlerAdder.
func (e *ControlSocket) AddHandlers(h *click.Handlers) {
	h.Read("port", func() string {
		if e.server != nil {
			if a, ok := e.server.listener.Addr().(*net.TCPAddr); ok {
				return strconv.Itoa(a.Port)
			}
		}
		return ""
	})
	h.Read("filename", func() string {
		if e.unix {
			return e.address
		}
		return ""
	})
	h.Read("connections", func() string {
		if e.server == nil {
			return "0"
		}
		return strconv.Itoa(e.server.count())
	})
}

// handlerName is what a client's name of a handler means.
func (e *ControlSocket) handlerName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		if n, err := strconv.Atoi(name[:i]); err == nil && n >= 1 && n <= len(e.Router().Elements()) {
			spec := e.Router().Spec()
			name = spec.Elements[n-1].Name + name[i:]
		}
	}
	if e.proxy != "" && strings.Contains(name, ".") {
		name = e.proxy + "." + name
	}
	return lang.Unquote(name)
}
