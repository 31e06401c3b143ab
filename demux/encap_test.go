package demux

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestPush compares what the Push functions write with an independent library.
func TestPush(t *testing.T) {
	_, c := newPool(t)
	for _, a := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}} {
		for size := range 70 {
			src, dst := netip.AddrPortFrom(ip(a[0]), 1234), netip.AddrPortFrom(ip(a[1]), 9)
			payload := make([]byte, size)
			for i := range payload {
				payload[i] = byte(i*37 + size)
			}
			p := c.AllocFrom(0, payload)
			h := IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: ProtoUDP, TTL: 9, TOS: 0x28, ID: 77, DF: true, Flow: 0x12345}
			typ := uint16(EtherTypeIPv4)
			if src.Addr().Is6() {
				typ = EtherTypeIPv6
			}
			if !PushUDP(p, src, dst) || !PushIP(p, &h) || !PushEther(p, [6]byte{2, 5: 1}, [6]byte{2, 5: 2}, typ) || !PushVLAN(p, 0x2007) {
				t.Fatal("push failed")
			}
			var network gopacket.NetworkLayer
			var ipl gopacket.SerializableLayer
			if src.Addr().Is4() {
				l := &layers.IPv4{Version: 4, TOS: 0x28, Id: 77, Flags: layers.IPv4DontFragment, TTL: 9, Protocol: 17, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
				network, ipl = l, l
			} else {
				l := &layers.IPv6{Version: 6, TrafficClass: 0x28, FlowLabel: 0x12345, NextHeader: 17, HopLimit: 9, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
				network, ipl = l, l
			}
			udp := &layers.UDP{SrcPort: 1234, DstPort: 9}
			if err := udp.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
			buf := gopacket.NewSerializeBuffer()
			err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
				&layers.Ethernet{DstMAC: []byte{2, 0, 0, 0, 0, 1}, SrcMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeDot1Q},
				&layers.Dot1Q{Priority: 1, VLANIdentifier: 7, Type: layers.EthernetType(typ)}, ipl, udp, gopacket.Payload(payload))
			if err != nil {
				t.Fatal(err)
			}
			want := buf.Bytes()[:18+len(p.Data())-18] // the library pads short Ethernet frames
			if string(want) != string(p.Data()) {
				t.Fatalf("%s, %d bytes:\ngot  %x\nwant %x", a, size, p.Data(), want)
			}
			c.Free(p)
		}
	}
}

func TestPushRefuses(t *testing.T) {
	_, c := newPool(t)
	p := c.AllocFrom(0, make([]byte, 10))
	defer c.Free(p)
	v4, v6 := netip.MustParseAddrPort("1.2.3.4:1"), netip.MustParseAddrPort("[fd00::1]:1")
	if PushUDP(p, v4, v6) || PushUDP(p, netip.AddrPort{}, netip.AddrPort{}) || PushIPv4(p, &IPHeader{Src: v6.Addr(), Dst: v4.Addr()}) || PushIPv6(p, &IPHeader{Src: v4.Addr(), Dst: v6.Addr()}) {
		t.Error("addresses of different versions were accepted")
	}
	if PushVLAN(p, 1) {
		t.Error("a tag was put into something without an Ethernet header")
	}
	p.Push(p.Headroom() - 5)
	n := p.Len()
	if PushEther(p, [6]byte{}, [6]byte{}, 1) || PushIPv4(p, &IPHeader{Src: v4.Addr(), Dst: v4.Addr()}) || PushUDP(p, v4, v4) {
		t.Error("pushed beyond the headroom")
	}
	if p.Len() != n {
		t.Error("a refused push changed the packet")
	}
}

func TestChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		b := make([]byte, 2*r.IntN(80)+20)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[10], b[11] = 0, 0
		var want uint32 // the definition: 16 bits at a time with end-around carry
		for i := 0; i < len(b); i += 2 {
			want += uint32(b[i])<<8 | uint32(b[i+1])
			want = want&0xffff + want>>16
		}
		got := Checksum(b)
		if got != ^uint16(want) {
			t.Fatalf("checksum %04x, want %04x", got, ^uint16(want))
		}
		binary.BigEndian.PutUint16(b[10:], got)
		if Checksum(b) != 0 {
			t.Fatal("data with its checksum does not sum to zero")
		}
		old := binary.BigEndian.Uint32(b[12:])
		neu := r.Uint32()
		binary.BigEndian.PutUint32(b[12:], neu)
		binary.BigEndian.PutUint16(b[10:], Update32(got, old, neu))
		if Checksum(b) != 0 {
			t.Fatal("Update32 is not right")
		}
		o16 := binary.BigEndian.Uint16(b[8:])
		n16 := uint16(r.Uint32())
		binary.BigEndian.PutUint16(b[8:], n16)
		binary.BigEndian.PutUint16(b[10:], Update16(binary.BigEndian.Uint16(b[10:]), o16, n16))
		if Checksum(b) != 0 {
			t.Fatal("Update16 is not right")
		}
	}
	if Checksum([]byte{1}) != 0xfeff {
		t.Error("odd byte")
	}
}

func TestPushDoesNotAllocate(t *testing.T) {
	_, c := newPool(t)
	src, dst := netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("[fd00::2]:2")
	payload := make([]byte, 64)
	if n := testing.AllocsPerRun(500, func() {
		p := c.AllocFrom(0, payload)
		PushUDP(p, src, dst)
		PushIP(p, &IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: ProtoUDP})
		PushEther(p, [6]byte{}, [6]byte{}, EtherTypeIPv6)
		c.Free(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPush(b *testing.B) {
	_, c := newPool(b)
	src, dst := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
	payload := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		p := c.AllocFrom(0, payload)
		PushUDP(p, src, dst)
		PushIPv4(p, &IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: ProtoUDP})
		PushEther(p, [6]byte{}, [6]byte{}, EtherTypeIPv4)
		c.Free(p)
	}
}
