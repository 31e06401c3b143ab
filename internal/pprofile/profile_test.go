package pprofile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func example() *Profile {
	main := Frame{"main", "main.go", 10}
	return &Profile{
		Types: []ValueType{{"cpu", "nanoseconds"}, {"fuel", "units"}}, Duration: 12345,
		Samples: []Sample{{[]Frame{{"leaf", "a.c", 3}, main}, []int64{1000, 7}}, {[]Frame{{"leaf", "a.c", 4}, main}, []int64{0, 5}}, {[]Frame{main}, []int64{1 << 40, 0}}},
	}
}

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := example().Write(&b); err != nil {
		t.Fatal(err)
	}
	if p, err := Parse(b.Bytes()); err != nil || !reflect.DeepEqual(p, example()) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestToolReadsIt has go tool pprof read what is written.
func TestToolReadsIt(t *testing.T) {
	var b bytes.Buffer
	if err := example().Write(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-sample_index=fuel", file).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "no such tool") {
			t.Skip(string(out))
		}
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "12units") || !strings.Contains(string(out), "leaf") {
		t.Errorf("it says\n%s", out)
	}
}

// TestRuntimesProfiles reads a profile of the Go runtime.
func TestRuntimesProfiles(t *testing.T) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	p, err := Parse(b.Bytes())
	if err != nil || len(p.Samples) == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	found := false
	for _, s := range p.Samples {
		for _, f := range s.Stack {
			found = found || strings.HasSuffix(f.Func, "TestRuntimesProfiles") && strings.HasSuffix(f.File, "profile_test.go") && f.Line > 0
		}
	}
	if !found {
		t.Errorf("this test is not in %+v", p)
	}
}

// FuzzParse: reading ends, and what was read can be written.
func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := example().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0x12, 0x02, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := Parse(b); err == nil {
			var out bytes.Buffer
			if err := p.Write(&out); err != nil {
				t.Fatal(err)
			}
		}
	})
}
