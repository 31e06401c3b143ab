package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// dir is a directory for a store, below one that is trusted.
func dir(t *testing.T) string {
	t.Helper()
	d, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(d, "code")
}

func open(t *testing.T, d string, max int64) *Store {
	t.Helper()
	s, err := Open(d, max)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestKeeps(t *testing.T) {
	d := dir(t)
	s := open(t, d, 1<<20)
	if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi, err)
	}
	if _, ok := s.Get(Key{1}); ok {
		t.Error("something is there")
	}
	if err := s.Put(Key{1}, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(Key{2}, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, open(t, d, 1<<20)} {
		if b, ok := s.Get(Key{1}); !ok || string(b) != "one" {
			t.Errorf("%q, %v", b, ok)
		}
		if b, ok := s.Get(Key{2}); !ok || len(b) != 0 {
			t.Errorf("%q, %v", b, ok)
		}
	}
	if n := s.Stats(); n.Hits != 2 || n.Misses != 1 || n.Put != 2 || n.Damaged != 0 {
		t.Errorf("%+v", n)
	}
}

// TestEveryByteCounts changes each byte of a file, and its length: it is not there any more, and is removed.
func TestEveryByteCounts(t *testing.T) {
	d := dir(t)
	s := open(t, d, 1<<20)
	key := Key{7}
	path := filepath.Join(d, name(key))
	if err := s.Put(key, []byte("some code")); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Get(key); ok {
			t.Errorf("%s: got %q", what, got)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file is still there", what)
		}
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x40
		try("a byte", b)
	}
	try("cut", good[:len(good)-1])
	try("longer", append(bytes.Clone(good), 0))
	try("empty", nil)
	// The right content under another key.
	if err := s.Put(Key{8}, []byte("other code")); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(d, name(Key{8})))
	if err != nil {
		t.Fatal(err)
	}
	try("another's", other)
	if n := s.Stats(); int(n.Damaged) != len(good)+4 {
		t.Errorf("%+v", n)
	}
}

// TestUntrusted: files and directories that somebody else may have written are not used.
func TestUntrusted(t *testing.T) {
	d := dir(t)
	s := open(t, d, 1<<20)
	key := Key{1}
	path := filepath.Join(d, name(key))
	put := func() {
		t.Helper()
		if err := s.Put(key, []byte("code")); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if err := os.Chmod(path, 0o622); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(key); ok {
		t.Error("a file that others can write to was used")
	}
	put()
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Get(key); ok {
			t.Error("a file of another user was used")
		}
		put()
	}
	moved := filepath.Join(filepath.Dir(d), "elsewhere")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(moved, path); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(key); ok {
		t.Error("a symbolic link was followed")
	}
	refused := func(what string, d string) {
		t.Helper()
		if s, err := Open(d, 1<<20); errs.KindOf(err) != errs.Permission {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				s.Close()
			}
		}
	}
	link := filepath.Join(filepath.Dir(d), "link")
	if err := os.Symlink(d, link); err != nil {
		t.Fatal(err)
	}
	refused("a symbolic link", link)
	refused("below a symbolic link", filepath.Join(link, "more"))
	refused("a file", moved)
	if err := os.Chmod(d, 0o770); err != nil {
		t.Fatal(err)
	}
	refused("writable by a group", d)
	if err := os.Chmod(d, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(d), 0o777); err != nil {
		t.Fatal(err)
	}
	refused("below one that is writable by all", d)
	if err := os.Chmod(filepath.Dir(d), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	open(t, d, 1<<20) // as /tmp: nobody else may rename what is ours
	if os.Geteuid() == 0 {
		if err := os.Chown(d, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		refused("of another user", d)
	}
	for _, bad := range []string{"relative", "/tmp/../tmp/x"} {
		if _, err := Open(bad, 1); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestBounded: the entries that were not used for the longest time make room.
func TestBounded(t *testing.T) {
	d := dir(t)
	const each = 1000
	s := open(t, d, 3*(each+int64(header)))
	at := time.Now().Add(-time.Hour)
	for i := range byte(3) {
		if err := s.Put(Key{i}, make([]byte, each)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(d, name(Key{i})), at, at.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := s.Get(Key{0}); !ok {
		t.Fatal("the first one is gone")
	}
	if err := s.Put(Key{3}, make([]byte, each)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, true} {
		if _, ok := s.Get(Key{byte(i)}); ok != want {
			t.Errorf("entry %d: %v", i, ok)
		}
	}
	if n := s.Stats(); n.Evicted != 1 || n.Bytes > 3*(each+int64(header)) {
		t.Errorf("%+v", n)
	}
	if err := s.Put(Key{9}, make([]byte, 4*each)); errs.KindOf(err) != errs.TooBig {
		t.Errorf("an entry larger than the store: %v", err)
	}
	left := filepath.Join(d, ".left")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, at, at.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	open(t, d, 1<<20)
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what a killed process has left is still there")
	}
}

// FuzzRead: whatever is in the file, only what was put is returned.
func FuzzRead(f *testing.F) {
	f.Add([]byte(magic))
	f.Add(make([]byte, 200))
	d := f.TempDir()
	if err := os.Chmod(d, 0o700); err != nil {
		f.Fatal(err)
	}
	s, err := Open(d, 1<<20)
	if err != nil {
		f.Skip(err)
	}
	defer s.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(d, name(Key{1})), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Get(Key{1}); ok {
			t.Fatalf("%q", got)
		}
	})
}
