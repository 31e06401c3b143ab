package analysis_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/click/elementtest"
)

// all are the fields that binary files can have.
const all = "timestamp ntimestamp ts_sec ts_usec1 ip_src ip_dst sport dport ip_len ip_proto ip_id ip_tos ip_ttl ip_frag ip_fragoff ip_opt tcp_seq tcp_ack tcp_flags tcp_opt payload_len count direction aggregate eth_src first_timestamp"

const dump = `!data timestamp ip_src sport ip_dst dport ip_proto ip_opt tcp_opt tcp_seq tcp_flags ip_len count direction aggregate eth_src eth_dst first_timestamp
1000.000001 1.0.0.1 1 1.0.0.2 2 T rr{}+2 mss1400;sackok 77 SF 500 4 < 12 00-01-02-03-04-05 00-0A-0B-0C-0D-0E 7.25
1001 1.0.0.3 1 1.0.0.4 2 U . - - - - 1 2 4000000000
`

// convert runs a graph from one file to another, with the arguments of both ends, and returns what it wrote.
func convert(t *testing.T, from, to string) string {
	t.Helper()
	s, err := elementtest.New(t, "FromIPSummaryDump("+from+") -> ToIPSummaryDump("+to+")", elementtest.Options{Host: true})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Run(0) {
		t.Fatal("does not end")
	}
	out := s.Do("read name")
	s.Close()
	name, _, _ := strings.Cut(to, ",")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err, out)
	}
	return string(b)
}

// TestBinary: a dump is the same after it was written in binary form and read again, and when it is compressed.
func TestBinary(t *testing.T) {
	dir := t.TempDir()
	in, bin, out, zip := filepath.Join(dir, "in"), filepath.Join(dir, "bin"), filepath.Join(dir, "out"), filepath.Join(dir, "in.gz")
	if err := os.WriteFile(in, []byte(dump), 0o600); err != nil {
		t.Fatal(err)
	}
	want := convert(t, in, out+", FIELDS "+all)
	if !strings.Contains(want, "1000.000001") || !strings.Contains(want, "mss1400;sackok") {
		t.Fatalf("the dump lost something: %s", want)
	}
	b := convert(t, in, bin+", BINARY true, FIELDS "+all)
	if !strings.HasPrefix(b, "!IPSummaryDump 1.3\n!data "+all+"\n!binary\n\x00\x00\x00") {
		t.Fatalf("binary file begins with %q", b[:min(len(b), 300)])
	}
	// What a packet does not have is zero in a record, so only what it has comes back.
	text := convert(t, bin, out+", FIELDS ip_src ip_dst sport ip_opt tcp_opt tcp_seq tcp_flags count aggregate first_timestamp timestamp")
	if plain := convert(t, in, out+", FIELDS ip_src ip_dst sport ip_opt tcp_opt tcp_seq tcp_flags count aggregate first_timestamp timestamp"); text != plain {
		t.Errorf("got\n%s\nwant\n%s", text, plain)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(dump))
	w.Close()
	if err := os.WriteFile(zip, z.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := convert(t, zip, out+", FIELDS "+all); got != want {
		t.Errorf("compressed: got\n%s\nwant\n%s", got, want)
	}
}

// FuzzFromIPSummaryDump: whatever a dump says, packets come out that can be written again, and nothing panics.
func FuzzFromIPSummaryDump(f *testing.F) {
	f.Add([]byte(dump))
	f.Add([]byte("!data ip_src payload tcp_opt ip_opt\n!binary\n\x00\x00\x00\x0a\x01\x02\x03\x04\x00\x00"))
	f.Add([]byte("!data " + all + "\n!flowid 1.0.0.1 2 3.0.0.4 5 I\n!proto 7\n1\n"))
	f.Add([]byte("1.0.0.1 2.0.0.2\n\"unfinished"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			t.Skip("longer inputs find nothing new")
		}
		name := filepath.Join(t.TempDir(), "dump")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := elementtest.New(t, "FromIPSummaryDump("+name+", CHECKSUM true) -> ToIPSummaryDump("+name+".out, BAD_PACKETS true, FIELDS "+all+" payload payload_md5 tcp_sack tcp_ntopt icmp_code_name icmp_nextmtu ip_ecn wire_len) -> Discard", elementtest.Options{Host: true, Frames: 64})
		if err != nil {
			return
		}
		for range 100 {
			if s.Run(0) {
				break
			}
		}
		if n := s.Close(); n != 0 {
			t.Errorf("%d frames are still held", n)
		}
	})
}
