package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/store"
)

// keepRig is a store, and what runs a capsule with it.
type keepRig struct {
	t   *testing.T
	dir string
}

func newKeepRig(t *testing.T) *keepRig {
	t.Helper()
	if e, err := NewEngine(EngineSpec{Mode: ModeCompiled, Clock: clock.NewReal()}); err != nil {
		t.Skip(err)
	} else {
		e.Close()
	}
	d, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil {
		err = os.Chmod(d, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &keepRig{t, filepath.Join(d, "code")}
}

// run makes an engine, evaluates each capsule in it, and returns what the store has counted.
func (k *keepRig) run(names ...string) store.Stats {
	t := k.t
	t.Helper()
	s, err := store.Open(k.dir, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := NewEngine(EngineSpec{Mode: ModeCompiled, Clock: clock.NewReal(), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	k.use(e, names...)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(k.dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return s.Stats()
}

func (k *keepRig) use(e *Engine, names ...string) {
	t := k.t
	t.Helper()
	class, err := e.NewClass(ClassSpec{Name: "capsule", Imports: testImports()})
	if err != nil {
		t.Fatal(err)
	}
	iso, err := e.NewIsolate(IsolateSpec{Name: "i"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile("testdata/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		code, err := e.Load(raw, class, nil)
		if err != nil {
			t.Fatal(err)
		}
		in, err := iso.Instantiate(code)
		if err != nil {
			t.Fatal(err)
		}
		w := make([]byte, 64)
		w[0] = 1
		c := call(w)
		v, err := in.Evaluate(nil, c)
		switch {
		case name == "echo" && (err != nil || v != abi.Forward || c.Used != 327 || !bytes.Equal(c.Payload, w)):
			t.Errorf("%s: %v, %v, %d fuel", name, v, err, c.Used)
		case name == "loop" && err == nil:
			t.Errorf("%s ended", name)
		}
		code.Release()
	}
	if err := iso.Close(); err != nil {
		t.Error(err)
	}
}

// TestWazeroVersion compares the constant, on which keys depend, with go.mod.
func TestWazeroVersion(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "\tgithub.com/tetratelabs/wazero "+wazeroVersion+"\n") {
		t.Errorf("wazeroVersion is %s, go.mod has another", wazeroVersion)
	}
}

// TestKeptCode: what was compiled once is taken from the store at the next start, and does the same.
func TestKeptCode(t *testing.T) {
	k := newKeepRig(t)
	if n := k.run("echo", "loop"); n.Hits != 0 || n.Put != 2 {
		t.Fatalf("first start: %+v", n)
	}
	for range 2 {
		if n := k.run("echo", "loop"); n.Hits != 2 || n.Put != 0 || n.Damaged != 0 {
			t.Errorf("next start: %+v", n)
		}
	}
}

// TestKeptCodeIsChecked: a wrong byte anywhere, or content that is none of the engine's, is compiled again and never run.
func TestKeptCodeIsChecked(t *testing.T) {
	k := newKeepRig(t)
	k.run("echo")
	files, err := filepath.Glob(filepath.Join(k.dir, "*.code"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 1 + len(good)/23 {
		b := bytes.Clone(good)
		b[i] ^= 1
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := k.run("echo"); n.Damaged != 1 || n.Hits != 0 || n.Put != 1 {
			t.Errorf("byte %d of %d: %+v", i, len(good), n)
		}
	}
	// With a good checksum, as after a defect of ours: the name of the module, and nothing that wazero would take.
	s, err := store.Open(k.dir, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	key, raw := k.key("echo"), bytes.Clone(good[len(good)-len(good)/2:])
	kept, ok := s.Get(key)
	if !ok {
		t.Fatal("the key is not that of the module")
	}
	for _, content := range [][]byte{append(bytes.Clone(kept[:cachedName]), raw...), kept[:cachedName], []byte("short"), append([]byte("../../../../../../../../../../../../../../../../../../../etc/passwd!"), raw...)} {
		if err := s.Put(key, content); err != nil {
			t.Fatal(err)
		}
		if n := k.run("echo"); n.Hits != 1 || n.Put != 1 {
			t.Errorf("%d bytes of something else: %+v", len(content), n)
		}
	}
	s.Close()
}

func (k *keepRig) key(name string) store.Key {
	raw, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		k.t.Fatal(err)
	}
	e, err := NewEngine(EngineSpec{Mode: ModeInterpreter, Clock: clock.NewReal()})
	if err != nil {
		k.t.Fatal(err)
	}
	defer e.Close()
	class, err := e.NewClass(ClassSpec{Name: "capsule", Imports: testImports()})
	if err != nil {
		k.t.Fatal(err)
	}
	m, err := gate.Check(raw, &class.config)
	if err != nil {
		k.t.Fatal(err)
	}
	return keyOf(m.Wasm)
}

// TestStageThatBreaks: an engine whose stage cannot be used goes on without.
func TestStageThatBreaks(t *testing.T) {
	k := newKeepRig(t)
	s, err := store.Open(k.dir, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := NewEngine(EngineSpec{Mode: ModeCompiled, Clock: clock.NewReal(), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(e.stage.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.stage.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.use(e, "echo", "loop")
	if e.stage.store != nil {
		t.Error("the stage is still in use")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestOneCompilerBilled: whoever loads, one module is compiled at a time, and each is paid for by who loaded it first.
func TestOneCompilerBilled(t *testing.T) {
	for _, m := range []Mode{ModeCompiled, ModeAuto} {
		t.Run(m.String(), func(t *testing.T) {
			var mu sync.Mutex
			inside, most := 0, 0
			e, err := NewEngine(EngineSpec{Mode: m, Clock: clock.NewReal(), HotAfter: 2})
			if err != nil {
				t.Skip(err)
			}
			e.compiling = func(n int) {
				mu.Lock()
				defer mu.Unlock()
				inside += n
				most = max(most, inside)
			}
			root, err := resctl.NewTree(resctl.Spec{Name: "node"}, clock.NewReal(), 1)
			if err != nil {
				t.Fatal(err)
			}
			class, err := e.NewClass(ClassSpec{Name: "capsule", Imports: testImports()})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile("testdata/echo.wasm")
			if err != nil {
				t.Fatal(err)
			}
			const n = 8
			var accts [n]*resctl.Account
			var wg sync.WaitGroup
			for i := range accts {
				if accts[i], err = root.NewChild(resctl.Spec{Name: string(rune('a' + i))}); err != nil {
					t.Fatal(err)
				}
				mod := append(bytes.Clone(raw), 0, 2, 1, byte(i)) // a custom section makes it another module
				wg.Add(1)
				go func() {
					defer wg.Done()
					code, err := e.Load(mod, class, accts[i])
					if err != nil {
						t.Error(err)
						return
					}
					defer code.Release()
					iso, err := e.NewIsolate(IsolateSpec{Name: accts[i].Name(), Account: accts[i]})
					if err != nil {
						t.Error(err)
						return
					}
					defer iso.Close()
					in, err := iso.Instantiate(code)
					if err != nil {
						t.Error(err)
						return
					}
					before := accts[i].Use(resctl.CPU)
					for !code.Compiled() {
						w := make([]byte, 64)
						w[0] = 1
						if v, err := in.Evaluate(nil, call(w)); err != nil || v != abi.Forward {
							t.Error(err)
							return
						}
						runtime.Gosched()
					}
					if m == ModeCompiled && before == 0 || accts[i].Use(resctl.CPU) == 0 || m == ModeAuto && accts[i].Use(resctl.CPU) <= before {
						t.Errorf("account %d has paid %d ns, %d of them before it was compiled in the background", i, accts[i].Use(resctl.CPU), before)
					}
				}()
			}
			wg.Wait()
			mu.Lock()
			if most != 1 || inside != 0 {
				t.Errorf("%d modules were compiled at a time, %d still are", most, inside)
			}
			mu.Unlock()
			if got := e.Stats().Compiled; got != n {
				t.Errorf("%d modules were compiled, want %d", got, n)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
