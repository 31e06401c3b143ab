package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/janos-os/janos/demux"
)

// Plain headers, whose checksums a short way looks at, are finished as those are that have to be followed: a packet with a tag in front is.
func TestFinishedChecksumsOfPlainHeaders(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	finished := 0
	for range 20000 {
		f := make([]byte, demux.EtherLen+demux.IPv4Len+8+rnd.IntN(40))
		for i := range f {
			f[i] = byte(rnd.Uint32() >> (8 * rnd.IntN(2) * 3)) // many of them small
		}
		binary.BigEndian.PutUint16(f[12:], demux.EtherTypeIPv4)
		ip := f[demux.EtherLen:]
		if rnd.IntN(8) > 0 {
			ip[0] = 0x45
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)-rnd.IntN(4)))
		}
		if rnd.IntN(8) > 0 {
			binary.BigEndian.PutUint16(ip[6:], 0)
		}
		ip[9] = [...]byte{demux.ProtoUDP, demux.ProtoTCP, 1}[rnd.IntN(3)]
		if at := map[byte]int{demux.ProtoUDP: 26, demux.ProtoTCP: 36}[ip[9]]; at > 0 && len(ip) >= at+2 && rnd.IntN(2) == 0 {
			n := uint64(binary.BigEndian.Uint16(ip[2:])) - demux.IPv4Len
			binary.BigEndian.PutUint16(ip[at:], ^demux.Fold(demux.Sum(uint64(ip[9])+n, ip[12:20])))
		}
		tagged := slices.Insert(slices.Clone(f), 12, 0x81, 0x00, 0x00, 0x07)
		before := slices.Clone(f)
		finishChecksum(f)
		finishChecksum(tagged)
		if !slices.Equal(f[12:], tagged[16:]) {
			t.Fatalf("%x\nbecomes %x\nand with a tag %x", before, f, tagged)
		}
		if !slices.Equal(f, before) {
			finished++
		}
	}
	if finished < 1000 {
		t.Errorf("only %d packets had something to finish", finished)
	}
}
