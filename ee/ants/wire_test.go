package ants

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func sample() *Capsule {
	return &Capsule{
		Method: MethodID{0: 0xaa, 15: 0xbb}, Src: 0x0aff0001, Dst: 0x0aff0003, Prev: 0x0aff0002, TTL: 61,
		HasPorts: true, SrcPort: 7, DstPort: 9, HasCredit: true, Credit: Credit{Count: 100, Epoch: 3, KeyID: 4, Tag: [16]byte{1, 2}},
		HasTrace: true, Trace: TraceID{5, 6}, Data: []byte("hello"),
	}
}

func TestCapsuleRoundTrip(t *testing.T) {
	for _, mod := range []func(*Capsule){
		func(*Capsule) {},
		func(c *Capsule) { c.HasPorts, c.SrcPort, c.DstPort = false, 0, 0 },
		func(c *Capsule) { c.HasCredit, c.Credit = false, Credit{} },
		func(c *Capsule) { c.HasTrace, c.Trace = false, TraceID{} },
		func(c *Capsule) { c.Data = []byte{} },
	} {
		in := sample()
		mod(in)
		b := in.Append(nil)
		var out Capsule
		if err := out.Decode(b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*in, out) {
			t.Errorf("got %+v\nwant %+v", out, *in)
		}
		if len(b) != in.Overhead()+len(in.Data) || in.Overhead() > MaxOverhead {
			t.Errorf("overhead %d of %d bytes", in.Overhead(), len(b))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := sample().Append(nil)
	edit := func(off int, b ...byte) []byte {
		x := bytes.Clone(good)
		copy(x[off:], b)
		return x
	}
	// unknown returns the packet with one more option in front of the others.
	option := func(o ...byte) []byte {
		x := append(bytes.Clone(good[:ANEPLen]), o...)
		x = append(x, good[ANEPLen:]...)
		x[5] += byte(len(o) / 4)
		x[7] += byte(len(o))
		return x
	}
	h := int(good[5]) * 4
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrShort},
		{"seven bytes", good[:7], ErrShort},
		{"truncated", good[:len(good)-1], ErrLength},
		{"too long", append(bytes.Clone(good), 0), ErrLength},
		{"anep version", edit(0, 2), ErrANEPVersion},
		{"type id", edit(2, 0, 19), ErrANEPType},
		{"header length zero", edit(4, 0, 0), ErrShort},
		{"header length beyond the packet", edit(4, 0, 60), ErrShort},
		{"header length beyond the limit", edit(4, 255, 255), ErrShort},
		{"capsule version", edit(h, 0, 0, 0, 1), ErrVersion},
		{"ttl", edit(h+offTTL, 0, 0, 1, 0), ErrTTL},
		{"no source", edit(h+offSrc, 0, 0, 0, 0), ErrAddress},
		{"no destination", edit(h+offDst, 0, 0, 0, 0), ErrAddress},
		{"unknown option is skipped", option(0x80, 99, 0, 1), nil},
		{"option of another name space is skipped", option(0, 1, 0, 2, 1, 2, 3, 4), nil},
		{"unknown option that must be known", option(0xc0, 99, 0, 1), ErrUnknown},
		{"option of length zero", option(0x80, 99, 0, 0), ErrOption},
		{"option beyond the header", option(0x80, 99, 0, 200), ErrOption},
		{"ports twice", option(0x80, 1, 0, 2, 0, 1, 0, 2), ErrOption},
		{"ports of a wrong size", option(0x80, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0), ErrOption},
	} {
		var out Capsule
		if err := out.Decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	short := (&Capsule{Src: 1, Dst: 1}).Append(nil)
	short = short[:len(short)-1]
	short[7]--
	if err := new(Capsule).Decode(short); err != ErrShort {
		t.Errorf("capsule header cut: %v", err)
	}
}

func newCache(t testing.TB) *packet.Cache {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool.Cache(0)
}

// TestRewrite checks that what a hop changes is all that changes, and that unknown options are kept.
func TestRewrite(t *testing.T) {
	cache := newCache(t)
	for _, withCredit := range []bool{true, false} {
		in := sample()
		in.HasCredit = withCredit
		b := in.Append(nil)
		unknown := []byte{0x80, 77, 0, 2, 9, 9, 9, 9}
		b = append(b[:ANEPLen:ANEPLen], append(unknown, b[ANEPLen:]...)...)
		b[5] += 2
		b[7] += 8
		p := cache.AllocFrom(packet.Node, b)
		o, err := parseANEP(p.Data())
		if err != nil {
			t.Fatal(err)
		}
		if !resize(p, &o, 8) || !rewrite(p, &o, 0x0b000001, 0x0b000002, 60, 41) {
			t.Fatal("no room")
		}
		copy(p.Data()[o.header+HeaderLen:], "goodbye!")
		var out Capsule
		if err := out.Decode(p.Data()); err != nil {
			t.Fatal(err)
		}
		want := *in
		want.Dst, want.Prev, want.TTL, want.HasCredit, want.Credit, want.Data = 0x0b000001, 0x0b000002, 60, true, Credit{Count: 41}, []byte("goodbye!")
		if !reflect.DeepEqual(out, want) {
			t.Errorf("got %+v\nwant %+v", out, want)
		}
		if !bytes.Contains(p.Data()[:o.header], unknown) {
			t.Errorf("the unknown option is gone: % x", p.Data()[:o.header])
		}
		o2, err := parseANEP(p.Data())
		if err != nil || o2 != o {
			t.Errorf("offsets %+v, parsed again %+v, %v", o, o2, err)
		}
		// The same count again leaves the voucher alone.
		if withCredit {
			copy(p.Data()[o.credit+4:], []byte{1, 2, 3})
			rewrite(p, &o, 1, 1, 1, 41)
			if p.Data()[o.credit+6] != 3 {
				t.Error("an unchanged count lost its epoch")
			}
		}
		cache.Free(p)
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	cache := newCache(t)
	c := sample()
	var out Capsule
	if n := testing.AllocsPerRun(100, func() {
		p := cache.Alloc(packet.Node)
		if !c.Encode(p) || out.Decode(p.Data()) != nil {
			t.Fatal("encode or decode failed")
		}
		cache.Free(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	req := dlRequest{MethodID{1}, CodeID{2}, 3, 32, 5}
	var req2 dlRequest
	if err := req2.decode(req.put(nil)); err != nil || req2 != req {
		t.Errorf("%+v, %v", req2, err)
	}
	d := directory{name: "ping", groups: []GroupID{{1}, {2}}, classes: []dirClass{{CodeID{3}, 100}, {CodeID{4}, MaxCode}}}
	var d2 directory
	if err := d2.decode(d.put(nil)); err != nil || !reflect.DeepEqual(d, d2) {
		t.Errorf("%+v, %v", d2, err)
	}
	r := dlResponse{method: MethodID{5}, token: 6, kind: dlDirectory, body: d.put(nil)}
	var r2 dlResponse
	if err := r2.decode(r.put(nil)); err != nil || !reflect.DeepEqual(r, r2) {
		t.Errorf("%+v, %v", r2, err)
	}
	k := chunk{CodeID{7}, 8, []byte("code")}
	var k2 chunk
	if err := k2.decode(k.put(nil)); err != nil || !reflect.DeepEqual(k, k2) {
		t.Errorf("%+v, %v", k2, err)
	}
	e := ErrorReport{MethodID{9}, TraceID{10}, 11, 12, errs.TooBig, 13}
	var e2 ErrorReport
	if err := e2.decode(e.put(nil)); err != nil || e2 != e {
		t.Errorf("%+v, %v", e2, err)
	}
	// The largest directory and chunk fit a packet that no path fragments.
	big := directory{name: strings.Repeat("n", MaxNameLen), groups: make([]GroupID, MaxGroups), classes: make([]dirClass, MaxClasses)}
	most := max(len(big.put(nil)), 20+ChunkSize)
	if n := MaxOverhead + dlResponseLen + most; n > 1280-40-8 {
		t.Errorf("the largest response is %d bytes", n)
	}
}

func TestDirectoryIsVerified(t *testing.T) {
	p := proto(t, "two", "ping", "loop")
	p.Groups = append(p.Groups, Group{Name: "other", Classes: []Class{{"count", wasm(t, "count")}}})
	method, err := p.Method("loop")
	if err != nil {
		t.Fatal(err)
	}
	d := directory{name: "two", groups: []GroupID{p.Groups[0].ID(), p.Groups[1].ID()}}
	for _, c := range p.Groups[0].Classes {
		d.classes = append(d.classes, dirClass{CodeIDOf(c.Code), len(c.Code)})
	}
	group, protocol, methods, err := d.verify(method)
	if err != nil || group != p.Groups[0].ID() || protocol != p.ID() || len(methods) != 2 || methods[1] != method {
		t.Fatalf("%s %s %v %v", group, protocol, methods, err)
	}
	for name, mod := range map[string]func(*directory){
		"another code":         func(d *directory) { d.classes[0].code[3] ^= 1 },
		"another group":        func(d *directory) { d.groups[1][3] ^= 1 },
		"not a member":         func(d *directory) { d.groups[0][3] ^= 1 },
		"a group more":         func(d *directory) { d.groups = append(d.groups, GroupID{1}) },
		"a class less":         func(d *directory) { d.classes = d.classes[1:] },
		"the same code twice":  func(d *directory) { d.classes = append(d.classes, d.classes[0]) },
		"the same group twice": func(d *directory) { d.groups = append(d.groups, d.groups[0]) },
	} {
		bad := directory{groups: append([]GroupID(nil), d.groups...), classes: append([]dirClass(nil), d.classes...)}
		mod(&bad)
		if _, _, _, err := bad.verify(method); errs.KindOf(err) != errs.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWireDocument checks the worked example of docs/wire-ants.md.
func TestWireDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/wire-ants.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), "## Worked example")
	if !ok {
		t.Fatal("the document has no worked example")
	}
	value := func(name string) string {
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| .([0-9a-f]+). \|$`).FindStringSubmatch(example)
		if m == nil {
			t.Fatalf("no row %q in the example", name)
		}
		return m[1]
	}
	code := []byte("not a module, but bytes")
	p := Protocol{Name: "example", Groups: []Group{{Name: "g", Classes: []Class{{"c", code}}}}}
	m, err := p.Method("c")
	if err != nil {
		t.Fatal(err)
	}
	c := Capsule{Method: m, Src: 0x0aff0001, Dst: 0x0aff0003, TTL: 64, HasPorts: true, SrcPort: 9, DstPort: 9, Data: []byte{0, 0, 0, 1}}
	for name, got := range map[string]string{
		"code id": CodeIDOf(code).String(), "group id": p.Groups[0].ID().String(), "protocol id": p.ID().String(), "method id": m.String(),
		"packet": hex.EncodeToString(c.Append(nil)), "dl-request": MethodDLRequest.String(), "dl-response": MethodDLResponse.String(), "error": MethodError.String(),
	} {
		if want := value(name); got != want {
			t.Errorf("%s: the document says %s, computed %s", name, want, got)
		}
	}
}

func FuzzCapsule(f *testing.F) {
	f.Add(sample().Append(nil))
	f.Add((&Capsule{Src: 1, Dst: 2}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Capsule
		if c.Decode(b) != nil {
			return
		}
		if !bytes.Equal(c.Data, b[len(b)-len(c.Data):]) {
			t.Fatal("data is not the tail")
		}
		var d Capsule
		if err := d.Decode(c.Append(nil)); err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if len(c.Data) == 0 {
			c.Data, d.Data = nil, nil
		}
		if !reflect.DeepEqual(c, d) {
			t.Fatalf("%+v\n%+v", c, d)
		}
	})
}

func FuzzMessages(f *testing.F) {
	req := dlRequest{MethodID{1}, CodeID{2}, 3, 32, 5}
	f.Add(req.put(nil))
	d := directory{name: "ping", groups: []GroupID{{1}}, classes: []dirClass{{CodeID{3}, 100}}}
	f.Add(d.put(nil))
	r := dlResponse{method: MethodID{5}, kind: dlDirectory, body: d.put(nil)}
	f.Add(r.put(nil))
	k := chunk{CodeID{7}, 8, []byte("code")}
	f.Add(k.put(nil))
	e := ErrorReport{Method: MethodID{9}, Node: 11, Dst: 12, Kind: errs.TooBig}
	f.Add(e.put(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(err error, put []byte) {
			if err == nil && !bytes.Equal(put, b) {
				t.Fatalf("% x became % x", b, put)
			}
		}
		var req dlRequest
		if err := req.decode(b); err == nil {
			same(err, req.put(nil))
		}
		var r dlResponse
		if err := r.decode(b); err == nil {
			same(err, r.put(nil))
		}
		var d directory
		if err := d.decode(b); err == nil {
			same(err, d.put(nil))
			d.verify(MethodID{1})
		}
		var c chunk
		if err := c.decode(b); err == nil {
			same(err, c.put(nil))
		}
		var e ErrorReport
		if err := e.decode(b); err == nil {
			same(err, e.put(nil))
		}
	})
}
