package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pcapfile"
)

// source is a capture that is read, one frame ahead. It belongs to the link's worker, but for note.
type source struct {
	file   *os.File
	name   string
	r      *pcapfile.Reader // nil: a feed reads
	feed   *feed
	frame  pcapfile.Packet // the next one, if held
	held   bool
	first  time.Duration // time of the first
	frames uint64        // that have been the next one
	ended  bool
	note   atomic.Pointer[string] // how it ended
}

// openSource opens a capture file, whose header and first frame it reads.
func openSource(name string) (*source, error) {
	if err := regular(name); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fileError(err)
	}
	s := &source{file: f, name: name}
	s.r, err = pcapfile.NewReader(f, name)
	if err == nil {
		if err = s.next(); err == nil && !s.ended && s.frame.Link != ethernet {
			err = errs.New(errs.NotSupported, "%s has frames of link type %s, want Ethernet", name, s.frame.Link)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// ready makes frame the next one and reports whether there is one; if not, the source has ended, or its feed will wake the link.
func (s *source) ready() bool {
	if s.held || s.ended {
		return s.held
	}
	if s.feed == nil {
		return s.next() == nil && s.held // else its note says how it ended
	}
	select {
	case f := <-s.feed.full:
		if f == nil {
			s.end(s.feed.err)
			return false
		}
		s.feed.busy = f
		s.hold(pcapfile.Packet{Data: f.data, At: f.at, Link: f.link})
	default:
	}
	return s.held
}

// taken says that the next frame has been used.
func (s *source) taken() {
	s.held = false
	if s.feed != nil {
		s.feed.giveBack()
	}
}

// next reads a frame of a file, or ends the source.
func (s *source) next() error {
	p, err := s.r.Next()
	if err == nil {
		s.hold(p)
		return nil
	}
	return s.end(err)
}

func (s *source) hold(p pcapfile.Packet) {
	s.frame, s.held = p, true
	if s.frames++; s.frames == 1 {
		s.first = p.At
	}
}

// end notes how the source ended and returns the error if it was not with the file.
func (s *source) end(err error) error {
	s.ended = true
	note := fmt.Sprintf("%s is read to its end: %d frames", s.name, s.frames)
	if !errors.Is(err, io.EOF) {
		note = fmt.Sprintf("reading ended after %d frames: %v", s.frames, err)
	} else {
		err = nil
	}
	s.note.Store(&note)
	return err
}

// close returns when nobody reads any more.
func (s *source) close() error {
	if s.feed == nil {
		return s.file.Close()
	}
	return s.feed.close()
}
