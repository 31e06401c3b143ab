package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab/wire"
)

// Client talks to the owner of a laboratory, which is usually another process. It is safe for concurrent use.
type Client struct {
	state *State
	http  *http.Client
}

// Dial returns a client of the lab called name under base (zero means DefaultStateDir). The caller closes it.
func Dial(base, name string) (*Client, error) {
	s, err := ReadState(base, name)
	if err != nil {
		return nil, err
	}
	if !s.Alive() {
		return nil, errs.New(errs.Dead, "the owner of lab %s, process %d, has died; janos lab down %s removes what it left", name, s.Owner.PID, name)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.Control)
	}
	return &Client{state: s, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Close lets the client's connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call sends body as JSON, nil meaning a GET, and returns the body of the answer, which the caller closes.
func (c *Client) call(ctx context.Context, path string, body any) (io.ReadCloser, error) {
	method, send := http.MethodGet, io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		method, send = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, send)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, errs.New(errs.Unreachable, "lab %s: %w", c.state.Name, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
		return nil, errs.New(errs.Internal, "lab %s answered %s", c.state.Name, resp.Status)
	}
	return nil, errs.New(errs.Kind(f.Kind), "%s", f.Error)
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	body, err := c.call(ctx, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return errs.New(errs.Internal, "lab %s: answer to %s: %w", c.state.Name, path, err)
	}
	return nil
}

// Status returns the lab's state.
func (c *Client) Status(ctx context.Context) (*State, error) {
	s := &State{}
	if err := c.get(ctx, "/status", s); err != nil {
		return nil, err
	}
	s.Dir = c.state.Dir
	s.Plan.index()
	return s, nil
}

// Counters returns the kernel's counters of every interface.
func (c *Client) Counters(ctx context.Context) (list []Counter, err error) {
	err = c.get(ctx, "/counters", &list)
	return list, err
}

// WireStats returns what the wire process counted.
func (c *Client) WireStats(ctx context.Context) (list []wire.LinkStats, err error) {
	err = c.get(ctx, "/wire", &list)
	return list, err
}

// Events calls fn for every event so far; with follow it goes on until the lab is down, ctx ends or fn fails.
func (c *Client) Events(ctx context.Context, follow bool, fn func(Event) error) error {
	path := "/events"
	if follow {
		path += "?follow=1"
	}
	body, err := c.call(ctx, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var e Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		} else if err != nil {
			return errs.New(errs.Dead, "lab %s: events: %w", c.state.Name, err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// Do carries an action out now; its time is ignored.
func (c *Client) Do(ctx context.Context, a Action) error {
	body, err := c.call(ctx, "/do", a)
	if err != nil {
		return err
	}
	return body.Close()
}

// Exec runs a command in a node's namespace, without standard input, and returns its exit code.
func (c *Client) Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) (int, error) {
	body, err := c.call(ctx, "/exec", Action{Do: Exec, Node: node, Command: argv})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var o Output
		if err := dec.Decode(&o); err != nil {
			return 0, errs.New(errs.Dead, "lab %s: the owner went away while %s ran: %w", c.state.Name, argv[0], err)
		}
		switch {
		case o.Error != "":
			return 0, errs.New(errs.Kind(o.Kind), "%s", o.Error)
		case o.Exit != nil:
			return *o.Exit, nil
		}
		if _, err := stdout.Write(o.Out); err != nil {
			return 0, err
		}
		if _, err := stderr.Write(o.Err); err != nil {
			return 0, err
		}
	}
}

// Down takes the lab down and waits until it is gone.
func (c *Client) Down(ctx context.Context) error {
	body, err := c.call(ctx, "/down", struct{}{})
	if err != nil {
		return err
	}
	body.Close()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		if _, err := os.Stat(c.state.Dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !c.state.Alive() {
			return errs.New(errs.Dead, "lab %s: its owner ended without removing everything; run janos lab down %s again", c.state.Name, c.state.Name)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab %s goes down: %w", c.state.Name, ctx.Err())
		case <-t.C:
		}
	}
}
