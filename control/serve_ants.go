package control

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/vm"
)

// Bounds of requests.
const (
	maxSend     = 1 << 20
	maxInterval = time.Minute
	maxWait     = time.Minute
	receiveRing = 4096 // deliveries that wait for a client
)

func (s *Server) ee() (*ants.EE, error) {
	select {
	case <-s.node.Done():
		return nil, errs.New(errs.Dead, "the node is closed")
	default:
	}
	if ee := s.node.ANTS(); ee != nil {
		return ee, nil
	}
	return nil, errs.New(errs.NotFound, "the ANTS execution environment is off on this node")
}

func (s *Server) ants(*http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	a := ANTS{Stats: ee.Stats()}
	a.LastKills, _, err = ee.Kills()
	return a, err
}

func (s *Server) recordings(*http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	rs := Recordings{List: []*vm.Recording{}}
	list, wanted := ee.Recordings()
	rs.List, rs.Wanted = append(rs.List, list...), wanted
	return rs, nil
}

func (s *Server) record(r *http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	var q RecordRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if len(q.Code) != len(vm.CodeID{}) {
		return nil, errs.New(errs.Invalid, "code: %d bytes, want the %d of a module's SHA-256", len(q.Code), len(vm.CodeID{}))
	}
	return struct{}{}, ee.Record(vm.CodeID(q.Code), q.Count)
}

func (s *Server) register(r *http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	var q RegisterRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	p, err := ants.LoadProtocol(q.Path)
	if err != nil {
		return nil, err
	}
	if err := ee.Register(p); err != nil {
		return nil, err
	}
	reg := Registered{Name: p.Name, ID: p.ID(), Methods: make(map[string]ants.MethodID)}
	for _, g := range p.Groups {
		for _, c := range g.Classes {
			if reg.Methods[c.Name], err = p.Method(c.Name); err != nil {
				return nil, err
			}
		}
	}
	return reg, nil
}

// capsule makes the capsule that a request describes.
func capsule(ee *ants.EE, q *SendRequest) (ants.Capsule, error) {
	c := ants.Capsule{Dst: q.Dst, TTL: q.TTL, Data: q.Payload}
	if q.SrcPort != 0 || q.DstPort != 0 {
		c.HasPorts, c.SrcPort, c.DstPort = true, q.SrcPort, q.DstPort
	}
	if q.Credit != 0 {
		c.HasCredit, c.Credit = true, ants.Credit{Count: q.Credit}
	}
	switch {
	case q.Count < 0 || q.Count > maxSend || q.Interval < 0 || q.Interval > maxInterval:
		return c, errs.New(errs.Invalid, "%d capsules every %s: want at most %d, and %s", q.Count, q.Interval, maxSend, maxInterval)
	case q.SeqAt < 0 || q.SeqAt > max(len(q.Payload)-3, 0):
		return c, errs.New(errs.Invalid, "a sequence number at %d does not lie within the payload of %d bytes", q.SeqAt-1, len(q.Payload))
	}
	q.Count = max(q.Count, 1)
	if c.Method = q.Method; c.Method != (ants.MethodID{}) {
		return c, nil
	}
	var err error
	c.Method, err = method(ee.Stats().Protocols, q.Protocol, q.Class)
	return c, err
}

// method finds a class by name among the protocols that were registered on the node, not loaded.
func method(all []ants.ProtocolStats, protocol, class string) (id ants.MethodID, err error) {
	var found *ants.ProtocolStats
	for i := range all {
		switch p := &all[i]; {
		case p.Name != protocol || !p.Pinned:
		case found != nil:
			return id, errs.New(errs.Invalid, "several protocols are registered as %s on this node, for example an older version; name the file of the one you mean", protocol)
		default:
			found = p
		}
	}
	if found == nil {
		return id, errs.New(errs.NotFound, "no protocol %q is registered on this node; name the file of its description", protocol)
	}
	for _, cl := range found.Classes {
		if cl.Name == class {
			return cl.Method, nil
		}
	}
	return id, errs.New(errs.NotFound, "protocol %s has no class %q here", protocol, class)
}

func (s *Server) send(r *http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	var q SendRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	c, err := capsule(ee, &q)
	if err != nil {
		return nil, err
	}
	var sent Sent
	start := time.Now()
	for i := range q.Count {
		if q.SeqAt > 0 {
			binary.BigEndian.PutUint32(c.Data[q.SeqAt-1:], uint32(i))
		}
		if d := time.Until(start.Add(time.Duration(i) * q.Interval)); d > 0 {
			t := time.NewTimer(d)
			select {
			case <-t.C:
			case <-r.Context().Done():
				t.Stop()
				return sent, nil
			}
		}
		if r.Context().Err() != nil { // nobody waits for the rest
			return sent, nil
		}
		switch err := ee.Send(&c); errs.KindOf(err) {
		case errs.OK:
			sent.Sent++
		case errs.NoMemory:
			sent.Refused++
		default:
			return nil, err
		}
	}
	return sent, nil
}

func (s *Server) probe(r *http.Request) (any, error) {
	ee, err := s.ee()
	if err != nil {
		return nil, err
	}
	var q ProbeRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.SeqAt == 0 || q.Wait < 0 || q.Wait > maxWait {
		return nil, errs.New(errs.Invalid, "a probe needs seq_at, and a wait of at most %s", maxWait)
	}
	c, err := capsule(ee, &q.SendRequest)
	if err != nil {
		return nil, err
	}
	p, err := ee.Probe(ants.ProbeSpec{Capsule: c, Count: q.Count, Interval: q.Interval, SeqOffset: q.SeqAt - 1, Timeout: q.Wait, Port: q.SrcPort})
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-r.Context().Done():
		p.Stop()
		<-p.Done()
	}
	return p.Result(), nil
}

// receive opens an application port and streams what is delivered to it.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	ee, err := s.ee()
	if err != nil {
		fail(w, err)
		return
	}
	port, err := strconv.ParseUint(r.FormValue("port"), 10, 16)
	if err != nil {
		fail(w, errs.New(errs.Invalid, "port=%q is not a port", r.FormValue("port")))
		return
	}
	ring := make(chan Delivery, receiveRing)
	var lost uint64 // the worker's
	app, err := ee.Attach(ants.AppSpec{Name: "control", Port: uint16(port), Receive: func(_ *nodeos.Worker, d *ants.Delivery) {
		if len(ring) == cap(ring) { // the client is slower than the network
			lost++
			return
		}
		ring <- Delivery{Time: int64(d.Time), Src: d.Src, SrcPort: d.SrcPort, DstPort: d.DstPort, Payload: append([]byte(nil), d.Data...), Lost: lost}
		lost = 0
	}})
	if err != nil {
		fail(w, err)
		return
	}
	defer app.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := func() {
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
	if out.Encode(Delivery{DstPort: app.Port()}) != nil {
		return
	}
	flush()
	for {
		select {
		case d := <-ring:
			if out.Encode(d) != nil {
				return
			}
			if len(ring) == 0 {
				flush()
			}
		case <-r.Context().Done():
			return
		case <-app.Domain().Done():
			return
		}
	}
}

func (s *Server) readHandler(r *http.Request) (any, error) {
	g := s.node.Graph()
	if g == nil {
		return nil, errs.New(errs.NotFound, "this node has no element graph")
	}
	return g.Read(r.FormValue("name"), "")
}

func (s *Server) writeHandler(r *http.Request) (any, error) {
	g := s.node.Graph()
	if g == nil {
		return nil, errs.New(errs.NotFound, "this node has no element graph")
	}
	value, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, errs.New(errs.Invalid, "request body: %w", err)
	}
	return struct{}{}, g.Write(r.FormValue("name"), string(value))
}
