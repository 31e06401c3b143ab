package analysis

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/internal/pcapfile"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "FromDump", Ports: "0/1-2", Processing: "a/ah", New: func() click.Element { return &FromDump{} },
		Doc: click.Doc{
			Group: "analysis", Title: "reads packets from a capture",
			Text: "Captures in the formats pcap and pcapng are read, also when they are compressed by gzip or bzip2. Packets get the timestamps of the capture, and the extra length annotation says how much longer they were " +
				"on the wire. What is longer than a frame of packet memory is cut to it, which the extra length counts as well. A capture that is damaged is read up to the damage. At most one of START and START_AFTER may be given, at most one of " +
				"END, END_AFTER and INTERVAL, and STOP or END_CALL.",
			Args: []string{
				"FILENAME: The capture; a dash is standard input.", "STOP: Whether to ask the router to stop at the end; default false.", "TIMING: Whether packets come at the times that their timestamps say; default false.",
				"SAMPLE: Probability with which a packet is taken; default 1.", "FORCE_IP: Whether to take IP packets only, without what is before the IP header, and mark that; others go to output 1 or are dropped. Default false.",
				"START: Time of the calendar from which packets are taken, in seconds since 1970.", "START_AFTER: Time after the first packet from which they are taken.", "END: Time of the calendar at which reading ends.",
				"END_AFTER: Time after the first packet at which it ends.", "INTERVAL: Time after the first packet that is taken at which it ends.", "END_CALL: HANDLER VALUE to be written at the end; default is to write false to active.",
				"ACTIVE: Whether to read now; default true.", "FILEPOS: Where to begin, in bytes of the uncompressed file; packets that begin before are passed over.", "MMAP: Accepted and without effect.",
			},
			Handlers: []string{
				"count (r): Packets made.", "reset_counts (w): Makes the count 0.", "sampling_prob (r): The SAMPLE argument as it is used.", "active (rw): The ACTIVE argument.", "encap (r): What packets begin with, as ToDump's ENCAP names it.",
				"filename (r): The FILENAME argument.", "filesize (r): Bytes of the file, or a dash if it is compressed or no file.", "filepos (rw): Bytes of the uncompressed file that were read; a write goes on reading there.",
				"packet_filepos (r): Where the last packet begins, in bytes of the uncompressed file.", "extend_interval (w): Moves the end by a time, and reads on.", "reset_timing (w): Begins the timing of TIMING anew.",
				"stop (w): Ends reading and asks the router to stop.",
			},
			Example: "FromDump(trace.pcap, STOP true, FORCE_IP true) -> IPPrint -> Discard;", See: []string{"ToDump", "FromIPSummaryDump", "TimeFilter"},
		},
	})
}

// FromDump reads packets from a capture.
type FromDump struct {
	click.Base
	file                   string
	stop, timing, force    bool
	active                 bool
	sample                 uint64
	start, end             int64 // since 1970; 0: none
	startAfter, endAfter   int64 // -1: not given
	interval               int64
	hasStart, hasEnd, seen bool // seen: times relative to the first packet are known
	call                   endCall
	filepos                int64

	in        traceFile
	r         *pcapfile.Reader
	next      pcapfile.Packet // if have
	have      bool
	at, last  int64 // where next begins, and the last packet that was emitted
	eof       bool
	link      layers.LinkType
	linkKnown bool

	count    uint64
	task     *click.Task
	timer    *click.Timer
	fullness *click.Signal
	empty    click.Notifier
	began    bool
	offset   int64 // calendar time minus time of the capture
	finished bool
}

// Configure implements click.Element.
func (e *FromDump) Configure(a *click.Args) {
	e.active, e.sample, e.startAfter, e.endAfter, e.interval = true, sampleOne, -1, -1, -1
	var mmap, called bool
	var given [5]bool
	filepos := 0
	if !a.Parse(click.Must("FILENAME", click.String(&e.file)), click.Key("STOP", click.Bool(&e.stop)), click.Key("TIMING", click.Bool(&e.timing)), click.Key("SAMPLE", click.Fixed(&e.sample, 28)),
		click.Key("FORCE_IP", click.Bool(&e.force)), click.Key("START", seconds(&e.start, false)).Given(&given[0]), click.Key("START_AFTER", seconds(&e.startAfter, false)).Given(&given[1]),
		click.Key("END", seconds(&e.end, false)).Given(&given[2]), click.Key("END_AFTER", seconds(&e.endAfter, false)).Given(&given[3]), click.Key("INTERVAL", seconds(&e.interval, false)).Given(&given[4]),
		click.Key("END_CALL", e.call.parse).Given(&called), click.Key("ACTIVE", click.Bool(&e.active)), click.Key("FILEPOS", click.IntRange(&filepos, 0, 1<<53)), click.Key("MMAP", click.Bool(&mmap))) {
		return
	}
	e.filepos = int64(filepos)
	e.call.stop = e.stop
	if e.sample > sampleOne {
		a.Errorf("SAMPLE: expected a number from 0 to 1")
	}
	if given[0] && given[1] {
		a.Errorf("at most one of START and START_AFTER may be given")
	}
	if given[2] && (given[3] || given[4]) || given[3] && given[4] {
		a.Errorf("at most one of END, END_AFTER and INTERVAL may be given")
	}
	if called && e.stop {
		a.Errorf("at most one of STOP and END_CALL may be given")
	}
	e.hasStart, e.hasEnd = given[0] || given[1], given[2] || given[3] || given[4]
}

// Initialize implements click.Initializer.
func (e *FromDump) Initialize() error {
	if err := e.ready(); err != nil {
		return err
	}
	if e.OutputKind(0) == click.PushKind {
		e.task = e.NewTask(e.run)
		e.fullness = e.DownstreamFull(0, e.task)
	}
	e.timer = e.NewTimer(e.wake)
	e.wake()
	return nil
}

// ready opens the capture for the first time.
func (e *FromDump) ready() error {
	if e.r != nil {
		return nil
	}
	return e.open(e.filepos)
}

// Encap implements Encapper.
func (e *FromDump) Encap() (string, error) {
	if err := e.ready(); err != nil {
		return "", err
	}
	if e.force {
		return ipEncap, nil
	}
	return encapName(e.link), nil
}

// open begins the capture at a position, with a packet in next if there is one.
func (e *FromDump) open(pos int64) error {
	e.in.close()
	e.in = traceFile{}
	if err := e.in.open(&e.Base, e.file); err != nil {
		return err
	}
	var err error
	if e.r, err = pcapfile.NewReader(e.in.Reader, e.file); err != nil {
		e.in.close()
		return err
	}
	if l, ok := e.r.Link(); ok {
		e.link, e.linkKnown = l, true
	}
	e.have, e.eof, e.finished = false, false, false
	for e.peek(); e.have && e.at < pos; e.peek() {
		e.have = false
	}
	if e.have && !e.linkKnown {
		e.link, e.linkKnown = e.next.Link, true
	}
	if e.linkKnown && e.force && !canFindIP(e.link) {
		fmt.Fprintf(e.Output(), "%s: FORCE_IP: packets of link type %v are not looked into\n", e.Name(), e.link)
	}
	return nil
}

// peek reads the next packet unless there is one.
func (e *FromDump) peek() {
	if e.have || e.eof {
		return
	}
	e.at = e.r.Offset()
	var err error
	if e.next, err = e.r.Next(); err != nil {
		e.eof = true
		if err != io.EOF {
			fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
		}
		return
	}
	e.have = true
}

// Cleanup implements click.Cleaner.
func (e *FromDump) Cleanup() { e.in.close() }

func (e *FromDump) more() bool { return e.active && !e.finished }

func (e *FromDump) wake() {
	e.empty.Set(e.more())
	if e.more() && e.task != nil {
		e.task.Schedule()
	}
}

func (e *FromDump) run() (int, bool) {
	if !e.more() || !e.fullness.Active() {
		return 0, false
	}
	b := e.Thread().Scratch()
	again := e.fill(b, readBurst)
	n := b.Len()
	e.Out(0).Push(b)
	e.Thread().Release(b)
	e.atEnd()
	return n, again && e.more()
}

// Pull implements click.Puller.
func (e *FromDump) Pull(_ int, b *packet.Batch, n int) {
	if e.more() {
		e.fill(b, n)
		e.atEnd()
	}
	e.empty.Set(e.more())
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *FromDump) EmptyNotifier(port int) *click.Notifier {
	if port > 0 {
		return nil
	}
	return &e.empty
}

// atEnd makes the call when the end has come.
func (e *FromDump) atEnd() {
	if !e.more() {
		return
	}
	if e.peek(); e.have && !e.past() {
		return
	}
	e.finished = true
	e.empty.Set(false)
	if e.call.handler == "" && !e.call.stop {
		e.active = false
		return
	}
	e.call.make(&e.Base, int64(e.next.At))
}

// past reports whether the next packet is not before the end.
func (e *FromDump) past() bool { return e.hasEnd && e.seen && e.end != 0 && int64(e.next.At) >= e.end }

// fill adds up to n packets to b and reports whether there may be more at once.
func (e *FromDump) fill(b *packet.Batch, n int) (more bool) {
	for skipped := 0; b.Len() < n && b.Room() > 0; {
		e.peek()
		if !e.have {
			return false
		}
		t := int64(e.next.At)
		if !e.seen {
			e.seen = true
			if e.startAfter >= 0 {
				e.start = t + e.startAfter
			}
			if e.endAfter >= 0 {
				e.end = t + e.endAfter
			}
		}
		if e.past() {
			return false
		}
		if skipped++; skipped > skipLimit {
			return true
		}
		if e.hasStart && t < e.start {
			e.have = false
			continue
		}
		if e.interval >= 0 && e.end == 0 {
			e.end = t + e.interval
			if e.past() {
				return false
			}
		}
		if e.timing && !e.timeHasCome(t) {
			return false
		}
		if e.sample < sampleOne && e.Rand().Uint64()%sampleOne >= e.sample {
			e.have = false
			continue
		}
		p := e.build()
		if p == nil { // no memory: others may give some back
			e.timer.SetAfter(time.Millisecond)
			return false
		}
		e.have, e.last = false, e.at
		if e.force && !forceIP(p, e.next.Link) {
			e.ForwardOne(1, p)
			continue
		}
		e.count++
		b.Append(p)
	}
	return true
}

// build makes a packet of next.
func (e *FromDump) build() *packet.Packet {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		return nil
	}
	n := min(len(e.next.Data), p.Tailroom())
	copy(p.Put(n), e.next.Data)
	p.Anno.Time = e.Router().TimeOf(int64(e.next.At))
	if rest := e.next.Wire - n; rest > 0 {
		click.SetExtraLength(p, uint32(rest))
	}
	p.SetMAC(0)
	return p
}

// timeHasCome reports whether the time of the next packet has come, and sets the timer for it if not.
func (e *FromDump) timeHasCome(t int64) bool {
	now := e.Router().WallOf(e.Now())
	if !e.began {
		e.began, e.offset = true, now-t
	}
	wait := t + e.offset - now
	if wait <= 0 {
		return true
	}
	e.empty.Sleep()
	e.timer.SetAfter(time.Duration(wait))
	return false
}

// activate begins or ends reading.
func (e *FromDump) activate(on bool) {
	e.active = on
	if on && e.finished && (e.have || !e.eof) {
		e.finished, e.call.made = false, false
	}
	e.wake()
}

// AddHandlers implements click.HandlerAdder.
func (e *FromDump) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Write("reset_counts", func(string) error {
		e.count = 0
		return nil
	})
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, func(s string, _ *click.Args) error {
		on := false
		if err := click.Bool(&on)(s, nil); err != nil {
			return err
		}
		e.activate(on)
		return nil
	})
	h.Read("sampling_prob", func() string { return strconv.FormatFloat(math.Ldexp(float64(e.sample), -28), 'g', 10, 64) })
	h.Read("encap", func() string {
		s, _ := e.Encap()
		return s
	})
	h.Read("filename", func() string { return e.file })
	h.Read("filesize", func() string {
		if e.in.packed {
			return "-"
		}
		return e.in.sizeText()
	})
	h.Read("filepos", func() string { return strconv.FormatInt(e.pos(), 10) })
	h.Read("packet_filepos", func() string { return strconv.FormatInt(e.last, 10) })
	h.Write("filepos", func(s string) error {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		switch {
		case err != nil || n < 0:
			return errors.New("expected a number of bytes")
		case e.file == "-":
			return errors.New("the standard input cannot be read again")
		}
		if err := e.open(n); err != nil {
			return err
		}
		e.call.made = false
		e.wake()
		return nil
	})
	h.Write("extend_interval", func(s string) error {
		var by int64
		if err := seconds(&by, false)(strings.TrimSpace(s), nil); err != nil {
			return err
		}
		if e.end != 0 {
			e.end += by
		}
		e.activate(true)
		return nil
	})
	h.Write("reset_timing", func(string) error {
		e.began = false
		return nil
	})
	h.Write("stop", func(string) error {
		e.activate(false)
		e.Router().RequestStop()
		return nil
	})
}

// pos is where the file is read: behind what was taken.
func (e *FromDump) pos() int64 {
	if e.have {
		return e.at
	}
	return e.r.Offset()
}
