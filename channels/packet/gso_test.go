package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/demux"
)

// superFrame makes a frame of TCP or UDP that is too large for a wire.
func superFrame(t testing.TB, v6, tcp bool, tags, size int) (f []byte, l4 int) {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	ls := []gopacket.SerializableLayer{eth}
	typ := layers.EthernetTypeIPv4
	if v6 {
		typ = layers.EthernetTypeIPv6
	}
	eth.EthernetType = typ
	for i := range tags {
		if i == 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
		}
		q := &layers.Dot1Q{VLANIdentifier: uint16(i), Type: layers.EthernetTypeDot1Q}
		if i == tags-1 {
			q.Type = typ
		}
		ls = append(ls, q)
	}
	proto := layers.IPProtocolTCP
	if !tcp {
		proto = layers.IPProtocolUDP
	}
	var network gopacket.NetworkLayer
	l4 = 14 + 4*tags
	if v6 {
		ip := &layers.IPv6{Version: 6, NextHeader: proto, HopLimit: 9, SrcIP: bytes.Repeat([]byte{1}, 16), DstIP: bytes.Repeat([]byte{2}, 16)}
		ls, network, l4 = append(ls, ip), ip, l4+40
	} else {
		ip := &layers.IPv4{Version: 4, Id: 0xfffe, TTL: 9, Protocol: proto, SrcIP: []byte{1, 2, 3, 4}, DstIP: []byte{5, 6, 7, 8}}
		ls, network, l4 = append(ls, ip), ip, l4+20
	}
	if tcp {
		l := &layers.TCP{SrcPort: 1, DstPort: 2, Seq: 0xfffffff0, Ack: 7, ACK: true, PSH: true, FIN: true, CWR: true,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}}}
		if err := l.SetNetworkLayerForChecksum(network); err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	} else {
		l := &layers.UDP{SrcPort: 1, DstPort: 2}
		if err := l.SetNetworkLayerForChecksum(network); err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	}
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i * 13)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(ls, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), l4
}

// TestSegmenter puts the segments together again and has an independent library check each.
func TestSegmenter(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, tcp := range []bool{false, true} {
			for _, size := range []int{60, 1400, 1401, 4200, 60000} {
				tags := size % 3
				f, l4 := superFrame(t, v6, tcp, tags, size)
				typ := uint8(gsoTCPv4)
				if v6 {
					typ = gsoTCPv6
				}
				if !tcp {
					typ = gsoUDPL4
				}
				var s segmenter
				if !s.start(f, typ, 1400, l4) {
					t.Fatalf("v6 %v tcp %v size %d: refused", v6, tcp, size)
				}
				dst := make([]byte, 1514+8)
				var got []byte
				count := (size + 1399) / 1400
				for i := range count {
					n := s.next(dst)
					if n <= 0 {
						t.Fatalf("segment %d: %d", i, n)
					}
					p := gopacket.NewPacket(dst[:n], layers.LayerTypeEthernet, gopacket.Default)
					if e := p.ErrorLayer(); e != nil {
						t.Fatal(e.Error())
					}
					var sum uint64
					proto := uint8(demux.ProtoTCP)
					if !tcp {
						proto = demux.ProtoUDP
					}
					if !v6 {
						ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
						if demux.Checksum(ip.Contents) != 0 || ip.Id != 0xfffe+uint16(i) || int(ip.Length) != n-14-4*tags {
							t.Fatalf("segment %d: IPv4 header %+v", i, ip)
						}
						sum = demux.Sum(0, ip.Contents[12:20])
					} else {
						ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
						if int(ip.Length) != n-14-4*tags-40 {
							t.Fatalf("segment %d: IPv6 header %+v", i, ip)
						}
						sum = demux.Sum(0, ip.Contents[8:40])
					}
					l4b := dst[l4:n]
					if c := demux.Fold(demux.Sum(sum+uint64(proto)+uint64(len(l4b)), l4b)); c != 0 {
						t.Fatalf("segment %d: checksum off by %04x", i, c)
					}
					if tcp {
						h := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
						last := i == count-1
						if h.Seq != 0xfffffff0+uint32(len(got)) || h.PSH != last || h.FIN != last || h.CWR != (i == 0) || !h.ACK {
							t.Fatalf("segment %d of %d: TCP header %+v", i, count, h)
						}
						got = append(got, h.Payload...)
					} else {
						h := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
						if int(h.Length) != len(l4b) {
							t.Fatalf("segment %d: UDP header %+v", i, h)
						}
						got = append(got, h.Payload...)
					}
				}
				if n := s.next(dst); n != 0 {
					t.Fatalf("a segment too many of %d bytes", n)
				}
				if !bytes.Equal(got, f[len(f)-size:]) {
					t.Fatal("the payload was damaged")
				}
			}
		}
	}
}

// FuzzSegmenter looks for descriptions of a frame that lead outside of it. A segment of a sound start ends within dst.
func FuzzSegmenter(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		b, l4 := superFrame(f, v6, true, 1, 3000)
		f.Add(b, uint8(gsoTCPv4), uint16(1400), uint16(l4), uint16(16))
		f.Add(b, uint8(gsoTCPv6|gsoECN), uint16(1400), uint16(l4), uint16(16))
		f.Add(b, uint8(gsoUDPL4), uint16(100), uint16(l4), uint16(6))
	}
	r := rand.New(rand.NewPCG(1, 1))
	f.Fuzz(func(t *testing.T, b []byte, typ uint8, size, start, offset uint16) {
		var s segmenter
		dst := make([]byte, 100+r.IntN(1500))
		if s.start(b, typ, int(size), int(start)) {
			total := 0
			for n := s.next(dst); n > 0; n = s.next(dst) {
				if n > len(dst) {
					t.Fatalf("segment of %d bytes in %d", n, len(dst))
				}
				total += n
			}
			if total > len(b)*len(b)+len(b) {
				t.Fatalf("%d bytes of a frame of %d", total, len(b))
			}
		}
		before := len(b)
		if complete(b, int(start), int(offset)) && binary.BigEndian.Uint16(b[int(start)+int(offset):]) == 0 {
			t.Error("a completed checksum is zero")
		}
		if len(b) != before {
			t.Error("length changed")
		}
	})
}

func TestSegmenterRefuses(t *testing.T) {
	f, l4 := superFrame(t, false, true, 0, 3000)
	var s segmenter
	for name, ok := range map[string]bool{
		"UFO":                    s.start(f, 3, 1400, l4),
		"no size":                s.start(f, gsoTCPv4, 0, l4),
		"wrong version":          s.start(f, gsoTCPv6, 1400, l4),
		"tunnel":                 s.start(f, gsoTCPv4, 1400, l4+20),
		"header beyond the end":  s.start(f[:l4+10], gsoTCPv4, 1400, l4),
		"checksum before header": s.start(f, gsoTCPv4, 1400, 10),
	} {
		if ok {
			t.Errorf("%s was accepted", name)
		}
	}
	if !s.start(f, gsoTCPv4, 1400, l4) || s.next(make([]byte, 1000)) != -1 || s.frame != nil {
		t.Error("a segment larger than its room")
	}
}
