package control

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm"
)

// SendRequest asks a node to inject capsules of a protocol that is registered on it. A name stands for what was registered here under it; code
// that came from the network may call itself anything.
type SendRequest struct {
	Protocol string        `json:"protocol"` // name
	Class    string        `json:"class"`
	Method   ants.MethodID `json:"method,omitzero"` // names the class instead of the two before
	Dst      ants.NodeAddr `json:"dst"`
	SrcPort  uint16        `json:"src_port,omitempty"`
	DstPort  uint16        `json:"dst_port,omitempty"`
	TTL      uint32        `json:"ttl,omitempty"`    // 0: ants.DefaultTTL
	Credit   uint32        `json:"credit,omitempty"` // 0: ants.DefaultCredit
	Payload  []byte        `json:"payload"`          // class-specific bytes
	Count    int           `json:"count,omitempty"`  // 0: one
	Interval time.Duration `json:"interval_ns,omitempty"`
	SeqAt    int           `json:"seq_at,omitempty"` // offset in the payload of a 32-bit sequence number (big endian) to fill in, plus one; 0: none
}

// Sent is what became of a SendRequest.
type Sent struct {
	Sent    int `json:"sent"`
	Refused int `json:"refused"` // the node had no frame for them
}

// ProbeRequest asks a node to inject numbered capsules and to wait for those that are delivered to its port.
// SeqAt is required, SrcPort and DstPort are chosen by the node.
type ProbeRequest struct {
	SendRequest
	Wait time.Duration `json:"wait_ns,omitempty"` // for the last one; 0: one second
}

// Delivery is what a capsule delivered to a port.
type Delivery struct {
	Time    int64         `json:"time_ns"` // of the node's clock
	Src     ants.NodeAddr `json:"src"`
	SrcPort uint16        `json:"src_port"`
	DstPort uint16        `json:"dst_port"`
	Payload []byte        `json:"payload"`
	Lost    uint64        `json:"lost,omitempty"` // deliveries dropped before this one because the client was slower than the network
}

// Send injects capsules.
func (c *Client) Send(ctx context.Context, r SendRequest) (s Sent, err error) {
	return s, c.post(ctx, "/v1/ants/send", r, &s)
}

// Probe injects numbered capsules and returns when they came back.
func (c *Client) Probe(ctx context.Context, r ProbeRequest) (p ants.ProbeResult, err error) {
	return p, c.post(ctx, "/v1/ants/probe", r, &p)
}

// Register registers the protocol whose description lies at path, a file of the node's machine.
func (c *Client) Register(ctx context.Context, path string) (r Registered, err error) {
	return r, c.post(ctx, "/v1/ants/register", RegisterRequest{Path: path}, &r)
}

// Receive calls fn with what capsules deliver to a port, until the context ends, which is then no error. Port 0 takes a free
// one, which nobody knows but the node.
func (c *Client) Receive(ctx context.Context, port uint16, fn func(Delivery) error) error {
	return c.ReceiveReady(ctx, port, nil, fn)
}

// ReceiveReady is Receive that calls ready, if it is not nil, when the port is open.
func (c *Client) ReceiveReady(ctx context.Context, port uint16, ready func(), fn func(Delivery) error) error {
	return c.stream(ctx, "/v1/ants/receive", url.Values{"port": {strconv.Itoa(int(port))}}, func(line []byte) error {
		var d Delivery
		if err := json.Unmarshal(line, &d); err != nil {
			return errs.New(errs.Corrupt, "control socket %s: %w", c.path, err)
		}
		if d.Src == 0 { // the first line says that the port is open
			if ready != nil {
				ready()
			}
			return nil
		}
		return fn(d)
	})
}

// ReceiveFor opens a port, calls begin, and calls fn with what is delivered to the port until wait has passed since. Errors of begin and fn end it.
func (c *Client) ReceiveFor(ctx context.Context, port uint16, wait time.Duration, begin func() error, fn func(Delivery) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var failed error
	var timer *time.Timer
	err := c.ReceiveReady(ctx, port, func() {
		if failed = begin(); failed != nil {
			stop()
			return
		}
		timer = time.AfterFunc(wait, stop)
	}, fn)
	if timer != nil {
		timer.Stop()
	}
	if failed != nil {
		return failed
	}
	return err
}

// ANTS returns the counters, protocols and kills of the EE.
func (c *Client) ANTS(ctx context.Context) (a ANTS, err error) {
	return a, c.get(ctx, "/v1/ants", &a)
}

// Recordings returns the evaluations that the node has recorded, the oldest first: the first faults of each code, and what Record asked for.
func (c *Client) Recordings(ctx context.Context) (rs Recordings, err error) {
	return rs, c.get(ctx, "/v1/ants/recordings", &rs)
}

// Record has the node record the next evaluations of a module, by its SHA-256.
func (c *Client) Record(ctx context.Context, code [32]byte, count int) error {
	return c.post(ctx, "/v1/ants/record", RecordRequest{Code: code[:], Count: count}, new(struct{}))
}

// Recordings is what a node has recorded.
type Recordings struct {
	List   []*vm.Recording `json:"recordings"`
	Wanted int             `json:"wanted"` // evaluations that were asked for and not made yet, of all modules
}

// RecordRequest asks for recordings.
type RecordRequest struct {
	Code  vm.Hex `json:"code"` // SHA-256 of the module
	Count int    `json:"count"`
}

// ANTS is a reading of a node's EE.
type ANTS struct {
	ants.Stats
	LastKills []ants.Kill `json:"last_kills"` // the oldest first
}

// RegisterRequest names a protocol's description.
type RegisterRequest struct {
	Path string `json:"path"`
}

// Registered is a protocol that is registered on a node.
type Registered struct {
	Name    string                   `json:"name"`
	ID      ants.ProtocolID          `json:"id"`
	Methods map[string]ants.MethodID `json:"methods"` // by class
}
