package lab

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/janos-os/janos/errs"
)

// maxSocketPath is what struct sockaddr_un holds.
const maxSocketPath = 107

// Output is a line of what the control socket answers to an exec: bytes of the command, and at the end how it went.
type Output struct {
	Out   []byte `json:"out,omitempty"`
	Err   []byte `json:"err,omitempty"`
	Exit  *int   `json:"exit,omitempty"`
	Error string `json:"error,omitempty"` // the command could not be run
	Kind  int    `json:"kind,omitempty"`  // of Error, as in package errs
}

// failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
	Kind  int    `json:"kind"`
}

// serve offers the lab's control interface on a unix socket in its state directory, which only its owner's user can reach: HTTP with
// JSON bodies. It works as long as the lab.
//
//	GET  /status             State
//	GET  /events?follow=1    Event per line; without follow those so far
//	GET  /counters           []Counter
//	GET  /wire               []wire.LinkStats
//	POST /exec  Action       Output per line
//	POST /do    Action       nothing
//	POST /down               nothing, when the network is gone
func (l *Lab) serve() error {
	if n := len(l.state.Control); n > maxSocketPath {
		return errs.New(errs.TooBig, "%s is too long for a socket (%d of %d bytes); use a shorter state directory", l.state.Control, n, maxSocketPath)
	}
	lis, err := net.Listen("unix", l.state.Control)
	if err != nil {
		return errs.New(errs.NotSupported, "control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { answer(w, l.Status(), nil) })
	mux.HandleFunc("GET /events", l.serveEvents)
	mux.HandleFunc("GET /counters", func(w http.ResponseWriter, r *http.Request) {
		v, err := l.Counters(r.Context())
		answer(w, v, err)
	})
	mux.HandleFunc("GET /wire", func(w http.ResponseWriter, r *http.Request) {
		v, err := l.WireStats()
		answer(w, v, err)
	})
	mux.HandleFunc("POST /exec", l.serveExec)
	mux.HandleFunc("POST /do", func(w http.ResponseWriter, r *http.Request) {
		a, err := readAction(r)
		if err == nil {
			err = l.Act(r.Context(), a)
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, r *http.Request) {
		// Down ends this server, which waits for its handlers; so it is started here and the caller waits for the
		// directory to be unlocked.
		go l.Down()
		answer(w, struct{}{}, nil)
	})
	l.control = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = l.control.Serve(lis) }() // returns when stopServing closes it
	return nil
}

func (l *Lab) stopServing() {
	if l.control == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if l.control.Shutdown(ctx) != nil {
		_ = l.control.Close()
	}
}

// readAction reads an action of at most 64 KiB.
func readAction(r *http.Request) (a Action, err error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return a, errs.New(errs.Invalid, "not an action: %w", err)
	}
	return a, nil
}

// answer writes v, or err as a failure.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = failure{err.Error(), int(errs.KindOf(err))}
	}
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}

func (l *Lab) serveEvents(w http.ResponseWriter, r *http.Request) {
	follow := r.URL.Query().Get("follow") != ""
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	for n := 0; ; {
		list, more := l.events.from(n)
		for _, e := range list {
			if out.Encode(e) != nil {
				return
			}
		}
		n += len(list)
		if !follow || more == nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func (l *Lab) serveExec(w http.ResponseWriter, r *http.Request) {
	a, err := readAction(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	s := &outputStream{w: w, enc: json.NewEncoder(w)}
	code, err := l.Exec(r.Context(), a.Node, a.Command, nil, s.writer(false), s.writer(true))
	last := Output{Exit: &code}
	if err != nil {
		last = Output{Error: err.Error(), Kind: int(errs.KindOf(err))}
	}
	_ = s.send(last) // whoever asked has gone
}

// outputStream sends what a command writes, line by line.
type outputStream struct {
	mu  sync.Mutex
	w   http.ResponseWriter
	enc *json.Encoder
}

func (s *outputStream) send(o Output) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enc.Encode(o); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}

type outputWriter struct {
	s   *outputStream
	err bool
}

func (s *outputStream) writer(err bool) io.Writer { return outputWriter{s, err} }

// Write implements io.Writer.
func (o outputWriter) Write(b []byte) (int, error) {
	line := Output{Out: b}
	if o.err {
		line = Output{Err: b}
	}
	if err := o.s.send(line); err != nil {
		return 0, errors.Join(io.ErrClosedPipe, err)
	}
	return len(b), nil
}
