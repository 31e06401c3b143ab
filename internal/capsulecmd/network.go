package capsulecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

type addr = routing.NodeAddr

// Bounds of a run.
const (
	maxNodes     = 256
	maxData      = 64 << 10
	hopTime      = time.Millisecond
	defaultLife  = 5 * time.Minute // as in ee/ants
	stateEntries = 4096
)

// parseAddr reads a node address; a number from 1 to 254 stands for 10.255.0.N.
func parseAddr(s string) (addr, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 254 {
		return addr(10<<24|255<<16) + addr(n), nil
	}
	return routing.ParseNodeAddr(s)
}

// network is nodes, who is next to whom, and the capsules between them.
type network struct {
	nodes   map[addr]*node
	order   []stateKey // of puts
	classes []*liveClass
	engine  *engine
	budget  uint64
	rand    *clock.Rand
	now     time.Duration
	flying  []flight
	steps   int // evaluations so far
	max     int
	record  func(*step)
	// recordings is the directory for recordings, or "".
	recordings string

	// Of the evaluation that is under way.
	here *node
	puts map[stateKey]value
	logs []string
}

// node is one of them.
type node struct {
	addr  addr
	near  []addr // in order
	state map[stateKey]value
}

type stateKey struct {
	space    uint32
	explicit bool
	bytes    string
}

type value struct {
	bytes   []byte
	expires time.Duration
	seconds uint32
}

func (n *node) get(k stateKey, now time.Duration) (value, bool) {
	v, ok := n.state[k]
	if ok && now >= v.expires {
		delete(n.state, k)
		return v, false
	}
	return v, ok
}

// put stores v, or nothing if the node is full; real nodes give up the least recently used value instead.
func (n *node) put(k stateKey, v value) {
	if _, there := n.state[k]; there || len(n.state) < stateEntries {
		n.state[k] = v
	}
}

// liveClass is a class that can be evaluated.
type liveClass struct {
	class
	in *vm.Instance
}

// flight is a capsule on its way to a node.
type flight struct {
	at          time.Duration
	to          addr
	class       *liveClass
	prev        addr
	src, dst    addr
	ttl, credit uint32
	data        []byte
}

// newNetwork makes the nodes that links names, as pairs with a dash between them and commas between pairs.
func newNetwork(links string) (*network, error) {
	n := &network{nodes: make(map[addr]*node), rand: clock.NewRand(1, 1), max: 1000}
	for _, l := range strings.Split(links, ",") {
		ends := strings.Split(strings.TrimSpace(l), "-")
		var as []addr
		for _, e := range ends {
			a, err := parseAddr(e)
			if err != nil {
				return nil, errs.New(errs.Invalid, "link %q: %w", l, err)
			}
			n.node(a)
			as = append(as, a)
		}
		for i := 1; i < len(as); i++ {
			if as[i-1] == as[i] {
				return nil, errs.New(errs.Invalid, "link %q joins a node to itself", l)
			}
			n.join(as[i-1], as[i])
		}
		if len(n.nodes) > maxNodes {
			return nil, errs.New(errs.Limit, "more than %d nodes", maxNodes)
		}
	}
	return n, nil
}

func (n *network) node(a addr) *node {
	x := n.nodes[a]
	if x == nil {
		x = &node{addr: a, state: make(map[stateKey]value)}
		n.nodes[a] = x
	}
	return x
}

func (n *network) join(a, b addr) {
	for _, e := range [][2]addr{{a, b}, {b, a}} {
		x := n.node(e[0])
		if i, found := slices.BinarySearch(x.near, e[1]); !found {
			x.near = slices.Insert(x.near, i, e[1])
		}
	}
}

// next returns the next hop on a shortest path; of several the one with the lowest address.
func (n *network) next(from, to addr) (hop addr, ok bool) {
	if n.nodes[to] == nil || from == to {
		return 0, false
	}
	dist := map[addr]int{to: 0}
	for queue := []addr{to}; len(queue) > 0; queue = queue[1:] {
		for _, x := range n.nodes[queue[0]].near {
			if _, seen := dist[x]; !seen {
				dist[x] = dist[queue[0]] + 1
				queue = append(queue, x)
			}
		}
	}
	for _, x := range n.nodes[from].near {
		if d, reached := dist[x]; reached && (!ok || d < dist[hop]) {
			hop, ok = x, true
		}
	}
	return hop, ok
}

func (n *network) expiry(seconds uint32) time.Duration {
	if seconds == 0 {
		return n.now + defaultLife
	}
	return n.now + time.Duration(seconds)*time.Second
}

// step is what came of one evaluation. The JSON form is stable.
type step struct {
	Number  int           `json:"number"`
	Time    time.Duration `json:"time_ns"`
	Node    addr          `json:"node"`
	Class   string        `json:"class"`
	Prev    addr          `json:"previous,omitempty"`
	Src     addr          `json:"source"`
	Dst     addr          `json:"destination"`
	TTL     uint32        `json:"ttl"`
	Credit  uint32        `json:"credit"`
	Before  hexBytes      `json:"before"` // class-specific bytes
	Verdict string        `json:"verdict"`
	Fault   string        `json:"fault,omitempty"`
	Fuel    uint64        `json:"fuel"`
	After   hexBytes      `json:"after,omitempty"` // what is sent or delivered
	State   []stateChange `json:"state,omitempty"`
	Outputs []output      `json:"outputs,omitempty"`
	Logs    []string      `json:"logs,omitempty"`
}

// stateChange is a value that was written or forgotten.
type stateChange struct {
	Key     hexBytes `json:"key"`
	Space   uint32   `json:"space"`
	Value   hexBytes `json:"value,omitempty"` // none: forgotten
	Seconds uint32   `json:"lifetime_s,omitempty"`
}

// output is a capsule that left the node, was delivered at it, or could not.
type output struct {
	To     addr     `json:"to,omitempty"`
	Class  string   `json:"class,omitempty"` // of another class than the one evaluated
	TTL    uint32   `json:"ttl,omitempty"`
	Credit uint32   `json:"credit,omitempty"`
	Here   bool     `json:"delivered,omitempty"`
	Lost   string   `json:"lost,omitempty"` // why it did not leave
	Data   hexBytes `json:"data,omitempty"` // of another class
}

// run evaluates what is on its way until nothing is, or until max evaluations have been made.
func (n *network) run() error {
	for len(n.flying) > 0 {
		slices.SortStableFunc(n.flying, func(a, b flight) int { return int(min(max(a.at-b.at, -1), 1)) })
		f := n.flying[0]
		n.flying = n.flying[1:]
		n.now = max(n.now, f.at)
		if n.steps == n.max {
			return errs.New(errs.Limit, "stopped after %d evaluations with %d capsules still on their way: raise --max", n.max, len(n.flying)+1)
		}
		n.steps++
		st, err := n.evaluate(&f)
		if err != nil {
			return err
		}
		n.record(st)
	}
	return nil
}

// evaluate runs one capsule on one node, and lets what it sends fly.
func (n *network) evaluate(f *flight) (*step, error) {
	st := &step{
		Number: n.steps, Time: n.now, Node: f.to, Class: f.class.name, Prev: f.prev, Src: f.src, Dst: f.dst, TTL: f.ttl, Credit: f.credit,
		Before: slices.Clone(f.data),
	}
	n.here = n.node(f.to)
	n.puts, n.order, n.logs = make(map[stateKey]value), nil, nil
	m := f.class.in.Code().Manifest()
	if len(f.data) < int(m.WindowMin) {
		st.Verdict = "not evaluated: shorter than the class's window_min"
		return st, nil
	}
	call := &vm.Call{
		In: abi.In{
			TimeNS: uint64(n.now), Random: n.rand.Uint64(), Node: uint32(f.to), Prev: uint32(f.prev), Src: uint32(f.src), Dst: uint32(f.dst),
			Length: uint32(len(f.data)), Credit: f.credit, TTL: f.ttl, Neighbours: uint32(len(n.here.near)),
		},
		Window: f.data, Budget: n.budget,
	}
	if i := slices.Index(n.here.near, f.prev); i >= 0 {
		call.In.InLink = uint32(i + 1)
	}
	var key stateKey
	if m.StateSize > 0 {
		key = stateKey{space: m.StateSpace, bytes: string(m.AppendKey(nil, f.data))}
		if v, ok := n.here.get(key, n.now); ok {
			call.State = v.bytes[:min(len(v.bytes), int(m.StateSize))]
		}
	}
	id := f.class.in.Code().ID()
	if n.recordings != "" {
		if err := n.engine.engine.Record(id, 1); err != nil {
			return nil, err
		}
	}
	verdict, err := f.class.in.Evaluate(nil, call)
	if n.recordings != "" {
		if err := n.writeRecording(); err != nil {
			return nil, err
		}
	}
	st.Fuel, st.Logs = call.Used, n.logs
	if err != nil {
		var fault *vm.Fault
		if !errors.As(err, &fault) {
			return nil, err
		}
		st.Verdict, st.Fault = "killed", fault.Reason.String()
		if fault.Offset >= 0 {
			st.Fault += fmt.Sprintf(" (function %d, byte %#x of the module)", fault.Func, fault.Offset)
		}
		return st, nil
	}
	st.Verdict = verdict.String()
	n.commit(st, key, call)
	n.act(st, f, verdict, call)
	return st, nil
}

// writeRecording writes what was recorded last.
func (n *network) writeRecording() error {
	rs := n.engine.engine.Recordings()
	if len(rs) == 0 {
		return nil // it was not evaluated
	}
	text, err := json.MarshalIndent(rs[len(rs)-1], "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.recordings, fmt.Sprintf("%d.json", n.steps)), append(text, '\n'), 0o666); err != nil {
		return errs.New(errs.Permission, "--record: %w", err)
	}
	return nil
}

// commit makes the changes of state last.
func (n *network) commit(st *step, key stateKey, call *vm.Call) {
	switch call.Out.StateAct {
	case abi.StateWrite:
		s := call.Out.StateLifetime
		n.here.put(key, value{bytes: slices.Clone(call.Put), expires: n.expiry(s)})
		st.State = append(st.State, stateChange{Key: hexBytes(key.bytes), Space: key.space, Value: slices.Clone(call.Put), Seconds: s})
	case abi.StateDelete:
		delete(n.here.state, key)
		st.State = append(st.State, stateChange{Key: hexBytes(key.bytes), Space: key.space})
	}
	for _, k := range n.order {
		v := n.puts[k]
		if len(v.bytes) == 0 {
			delete(n.here.state, k)
		} else {
			n.here.put(k, v)
		}
		st.State = append(st.State, stateChange{Key: hexBytes(k.bytes), Value: v.bytes, Seconds: v.seconds})
	}
}

// leaving is something that is to leave a node.
type leaving struct {
	output
	f     flight
	share uint64
}

// act sends and delivers what the guest asked for, by the rules of ee/ants.
func (n *network) act(st *step, f *flight, verdict abi.Verdict, call *vm.Call) {
	out := &call.Out
	dst := addr(out.Dst)
	if dst == 0 {
		dst = f.dst
	}
	data := slices.Clone(call.Payload)
	if int(out.Length) > len(data) { // the end that the guest did not see
		data = append(data, f.data[len(data):out.Length]...)
	}
	ttlOf := func(own uint16) uint32 {
		if own > 0 {
			return min(f.ttl, uint32(own))
		}
		return f.ttl
	}
	var ls []leaving
	copies := out.Outputs[:out.NumOutputs]
	if verdict == abi.Forward && len(copies) == 0 {
		copies = []abi.Output{{}}
	}
	if verdict != abi.Forward && verdict != abi.Deliver {
		copies = nil
	} else {
		st.After = data
	}
	for _, c := range copies {
		to := addr(c.To)
		if to == 0 {
			to = dst
		}
		ls = append(ls, leaving{output: output{To: to}, share: uint64(c.Share), f: flight{class: f.class, src: f.src, dst: dst, ttl: ttlOf(c.TTL), data: data}})
	}
	if verdict == abi.Deliver {
		st.Outputs = append(st.Outputs, output{Here: true})
	}
	if verdict == abi.Forward || verdict == abi.Deliver || verdict == abi.Drop {
		for _, e := range out.Emits[:out.NumEmits] {
			l := leaving{output: output{To: addr(e.Dst), Data: slices.Clone(f.class.in.EmitBytes(&e))}, share: uint64(e.Share)}
			l.f = flight{src: f.to, dst: addr(e.Dst), ttl: ttlOf(e.TTL), data: l.Data}
			if l.f.class = n.classAt(f.class.group, int(e.Class)); l.f.class != nil {
				l.Class = l.f.class.name
			} else {
				l.Lost = fmt.Sprintf("the group has no class number %d", e.Class)
			}
			ls = append(ls, l)
		}
	}
	n.divide(ls, f.to, f.credit-1)
	for i := range ls {
		l := &ls[i]
		if l.Lost == "" {
			n.send(l, f.to)
		}
		st.Outputs = append(st.Outputs, l.output)
	}
}

// divide shares credit among what does not stay on the node.
func (n *network) divide(ls []leaving, here addr, credit uint32) {
	sum, count := uint64(0), uint32(0)
	for i := range ls {
		if ls[i].To != here {
			sum += ls[i].share
			count++
		}
	}
	for i := range ls {
		l := &ls[i]
		switch {
		case l.To == here:
		case sum > 0:
			l.f.credit = uint32(uint64(credit) * l.share / sum)
		default:
			l.f.credit = credit / count
			credit -= l.f.credit
			count--
		}
	}
}

// send lets l fly from a node, or notes why it cannot.
func (n *network) send(l *leaving, from addr) {
	if l.To == from {
		l.To, l.Here = 0, true
		return
	}
	hop, ok := l.To, true
	if l.To == l.f.dst || !slices.Contains(n.here.near, l.To) {
		hop, ok = n.next(from, l.To)
	}
	switch {
	case !ok:
		l.Lost = "no route"
	case l.f.ttl == 0:
		l.Lost = "no hops left"
	case l.f.credit == 0:
		l.Lost = "no credit left"
	default:
		l.To, l.TTL, l.Credit = hop, l.f.ttl-1, l.f.credit
		l.f.at, l.f.to, l.f.prev, l.f.ttl = n.now+hopTime, hop, from, l.TTL
		n.flying = append(n.flying, l.f)
	}
}

// classAt returns a group's i-th class in the order of names, or nil.
func (n *network) classAt(group string, i int) *liveClass {
	for _, c := range n.classes {
		if c.group == group {
			if i == 0 {
				return c
			}
			i--
		}
	}
	return nil
}
