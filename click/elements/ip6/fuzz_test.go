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

// FuzzTranslate: no packet makes the translator look or write beyond an end, and what it makes of a packet it can turn back.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x66\xcf\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x01\x00\x02\x00\x08\x12\x34"))
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x66\xcf\x0a\x00\x00\x01\x0a\x00\x00\x02\x08\x00\xf7\xf7\x00\x07\x00\x01"))
	f.Add([]byte("\x45\x00\x00\x38\x00\x00\x00\x00\x40\x01\x66\xcf\x0a\x00\x00\x01\x0a\x00\x00\x02\x03\x04\xf7\xf7\x00\x00\x05\xdc\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x66\xcf\x0a\x00\x00\x02\x0a\x00\x00\x01\x00\x01\x00\x02\x00\x08\x12\x34"))
	f.Fuzz(func(t *testing.T, h []byte) {
		if len(h) > 1400 {
			return
		}
		e := &Translator{}
		var six, four [1800]byte
		if len(h) >= headerLen {
			copy(e.head[:], h[8:20])
			e.four(four[:], h, false)
			e.head = [12]byte{}
		}
		n := e.six(six[:], h, false)
		if n == 0 {
			return
		}
		m := e.four(four[:], six[:n], false)
		if m == 0 {
			return // an ICMP pointer or code without its like
		}
		if string(four[12:20]) != string(h[12:20]) || four[9] != h[9] || four[8] != h[8] || four[1] != h[1] {
			t.Errorf("% x became % x", h[:20], four[:20])
		}
		body := h[int(h[0]&15)*4 : int(h[2])<<8|int(h[3])]
		if len(body) != m-20 && h[9] != 1 {
			t.Errorf("%d bytes became %d", len(body), m-20)
		}
	})
}
