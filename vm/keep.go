package vm

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/store"
	"github.com/tetratelabs/wazero"
)

// Compiled code that is kept on disk goes this way:
//
//  1. its key is a hash of the metered module, gate.Version, the version of wazero, that of Go and the system
//  2. what the store has under the key, and has found undamaged, is written to a file in the engine's stage, a directory in the store's of which wazero is told;
//     it finds it there under the name that it gives modules itself, and otherwise compiles and leaves such a file
//  3. what it has left is put into the store, and the stage is empty again
//
// So wazero never reads a file that was not checked a moment before. Where a stage does not work, for example because the disk is full, the engine
// goes on without one.

// stage is what an engine has of a store.
type stage struct {
	store *store.Store // nil: nothing is kept
	dir   string
}

// openStage begins to use a store.
func openStage(s *store.Store) (stage, error) {
	if s == nil {
		return stage{}, nil
	}
	dir, err := s.Stage()
	if err != nil {
		return stage{}, err
	}
	return stage{s, dir}, nil
}

func (s *stage) close() {
	if s.store != nil {
		os.RemoveAll(s.dir)
		*s = stage{}
	}
}

// wazeroVersion is that of go.mod, which a test compares: programs do not always tell what they were built with.
const wazeroVersion = "v1.12.0"

// keyOf is what the native code of a metered module depends on, but for the processor's features: they are part of the name by which wazero looks for
// it in the stage, so that a machine with others finds nothing and compiles.
func keyOf(wasm []byte) store.Key {
	sum := sha256.Sum256(wasm)
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s\n%s %s %s\n", gate.Version, wazeroVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	h.Write(sum[:])
	return store.Key(h.Sum(nil))
}

// cached is the name under which wazero keeps a module.
var cached = regexp.MustCompile(`^[0-9a-f]{64}$`)

const cachedName = 64

// stagedFiles are the files in the directory that wazero has made in the stage.
func (s *stage) stagedFiles() []string {
	files, _ := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	return files
}

// compile compiles a module in t, which was made for the stage, or takes it from the store. One goroutine at a time.
func (s *stage) compile(t *tier, wasm []byte) (wazero.CompiledModule, error) {
	for _, f := range s.stagedFiles() {
		os.Remove(f)
	}
	if err := os.MkdirAll(t.staged, 0o700); err != nil {
		return nil, err
	}
	key := keyOf(wasm)
	kept, ok := s.store.Get(key)
	if ok = ok && len(kept) > cachedName && cached.Match(kept[:cachedName]); ok {
		if err := os.WriteFile(filepath.Join(t.staged, string(kept[:cachedName])), kept[cachedName:], 0o600); err != nil {
			ok = false
		}
	}
	cm, err := t.compile(wasm)
	if err != nil && ok { // wazero does not take it: once more, without
		for _, f := range s.stagedFiles() {
			os.Remove(f)
		}
		ok = false
		cm, err = t.compile(wasm)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range s.stagedFiles() {
		name := filepath.Base(f)
		b, err := os.ReadFile(f)
		os.Remove(f)
		if err != nil || !cached.MatchString(name) || ok && name == string(kept[:cachedName]) && string(b) == string(kept[cachedName:]) {
			continue
		}
		s.store.Put(key, append([]byte(name), b...)) // if that fails it is compiled again next time
	}
	return cm, nil
}
