package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

func init() {
	args := append([]string{
		"TYPE: TCP, UDP, UNIX or UNIX_DGRAM.", "<IP and PORT, or FILENAME>: The address: of the server, or to be one at. A name that begins with @ is no file's.",
		"<LOCALIP and LOCALPORT, or LOCALFILENAME>: With TCP, UDP and UNIX_DGRAM: a client's own address; LOCALPORT may be left away.",
		"CLIENT: Whether to connect and not to serve; default true where there is no output or an own address is given, and else false.",
		"NODELAY: TCP: whether to send small packets at once; default true.", "ALLOW: Server: element of the IPRouteTable kind (RadixIPLookup); addresses with a route in it may send or connect.",
		"DENY: Server: like ALLOW, addresses with a route in it, and none in ALLOW's, may not.", "VERBOSE: Whether to print a message when connections begin and end; default false.",
	}, commonArgs...)
	doc := func(title, text, example string, see ...string) click.Doc {
		return click.Doc{Group: "device", Title: title, Text: text, Args: args, Handlers: commonHandlers, Example: example, See: see}
	}
	for _, c := range []struct {
		name, ports string
		client      int
		doc         click.Doc
	}{
		{"Socket", "0-1/0-1", 0, doc("carries packets over a socket",
			"What comes in is sent to the other side, and what that sends goes out; nothing passes through. A TCP or UNIX server has one connection at a time, the next one is accepted when that ends; a stream is cut into packets where reads end. "+
				"A server of datagrams answers to whoever has sent last. A UDP client with the address 0.0.0.0 sends to the destination annotation of each packet. "+
				"A descriptor goes on with the element of the same name and the same arguments after a hot swap.",
			"Socket(UDP, 0.0.0.0, 5000) -> Print -> Discard;", "McastSocket", "RawSocket")},
		{"FromSocket", "0/1", -1, doc("receives packets from a socket", "It is a Socket that serves and has no input.", "FromSocket(UDP, 0.0.0.0, 5000) -> Discard;", "Socket", "ToSocket")},
		{"ToSocket", "1/0", 1, doc("sends packets over a socket", "It is a Socket that connects and has no output.", "RatedSource -> ToSocket(UDP, 127.0.0.1, 5000);", "Socket", "FromSocket")},
	} {
		click.Register(click.Class{Name: c.name, Ports: c.ports, Processing: "a/h", Flow: "x/y", New: func() click.Element { return &Socket{role: c.client} }, Doc: c.doc})
	}
}

const (
	connectTime = 5 * time.Second
	backlog     = 16
)

// Socket is an element with a socket.
type Socket struct {
	port
	role     int // 1: client, -1: server, 0: as it is configured
	typ      string
	client   bool
	addr     netip.AddrPort
	local    netip.AddrPort
	file     string
	ownFile  string
	nodelay  bool
	verbose  bool
	allow    *ip.Lookup
	deny     *ip.Lookup
	peer     netip.AddrPort // of a server of datagrams: who sent last
	peerFile unix.Sockaddr
	listener int // of a server of streams, whose connection is port.fd; else -1
	bound    string
	dgrams   datagrams
}

// Configure implements click.Element.
func (e *Socket) Configure(a *click.Args) {
	var text [5]string
	var given [5]bool
	var allow, deny *ip.Lookup
	var hasClient bool
	params := e.params()
	e.listener, e.nodelay, e.dgrams.via = -1, true, -1
	for i, n := range []string{"TYPE", "IP", "PORT", "LOCALIP", "LOCALPORT"} {
		p := click.May(n, click.String(&text[i]))
		if i < 2 {
			p = click.Must(n, click.String(&text[i]))
		}
		params = append(params, p.Given(&given[i]))
	}
	params = append(params, click.Key("CLIENT", click.Bool(&e.client)).Given(&hasClient), click.Key("NODELAY", click.Bool(&e.nodelay)), click.Key("VERBOSE", click.Bool(&e.verbose)),
		click.Key("ALLOW", click.Ref(&allow, "IPRouteTable")), click.Key("DENY", click.Ref(&deny, "IPRouteTable")))
	if !a.Parse(params...) {
		return
	}
	e.allow, e.deny = allow, deny
	own := false
	var err error
	switch e.typ = strings.ToUpper(text[0]); e.typ {
	case "TCP", "UDP":
		own = given[3]
		if e.addr, err = inet(a, text[1], text[2], e.typ); err == nil && own {
			if !given[4] {
				text[4] = "0"
			}
			e.local, err = inet(a, text[3], text[4], e.typ)
		}
	case "UNIX", "UNIX_DGRAM":
		e.file, e.ownFile, own = text[1], text[2], given[2]
		if given[3] || given[4] {
			a.Errorf("too many arguments, there is no place for '%s'", text[3]+text[4])
		}
		for _, f := range []string{e.file, e.ownFile} {
			if len(f) > 107 {
				err = fmt.Errorf("FILENAME: a socket's name has at most 107 bytes, not %d", len(f))
			}
		}
	default:
		err = fmt.Errorf("TYPE: expected TCP, UDP, UNIX or UNIX_DGRAM, not '%s'", text[0])
	}
	if err != nil {
		a.Errorf("%v", err)
		return
	}
	switch {
	case e.role != 0:
		e.client = e.role > 0
	case !hasClient:
		e.client = a.Inputs() > 0 && (a.Outputs() == 0 || own)
	}
	if !e.client {
		e.local, e.ownFile = netip.AddrPort{}, ""
	}
	if a.Inputs() == 0 && a.Outputs() == 0 {
		a.Errorf("it needs an input or an output")
	}
}

// inet parses an IPv4 address and a port.
func inet(a *click.Args, addr, port, proto string) (netip.AddrPort, error) {
	var x netip.Addr
	if err := click.Addr4(&x)(addr, a); err != nil {
		return netip.AddrPort{}, fmt.Errorf("IP: %w", err)
	}
	kind := click.NameUDP
	if proto == "TCP" {
		kind = click.NameTCP
	}
	n, err := a.ParsePort(lang.Unquote(port), kind)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("PORT: %w", err)
	}
	return netip.AddrPortFrom(x, n), nil
}

func (e *Socket) stream() bool { return e.typ == "TCP" || e.typ == "UNIX" }

// Initialize implements click.Initializer.
func (e *Socket) Initialize() error {
	var kind carrier = e
	e.drain = e.stream() || !e.client
	if e.typ == "UDP" {
		kind = &e.dgrams
		e.dgrams.p, e.dgrams.q = &e.port, sys.NewMsgQueue()
		switch {
		case e.client && e.addr.Addr().IsUnspecified():
			e.dgrams.to = func(k *packet.Packet) (netip.AddrPort, bool) {
				return netip.AddrPortFrom(k.Anno.Dst, e.addr.Port()), k.Anno.Dst.Is4()
			}
		case !e.client:
			e.dgrams.to = func(*packet.Packet) (netip.AddrPort, bool) { return e.peer, e.peer.IsValid() }
			e.dgrams.from = func(_ *packet.Packet, a netip.AddrPort) bool {
				if !e.may(a.Addr()) {
					e.CountDrops(1)
					return false
				}
				e.peer = a
				return true
			}
		}
	}
	if err := e.prepare(kind); err != nil {
		return err
	}
	if old, ok := e.Before().(*Socket); ok && e.same(old) {
		return nil
	}
	return e.open()
}

// may reports whether a server talks with an address.
func (e *Socket) may(a netip.Addr) bool {
	a = a.Unmap()
	return e.allow != nil && e.allow.Knows(a) || e.deny == nil || !e.deny.Knows(a)
}

func (e *Socket) same(o *Socket) bool {
	return o.typ == e.typ && o.client == e.client && o.addr == e.addr && o.local == e.local && o.file == e.file && o.ownFile == e.ownFile && (o.fd >= 0 || o.listener >= 0)
}

func (e *Socket) open() error {
	family, typ := unix.AF_INET, unix.SOCK_STREAM
	if e.file != "" {
		family = unix.AF_UNIX
	}
	if !e.stream() {
		typ = unix.SOCK_DGRAM
	}
	fd, err := open(family, typ, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	name := func(a netip.AddrPort, file string) unix.Sockaddr {
		if family == unix.AF_UNIX {
			return &unix.SockaddrUnix{Name: file}
		}
		return address(a)
	}
	at, atFile := e.addr, e.file
	if e.client {
		at, atFile = e.local, e.ownFile
	}
	if at.IsValid() || atFile != "" {
		if typ == unix.SOCK_STREAM {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err := orClose(fd, fmt.Sprintf("binding to %v%s", at, atFile), unix.Bind(fd, name(at, atFile))); err != nil {
			return err
		}
		if !strings.HasPrefix(atFile, "@") { // a name that is no file's goes with the socket
			e.bound = atFile
		}
	}
	switch {
	case !e.client && e.stream():
		if err := orClose(fd, "listening", unix.Listen(fd, backlog)); err != nil {
			return err
		}
		e.listener = fd
		return e.attachListener()
	case !e.client, e.typ == "UDP" && e.addr.Addr().IsUnspecified():
	default:
		if err := orClose(fd, fmt.Sprintf("connecting to %v%s", e.addr, e.file), connect(fd, name(e.addr, e.file))); err != nil {
			return err
		}
		e.delay(fd)
	}
	return e.attach(fd)
}

// connect waits for a connection for a while.
func connect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	for end := time.Now().Add(connectTime); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(max(time.Until(end).Milliseconds(), 0)))
		if n > 0 {
			break
		}
		if err == nil {
			return unix.ETIMEDOUT
		}
		if err != unix.EINTR {
			return err
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

func (e *Socket) delay(fd int) {
	if e.typ == "TCP" && e.nodelay {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
}

// attachListener waits for a connection: without one, the listening descriptor is the port's.
func (e *Socket) attachListener() error { return e.attach(e.listener) }

// accept makes the first connection that may be there the port's.
func (e *Socket) accept() bool {
	for {
		fd, from, err := unix.Accept4(e.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return false
		}
		who := "a client"
		if a, ok := from.(*unix.SockaddrInet4); ok {
			addr := netip.AddrFrom4(a.Addr)
			who = netip.AddrPortFrom(addr, uint16(a.Port)).String()
			if !e.may(addr) {
				e.say("refused connection from %s", who)
				unix.Close(fd)
				continue
			}
		}
		e.say("opened connection from %s", who)
		e.detach()
		e.delay(fd)
		if err := e.attach(fd); err != nil {
			e.say("%v", err)
			e.hangUp()
			return false
		}
		return true
	}
}

func (e *Socket) say(format string, args ...any) {
	if e.verbose {
		fmt.Fprintf(e.Output(), "%s: %s\n", e.Name(), fmt.Sprintf(format, args...))
	}
}

// hangUp ends a connection; a server waits for the next one.
func (e *Socket) hangUp() {
	e.say("closed connection")
	e.shut()
	e.CountDrops(e.held.Len()) // which were for that client
	e.Cache().FreeBatch(&e.held)
	if e.listener >= 0 {
		if err := e.attachListener(); err != nil {
			e.say("%v", err)
		}
	}
}

// recv implements carrier, for streams and datagrams of files.
func (e *Socket) recv(b *packet.Batch, n int) bool {
	if e.listener >= 0 && e.fd == e.listener {
		if !e.accept() {
			return false
		}
	}
	for b.Len() < n {
		k := e.alloc()
		if k == nil {
			e.retry()
			return false
		}
		var got int
		var err error
		if e.typ == "UNIX_DGRAM" && !e.client {
			var from unix.Sockaddr
			if got, from, err = unix.Recvfrom(e.fd, k.Data(), 0); err == nil {
				e.peerFile = from
			}
		} else {
			got, err = unix.Read(e.fd, k.Data())
		}
		if err == nil && (got > 0 || !e.stream()) {
			k.Take(k.Len() - got)
			b.Append(k)
			continue
		}
		e.Cache().Free(k)
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR, err != nil && !e.stream():
			return true
		}
		e.hangUp()
		return e.fd >= 0
	}
	return true
}

// send implements carrier, for streams and datagrams of files.
func (e *Socket) send(list []*packet.Packet) int {
	for i, k := range list {
		if e.listener >= 0 && e.fd == e.listener { // nobody is there
			e.CountDrops(1)
			continue
		}
		for k.Len() > 0 || !e.stream() {
			var n int
			var err error
			switch {
			case e.typ == "UNIX_DGRAM" && !e.client:
				peer, ok := e.peerFile.(*unix.SockaddrUnix)
				if !ok || peer.Name == "" {
					err = unix.ENOTCONN
				} else {
					n, err = k.Len(), unix.Sendto(e.fd, k.Data(), unix.MSG_NOSIGNAL, peer)
				}
			default:
				n, err = unix.SendmsgN(e.fd, k.Data(), nil, nil, unix.MSG_NOSIGNAL)
			}
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN || err == unix.ENOBUFS {
				return i
			}
			if err != nil { // a broken stream is seen by the next read
				e.CountDrops(1)
				break
			}
			k.Pull(n)
			if k.Len() == 0 {
				e.sent++
				break
			}
		}
	}
	return len(list)
}

// Inherit implements click.Inheritor.
func (e *Socket) Inherit(old click.Element) error {
	o, ok := old.(*Socket)
	if !ok {
		return nil
	}
	same := e.same(o)
	if same {
		e.listener, o.listener = o.listener, -1
		e.peer, e.peerFile, e.bound, o.bound = o.peer, o.peerFile, o.bound, ""
	}
	return e.inherit(&o.port, same)
}

// Cleanup implements click.Cleaner.
func (e *Socket) Cleanup() {
	if e.listener >= 0 && e.listener != e.fd {
		unix.Close(e.listener)
	}
	e.listener = -1
	e.port.Cleanup()
	if e.bound != "" {
		_ = unix.Unlink(e.bound)
		e.bound = ""
	}
}
