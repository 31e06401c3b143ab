package bench

import (
	"encoding/binary"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
)

// distinct is how many different packets every source in memory rotates, so that neither the cache nor a
// memo of the last decision stands for the work.
const distinct = 1024

// Addresses of frames that are made here.
var (
	fromMAC = [6]byte{0x02, 0, 0, 0, 0, 0x01}
	toMAC   = [6]byte{0x02, 0, 0, 0, 0, 0x02}
)

// frame64 is a UDP packet in an Ethernet frame of 64 bytes, with a valid IP header checksum and no UDP checksum.
func frame64(dstMAC, srcMAC [6]byte, src, dst [4]byte, sport, dport uint16) []byte {
	f := make([]byte, 64)
	copy(f, dstMAC[:])
	copy(f[6:], srcMAC[:])
	f[12] = 8
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, demux.ProtoUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], demux.Checksum(ip[:20]))
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp, sport)
	binary.BigEndian.PutUint16(udp[2:], dport)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	return f
}

// frames returns distinct frames from hosts of 10.0.0.0/24 to what dst chooses, with random source ports and payload.
func frames(r *clock.Rand, dport uint16, dst func(i int) [4]byte) [][]byte {
	fs := make([][]byte, distinct)
	for i := range fs {
		fs[i] = frame64(toMAC, fromMAC, [4]byte{10, 0, 0, byte(2 + r.IntN(250))}, dst(i), uint16(1024+i), dport)
		for k := 42; k < 64; k++ {
			fs[i][k] = byte(r.Uint32())
		}
	}
	return fs
}
