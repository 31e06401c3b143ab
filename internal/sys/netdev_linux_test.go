package sys

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetdev(t *testing.T) {
	n, err := OpenNetdev()
	if errors.Is(err, unix.ENOENT) {
		t.Skip("the kernel has no family netdev: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for range 2 { // answers belong to their questions
		if _, err := n.XDPFeatures(1 << 30); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			t.Errorf("no such interface: %v", err)
		}
		if f, err := n.XDPFeatures(1); err != nil || f&TakesRedirects != 0 { // the loopback
			t.Errorf("features %#x, %v", f, err)
		}
	}
}

func FuzzAttribute(f *testing.F) {
	f.Add(append(make([]byte, 20), 8, 0, 3, 0, 1, 2, 3, 4), uint16(3))
	f.Add(append([]byte{20, 0, 0, 0, 2, 0}, make([]byte, 14)...), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, want uint16) {
		if len(b) < unix.NLMSG_HDRLEN {
			return
		}
		if v, err := attribute(b, want); err == nil && len(v) > len(b) {
			t.Errorf("%d bytes of %d", len(v), len(b))
		}
	})
}
