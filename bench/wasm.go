package bench

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/examples/elements"
	"github.com/janos-os/janos/packet"
)

func init() {
	row := func(name, element string) graphRow {
		return graphRow{name, fmt.Sprintf("src :: BenchSource(32) -> Strip(14) -> MarkIPHeader(0) -> e :: %s -> c :: Counter -> Discard;", element), toOneNet}
	}
	const counted, rewritten = "(10.0.0.0/8, 10.0.2.0/24, 192.0.2.0/24, 198.51.100.0/24)", "(5678, 192.0.2.7, 6000)"
	wasmOf := func(name, args string) string { return "Wasm(" + name + "/" + name + ".wasm, " + args[1:] }
	open := openGraph("", row(countGo, "BenchPrefixCount"+counted), row(countWasm, wasmOf("prefixcount", counted)),
		row(rewriteGo, "BenchRewrite"+rewritten), row(rewriteWasm, wasmOf("rewrite", rewritten)))
	register(Scenario{Name: "graph-wasm", Tier: "memory", Title: "elements of untrusted code against the same elements in Go",
		Text: graphText + " Bursts of 32. The elements are examples/elements: one counts packets and bytes by the longest of four prefixes, the other gives packets another destination and corrects two checksums. " +
			"Their twins in Go do the same, straight in the packet.",
		Open: func(e *Env) (Trial, error) {
			t, err := open(e)
			if err != nil {
				return nil, err
			}
			return &wasmTrial{t}, nil
		}})
	click.Register(click.Class{Name: "BenchPrefixCount", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &prefixCount{} },
		Doc: click.Doc{Group: "test", Title: "the twin in Go of examples/elements/prefixcount"}})
	click.Register(click.Class{Name: "BenchRewrite", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &rewriter{} },
		Doc: click.Doc{Group: "test", Title: "the twin in Go of examples/elements/rewrite"}})
}

const (
	countGo, countWasm     = "count by prefix, Go", "count by prefix, Wasm"
	rewriteGo, rewriteWasm = "rewrite destination, Go", "rewrite destination, Wasm"
)

// modules are what Wasm elements find in the graphs of scenarios.
var modules = &wasm.Env{Read: elements.FS.ReadFile}

// wasmTrial adds what the untrusted form costs more.
type wasmTrial struct{ Trial }

// Measure implements Trial.
func (t *wasmTrial) Measure(r *Round) error {
	if err := t.Trial.Measure(r); err != nil {
		return err
	}
	r.Add("count by prefix, Wasm over Go", unitMore, r.now[countWasm]-r.now[countGo])
	r.Add("rewrite destination, Wasm over Go", unitMore, r.now[rewriteWasm]-r.now[rewriteGo])
	return nil
}

// prefixCount counts by the longest prefix.
type prefixCount struct {
	click.Base
	prefixes []prefix // the longest first, and at the end one of all addresses
}

type prefix struct {
	addr, mask     uint32
	packets, bytes uint64
}

// Configure implements click.Element.
func (e *prefixCount) Configure(a *click.Args) {
	for _, s := range a.List() {
		p, err := click.ParsePrefix(s)
		if err != nil {
			a.Errorf("%v", err)
			continue
		}
		b := p.Addr().As4()
		mask := uint32(uint64(0xffffffff) << (32 - p.Bits()))
		e.prefixes = append(e.prefixes, prefix{addr: binary.BigEndian.Uint32(b[:]) & mask, mask: mask})
	}
	slices.SortStableFunc(e.prefixes, func(a, b prefix) int { return cmp.Compare(b.mask, a.mask) })
	e.prefixes = append(e.prefixes, prefix{})
}

// Act implements click.Actor.
func (e *prefixCount) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		d := p.Network()
		if len(d) < 20 {
			continue
		}
		to := binary.BigEndian.Uint32(d[16:])
		for i := range e.prefixes {
			if q := &e.prefixes[i]; to&q.mask == q.addr {
				q.packets++
				q.bytes += uint64(p.Len())
				break
			}
		}
	}
}

// rewriter gives UDP packets another destination.
type rewriter struct {
	click.Base
	oldPort, newPort int
	addr             string
	to               uint32
}

// Configure implements click.Element.
func (e *rewriter) Configure(a *click.Args) {
	a.Parse(click.Must("OLD", click.IntRange(&e.oldPort, 1, 65535)), click.Must("ADDR", click.String(&e.addr)), click.Must("NEW", click.IntRange(&e.newPort, 1, 65535)))
	if p, err := click.ParsePrefix(e.addr); err != nil {
		a.Errorf("%v", err)
	} else {
		b := p.Addr().As4()
		e.to = binary.BigEndian.Uint32(b[:])
	}
}

// Act implements click.Actor.
func (e *rewriter) Act(b *packet.Batch) {
	be := binary.BigEndian
	change := func(before, after uint32) uint32 { return ^before>>16 + ^before&0xffff + after>>16 + after&0xffff }
	corrected := func(checksum uint16, by uint32) uint16 {
		s := uint32(^checksum) + by
		s = s&0xffff + s>>16
		return ^uint16(s&0xffff + s>>16)
	}
	for _, p := range b.Packets() {
		d := p.Data()
		if len(d) < 28 || d[0]>>4 != 4 || d[9] != 17 || be.Uint16(d[6:])&0x1fff != 0 {
			continue
		}
		h := int(d[0]&15) * 4
		if h < 20 || h+8 > len(d) || int(be.Uint16(d[h+2:])) != e.oldPort || !e.Cache().Unshare(p) {
			continue
		}
		d = p.Data()
		u := d[h:]
		by := change(be.Uint32(d[16:]), e.to)
		be.PutUint16(d[10:], corrected(be.Uint16(d[10:]), by))
		if sum := be.Uint16(u[6:]); sum != 0 {
			if sum = corrected(sum, by+change(uint32(e.oldPort), uint32(e.newPort))); sum == 0 {
				sum = 0xffff
			}
			be.PutUint16(u[6:], sum)
		}
		be.PutUint32(d[16:], e.to)
		be.PutUint16(u[2:], uint16(e.newPort))
	}
}
