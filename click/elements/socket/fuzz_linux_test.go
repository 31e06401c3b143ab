package socket

import "testing"

// FuzzRawKey: no packet makes the reader of keys look beyond its end.
func FuzzRawKey(f *testing.F) {
	f.Add(17, []byte{0, 1, 0, 2})
	f.Add(1, []byte{8, 0, 0, 0, 0, 7, 0, 1})
	f.Add(47, []byte{0xa0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5})
	f.Add(47, []byte{0x20, 1, 0x88, 0x0b, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, proto int, data []byte) {
		key, ok := rawKey(proto, data)
		if !ok && key != 0 || ok && len(data) < 4 {
			t.Errorf("key %d, %v of %d bytes", key, ok, len(data))
		}
	})
}
