package store

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/janos-os/janos/errs"
)

// Key names an entry: a hash of everything that it depends on.
type Key [sha256.Size]byte

// Store is a directory of entries. It is safe for concurrent use.
type Store struct {
	root *os.Root
	dir  string
	max  int64

	mu sync.Mutex
	n  Stats
}

// Stats are counts of a store since it was opened.
type Stats struct {
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
	Put     uint64 `json:"put"`
	Damaged uint64 `json:"damaged"` // files that were removed because they were not what was put
	Evicted uint64 `json:"evicted"` // files that made room for others
	Bytes   int64  `json:"bytes"`   // of all entries, when it was looked at last
}

// The format of a file: magic, the SHA-256 of all that follows, the key, the content.
const (
	magic  = "janos code 1\n"
	header = len(magic) + 2*sha256.Size
	suffix = ".code"
	// MaxEntry is the largest content.
	MaxEntry = 64 << 20
)

// Open opens the directory, which is made if it is not there, with mode 0700. At most max bytes of files are kept. A directory that others might write to, or
// that is reached by a symbolic link, is errs.Permission, with what to change; a system without owners is errs.NotSupported.
func Open(dir string, max int64) (*Store, error) {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return nil, errs.New(errs.Invalid, "code store %s: want an absolute path without . and ..", dir)
	}
	if max < 1 {
		return nil, errs.New(errs.Invalid, "code store %s: %d bytes at most, want at least 1", dir, max)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errs.New(errs.Permission, "code store: %w", err)
	}
	if err := trusted(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, errs.New(errs.Permission, "code store: %w", err)
	}
	s := &Store{root: root, dir: dir, max: max}
	// Once more, of what was opened.
	if fi, err := root.Stat("."); err != nil || !owned(fi) || fi.Mode().Perm()&0o022 != 0 {
		root.Close()
		return nil, errs.New(errs.Permission, "code store %s was changed while it was opened", dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trim(0)
	return s, nil
}

// trusted checks dir and everything above it.
func trusted(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		fi, err := os.Lstat(at)
		if err != nil {
			return errs.New(errs.NotFound, "code store: %w", err)
		}
		m := fi.Mode()
		switch {
		case m&fs.ModeSymlink != 0:
			return errs.New(errs.Permission, "code store: %s is a symbolic link: name the directory itself", at)
		case !fi.IsDir():
			return errs.New(errs.Permission, "code store: %s is no directory", at)
		case !known(fi):
			return errs.New(errs.NotSupported, "code store: this system does not tell who owns %s", at)
		case !owned(fi):
			return errs.New(errs.Permission, "code store: %s belongs to another user, who could replace the code", at)
		case m.Perm()&0o022 != 0 && (at == dir || m&fs.ModeSticky == 0):
			return errs.New(errs.Permission, "code store: %s can be written to by others (mode %04o): chmod go-w", at, m.Perm())
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Dir returns the directory.
func (s *Store) Dir() string { return s.dir }

// Close closes the directory; the entries stay.
func (s *Store) Close() error { return s.root.Close() }

// Stats returns counts.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func name(k Key) string { return hex.EncodeToString(k[:]) + suffix }

// Get returns the entry of a key.
func (s *Store) Get(k Key) (content []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := s.read(k)
	switch {
	case err == nil:
		s.n.Hits++
		now := time.Now()
		s.root.Chtimes(name(k), now, now) // the oldest go first
		return content, true
	case !errors.Is(err, fs.ErrNotExist):
		s.n.Damaged++
		s.root.Remove(name(k))
	}
	s.n.Misses++
	return nil, false
}

var errDamaged = errors.New("damaged")

func (s *Store) read(k Key) ([]byte, error) {
	if fi, err := s.root.Lstat(name(k)); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, errDamaged)
	}
	f, err := s.root.OpenFile(name(k), os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || !owned(fi) || fi.Mode().Perm()&0o022 != 0 || fi.Size() < int64(header) || fi.Size() > MaxEntry+int64(header) {
		return nil, errDamaged
	}
	b := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, errDamaged
	}
	sum := sha256.Sum256(b[len(magic)+sha256.Size:])
	if string(b[:len(magic)]) != magic || !bytes.Equal(sum[:], b[len(magic):][:sha256.Size]) || !bytes.Equal(k[:], b[len(magic)+sha256.Size:header]) {
		return nil, errDamaged
	}
	return b[header:], nil
}

// Put stores content under a key, and removes the entries that were not used for the longest time if there is too much.
func (s *Store) Put(k Key, content []byte) error {
	if len(content) > MaxEntry || int64(len(content)+header) > s.max {
		return errs.New(errs.TooBig, "code store: an entry of %d bytes", len(content))
	}
	tail := append(append(make([]byte, 0, sha256.Size+len(content)), k[:]...), content...)
	sum := sha256.Sum256(tail)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trim(int64(len(content) + header))
	var r [8]byte
	rand.Read(r[:])
	temp := "." + hex.EncodeToString(r[:])
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return errs.New(errs.Permission, "code store: %w", err)
	}
	for _, b := range [][]byte{[]byte(magic), sum[:], tail} {
		if err == nil {
			_, err = f.Write(b)
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.root.Rename(temp, name(k)) // whole or not at all; what a crash leaves half written has a wrong sum
	}
	if err != nil {
		s.root.Remove(temp)
		return errs.New(errs.Internal, "code store: %w", err)
	}
	s.n.Put++
	return nil
}

// trim makes room for more bytes, and removes what killed processes have left.
func (s *Store) trim(more int64) {
	d, err := s.root.Open(".")
	if err != nil {
		return
	}
	list, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range list {
		fi, err := e.Info()
		switch {
		case err != nil:
		case strings.HasSuffix(e.Name(), suffix) && fi.Mode().IsRegular():
			files = append(files, fi)
			total += fi.Size()
		case strings.HasPrefix(e.Name(), ".") && fi.Mode().IsRegular() && time.Since(fi.ModTime()) > time.Hour:
			s.root.Remove(e.Name())
		case strings.HasPrefix(e.Name(), stagePrefix) && fi.IsDir() && time.Since(fi.ModTime()) > 24*time.Hour:
			s.root.RemoveAll(e.Name())
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, fi := range files {
		if total+more <= s.max {
			break
		}
		if s.root.Remove(fi.Name()) == nil {
			s.n.Evicted++
			total -= fi.Size()
		}
	}
	s.n.Bytes = total + more
}

// Stage makes an empty directory of mode 0700 in the store, for who reads and writes the contents as files. Who is killed leaves it behind; Open removes those of
// which nothing was heard for a day.
func (s *Store) Stage() (string, error) {
	dir, err := os.MkdirTemp(s.dir, stagePrefix)
	if err != nil {
		return "", errs.New(errs.Permission, "code store: %w", err)
	}
	return dir, nil
}

const stagePrefix = ".stage-"
