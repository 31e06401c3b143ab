package pcap

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"

	"github.com/janos-os/janos/errs"
)

// snapLen is what the header of a record says: as tcpdump's.
const snapLen = 256 << 10

// record is a capture that is written. It belongs to the link's worker, but for note.
type record struct {
	file *os.File
	name string
	buf  *bufio.Writer
	w    packetWriter
	note atomic.Pointer[string] // why it ended
}

// packetWriter writes a format.
type packetWriter interface {
	WritePacket(gopacket.CaptureInfo, []byte) error
}

// newPacketWriter writes the header of pcapng where the name ends so, and of pcap otherwise; both have nanoseconds.
func newPacketWriter(name string, to *bufio.Writer) (packetWriter, error) {
	if strings.HasSuffix(name, ".pcapng") {
		i := pcapgo.NgInterface{Name: "janos", LinkType: ethernet, SnapLength: snapLen, TimestampResolution: 9}
		// It writes to the buffer, which is large enough for it not to make one of its own.
		return pcapgo.NewNgWriterInterface(to, i, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "janos"}})
	}
	w := pcapgo.NewWriterNanos(to)
	return w, w.WriteFileHeader(snapLen, ethernet)
}

// openRecord makes or replaces a file, which is not the one that src reads.
func openRecord(name string, src *source) (*record, error) {
	if err := regular(name); err != nil && errs.KindOf(err) != errs.NotFound {
		return nil, err
	} else if err == nil && src != nil {
		a, err := os.Stat(name)
		if err != nil {
			return nil, fileError(err)
		}
		if b, err := src.file.Stat(); err != nil || os.SameFile(a, b) {
			return nil, errs.New(errs.Invalid, "%s is read: the option out must name another file", name)
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fileError(err)
	}
	r := &record{file: f, name: name, buf: bufio.NewWriterSize(f, 64<<10)}
	if r.w, err = newPacketWriter(name, r.buf); err == nil {
		err = r.buf.Flush()
	}
	if err != nil {
		return nil, errors.Join(fileError(err), f.Close())
	}
	return r, nil
}

// write records a frame and reports whether it could.
func (r *record) write(frame []byte, at time.Time) bool {
	return !r.failed(r.w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, frame))
}

// flush gives the host what was written.
func (r *record) flush() error {
	err := r.buf.Flush()
	r.failed(err)
	return err
}

// failed notes the first error; the writer repeats it.
func (r *record) failed(err error) bool {
	if err != nil && r.note.Load() == nil {
		note := fmt.Sprintf("%s is not written any more, what was written last may be lost: %v", r.name, err)
		r.note.Store(&note)
	}
	return err != nil
}
