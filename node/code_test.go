package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm"
)

// TestCodeStore: what a node has compiled is there when it starts again; a directory that others can write to is refused.
func TestCodeStore(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil {
		err = os.Chmod(base, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "code")
	raw, err := os.ReadFile("../vm/testdata/process.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]uint64{{0, 1}, {1, 0}} {
		s := pairSpec(1)
		s.Code = dir
		n, err := Start(s, Env{OpenLink: onNet(mem.NewNet())})
		if err != nil {
			t.Fatal(err)
		}
		class, err := n.engine.NewClass(vm.ClassSpec{Name: "p", Process: true, Imports: []vm.HostFunc{{Module: "test", Name: "call", Params: 2, Result: true, Call: func(*vm.Instance, []uint64) {}}}})
		if err != nil {
			t.Fatal(err)
		}
		code, err := n.engine.Load(raw, class, nil)
		if err != nil {
			t.Fatal(err)
		}
		code.Release()
		if st := n.code.Stats(); n.engine.Compiler() == nil && (st.Hits != want[0] || st.Put != want[1]) {
			t.Errorf("start %d: %+v", i+1, st)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	s := pairSpec(1)
	s.Code = dir
	if n, err := Start(s, Env{OpenLink: onNet(mem.NewNet())}); errs.KindOf(err) != errs.Permission || !strings.Contains(err.Error(), "code-store") {
		t.Errorf("a directory that others can write to: %v", err)
		if err == nil {
			n.Close()
		}
	}
}
