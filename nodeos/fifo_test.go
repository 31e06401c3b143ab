//go:build unix

package nodeos

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// A pipe among the files, which opening would wait for, is refused.
func TestPipesAreNotOpened(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, dir := r.filed(FilesSpec{})
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []FileMode{Reading, Writing, Appending} {
		if _, err := d.OpenFile("pipe", mode); errs.KindOf(err) != errs.Refused {
			t.Errorf("mode %d: %v", mode, err)
		}
	}
	if _, err := d.ListFiles("pipe"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("%v", err)
	}
}
