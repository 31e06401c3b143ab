package analysis

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
)

// traceFile is a file that is read from its beginning, compressed or not.
type traceFile struct {
	*bufio.Reader
	closer  io.Closer
	size    int64 // of the file as it is; -1: unknown
	counter *countingReader
	packed  bool // compressed
}

// countingReader counts what was read of a file, compressed as it is.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// read begins with what is not a file of the host.
func (t *traceFile) read(r io.Reader, size int64) {
	t.counter = &countingReader{r: r}
	t.Reader, t.size = bufio.NewReaderSize(t.counter, maxLine), size
}

// open begins with a file of the host, or with the standard input if the name is a dash.
func (t *traceFile) open(e *click.Base, name string) error {
	if !e.Router().Host() {
		return click.ErrHost
	}
	if name == "-" {
		t.read(os.Stdin, -1)
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	t.closer = f
	size := int64(-1)
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
		size = fi.Size()
	}
	t.read(f, size)
	magic, _ := t.Peek(3)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(t.Reader)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.Reader, t.packed = bufio.NewReaderSize(z, maxLine), true
	case string(magic) == "BZh":
		t.Reader, t.packed = bufio.NewReaderSize(bzip2.NewReader(t.Reader), maxLine), true
	}
	return nil
}

func (t *traceFile) close() {
	if t.closer != nil {
		t.closer.Close()
	}
	t.closer = nil
}

// sizeText is the size as handlers show it.
func (t *traceFile) sizeText() string {
	if t.size < 0 {
		return "-"
	}
	return strconv.FormatInt(t.size, 10)
}

// outFile is a file that is written, compressed if its name says so.
type outFile struct {
	*bufio.Writer
	closers []io.Closer // from the outside inwards
	shared  bool        // others print there too
	failed  bool        // report has spoken
}

// open creates a file of the host, or takes the standard output if the name is a dash.
func (o *outFile) open(e *click.Base, name string) error {
	if name == "-" {
		o.Writer, o.shared = bufio.NewWriterSize(e.Stdout(), 64<<10), true
		return nil
	}
	if !e.Router().Host() {
		return click.ErrHost
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	o.closers = []io.Closer{f}
	var w io.Writer = f
	if strings.HasSuffix(name, ".gz") {
		z := gzip.NewWriter(f)
		w, o.closers = z, []io.Closer{z, f}
	}
	o.Writer = bufio.NewWriterSize(w, 64<<10)
	return nil
}

// report says once, if err is an error, that an element cannot write its file.
func (o *outFile) report(e *click.Base, err error) {
	if err != nil && !o.failed {
		o.failed = true
		fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
	}
}

// close writes what waits, and returns the first error. Closing twice is fine.
func (o *outFile) close() error {
	if o.Writer == nil {
		return nil
	}
	first := o.Flush()
	for _, c := range o.closers {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	o.Writer, o.closers = nil, nil
	return first
}
