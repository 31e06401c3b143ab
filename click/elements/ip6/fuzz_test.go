package ip6

import "testing"

// FuzzUpper: no packet leads behind its end, and what is printed of it is one line.
func FuzzUpper(f *testing.F) {
	head := make([]byte, 40)
	head[0] = 0x60
	for _, next := range []byte{hopByHop, routing, fragment, destination, authHeader, protoTCP, protoUDP, protoICMP6, protoNone} {
		head[6] = next
		f.Add(append(append([]byte{}, head...), 17, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 6, 0, 8, 0, 0))
	}
	f.Fuzz(func(t *testing.T, h []byte) {
		if len(h) < headerLen {
			return
		}
		_, at, there, ok := upper(h)
		if ok && at > len(h) || there && !ok {
			t.Errorf("%d bytes, next header at %d, there %v, ok %v", len(h), at, there, ok)
		}
		for _, c := range describe(nil, h) {
			if c < ' ' || c > '~' {
				t.Errorf("prints %q", c)
			}
		}
	})
}
