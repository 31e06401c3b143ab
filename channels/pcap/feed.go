package pcap

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pcapfile"
)

// standardInput is the name by which the option in means a capture from a pipe.
const standardInput = "-"

// feedFrames is how many frames a feed is ahead of its link.
const feedFrames = 256

// reading is set while some link of the process reads the standard input.
var reading atomic.Bool

// feed reads a capture that may let its reader wait, such as a pipe, with a goroutine, so that the worker does not wait. Frames go round: the
// goroutine takes one from free, fills it and puts it into full, the worker puts it back.
type feed struct {
	file       *os.File
	name       string
	room       int // bytes of a frame; of longer ones one byte more is kept, so that they can be told
	full, free chan *feedFrame
	busy       *feedFrame // of the worker
	err        error      // how it ended; read after nil came from full
	wake       func()     // when full has something new

	stop chan struct{}
	once sync.Once
	done chan struct{}
}

type feedFrame struct {
	data []byte
	at   time.Duration
	link layers.LinkType
}

// openStdin makes a source of the standard input, which is a pipe. Of its capture nothing is read before start.
func openStdin(room int, wake func()) (*source, error) {
	if !reading.CompareAndSwap(false, true) {
		return nil, errs.New(errs.Exists, "the standard input is read by another link already")
	}
	f, err := pipe()
	if err != nil {
		reading.Store(false)
		return nil, err
	}
	return newFeed(f, "standard input", room, wake, func() { reading.Store(false) }), nil
}

// newFeed starts to read a file, which it closes.
func newFeed(f *os.File, name string, room int, wake, closed func()) *source {
	d := &feed{
		file: f, name: name, room: room, wake: wake,
		full: make(chan *feedFrame, feedFrames+1), free: make(chan *feedFrame, feedFrames), // one more for the end
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	buf := make([]byte, feedFrames*(room+1))
	for i := range feedFrames {
		at := i * (room + 1)
		d.free <- &feedFrame{data: buf[at : at : at+room+1]}
	}
	go func() {
		defer close(d.done)
		defer closed()
		d.err = d.read()
		d.full <- nil
		d.wake()
	}()
	return &source{file: f, name: name, feed: d}
}

// read runs until the file ends or the feed is closed, which errs.Dead says.
func (d *feed) read() error {
	r, err := pcapfile.NewReader(d.file, d.name)
	for err == nil {
		var p pcapfile.Packet
		if p, err = r.Next(); err != nil {
			break
		}
		var f *feedFrame
		select {
		case f = <-d.free:
		case <-d.stop:
			return errs.New(errs.Dead, "%s: the link is closed", d.name)
		}
		f.data, f.at, f.link = append(f.data[:0], p.Data[:min(len(p.Data), d.room+1)]...), p.At, p.Link
		d.full <- f // it has room for all there are
		d.wake()
	}
	return err
}

// giveBack returns the frame that the worker got last.
func (d *feed) giveBack() {
	d.free <- d.busy
	d.busy = nil
}

// close ends the goroutine.
func (d *feed) close() (err error) {
	d.once.Do(func() {
		close(d.stop)
		err = d.file.Close() // which ends a read from a pipe
		<-d.done
	})
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
