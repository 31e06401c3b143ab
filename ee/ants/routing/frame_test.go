package routing

import (
	"testing"

	"github.com/janos-os/janos/packet"
)

// newFrameBuilder returns memory to build frames in.
func newFrameBuilder(t *testing.T) *packet.Cache {
	t.Helper()
	p, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.Cache(0)
}
