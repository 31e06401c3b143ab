package pcap

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// stdin makes f the standard input until the test ends.
func stdin(t *testing.T, f *os.File) {
	t.Helper()
	old, err := unix.Dup(0)
	must(t, err)
	must(t, unix.Dup3(int(f.Fd()), 0, 0))
	t.Cleanup(func() {
		must(t, unix.Dup3(old, 0, 0))
		unix.Close(old)
	})
}

// stdinPipe makes the standard input a pipe and returns the end to write to.
func stdinPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	stdin(t, r)
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// TestPipe reads a capture that comes in pieces, with pauses in the middle of frames, and more frames at a time than a feed holds.
func TestPipe(t *testing.T) {
	const count = 1000
	fs := frames(count)
	for name, data := range map[string][]byte{"pcap": pcapOf(t, ethernet, fs...), "pcapng": pcapngOf(t, fs...)} {
		t.Run(name, func(t *testing.T) {
			w := stdinPipe(t)
			n := conformance.NewNode(t)
			l := open(t, n, map[string]string{"in": "-", "mac": "02:77:00:00:00:01", "addr": "10.77.0.1/24", "delay": "0s"})
			s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
			at := 0
			write := func(end int) {
				_, err := w.Write(data[at:end])
				must(t, err)
				at = end
			}
			got := 0
			next := func() {
				t.Helper()
				if g := s.Next(t); !bytes.Equal(g.Data, numbered(got)) {
					t.Fatalf("frame %d: %q", got, g.Data)
				}
				got++
			}
			size := (len(pcapOf(t, ethernet, fs[:10]...)) - 24) / 10
			for i := range 20 { // the first ones, byte for byte with a pause in each
				for at < 500+i*size {
					write(at + 7)
				}
				if i > 5 {
					next()
				}
			}
			go func() {
				w.Write(data[at:])
				w.Close()
			}()
			for got < count {
				next()
			}
			conformance.Until(t, func() bool { return len(l.Info().Notes) > 0 })
			if notes := l.Info().Notes; len(notes) != 1 || notes[0] != "standard input is read to its end: 1000 frames" {
				t.Errorf("notes %q", notes)
			}
			if st := l.Stats(); st.RxPackets != count || st.RxDrops != 0 {
				t.Errorf("%+v", st)
			}
			must(t, n.CloseLink("l0"))
		})
	}
}

// TestPipeEnds closes links whose pipe has nothing for them, or more than they take.
func TestPipeEnds(t *testing.T) {
	n := conformance.NewNode(t)
	some := pcapOf(t, ethernet, frames(600)...)
	for _, data := range [][]byte{nil, some[:10], some[:100], some} {
		w := stdinPipe(t)
		go func() { w.Write(data) }() // more than fits, sometimes; it ends with the pipe
		open(t, n, map[string]string{"in": "-"})
		if l, err := Open(n, 9, nodeos.LinkSpec{Name: "l1", Opts: map[string]string{"in": "-"}}); errs.KindOf(err) != errs.Exists {
			t.Errorf("a second reader: %v, %v", l, err)
		}
		must(t, n.CloseLink("l0"))
	}
}

// TestPipeOfStrangers reads what is no capture, or not of Ethernet.
func TestPipeOfStrangers(t *testing.T) {
	good := pcapOf(t, ethernet, frames(3)...)
	for _, c := range []struct {
		name, note  string
		data        []byte
		rx, rxDrops uint64
	}{
		{"nothing", "reading ended after 0 frames: standard input: want a file in the pcap or pcapng format", nil, 0, 0},
		{"text", "reading ended after 0 frames: standard input: want a file in the pcap or pcapng format", []byte("GET / HTTP/1.0\r\n\r\n"), 0, 0},
		{"cut", "reading ended after 2 frames: standard input: packet 3: the file ends within it", good[:len(good)-1], 2, 0},
		{"raw", "standard input is read to its end: 3 frames", pcapOf(t, layers.LinkTypeRaw, frames(3)...), 0, 3},
		{"long", "standard input is read to its end: 2 frames", pcapOf(t, ethernet, at{0, make([]byte, 5000)}, frames(1)[0]), 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := stdinPipe(t)
			_, err := w.Write(c.data)
			must(t, err)
			w.Close()
			n := conformance.NewNode(t)
			l := open(t, n, map[string]string{"in": "-", "delay": "0s"})
			conformance.NewSink(t, n, "l0", "", "")
			conformance.Until(t, func() bool { return len(l.Info().Notes) > 0 })
			if notes := l.Info().Notes; len(notes) != 1 || !strings.HasPrefix(notes[0], c.note) {
				t.Errorf("notes %q", notes)
			}
			if st := l.Stats(); st.RxPackets != c.rx || st.RxDrops != c.rxDrops {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestStdinIsNoPipe gives other things to read.
func TestStdinIsNoPipe(t *testing.T) {
	open := func(n *nodeos.Node) error {
		l, err := Open(n, 9, nodeos.LinkSpec{Name: "l0", Opts: map[string]string{"in": "-"}})
		if err == nil {
			l.Close()
		}
		return err
	}
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	stdin(t, null)
	n := conformance.NewNode(t)
	for range 2 { // the first refusal leaves nothing behind
		if err := open(n); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "no pipe") {
			t.Errorf("/dev/null: %v", err)
		}
	}
	f, err := os.Open(file(t, pcapOf(t, ethernet)))
	must(t, err)
	defer f.Close()
	stdin(t, f)
	if err := open(n); err != nil {
		t.Errorf("a file: %v", err)
	}
	s, _ := newStepped(t, map[string]string{"in": file(t, pcapOf(t, ethernet))})
	if err := open(s.node); errs.KindOf(err) != errs.NotSupported {
		t.Errorf("a stepped node: %v", err)
	}
}

// back sends what comes to the link out of it.
func back(t *testing.T, n *nodeos.Node) {
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
	must(t, err)
	_, err = n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0", Quota: 1024, Handler: func(w *nodeos.Worker, b *packet.Batch) { out.Send(w, b) }})
	must(t, err)
}

// TestTcpdump reads what tcpdump writes to a pipe, records it, and has tcpdump read the record.
func TestTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("tcpdump is not installed")
	}
	const count = 300
	fs := frames(count)
	for i := range fs {
		fs[i].time += time.Duration(i) // nanoseconds
	}
	dump := func(to io.Writer, from []byte, args ...string) {
		t.Helper()
		cmd := exec.Command("tcpdump", append([]string{"-n", "-r", "-"}, args...)...)
		var said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(from), to, &said
		if err := cmd.Run(); err != nil {
			t.Errorf("tcpdump: %v: %s", err, &said)
		}
	}
	for _, suffix := range []string{"", ".pcapng"} {
		w := stdinPipe(t)
		out := file(t, nil) + suffix
		n := conformance.NewNode(t)
		l := open(t, n, map[string]string{"in": "-", "out": out, "delay": "0s"})
		back(t, n)
		dump(w, pcapOf(t, ethernet, fs...), "--nano", "-U", "-w", "-")
		w.Close()
		conformance.Until(t, func() bool { return l.Stats().TxPackets == count })
		must(t, n.CloseLink("l0"))
		got := read(t, out)
		for i, p := range got {
			if !bytes.Equal(p.Data, fs[i].frame) {
				t.Fatalf("frame %d: %x", i, p.Data)
			}
		}
		record, err := os.ReadFile(out)
		must(t, err)
		var text bytes.Buffer
		dump(&text, record, "-t", "udp", "and", "dst", "port", fmt.Sprint(conformance.Port))
		if lines := strings.Count(text.String(), "\n"); lines != count || !strings.Contains(text.String(), "IP 10.77.0.2.40000 > 10.77.0.1.7000: ") {
			t.Errorf("tcpdump reads %d lines: %.200s", lines, &text)
		}
	}
}
