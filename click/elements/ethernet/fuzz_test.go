package ethernet

import "testing"

// FuzzFrames: no frame makes a reader of ARP or neighbour discovery look beyond its end, and what is read of a message is what was written.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte("\x33\x33\xff\x00\x00\x02\x02\x00\x00\x00\x00\x01\x86\xdd\x60\x00\x00\x00\x00\x20\x3a\xff"), make([]byte, 64)...))
	f.Add(append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x05\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, d []byte) {
		if m, ok := parseARP(d); ok && (len(d) < 42 || m.op != uint16(d[20])<<8|uint16(d[21])) {
			t.Error("ARP")
		}
		if why := checkARP(d); why < 0 && len(d) < 8 {
			t.Error("short ARP")
		}
		if m, ok := parseND(d); ok && (m.target[0] == 0xff || m.typ == solicitation && m.src == [16]byte{} && m.hasLink) {
			t.Error("neighbour discovery")
		}
		_ = appendARP(nil, d)
	})
}
