package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
)

const reloadable = "node: n1\naddress: 10.255.0.1\nframes: 1024\nlinks: [{name: eth0, options: {addr: 10.0.0.1/24}}]\npools: [{name: p, limit: 1000}]\n" +
	"domains: [{name: d, pool: p, graph: 'Idle -> Discard;'}]\nrouting: {prefixes: [192.0.2.0/24]}\n"

func TestReloadAndConfirm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(reloadable)
	spec, err := node.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	segments := mem.NewNet()
	n, err := node.Start(spec, node.Env{OpenLink: func(o *nodeos.Node, l node.Link) (nodeos.Link, error) {
		return segments.Open(o, o.NextLinkNumber(), nodeos.LinkSpec{Name: l.Name, Opts: l.Options})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, c := serve(t, n)
	ctx := context.Background()

	if ls, err := c.Links(ctx); err != nil || len(ls) != 1 || ls[0].State != "up" || ls[0].Driver != "mem" {
		t.Errorf("links %+v, %v", ls, err)
	}
	if ps, err := c.Pools(ctx); err != nil || len(ps) != 1 || ps[0].Stats.Limit != 1000 || len(ps[0].Domains) != 1 {
		t.Errorf("pools %+v, %v", ps, err)
	}
	if ds, err := c.Domains(ctx); err != nil || len(ds) < 4 || ds[0].Path != "node" {
		t.Errorf("domains %+v, %v", ds, err)
	}
	if _, err := c.Confirm(ctx); errs.KindOf(err) != errs.NotFound {
		t.Errorf("nothing waits: %v", err)
	}
	write(strings.Replace(reloadable, "192.0.2.0", "198.51.100.0", 1))
	if err := c.Reload(ctx, Reload{Confirm: time.Hour}); err != nil { // of the file that it was started with
		t.Fatal(err)
	}
	if text, err := c.Config(ctx); err != nil || !strings.Contains(text, "198.51.100.0") {
		t.Errorf("config %s, %v", text, err)
	}
	s, err := c.Status(ctx)
	if err != nil || s.Trial == nil || s.Trial.What != "reload" || s.Trial.Left <= 0 {
		t.Errorf("status %+v, %v", s.Trial, err)
	}
	if err := c.Reload(ctx, Reload{}); errs.KindOf(err) != errs.Exists {
		t.Errorf("a reload beside another: %v", err)
	}
	if got, err := c.Confirm(ctx); err != nil || got.What != "reload" {
		t.Errorf("confirmed %+v, %v", got, err)
	}
	for _, bad := range []struct {
		in   Reload
		kind errs.Kind
	}{
		{Reload{File: "n.yaml"}, errs.Invalid}, {Reload{File: "/no/such"}, errs.NotFound}, {Reload{File: path, Confirm: -1}, errs.Invalid},
		{Reload{File: path, Confirm: 48 * time.Hour}, errs.Invalid},
	} {
		if err := c.Reload(ctx, bad.in); errs.KindOf(err) != bad.kind {
			t.Errorf("%+v: %v", bad.in, err)
		}
	}
	for _, body := range []string{"", "{", `{"file":3}`, `{"when":"now"}`, `{} {}`, `{"confirm_ns":1e99}`} {
		r, err := http.NewRequest(http.MethodPost, "http://node/v1/reload", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("body %q: %s, %s, %v", body, resp.Status, text, err)
		}
	}
}
