package mem

import (
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/channels/internal/opts"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// Defaults of a link.
const (
	DefaultMTU  = 1500
	DefaultRing = 512 // frames
)

// Default is the net of the links that are opened by the driver's name.
var Default = NewNet()

func init() { nodeos.RegisterDriver("mem", 0, Default.Open) }

// Net is a set of segments. It is safe for concurrent use.
type Net struct {
	mu       sync.Mutex
	segments map[string]*segment
}

// NewNet returns a net without segments.
func NewNet() *Net { return &Net{segments: make(map[string]*segment)} }

// segment is one Ethernet. Its ends are replaced whole, so that senders read them without a lock.
type segment struct {
	name string
	ends atomic.Pointer[[]*Link]
}

// Open makes an end of the segment that spec.Device names, or spec.Name if that is empty. It is a nodeos.OpenFunc.
func (t *Net) Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	l := &Link{net: t}
	l.info = nodeos.LinkInfo{
		Name: spec.Name, Driver: "mem", Number: number, Base: demux.Ether,
		MTU: o.Int("mtu", DefaultMTU, 68, 9000), HWAddr: o.MAC("mac"), Prefixes: o.Prefixes("addr"),
	}
	l.promisc = o.Bool("promisc", false)
	if err := o.Done("mem"); err != nil {
		return nil, err
	}
	ring, err := linkio.Ring(&spec, DefaultRing, "frames")
	if err != nil {
		return nil, err
	}
	pool := n.Pool().Spec()
	if room := pool.FrameSize - pool.Headroom - demux.EtherLen - 2*demux.VLANLen; l.info.MTU > room {
		return nil, errs.New(errs.TooBig, "link %s: MTU %d, the node's packet frames hold %d; use larger frames or a smaller MTU", spec.Name, l.info.MTU, room)
	}
	l.queue = newQueue(ring)
	name := spec.Device
	if name == "" {
		name = spec.Name
	}
	t.join(l, name, n.Name())
	return l, nil
}

// join makes l an end, with a hardware address of its own if it has none.
func (t *Net) join(l *Link, name, node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.segments[name]
	if s == nil {
		s = &segment{name: name}
		s.ends.Store(&[]*Link{})
		t.segments[name] = s
	}
	old := *s.ends.Load()
	if l.info.HWAddr == ([6]byte{}) {
		h := fnv.New32a()
		h.Write([]byte(strings.Join([]string{node, name, l.info.Name}, "/")))
		sum := h.Sum32()
		for {
			l.info.HWAddr = [6]byte{0x02, 0x4a, byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
			if !taken(old, l.info.HWAddr) {
				break
			}
			sum++
		}
	}
	ends := append(append([]*Link(nil), old...), l)
	l.seg = s
	s.ends.Store(&ends)
}

func taken(ends []*Link, mac [6]byte) bool {
	for _, e := range ends {
		if e.info.HWAddr == mac {
			return true
		}
	}
	return false
}

// leave takes l off its segment, and the segment off the net with its last end.
func (t *Net) leave(l *Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ends []*Link
	for _, e := range *l.seg.ends.Load() {
		if e != l {
			ends = append(ends, e)
		}
	}
	l.seg.ends.Store(&ends)
	if len(ends) == 0 && t.segments[l.seg.name] == l.seg {
		delete(t.segments, l.seg.name)
	}
}

// Segments returns how many segments have ends.
func (t *Net) Segments() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.segments)
}
