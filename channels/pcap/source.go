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

// source is a capture that is read, always one frame ahead. It belongs to the link's worker, but for note.
type source struct {
	file   *os.File
	name   string
	r      *pcapfile.Reader
	frame  pcapfile.Packet // the next one
	first  time.Duration   // time of the first
	frames uint64          // that have been the next one
	ended  bool
	note   atomic.Pointer[string] // how it ended
}

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
	s.first = s.frame.At
	return s, nil
}

// next reads a frame, or ends the source.
func (s *source) next() (err error) {
	if s.frame, err = s.r.Next(); err == nil {
		s.frames++
		return nil
	}
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
