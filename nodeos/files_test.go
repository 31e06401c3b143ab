package nodeos

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// filed makes a domain with a directory of its own.
func (r *rig) filed(spec FilesSpec) (*Domain, string) {
	r.Helper()
	spec.Dir = filepath.Join(r.TempDir(), "root")
	if err := os.Mkdir(spec.Dir, 0o700); err != nil {
		r.Fatal(err)
	}
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Files: spec})
	if err != nil {
		r.Fatal(err)
	}
	return d, spec.Dir
}

func (r *rig) write(d *Domain, name string, mode FileMode, text string) {
	r.Helper()
	f, err := d.OpenFile(name, mode)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		r.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, dir := r.filed(FilesSpec{})
	if err := d.MakeDir("sub"); err != nil {
		t.Fatal(err)
	}
	r.write(d, "sub/a", Writing, "long first text")
	r.write(d, "sub/a", Writing, "first")
	r.write(d, "sub/a", Appending, ", second")
	r.write(d, "b", Appending, "b")
	if err := d.RenameFile("b", "sub/b"); err != nil {
		t.Fatal(err)
	}
	if names, err := d.ListFiles("sub"); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q, %v", names, err)
	}
	if i, err := d.StatFile("sub/a"); err != nil || i.Size() != 13 || i.IsDir() {
		t.Errorf("%v, %v", i, err)
	}
	f, err := d.OpenFile("sub/a", Reading)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := f.Seek(7, io.SeekStart); at != 7 || err != nil {
		t.Fatal(at, err)
	}
	if text, err := io.ReadAll(f); string(text) != "second" || err != nil || f.Name() != "sub/a" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a file open for reading was written")
	}
	if s := d.FileStats(); s != (FileStats{Open: 1, Read: 6, Written: 15 + 5 + 8 + 1}) {
		t.Errorf("%+v", s)
	}
	if err := f.Close(); err != nil || d.FileStats().Open != 0 || !errors.Is(f.Close(), errs.Dead) {
		t.Errorf("closing: %v", err)
	}
	if err := d.RemoveFile("sub"); err == nil {
		t.Error("a directory with files in it was removed")
	}
	for _, n := range []string{"sub/a", "sub/b", "sub"} {
		if err := d.RemoveFile(n); err != nil {
			t.Error(err)
		}
	}
	if names, err := d.ListFiles("."); err != nil || len(names) != 0 {
		t.Errorf("%q, %v", names, err)
	}
	for i := range MaxListed + 1 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if i == MaxListed-1 {
			if names, err := d.ListFiles("."); len(names) != MaxListed || err != nil {
				t.Errorf("%d names, %v", len(names), err)
			}
		}
	}
	if _, err := d.ListFiles("."); !errors.Is(err, errs.TooBig) {
		t.Errorf("a directory that is too long: %v", err)
	}
}

// No name leads out of the root: not by .., not from the top, not over symbolic links.
func TestFilesStayInTheirRoot(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, dir := r.filed(FilesSpec{})
	out := filepath.Join(filepath.Dir(dir), "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(out, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(d, "mine", Writing, "mine")
	for name, to := range map[string]string{"up": "../out", "top": out, "file": "../out/secret", "loop": "loop", "new": "../out/new", "in": "mine"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	if f, err := d.OpenFile("in", Reading); err != nil {
		t.Errorf("a link below the root: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"../out/secret", "..", "sub/../../out/secret", secret, "", "up/secret", "top/secret", "file", "up/new", "new", "loop", "up/../../out/secret", "mine\x00"} {
		for call, do := range map[string]func() error{
			"read":   func() error { _, err := d.OpenFile(name, Reading); return err },
			"write":  func() error { _, err := d.OpenFile(name, Writing); return err },
			"append": func() error { _, err := d.OpenFile(name, Appending); return err },
			"stat":   func() error { _, err := d.StatFile(name); return err },
			"list":   func() error { _, err := d.ListFiles(name); return err },
			"mkdir":  func() error { return d.MakeDir(name + "/x") },
			"rename": func() error { return d.RenameFile("mine", name+"/x") },
			"take":   func() error { return d.RenameFile(name+"/secret", "taken") },
			"remove": func() error { return d.RemoveFile(name + "/secret") },
		} {
			if err := do(); err == nil || errs.KindOf(err) == errs.Internal {
				t.Errorf("%s %q: %v", call, name, err)
			}
		}
	}
	for _, name := range []string{"../out/secret", secret, ".."} {
		if _, err := d.OpenFile(name, Reading); errs.KindOf(err) != errs.Permission {
			t.Errorf("%q: %v", name, err)
		}
		if err := d.RenameFile("mine", name); errs.KindOf(err) != errs.Permission {
			t.Errorf("rename to %q: %v", name, err)
		}
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the file outside: %q, %v", text, err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	if d.FileStats().Open != 0 {
		t.Error("refused openings are counted as open")
	}
	if _, err := d.OpenFile(".", Reading); errs.KindOf(err) != errs.Refused {
		t.Errorf("a directory was opened as a file: %v", err)
	}
	if _, err := d.OpenFile("mine", 3); errs.KindOf(err) != errs.Invalid {
		t.Errorf("mode 3: %v", err)
	}
	if _, err := d.ListFiles("mine"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a file was listed as a directory: %v", err)
	}
	for kind, do := range map[errs.Kind]func() error{
		errs.NotFound: func() error { return d.RemoveFile("none") },
		errs.Exists:   func() error { return d.MakeDir("mine") },
	} {
		if err := do(); errs.KindOf(err) != kind {
			t.Errorf("%v, want %v", err, kind)
		}
	}
}

func TestFileBytesAreLimited(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, _ := r.filed(FilesSpec{MaxBytes: 10})
	f, err := d.OpenFile("f", Writing)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 { // three bytes each: three of four fit
		wg.Add(1)
		go func() {
			defer wg.Done()
			if n, err := f.Write([]byte("abc")); err != nil && (n != 0 || !errors.Is(err, errs.Limit)) {
				t.Errorf("%d, %v", n, err)
			}
		}()
	}
	wg.Wait()
	if n, err := f.Write([]byte("d")); n != 1 || err != nil {
		t.Errorf("the last byte: %d, %v", n, err)
	}
	if i, err := d.StatFile("f"); err != nil || i.Size() != 10 {
		t.Errorf("%v, %v", i, err)
	}
	if s := d.FileStats(); s.Written != 10 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	if err := d.RemoveFile("f"); err != nil { // which gives nothing back: the limit is on writing
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, errs.Limit) {
		t.Errorf("%v", err)
	}

	r = stepped(t, resctl.Spec{})
	d, _ = r.filed(FilesSpec{MaxBytes: resctl.Nothing})
	if f, err = d.OpenFile("f", Writing); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, errs.Limit) {
		t.Errorf("%v", err)
	}
}

func TestOpenFilesAreLimited(t *testing.T) {
	for _, c := range []struct{ spec, want int }{{2, 2}, {0, DefaultOpenFiles}} {
		r := stepped(t, resctl.Spec{})
		d, _ := r.filed(FilesSpec{MaxOpen: c.spec})
		var last *File
		for i := range c.want {
			f, err := d.OpenFile(fmt.Sprint(i), Writing)
			if err != nil {
				t.Fatal(err)
			}
			last = f
		}
		if _, err := d.OpenFile("more", Writing); !errors.Is(err, errs.Limit) || d.FileStats().Refused != 1 {
			t.Errorf("%v", err)
		}
		if _, err := d.StatFile("more"); !errors.Is(err, errs.NotFound) {
			t.Errorf("a refused opening made a file: %v", err)
		}
		if err := last.Close(); err != nil {
			t.Fatal(err)
		}
		r.write(d, "more", Writing, "x")
	}
}

// A domain's end closes its files and its root, after its hooks; there is no opening later.
func TestFilesEndWithTheirDomain(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, dir := r.filed(FilesSpec{})
	f, err := d.OpenFile("f", Writing)
	if err != nil {
		t.Fatal(err)
	}
	d.OnDestroy(func() {
		if _, err := io.WriteString(f, "last words"); err != nil {
			t.Error(err)
		}
		if _, err := d.OpenFile("g", Writing); !errors.Is(err, errs.Dead) {
			t.Errorf("a domain that ends opened a file: %v", err)
		}
	})
	d.Terminate(nil)
	r.settle()
	if _, err := f.Write([]byte("x")); !errors.Is(err, errs.Dead) || d.FileStats().Open != 0 {
		t.Errorf("%v, %+v", err, d.FileStats())
	}
	if err := f.Close(); !errors.Is(err, errs.Dead) {
		t.Error(err)
	}
	if _, err := d.files.root.Stat("f"); err == nil {
		t.Error("the root is open")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(text) != "last words" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestBadFileSpecs(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	dir := t.TempDir()
	for _, c := range []struct {
		spec FilesSpec
		kind errs.Kind
	}{
		{FilesSpec{Dir: filepath.Join(dir, "none")}, errs.NotFound},
		{FilesSpec{Dir: dir, MaxOpen: -1}, errs.Invalid},
		{FilesSpec{Dir: dir, MaxBytes: -2}, errs.Invalid},
		{FilesSpec{MaxBytes: 5}, errs.Invalid},
	} {
		_, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Files: c.spec})
		if errs.KindOf(err) != c.kind {
			t.Errorf("%+v: %v, want %v", c.spec, err, c.kind)
		}
	}
	if len(r.node.Root().Account().Children()) != 0 {
		t.Error("an account was left behind")
	}
	d, _ := r.filed(FilesSpec{})
	sub := r.domain(d, resctl.Spec{Name: "sub"}) // files are not inherited
	if _, err := sub.OpenFile("f", Writing); !errors.Is(err, errs.NotSupported) || !strings.Contains(err.Error(), "DomainSpec.Files") {
		t.Errorf("%v", err)
	}
}

// Files are opened on several goroutines while their domain ends: none stays open.
func TestFilesAgainstTerminate(t *testing.T) {
	n := live(t, 2)
	dir := t.TempDir()
	for range 30 {
		d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Worker: 1, Files: FilesSpec{Dir: dir, MaxOpen: 8}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					f, err := d.OpenFile(fmt.Sprint(i), Writing)
					switch {
					case errors.Is(err, errs.Dead):
						return
					case err == nil:
						_, _ = f.Write([]byte("x")) // may have been closed since
					case !errors.Is(err, errs.Limit):
						t.Error(err)
						return
					}
					if err == nil && i > 0 {
						_ = f.Close()
					}
				}
			}()
		}
		d.Terminate(nil)
		wg.Wait()
		<-d.Done()
		if s := d.FileStats(); s.Open != 0 || d.Reason() != nil {
			t.Fatalf("%+v, %v", s, d.Reason())
		}
	}
}
