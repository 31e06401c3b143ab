package capsulecmd

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/ee/ants"
)

// pcapFile is a capture file of packets that are a tenth of a second apart.
func pcapFile(order binary.ByteOrder, packets ...[]byte) []byte {
	var b bytes.Buffer
	put := func(vs ...uint32) {
		for _, v := range vs {
			var w [4]byte
			order.PutUint32(w[:], v)
			b.Write(w[:])
		}
	}
	put(0xa1b2c3d4)
	var version [4]byte
	order.PutUint16(version[:], 2)
	order.PutUint16(version[2:], 4)
	b.Write(version[:])
	put(0, 0, 65535, uint32(layers.LinkTypeEthernet))
	for i, p := range packets {
		put(1000, uint32(i)*100_000, uint32(len(p)), uint32(len(p)))
		b.Write(p)
	}
	return b.Bytes()
}

// frame wraps data in UDP, IPv4 and Ethernet, with a VLAN tag.
func frame(t testing.TB, port uint16, data []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 0, 0, 1), DstIP: net.IPv4(10, 0, 0, 2)}
	udp := &layers.UDP{SrcPort: 3322, DstPort: layers.UDPPort(port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeDot1Q},
		&layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(data))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestCapture(t *testing.T) {
	t.Chdir("../..")
	const dir = "examples/capsules/ping"
	p, err := ants.LoadProtocol(dir + "/protocol.yaml")
	if err != nil {
		t.Fatal(err)
	}
	method, err := p.Method("ping")
	if err != nil {
		t.Fatal(err)
	}
	const a, b = 10<<24 | 255<<16 | 1, 10<<24 | 255<<16 | 2
	there := ants.Capsule{Method: method, Src: a, Dst: b, Prev: a, TTL: 9, Data: []byte{0, 0, 0, 1, 0, 0, 0, 0, 'h', 'i'}}
	back := ants.Capsule{Method: method, Src: a, Dst: a, Prev: b, TTL: 8, HasCredit: true, Credit: ants.Credit{Count: 5}, Data: []byte{0, 0, 0, 1, 0, 0, 0, 1, 'h', 'i'}}
	other := there
	other.Method = ants.MethodID{1}
	file := t.TempDir() + "/x.pcap"
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		text := pcapFile(order, frame(t, 3322, there.Append(nil)), frame(t, 53, there.Append(nil)), frame(t, 3322, []byte("no capsule")),
			frame(t, 3322, other.Append(nil)), frame(t, 3322, back.Append(nil)))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		want := "1. ping at 10.255.0.2: forward, 63 fuel -> 10.255.0.1\n" +
			"2. ping at 10.255.0.1: deliver, 63 fuel -> application\n" +
			"2 evaluations (1 deliver, 1 forward), 1 sent, 1 delivered, 0 lost; fuel 126, at most 63\n"
		if got := janos(t.Context(), "capsule", "run", dir, "--quiet", "--pcap", file); got != want {
			t.Errorf("protocol:\n%s\nwant\n%s", got, want)
		}
	}
	// A lone module gets the capsules of all classes.
	if got := janos(t.Context(), "capsule", "run", dir+"/ping.wasm", "--quiet", "--pcap", file); !strings.Contains(got, "3 evaluations") {
		t.Errorf("module:\n%s", got)
	}
	if got := janos(t.Context(), "capsule", "run", dir, "--pcap", file, "--node", "7"); !strings.Contains(got, "ping at 10.255.0.7, from 10.255.0.2; 10.255.0.1 -> 10.255.0.1, ttl 8, credit 5, 0.400 s") {
		t.Errorf("at a node:\n%s", got)
	}
	if got := janos(t.Context(), "capsule", "run", "examples/capsules/trace", "--pcap", file); !strings.Contains(got, "3 capsules of other classes") {
		t.Errorf("another protocol:\n%s", got)
	}
	for name, text := range map[string][]byte{
		"empty":    nil,
		"pcapng":   {0x0a, 0x0d, 0x0d},
		"no magic": make([]byte, 24),
	} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := janos(t.Context(), "capsule", "run", dir, "--pcap", file); !strings.Contains(got, "the pcap or pcapng format") || !strings.Contains(got, "[exit 18]") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	long := pcapFile(binary.LittleEndian, make([]byte, 100))
	binary.LittleEndian.PutUint32(long[24+8:], 1<<31)
	for name, text := range map[string][]byte{"within it": long[:len(long)-1], "within its header": long[:30], "no more than": long} {
		if name == "within it" {
			text = pcapFile(binary.LittleEndian, make([]byte, 100))[:100]
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := janos(t.Context(), "capsule", "run", dir, "--pcap", file); !strings.Contains(got, "packet 1: ") || !strings.Contains(got, name) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// FuzzPackets reads captures from strangers.
func FuzzPackets(f *testing.F) {
	capsule := ants.Capsule{Src: 1, Dst: 2, TTL: 3, Data: []byte("data")}
	f.Add(pcapFile(binary.LittleEndian, frame(f, 3322, capsule.Append(nil)), frame(f, 53, nil)))
	f.Add(pcapFile(binary.BigEndian))
	f.Add([]byte{0x4d, 0x3c, 0xb2, 0xa1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := packets(bytes.NewReader(b), "x", func(when time.Duration, data []byte) error {
			if n++; len(data) > len(b) || when < 0 {
				t.Fatalf("%d bytes at %s from a file of %d", len(data), when, len(b))
			}
			return nil
		})
		if err == nil && len(b) < 24 {
			t.Fatal("a file without a header is taken")
		}
	})
}
