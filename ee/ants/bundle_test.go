package ants

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
)

const bundleText = `name: two
groups:
  - name: main
    classes:
      - {name: ping, code: ping.wasm}
      - {name: count, code: more/count.wasm}
`

func TestLoadProtocol(t *testing.T) {
	fsys := fstest.MapFS{
		"p/protocol.yaml":   {Data: []byte(bundleText)},
		"p/ping.wasm":       {Data: []byte("ping")},
		"p/more/count.wasm": {Data: []byte("count")},
	}
	p, err := LoadProtocolFS(fsys, "p/protocol.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "two" || len(p.Groups) != 1 || len(p.Groups[0].Classes) != 2 || string(p.Groups[0].Classes[1].Code) != "count" {
		t.Errorf("%+v", p)
	}
	a, err1 := p.Method("ping")
	b, err2 := p.Method("main/ping")
	if err1 != nil || err2 != nil || a != b {
		t.Errorf("%s %s %v %v", a, b, err1, err2)
	}
	_, err = p.Method("pong")
	wantKind(t, err, errs.NotFound)
	q := *p
	q.Groups = append(q.Groups, Group{"other", []Class{{"ping", []byte("other")}}})
	_, err = q.Method("ping")
	wantKind(t, err, errs.Invalid)
	if id, err := ParseMethodID(a.String()); err != nil || id != a {
		t.Errorf("%s, %v", id, err)
	}
	_, err = ParseMethodID("abc")
	wantKind(t, err, errs.Invalid)

	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"several errors": {"name: two\ngroups:\n  - name: main\n    classes:\n      - {name: ping, code: gone.wasm}\n      - {name: x, code: ../x}\n      - {nmae: y, code: ping.wasm}\n",
			[]string{"p/protocol.yaml:5:", "gone.wasm", "p/protocol.yaml:6:", "not a path", "p/protocol.yaml:7:", "did you mean name?"}},
		"no groups":   {"name: two\n", []string{`no "groups"`}},
		"empty group": {"name: two\ngroups:\n  - {name: a, classes: []}\n", []string{"0 classes"}},
		"too long":    {"name: two\ngroups:\n  - {name: a, classes: [{name: b, code: long.wasm}]}\n", []string{"long.wasm", "65536"}},
	} {
		fsys["p/protocol.yaml"].Data = []byte(c.text)
		fsys["p/long.wasm"] = &fstest.MapFile{Data: make([]byte, MaxCode+1)}
		_, err := LoadProtocolFS(fsys, "p/protocol.yaml")
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in\n%v", name, w, err)
			}
		}
	}
	_, err = LoadProtocol("testdata/nothing.yaml")
	wantKind(t, err, errs.NotFound)
}

func TestStaticRoutesRefuse(t *testing.T) {
	var s StaticRoutes
	if _, ok := s.NextHop(1); ok || s.Neighbours() != 0 {
		t.Error("the zero value knows somebody")
	}
	h := Hop{Node: 5, Link: 1, IP: netip.MustParseAddr("10.0.0.5")}
	wantKind(t, s.Set([]Hop{h, h}, nil), errs.Invalid)
	wantKind(t, s.Set([]Hop{h}, map[NodeAddr]NodeAddr{9: 8}), errs.Invalid)
	if err := s.Set([]Hop{{Node: 7}, h}, map[NodeAddr]NodeAddr{9: 5}); err != nil {
		t.Fatal(err)
	}
	if g, ok := s.NextHop(9); !ok || g != h {
		t.Errorf("%+v", g)
	}
	if a, ok := s.NeighbourAt(0); !ok || a != 5 {
		t.Errorf("first neighbour %s", a)
	}
	if _, ok := s.NeighbourAt(2); ok {
		t.Error("a third neighbour")
	}
}

func TestTableRouter(t *testing.T) {
	r := TableRouter(func() *routing.Table { return new(routing.Table) })
	_, a := r.NextHop(1)
	_, b := r.Neighbour(1)
	_, c := r.NeighbourAt(0)
	if a || b || c || r.Neighbours() != 0 {
		t.Error("an empty table knows somebody")
	}
	if h, ok := hopOf(&routing.NextHop{Node: 3, Link: 2, IP6: netip.MustParseAddr("fe80::1"), Port: 4, HasMAC: true}); !ok || h.Node != 3 || h.Link != 2 || !h.IP.Is6() || h.Port != 4 || !h.HasMAC {
		t.Errorf("%+v", h)
	}
}
