package nodeos

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// Bounds of a domain's files where its Spec does not say, and of a listing.
const (
	DefaultOpenFiles = 64
	MaxListed        = 4096
)

// FilesSpec says which files a domain has. The zero value is none.
type FilesSpec struct {
	Dir      string // directory of the host that is the domain's root; it exists; empty: no files
	MaxBytes int64  // bytes that the domain may write in its life; 0: any number; resctl.Nothing: none
	MaxOpen  int    // files open at a time; 0: DefaultOpenFiles
}

// FileMode says what a file is opened for.
type FileMode uint8

// The modes.
const (
	Reading   FileMode = iota // it exists
	Writing                   // it is created, or emptied; it can be read too
	Appending                 // it is created if need be; what is written goes to its end
)

var fileFlags = [...]int{os.O_RDONLY, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_APPEND}

// File is an open file of a domain, which closes it when it ends. Methods block for as long as the host's file system does: they are
// for the control side. They may be called from any goroutine.
type File struct {
	files *files
	file  *os.File
	name  string
}

// files are a domain's root and what is open below it.
type files struct {
	domain *Domain
	spec   FilesSpec
	root   *os.Root

	mu     sync.Mutex // what follows
	open   map[*File]bool
	closed bool

	read, written atomic.Int64
	refused       atomic.Uint64
}

// FileStats are the counters of a domain's files.
type FileStats struct {
	Open    int    `json:"open"`
	Read    int64  `json:"read"`    // bytes
	Written int64  `json:"written"` // bytes
	Refused uint64 `json:"refused"` // writes and openings that a bound refused
}

// newFiles opens a domain's root, or returns nil where it has none.
func newFiles(name string, spec FilesSpec) (*files, error) {
	if spec.MaxOpen < 0 || spec.MaxBytes < resctl.Nothing {
		return nil, errs.New(errs.Invalid, "domain %s: bounds of files are negative: %d open, %d bytes", name, spec.MaxOpen, spec.MaxBytes)
	}
	if spec.Dir == "" {
		if spec != (FilesSpec{}) {
			return nil, errs.New(errs.Invalid, "domain %s: bounds of files and no directory: set Files.Dir", name)
		}
		return nil, nil
	}
	if spec.MaxOpen == 0 {
		spec.MaxOpen = DefaultOpenFiles
	}
	root, err := os.OpenRoot(spec.Dir)
	if err != nil {
		return nil, fileError("domain "+name+": file root", spec.Dir, err)
	}
	return &files{spec: spec, root: root, open: make(map[*File]bool)}, nil
}

// fileError gives an error of the host's file system a kind.
func fileError(what, name string, err error) error {
	kind := errs.Refused
	for _, k := range []struct {
		is   error
		kind errs.Kind
	}{{fs.ErrNotExist, errs.NotFound}, {fs.ErrExist, errs.Exists}, {fs.ErrPermission, errs.Permission}, {fs.ErrClosed, errs.Dead}} {
		if errors.Is(err, k.is) {
			kind = k.kind
		}
	}
	return errs.New(kind, "%s %q: %w", what, name, err)
}

// fileRoot returns the root below which d has name, after asking the policy if the call changes something.
func (d *Domain) fileRoot(op Operation, name string) (*files, error) {
	if op < NumOperations {
		if err := d.may(op, name, true); err != nil {
			return nil, err
		}
	}
	f := d.files
	if f == nil {
		return nil, errs.New(errs.NotSupported, "domain %s has no files: set DomainSpec.Files", d.Path())
	}
	if d.State() != Active {
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	}
	if !filepath.IsLocal(name) {
		return nil, errs.New(errs.Permission, "domain %s: file %q is not below its root: use a relative name without ..", d.Path(), name)
	}
	return f, nil
}

// OpenFile opens a regular file. Names are relative to the domain's root, which they cannot leave, by ".." or by a symbolic link
// (os.Root). Other than regular files are errs.Refused, more files than the domain may have open errs.Limit.
func (d *Domain) OpenFile(name string, mode FileMode) (*File, error) {
	if int(mode) >= len(fileFlags) {
		return nil, errs.New(errs.Invalid, "domain %s: file %q: mode %d, want 0 to %d", d.Path(), name, mode, len(fileFlags)-1)
	}
	return d.OpenFileFlags(name, fileFlags[mode])
}

// OpenFileFlags is OpenFile with flags of package os: one of O_RDONLY, O_WRONLY and O_RDWR, and any of O_APPEND, O_CREATE, O_EXCL and O_TRUNC.
func (d *Domain) OpenFileFlags(name string, flags int) (*File, error) {
	op := OpWriteFile
	if flags == os.O_RDONLY {
		op = OpReadFile
	}
	if flags&^(os.O_WRONLY|os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL|os.O_TRUNC) != 0 {
		return nil, errs.New(errs.Invalid, "domain %s: file %q: flags %#x", d.Path(), name, flags)
	}
	f, err := d.fileRoot(op, name)
	if err != nil {
		return nil, err
	}
	// Looked at first: opening a pipe or a device can wait for ever.
	if i, err := f.root.Stat(name); err == nil && !i.Mode().IsRegular() {
		return nil, errs.New(errs.Refused, "domain %s: %q is no regular file: open only those", d.Path(), name)
	}
	o := &File{files: f, name: name}
	f.mu.Lock() // the place is taken before the file is opened
	if f.closed || len(f.open) >= f.spec.MaxOpen {
		closed := f.closed
		f.mu.Unlock()
		if closed {
			return nil, errs.New(errs.Dead, "domain %s has ended", d.Path())
		}
		f.refused.Add(1)
		return nil, errs.New(errs.Limit, "domain %s: file %q: %d files are open: close one", d.Path(), name, f.spec.MaxOpen)
	}
	f.open[o] = true
	f.mu.Unlock()
	file, err := f.root.OpenFile(name, flags, 0o600)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		delete(f.open, o)
		return nil, fileError("domain "+d.Path()+": file", name, err)
	case f.closed: // meanwhile
		file.Close()
		return nil, errs.New(errs.Dead, "domain %s has ended", d.Path())
	}
	o.file = file
	return o, nil
}

// Name returns the name that the file was opened by.
func (o *File) Name() string { return o.name }

// Read implements io.Reader.
func (o *File) Read(b []byte) (int, error) {
	n, err := o.file.Read(b)
	o.files.read.Add(int64(n))
	return n, err
}

// spend takes bytes of what the domain may write.
func (o *File) spend(size int64) error {
	f := o.files
	for limit := f.spec.MaxBytes; ; {
		have := f.written.Load()
		if limit == resctl.Nothing || limit != resctl.Unlimited && size > limit-have {
			f.refused.Add(1)
			return errs.New(errs.Limit, "domain %s: file %q: %d more bytes would exceed its limit (written %d, limit %d)", f.domain.Path(), o.name, size, have, max(limit, 0))
		}
		if f.written.CompareAndSwap(have, have+size) {
			return nil
		}
	}
}

// write writes b by fn within what the domain may write.
func (o *File) write(b []byte, fn func() (int, error)) (int, error) {
	if err := o.spend(int64(len(b))); err != nil {
		return 0, err
	}
	n, err := fn()
	o.files.written.Add(int64(n - len(b)))
	if err != nil {
		err = fileError("domain "+o.files.domain.Path()+": writing", o.name, err)
	}
	return n, err
}

// Write implements io.Writer. A write above the bytes that the domain may write is refused whole with errs.Limit.
func (o *File) Write(b []byte) (int, error) {
	return o.write(b, func() (int, error) { return o.file.Write(b) })
}

// WriteAt implements io.WriterAt, under the bound of Write. It is refused for files that were opened for appending.
func (o *File) WriteAt(b []byte, offset int64) (int, error) {
	return o.write(b, func() (int, error) { return o.file.WriteAt(b, offset) })
}

// ReadAt implements io.ReaderAt.
func (o *File) ReadAt(b []byte, offset int64) (int, error) {
	n, err := o.file.ReadAt(b, offset)
	o.files.read.Add(int64(n))
	return n, err
}

// Truncate changes the size. What it adds counts as written, though the host may keep a hole.
func (o *File) Truncate(size int64) error {
	i, err := o.Stat()
	if err != nil {
		return err
	}
	more := max(0, size-i.Size())
	if err := o.spend(more); err != nil {
		return err
	}
	if err := o.file.Truncate(size); err != nil {
		o.files.written.Add(-more)
		return fileError("domain "+o.files.domain.Path()+": truncating", o.name, err)
	}
	return nil
}

// Stat describes the file.
func (o *File) Stat() (fs.FileInfo, error) {
	i, err := o.file.Stat()
	if err != nil {
		return nil, fileError("domain "+o.files.domain.Path()+": file", o.name, err)
	}
	return i, nil
}

// Sync has the host write to its disk what it has of the file.
func (o *File) Sync() error {
	if err := o.file.Sync(); err != nil {
		return fileError("domain "+o.files.domain.Path()+": syncing", o.name, err)
	}
	return nil
}

// Seek implements io.Seeker.
func (o *File) Seek(offset int64, whence int) (int64, error) { return o.file.Seek(offset, whence) }

// Close closes the file. After the domain's end, and the second time, it is an error of kind errs.Dead.
func (o *File) Close() error {
	o.files.mu.Lock()
	delete(o.files.open, o)
	o.files.mu.Unlock()
	o.files.domain.node.RevokeObject(o)
	if err := o.file.Close(); err != nil {
		return fileError("closing", o.name, err)
	}
	return nil
}

// StatFile describes a file or directory, following symbolic links below the root.
func (d *Domain) StatFile(name string) (fs.FileInfo, error) {
	f, err := d.fileRoot(NumOperations, name)
	if err != nil {
		return nil, err
	}
	i, err := f.root.Stat(name)
	if err != nil {
		return nil, fileError("domain "+d.Path()+": file", name, err)
	}
	return i, nil
}

// LstatFile is StatFile that does not follow a symbolic link at the end of the name.
func (d *Domain) LstatFile(name string) (fs.FileInfo, error) {
	f, err := d.fileRoot(NumOperations, name)
	if err != nil {
		return nil, err
	}
	i, err := f.root.Lstat(name)
	if err != nil {
		return nil, fileError("domain "+d.Path()+": file", name, err)
	}
	return i, nil
}

// ListFiles returns the names in a directory, sorted; "." is the root. More than MaxListed are errs.TooBig.
func (d *Domain) ListFiles(name string) ([]string, error) {
	entries, err := d.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// ReadDir is ListFiles that tells what each of them is.
func (d *Domain) ReadDir(name string) ([]fs.DirEntry, error) {
	i, err := d.StatFile(name)
	if err != nil {
		return nil, err
	}
	if !i.IsDir() { // which opening would wait for, if it were a pipe
		return nil, errs.New(errs.Invalid, "domain %s: file %q is no directory", d.Path(), name)
	}
	dir, err := d.files.root.Open(name)
	if err != nil {
		return nil, fileError("domain "+d.Path()+": directory", name, err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(MaxListed + 1)
	if len(entries) > MaxListed {
		return nil, errs.New(errs.TooBig, "domain %s: directory %q has more than %d entries", d.Path(), name, MaxListed)
	}
	if err != nil && len(entries) > 0 {
		return nil, fileError("domain "+d.Path()+": directory", name, err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	return entries, nil
}

// MakeDir makes a directory.
func (d *Domain) MakeDir(name string) error {
	f, err := d.fileRoot(OpMakeDir, name)
	if err != nil {
		return err
	}
	if err := f.root.Mkdir(name, 0o700); err != nil {
		return fileError("domain "+d.Path()+": directory", name, err)
	}
	return nil
}

// RemoveFile removes a file, a symbolic link or an empty directory.
func (d *Domain) RemoveFile(name string) error {
	f, err := d.fileRoot(OpRemoveFile, name)
	if err != nil {
		return err
	}
	if err := f.root.Remove(name); err != nil {
		return fileError("domain "+d.Path()+": file", name, err)
	}
	return nil
}

// RenameFile gives a file or directory another name, in place of a file that had it before.
func (d *Domain) RenameFile(from, to string) error {
	f, err := d.fileRoot(OpRenameFile, from)
	if err != nil {
		return err
	}
	if !filepath.IsLocal(to) {
		return errs.New(errs.Permission, "domain %s: file %q is not below its root: use a relative name without ..", d.Path(), to)
	}
	if err := f.root.Rename(from, to); err != nil {
		return fileError("domain "+d.Path()+": file", from, err)
	}
	return nil
}

// FileStats reads the counters; zero where the domain has no files.
func (d *Domain) FileStats() FileStats {
	f := d.files
	if f == nil {
		return FileStats{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return FileStats{Open: len(f.open), Read: f.read.Load(), Written: f.written.Load(), Refused: f.refused.Load()}
}

// end closes everything. Errors of closing have nobody to go to.
func (f *files) end() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for o := range f.open {
		if o.file != nil { // else it is being opened, and will see that the domain has ended
			o.file.Close()
		}
		delete(f.open, o)
	}
	f.root.Close()
}
