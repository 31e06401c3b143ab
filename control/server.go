package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
)

// maxBody bounds what a request may carry.
const maxBody = 4 << 20

// Server offers a node's API on a unix socket.
type Server struct {
	node *node.Node
	log  *slog.Logger
	path string
	file os.FileInfo // of the socket
	http *http.Server
	stop context.CancelFunc
	done chan struct{}
}

// Serve listens on path and answers until Close. It refuses with errs.Exists if somebody answers there already.
func Serve(n *node.Node, path string, log *slog.Logger) (*Server, error) {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return nil, errs.New(errs.Exists, "control socket %s: another node answers there; give this one another path", path)
	}
	// What is left there is the socket of a node that was killed, or a file of somebody else's, which stays.
	if fi, e := os.Lstat(path); e == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, errs.New(errs.Exists, "control socket %s: the path is a file that is no socket; give another path", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // somebody is there, busy or not for us
			return nil, errs.New(errs.Exists, "control socket %s: somebody has it and does not answer: %w; give another path", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, errs.New(errs.Permission, "control socket: %w", err)
		}
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, errs.New(errs.Exists, "control socket: %w (was it removed at once?)", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{node: n, log: log, path: path, file: file, stop: stop, done: make(chan struct{})}
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket", "error", err)
		}
	}()
	return s, nil
}

// listenPrivately makes a socket that only its owner may open. It is made in a directory that nobody else may enter and moved to its
// place afterwards, so that there is no moment at which the process's umask decides.
func listenPrivately(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".j")
	if err != nil {
		return nil, errs.New(errs.Invalid, "control socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.Listen("unix", made)
	if err != nil {
		return nil, errs.New(errs.Invalid, "control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // Close removes it from where it is then
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		l.Close()
		return nil, errs.New(errs.Permission, "control socket: %w", err)
	}
	return l, nil
}

// Path returns the socket's path.
func (s *Server) Path() string { return s.path }

// Close stops answering: requests that wait for something end, others may finish for a second.
func (s *Server) Close() error {
	s.stop()
	// While we still listen, so that nobody takes the path for a dead node's: it is ours, or somebody else has put theirs there.
	if fi, err := os.Lstat(s.path); err == nil && os.SameFile(fi, s.file) {
		_ = os.Remove(s.path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, fn func(r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { answer(w, r, fn) })
	}
	post := func(path string, fn func(r *http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer(w, r, fn)
		})
	}
	get("/v1/status", func(*http.Request) (any, error) { return StatusOf(s.node), nil })
	get("/v1/channels", func(*http.Request) (any, error) { return ChannelsOf(s.node), nil })
	get("/v1/accounts", func(*http.Request) (any, error) { return AccountsOf(s.node), nil })
	get("/v1/routes", s.routing)
	get("/v1/ants", s.ants)
	get("/v1/ants/recordings", s.recordings)
	post("/v1/ants/record", s.record)
	get("/v1/handler", s.readHandler)
	post("/v1/handler", s.writeHandler)
	get("/v1/links", func(*http.Request) (any, error) { return s.node.LinkStates(), nil })
	get("/v1/pools", func(*http.Request) (any, error) { return s.node.PoolStates(), nil })
	get("/v1/jails", func(*http.Request) (any, error) { return s.node.Jails(), nil })
	get("/v1/domains", func(*http.Request) (any, error) { return s.node.DomainStates(), nil })
	post("/v1/reload", s.reload)
	post("/v1/confirm", func(*http.Request) (any, error) { return s.node.Confirm() })
	post("/v1/ants/register", s.register)
	post("/v1/ants/send", s.send)
	post("/v1/ants/probe", s.probe)
	mux.HandleFunc("GET /v1/graph", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, s.node.GraphText())
	})
	mux.HandleFunc("GET /v1/graph/runtime", s.graphRuntime)
	mux.HandleFunc("GET /v1/graph/trace", s.trace)
	mux.HandleFunc("GET /v1/graph/capture", s.capture)
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
		io.WriteString(w, s.node.Spec().Text())
	})
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/ants/receive", s.receive)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, errs.New(errs.NotFound, "no such path: %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// Problem is how an error looks on the wire.
type Problem struct {
	Kind errs.Kind `json:"kind"`
	Name string    `json:"name"`
	Text string    `json:"error"`
}

func answer(w http.ResponseWriter, r *http.Request, fn func(r *http.Request) (any, error)) {
	v, err := fn(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}

var statuses = map[errs.Kind]int{
	errs.Invalid: http.StatusBadRequest, errs.NotFound: http.StatusNotFound, errs.Exists: http.StatusConflict,
	errs.Permission: http.StatusForbidden, errs.Limit: http.StatusTooManyRequests, errs.Dead: http.StatusGone,
	errs.NotSupported: http.StatusNotImplemented, errs.Timeout: http.StatusGatewayTimeout, errs.Refused: http.StatusForbidden,
	errs.TooBig: http.StatusRequestEntityTooLarge, errs.Unreachable: http.StatusBadGateway,
}

func fail(w http.ResponseWriter, err error) {
	k := errs.KindOf(err)
	code, ok := statuses[k]
	if !ok {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Problem{Kind: k, Name: k.Error(), Text: err.Error()})
}

// decode reads a JSON body strictly.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("there is something behind the JSON object")
		} else if err == io.EOF {
			return nil
		}
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return errs.New(errs.TooBig, "request body: more than %d bytes", big.Limit)
	}
	return errs.New(errs.Invalid, "request body: %w", err)
}

func (s *Server) routing(*http.Request) (any, error) {
	if s.node.Router() == nil {
		return nil, errs.New(errs.NotFound, "routing is off on this node")
	}
	rep, ok := s.node.Router().Report()
	if !ok {
		return nil, errs.New(errs.Dead, "the node is closed")
	}
	return rep, nil
}

// events streams the event log.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	var since uint64
	if v := r.FormValue("since"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			fail(w, errs.New(errs.Invalid, "since=%q is not a number", v))
			return
		}
		since = n
	}
	follow := r.FormValue("follow") != ""
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		lines, next, more := s.node.Events().Since(since)
		for _, l := range lines {
			if _, err := w.Write(append(l[:len(l):len(l)], '\n')); err != nil {
				return
			}
		}
		since = next
		if !follow {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		case <-s.node.Done():
			return
		}
	}
}
