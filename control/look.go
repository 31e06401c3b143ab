package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/look"
	"github.com/janos-os/janos/errs"
)

// GraphRuntime is what the elements of the graph did in some time. While it is measured, packets take longer.
type GraphRuntime struct {
	Over     time.Duration         `json:"over_ns"`
	Elements []click.ElementCounts `json:"elements"`
}

// TraceLine is a line of a trace: a step, or at the end what was lost.
type TraceLine struct {
	*look.Step
	Lost int `json:"lost,omitempty"`
}

const (
	leastEvery = 10 * time.Millisecond
	mostEvery  = time.Hour
	traceQuiet = time.Second // a trace ends when all its packets have begun and none has moved for so long
)

// duration reads a duration parameter.
func duration(r *http.Request, name string, def time.Duration) (time.Duration, error) {
	v := r.FormValue(name)
	if v == "" {
		return def, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < leastEvery || d > mostEvery {
		return 0, errs.New(errs.Invalid, "%s=%q: want a duration of %v to %v", name, v, leastEvery, mostEvery)
	}
	return d, nil
}

func number(r *http.Request, name string, def, most int) (int, error) {
	v := r.FormValue(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		return 0, errs.New(errs.Invalid, "%s=%q: want a number up to %d", name, v, most)
	}
	return n, nil
}

func (s *Server) graph() (*click.Router, error) {
	g := s.node.Graph()
	if g == nil {
		return nil, errs.New(errs.NotFound, "this node has no element graph")
	}
	return g, nil
}

// graphRuntime streams what the elements do in each interval, as JSON lines.
func (s *Server) graphRuntime(w http.ResponseWriter, r *http.Request) {
	g, err := s.graph()
	every, n := time.Second, 1
	if err == nil {
		every, err = duration(r, "every", every)
	}
	if err == nil {
		n, err = number(r, "count", 1, 1<<30)
	}
	var p *click.Probe
	if err == nil {
		p, err = g.NewProbe(nil)
	}
	if err != nil {
		fail(w, err)
		return
	}
	defer p.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	t := time.NewTicker(every)
	defer t.Stop()
	began := time.Now()
	for i := 0; n == 0 || i < n; i++ {
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		case <-s.node.Done():
			return
		}
		c, err := p.Counts(true)
		now := time.Now()
		if err != nil || out.Encode(GraphRuntime{Over: now.Sub(began), Elements: c}) != nil {
			return // the graph was replaced, or the client has left
		}
		began = now
		flush(w)
	}
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// trace streams the way of the next packets.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	g, err := s.graph()
	n := 1
	if err == nil {
		n, err = number(r, "count", 1, look.MaxTraced)
	}
	var from *look.Place
	if v := r.FormValue("from"); err == nil && v != "" {
		var p look.Place
		p, err = look.ParsePlace(g, v)
		from = &p
	}
	var t *look.Trace
	if err == nil {
		t, err = look.NewTrace(g, n, from)
	}
	if err != nil {
		fail(w, err)
		return
	}
	defer t.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush(w) // the client sees that it has begun
	out := json.NewEncoder(w)
	tick := time.NewTicker(traceQuiet / 4)
	defer tick.Stop()
	for {
		select {
		case <-t.More():
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.node.Done():
			return
		case <-g.Done():
			return
		}
		steps, all, last, lost := t.Steps()
		for i := range steps {
			if out.Encode(TraceLine{Step: &steps[i]}) != nil {
				return
			}
		}
		flush(w)
		if all && len(steps) == 0 && time.Since(last) > traceQuiet {
			if lost > 0 {
				_ = out.Encode(TraceLine{Lost: lost})
			}
			return
		}
	}
}

// capture streams the packets at a place as a file in the format pcapng.
func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	g, err := s.graph()
	var place look.Place
	if err == nil {
		place, err = look.ParsePlace(g, r.FormValue("place"))
	}
	n, snap := 0, 0
	if err == nil {
		n, err = number(r, "count", 0, 1<<30)
	}
	if err == nil {
		snap, err = number(r, "snap", look.MaxSnap, look.MaxSnap)
	}
	var c *look.Capture
	if err == nil {
		c, err = look.NewCapture(g, place, snap)
	}
	if err != nil {
		fail(w, err)
		return
	}
	defer c.Close()
	w.Header().Set("Content-Type", "application/x-pcapng")
	file := captureFile{to: w, name: r.FormValue("place")}
	defer file.end()
	flush(w)
	for i := 0; n == 0 || i < n; i++ {
		select {
		case p := <-c.Packets():
			if file.write(p) != nil {
				return
			}
			if len(c.Packets()) == 0 {
				flush(w)
			}
		case <-r.Context().Done():
			return
		case <-s.node.Done():
			return
		case <-g.Done():
			return
		}
	}
}

// captureFile writes packets with and without link header, which are those of two interfaces. The second is described when the first packet of
// its kind comes, because many programs read captures of one kind only.
type captureFile struct {
	to    io.Writer
	name  string
	w     *pcapgo.NgWriter // nil: nothing is written yet
	index [2]int           // of the interfaces, from 1: of whole frames, and of IP packets
}

// kind returns the index of an interface, which it describes if need be.
func (f *captureFile) kind(ip bool) (int, error) {
	k, link := 0, layers.LinkTypeEthernet
	if ip {
		k, link = 1, layers.LinkTypeRaw
	}
	if f.index[k] > 0 {
		return f.index[k] - 1, nil
	}
	i := pcapgo.NgInterface{Name: f.name, LinkType: link, SnapLength: look.MaxSnap, TimestampResolution: 9}
	if f.w == nil {
		w, err := pcapgo.NewNgWriterInterface(f.to, i, pcapgo.DefaultNgWriterOptions)
		if err != nil {
			return 0, err
		}
		f.w, f.index[k] = w, 1
		return 0, nil
	}
	n, err := f.w.AddInterface(i)
	f.index[k] = n + 1
	return n, err
}

func (f *captureFile) write(p look.Sight) error {
	n, err := f.kind(p.IP)
	if err != nil {
		return err
	}
	if err := f.w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.Length, InterfaceIndex: n}, p.Data); err != nil {
		return err
	}
	return f.w.Flush()
}

// end makes what has no packets a capture all the same.
func (f *captureFile) end() {
	if f.w == nil {
		if _, err := f.kind(false); err == nil {
			_ = f.w.Flush() // the reader may have gone
		}
	}
}

// GraphRuntime calls fn with what the elements did in each interval, count times; 0: until the context ends, which is then no error.
func (c *Client) GraphRuntime(ctx context.Context, every time.Duration, count int, fn func(GraphRuntime) error) error {
	q := url.Values{"every": {every.String()}, "count": {strconv.Itoa(count)}}
	return c.stream(ctx, "/v1/graph/runtime", q, func(line []byte) error {
		var g GraphRuntime
		if err := json.Unmarshal(line, &g); err != nil {
			return errs.New(errs.Corrupt, "control socket %s: %w", c.path, err)
		}
		return fn(g)
	})
}

// Trace calls fn with each step of the next count packets, from where they come into being, or from the place ELEMENT[PORT] or [PORT]ELEMENT on. It returns when none
// of them moves any more.
func (c *Client) Trace(ctx context.Context, count int, from string, fn func(TraceLine) error) error {
	q := url.Values{"count": {strconv.Itoa(count)}}
	if from != "" {
		q.Set("from", from)
	}
	return c.stream(ctx, "/v1/graph/trace", q, func(line []byte) error {
		var t TraceLine
		if err := json.Unmarshal(line, &t); err != nil {
			return errs.New(errs.Corrupt, "control socket %s: %w", c.path, err)
		}
		return fn(t)
	})
}
