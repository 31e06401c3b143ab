package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/vm/jail"
)

// maxLine bounds a line of a stream.
const maxLine = 1 << 20

// Client talks to one node. It is safe for concurrent use, and needs no closing.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client of the node whose control socket is at path. Whether anybody is there shows with the
// first request, which then fails with errs.Unreachable.
func Dial(path string) *Client {
	var d net.Dialer
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}}
	return &Client{path: path, http: &http.Client{Transport: t}}
}

// Path returns the socket's path.
func (c *Client) Path() string { return c.path }

// do sends a request and returns the answer's body, or the error that the node answered with.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errs.New(errs.Internal, "control: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errs.New(errs.Timeout, "control socket %s: %w", c.path, ctx.Err())
		}
		return nil, errs.New(errs.Unreachable, "control socket %s: %w (does the node run?)", c.path, errors.Unwrap(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxLine)).Decode(&p); err != nil || p.Text == "" {
		return nil, errs.New(errs.Internal, "control socket %s: %s %s: %s", c.path, method, path, resp.Status)
	}
	return nil, errs.New(p.Kind, "%s", p.Text)
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	body, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	return c.read(body, v)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return errs.New(errs.Invalid, "control: %w", err)
	}
	body, err := c.do(ctx, http.MethodPost, path, nil, b)
	if err != nil {
		return err
	}
	return c.read(body, out)
}

func (c *Client) read(body io.ReadCloser, v any) error {
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return errs.New(errs.Corrupt, "control socket %s: %w", c.path, err)
	}
	return nil
}

// Status returns who the node is and how its layers are.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, "/v1/status", &s)
}

// Channels returns the channels of all domains.
func (c *Client) Channels(ctx context.Context) (cs []ChannelInfo, err error) {
	return cs, c.get(ctx, "/v1/channels", &cs)
}

// Accounts returns the account tree, parents first.
func (c *Client) Accounts(ctx context.Context) (as []Account, err error) {
	return as, c.get(ctx, "/v1/accounts", &as)
}

// Links returns how the links of the node file are, in its order.
func (c *Client) Links(ctx context.Context) (ls []node.LinkState, err error) {
	return ls, c.get(ctx, "/v1/links", &ls)
}

// Domains returns the domains, parents first.
func (c *Client) Domains(ctx context.Context) (ds []node.DomainState, err error) {
	return ds, c.get(ctx, "/v1/domains", &ds)
}

// Pools returns the memory pools of the node file.
func (c *Client) Pools(ctx context.Context) (ps []node.PoolState, err error) {
	return ps, c.get(ctx, "/v1/pools", &ps)
}

// Jails returns how the node's jails are.
func (c *Client) Jails(ctx context.Context) (js []jail.Status, err error) {
	return js, c.get(ctx, "/v1/jails", &js)
}

// Config returns the node file as it is now.
func (c *Client) Config(ctx context.Context) (string, error) { return c.text(ctx, "/v1/config") }

// Reload has the node take another file, see Reload.
func (c *Client) Reload(ctx context.Context, r Reload) error {
	return c.post(ctx, "/v1/reload", r, new(struct{}))
}

// Confirm keeps the start or the reload that is on trial, and returns which it was.
func (c *Client) Confirm(ctx context.Context) (t node.Trial, err error) {
	return t, c.post(ctx, "/v1/confirm", struct{}{}, &t)
}

// Routes returns neighbours, nodes, prefixes and database.
func (c *Client) Routes(ctx context.Context) (r routing.Report, err error) {
	return r, c.get(ctx, "/v1/routes", &r)
}

// Graph returns the configuration that runs.
func (c *Client) Graph(ctx context.Context) (string, error) { return c.text(ctx, "/v1/graph") }

func (c *Client) text(ctx context.Context, path string) (string, error) {
	body, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

// ReadHandler reads a handler, such as "c.count".
func (c *Client) ReadHandler(ctx context.Context, name string) (string, error) {
	var v string
	body, err := c.do(ctx, http.MethodGet, "/v1/handler", url.Values{"name": {name}}, nil)
	if err != nil {
		return "", err
	}
	return v, c.read(body, &v)
}

// WriteHandler writes a handler.
func (c *Client) WriteHandler(ctx context.Context, name, value string) error {
	body, err := c.do(ctx, http.MethodPost, "/v1/handler", url.Values{"name": {name}}, []byte(value))
	if err != nil {
		return err
	}
	return body.Close()
}

// Events calls fn with each line of the event log from number since on. With follow it goes on until the context ends,
// which is then no error.
func (c *Client) Events(ctx context.Context, since uint64, follow bool, fn func(line []byte) error) error {
	q := url.Values{"since": {strconv.FormatUint(since, 10)}}
	if follow {
		q.Set("follow", "1")
	}
	return c.stream(ctx, "/v1/events", q, fn)
}

// Capture copies packets at a place of the graph to w, in the format pcapng: count of them, 0: until the context ends, which is then no error.
// snap is how many bytes of each, 0: all.
func (c *Client) Capture(ctx context.Context, place string, count, snap int, w io.Writer) error {
	q := url.Values{"place": {place}, "count": {strconv.Itoa(count)}}
	if snap > 0 {
		q.Set("snap", strconv.Itoa(snap))
	}
	body, err := c.do(ctx, http.MethodGet, "/v1/graph/capture", q, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil && ctx.Err() == nil {
		return errs.New(errs.Unreachable, "control socket %s: %w", c.path, err)
	}
	return nil
}

func (c *Client) stream(ctx context.Context, path string, q url.Values, fn func(line []byte) error) error {
	body, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	s := bufio.NewScanner(body)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		if err := fn(s.Bytes()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := s.Err(); err != nil {
		return errs.New(errs.Unreachable, "control socket %s: %w", c.path, err)
	}
	return nil
}
