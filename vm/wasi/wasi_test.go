package wasi

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/ckit"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

func TestMain(m *testing.M) { leak.Main(m) }

var update = flag.Bool("update", false, "rebuild testdata/*.wasm from the C sources")

// buildC compiles a program as anybody would.
func buildC(t *testing.T, comp *ckit.Compiler, src, out string) error {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), comp.Path, "--target=wasm32-wasi", "-O2", "-s", "-Wall", "-o", out, src).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

// toolchain names the compiler and the libraries that a program has parts of.
func toolchain(t *testing.T, comp *ckit.Compiler) string {
	t.Helper()
	version := comp.Version + "\n"
	for _, flag := range []string{"-print-file-name=libc.a", "-print-file-name=crt1-command.o", "-print-libgcc-file-name"} {
		path, err := exec.CommandContext(t.Context(), comp.Path, "--target=wasm32-wasi", flag).Output()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(strings.TrimSpace(string(path)))
		if err != nil {
			t.Skipf("there is no C library for WASI (package wasi-libc): %v", err)
		}
		version += fmt.Sprintf("%s %x\n", filepath.Base(strings.TrimSpace(string(path))), sha256.Sum256(b))
	}
	return version
}

// The programs are what the sources beside them build to, where the compiler and the library are those they were made with.
func TestSources(t *testing.T) {
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		t.Skip(err)
	}
	made, _ := os.ReadFile("testdata/compiler.txt")
	version := toolchain(t, comp)
	dir := t.TempDir()
	for _, src := range []string{"words", "attack", "fuzz"} {
		out := filepath.Join(dir, src+".wasm")
		if err := buildC(t, comp, "testdata/"+src+".c", out); err != nil {
			t.Skipf("there is no C library for WASI (package wasi-libc): %v", err)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile("testdata/"+src+".wasm", got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile("testdata/" + src + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		if string(made) == version && !bytes.Equal(got, want) {
			t.Errorf("%s.wasm is not what its source builds to; run this test with -update", src)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/compiler.txt", []byte(version), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// shell is an engine, a runner and a node whose domains have a file root.
type shell struct {
	testing.TB
	r    *Runner
	n    *nodeos.Node
	root string // of files
	k    int
}

func newShell(t testing.TB) *shell {
	t.Helper()
	clk := clock.NewReal()
	e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{TB: t, root: filepath.Join(t.TempDir(), "root")}
	if s.r, err = New(e, gate.Limits{}); err != nil {
		t.Fatal(err)
	}
	if s.n, err = nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clk, Packets: packet.PoolSpec{Frames: 64}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.n.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(s.root, "sub"), 0o755))
	must(os.WriteFile(filepath.Join(s.root, "in.txt"), []byte("the cat and the dog and THE bird\n"), 0o644))
	must(os.WriteFile(filepath.Join(s.root, "sub/deep.txt"), []byte("deep"), 0o644))
	must(os.WriteFile(filepath.Join(s.root, "../outside.txt"), []byte("secret"), 0o644))
	must(os.Symlink("../outside.txt", filepath.Join(s.root, "link")))
	must(os.Symlink("..", filepath.Join(s.root, "updir")))
	must(os.Symlink("/etc/passwd", filepath.Join(s.root, "passwd")))
	must(syscall.Mkfifo(filepath.Join(s.root, "pipe"), 0o644))
	return s
}

// domain makes a domain with files, or without.
func (s *shell) domain(files nodeos.FilesSpec) *nodeos.Domain {
	s.Helper()
	s.k++
	d, err := s.n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", s.k), Limit: resctl.Amounts{resctl.Memory: 64 << 20}}, Files: files})
	if err != nil {
		s.Fatal(err)
	}
	return d
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// printed is a writer for two.
type printed struct {
	mu  sync.Mutex
	b   bytes.Buffer
	any chan struct{} // poked by a write
}

func (o *printed) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.any <- struct{}{}:
	default:
	}
	return o.b.Write(b)
}

func (o *printed) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a program whose standard output and error are one.
func (s *shell) start(d *nodeos.Domain, code []byte, spec Spec) (*Program, *printed) {
	s.Helper()
	o := &printed{any: make(chan struct{}, 1)}
	spec.Name, spec.Code, spec.Stdout, spec.Stderr = "p", code, o, o
	p, err := s.r.Start(d, spec)
	if err != nil {
		s.Fatal(err)
	}
	return p, o
}

const patience = 30 * time.Second

func (s *shell) wait(p *Program) vm.Status {
	s.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		s.Fatalf("the program does not end: %+v", p.Status())
	}
	return p.Status()
}

// close ends the domain, which must leave nothing.
func (s *shell) close(d *nodeos.Domain) {
	s.Helper()
	d.Terminate(errs.New(errs.Dead, "over"))
	<-d.Done()
	if errs.KindOf(d.Reason()) == errs.Internal {
		s.Error(d.Reason())
	}
	if n := d.Account().Use(resctl.Memory); n != 0 {
		s.Errorf("the domain holds %d bytes", n)
	}
	if n := d.FileStats().Open; n != 0 {
		s.Errorf("%d files are open", n)
	}
}

func (s *shell) run(name string, files nodeos.FilesSpec, spec Spec, wantCode int32, want string) {
	s.Helper()
	d := s.domain(files)
	p, o := s.start(d, load(s, name), spec)
	st := s.wait(p)
	if st.Code != wantCode || st.Cause != vm.ImplicitExit && st.Cause != vm.SelfExit || st.Err != nil {
		s.Errorf("%v: ended with %v, code %d, %v", spec.Args, st.Cause, st.Code, st.Err)
	}
	if got := o.String(); got != want {
		s.Errorf("%v printed %q, want %q", spec.Args, got, want)
	}
	s.close(d)
}

// An unmodified program does here what it does anywhere.
func TestWords(t *testing.T) {
	s := newShell(t)
	files := nodeos.FilesSpec{Dir: s.root, MaxBytes: 1 << 20}
	s.run("words", files, Spec{Args: []string{"words", "in.txt", "/sub/deep.txt"}, Env: []string{"GREETING=hello"}}, 0,
		"hello\n     3  33.3% the\n     2  22.2% and\n     1  11.1% bird\n     1  11.1% cat\n     1  11.1% deep\n     1  11.1% dog\n9 words, 6 distinct\n")
	if b, err := os.ReadFile(filepath.Join(s.root, "in.txt.count")); err != nil || string(b) != "8\n" {
		t.Errorf("it has written %q, %v", b, err)
	}
	s.run("words", files, Spec{Args: []string{"words", "-l", "sub"}}, 0, "       4 f deep.txt\n       2 f deep.txt.count\n")
	s.run("words", files, Spec{Args: []string{"words", "none.txt"}}, 2, "words: none.txt: No such file or directory\n")
	s.run("words", nodeos.FilesSpec{}, Spec{Args: []string{"words"}, Stdin: []byte("one two one")}, 0, "     2  66.7% one\n     1  33.3% two\n3 words, 2 distinct\n")
	s.run("words", nodeos.FilesSpec{Dir: s.root, MaxBytes: resctl.Nothing}, Spec{Args: []string{"words", "in.txt"}}, 2, "words: in.txt.count: Quota exceeded\n")
}

func TestAttacks(t *testing.T) {
	s := newShell(t)
	files := nodeos.FilesSpec{Dir: s.root, MaxBytes: 1 << 20}
	before, err := os.ReadDir(s.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"paths", "descriptors", "sockets"} {
		s.run("attack", files, Spec{Args: []string{"attack", what}, MaxOpen: 32}, 0, "")
	}
	s.run("attack", nodeos.FilesSpec{}, Spec{Args: []string{"attack", "nofiles"}}, 0, "")
	s.run("attack", files, Spec{Args: []string{"attack", "quota"}, MaxNew: 100}, 0, "")
	if b, err := os.ReadFile(filepath.Join(s.root, "../outside.txt")); err != nil || string(b) != "secret" {
		t.Errorf("what is outside is %q, %v", b, err)
	}
	after, err := os.ReadDir(s.root)
	if err != nil || len(after) != len(before)+1 { // big
		t.Errorf("%d names in the root, %d before, %v", len(after), len(before), err)
	}
	s.run("attack", files, Spec{Args: []string{"attack", "memory"}}, 0, "")
	s.run("attack", files, Spec{Args: []string{"attack", "exit"}}, 42, "")

	d := s.domain(files)
	p, o := s.start(d, load(t, "attack"), Spec{Args: []string{"attack", "pointers"}})
	if st := s.wait(p); st.Code != 0 || st.Err != nil {
		t.Errorf("pointers: line %d of attack.c, %v", st.Code, st.Err)
	}
	if n := len(o.String()); n > DefaultOut {
		t.Errorf("%d bytes were printed", n)
	}
	p, _ = s.start(d, load(t, "attack"), Spec{Args: []string{"attack", "abort"}})
	if st := s.wait(p); st.Cause != vm.UncaughtTrap || errs.KindOf(st.Err) != errs.Trap {
		t.Errorf("abort: %v, %v", st.Cause, st.Err)
	}
	p, o = s.start(d, load(t, "attack"), Spec{Args: []string{"attack", "chatter"}, MaxOut: 1000})
	if st := s.wait(p); st.Code != 0 {
		t.Errorf("chatter: %+v", st)
	}
	out, dropped := p.Output()
	if out != 1000 || dropped < 1_000_000 || len(o.String()) != 1000 {
		t.Errorf("chatter: %d printed, %d dropped", out, dropped)
	}
	p, _ = s.start(d, load(t, "attack"), Spec{Args: []string{"attack", "loop"}, Fuel: 20_000_000})
	if st := s.wait(p); errs.KindOf(st.Err) != errs.OutOfFuel {
		t.Errorf("loop with little fuel: %v, %v", st.Cause, st.Err)
	}
	s.close(d)
}

// Whatever a program does, it ends when it is killed, and when its domain ends.
func TestKilled(t *testing.T) {
	s := newShell(t)
	for _, what := range []string{"loop", "sleep", "naps"} {
		for _, how := range []string{"kill", "domain", "exit"} {
			d := s.domain(nodeos.FilesSpec{Dir: s.root})
			p, o := s.start(d, load(t, "attack"), Spec{Args: []string{"attack", what}})
			select {
			case <-o.any:
			case <-time.After(patience):
				t.Fatalf("%s does not begin: %+v", what, p.Status())
			}
			want := vm.ByKill
			switch how {
			case "kill":
				p.Kill(errs.New(errs.Refused, "enough"))
			case "domain":
				d.Terminate(errs.New(errs.Refused, "enough"))
			case "exit":
				p.Isolate().Exit(3)
				want = vm.OtherExit
			}
			if st := s.wait(p); st.Cause != want {
				t.Errorf("%s, %s: %v, %v", what, how, st.Cause, st.Err)
			}
			s.close(d)
		}
	}
}

// A sleeping program gives the processor up: there is one, and another program runs to its end beside it.
func TestSleeperGivesTheProcessorUp(t *testing.T) {
	s := newShell(t)
	d := s.domain(nodeos.FilesSpec{})
	p, o := s.start(d, load(t, "attack"), Spec{Args: []string{"attack", "sleep"}})
	<-o.any
	q, _ := s.start(d, load(t, "words"), Spec{Args: []string{"words"}, Stdin: []byte("beside it")}) // has the processor meanwhile
	if st := s.wait(q); st.Code != 0 {
		t.Errorf("beside a sleeper: %+v", st)
	}
	p.Kill(nil)
	s.wait(p)
	s.close(d)
}

// What cannot be run is refused before anything is made.
func TestRefused(t *testing.T) {
	s := newShell(t)
	d := s.domain(nodeos.FilesSpec{})
	words := load(t, "words")
	big := strings.Repeat("x", MaxArgs)
	for _, c := range []struct {
		spec Spec
		want errs.Kind
	}{
		{Spec{Code: words[:1000]}, errs.Invalid},
		{Spec{Code: []byte("no module")}, errs.Invalid},
		{Spec{Code: words, Args: []string{big}}, errs.TooBig},
		{Spec{Code: words, Env: []string{"a\x00b"}}, errs.TooBig},
		{Spec{Code: words, MaxOpen: 1}, errs.Invalid},
		{Spec{Code: words, Memory: 10_000}, errs.Limit},
	} {
		if p, err := s.r.Start(d, c.spec); errs.KindOf(err) != c.want {
			t.Errorf("%v, want %v", err, c.want)
			if err == nil {
				p.Kill(nil)
			}
		}
	}
	s.close(d)
	if _, err := s.r.Start(d, Spec{Code: words}); errs.KindOf(err) != errs.Dead {
		t.Errorf("in a dead domain: %v", err)
	}
}

func TestLineLog(t *testing.T) {
	clk := clock.NewVirtual(time.Time{})
	clk.Advance(time.Hour)
	var lines []string
	w := LineLog(clk, 2, func(l string) { lines = append(lines, l) })
	io.WriteString(w, "a\nb\x1b[2Jc\nd\ne\npart")
	clk.Advance(time.Second)
	io.WriteString(w, "ial\n"+strings.Repeat("x", 5000)+"\n")
	want := []string{"a", "b.[2Jc", "(2 lines were dropped)", "partial", strings.Repeat("x", 512)}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("%q", lines)
	}
}

// FuzzCalls makes calls with whatever arguments there are: they answer with a number, the program ends, and nothing outside of its root is touched.
func FuzzCalls(f *testing.F) {
	call := func(n byte, args ...uint64) []byte {
		b := []byte{n}
		for k := range 9 {
			v := uint64(0)
			if k < len(args) {
				v = args[k]
			}
			b = le.AppendUint64(b, v)
		}
		return b
	}
	const room, script, small = 1 << 61, 2 << 61, 3 << 61
	f.Add(call(31, small|3, small|1, script|73, small|4, small|1, 0xffffffff>>3, 0xffffffff>>3, small, room)) // path_open of what the second record begins with
	f.Add(append(call(28, small|3, script|73, small|8), []byte("newdir/x")...))
	f.Add(call(37, script, room, small|1, room|64))
	f.Add(append(call(26, small|1, script|73, small|1, room), 0, 0, 0, 0, 9, 0, 0, 0))
	f.Add(call(21, small|3, room, small|200, 0, room|300))
	s := newShell(f)
	before, err := os.ReadFile(filepath.Join(s.root, "../outside.txt"))
	if err != nil {
		f.Fatal(err)
	}
	code, err := s.r.engine.Load(load(f, "fuzz"), s.r.class, nil) // stays in the cache
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(code.Release)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &shell{TB: t, r: s.r, n: s.n, root: s.root, k: s.k}
		d, err := s.n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprintf("f%d", born.Add(1)), Limit: resctl.Amounts{resctl.Memory: 64 << 20}},
			Files: nodeos.FilesSpec{Dir: s.root, MaxBytes: 4096}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.r.Start(d, Spec{Name: "fuzz", Code: load(t, "fuzz"), Stdin: data, MaxNew: 8, Fuel: 5_000_000})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
		case <-time.After(100 * time.Millisecond): // it may be waiting for a clock
			p.Kill(nil)
		}
		if st := s.wait(p); errs.KindOf(st.Err) == errs.Internal {
			t.Errorf("it ended with %v, %v", st.Cause, st.Err)
		}
		s.close(d)
		if after, err := os.ReadFile(filepath.Join(s.root, "../outside.txt")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("what is outside is %q, %v", after, err)
		}
	})
}

var born atomic.Int64

// FuzzResolve: a name is refused, or is below the directory that it is relative to.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a", "../a", "/a", "a/../..", "", ".", "a/./b", "a//b", "\x00", "..\\a", "a/b/../../../c"} {
		f.Add("sub", s)
		f.Add(".", s)
	}
	f.Fuzz(func(t *testing.T, dir, name string) {
		if !filepath.IsLocal(dir) || strings.ContainsAny(dir, "\x00") {
			return
		}
		got, e := resolve(filepath.Clean(dir), name)
		if e != success {
			return
		}
		rel, err := filepath.Rel(filepath.Clean(dir), got)
		if err != nil || !filepath.IsLocal(got) || rel != "." && !filepath.IsLocal(rel) {
			t.Errorf("%q in %q is %q (%q, %v)", name, dir, got, rel, err)
		}
	})
}
