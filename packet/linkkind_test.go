package packet

import "testing"

func TestKindOf(t *testing.T) {
	own := [6]byte{2, 0, 0, 0, 0, 1}
	for dst, want := range map[[6]byte]LinkKind{
		own:                            ToHost,
		{255, 255, 255, 255, 255, 255}: ToBroadcast,
		{0x01, 0x00, 0x5e, 0, 0, 1}:    ToMulticast,
		{255, 255, 255, 255, 255, 254}: ToMulticast,
		{2, 0, 0, 0, 0, 2}:             ToOther,
		{}:                             ToOther,
	} {
		if got := KindOf(dst, own); got != want {
			t.Errorf("%x: %d, want %d", dst, got, want)
		}
	}
}
