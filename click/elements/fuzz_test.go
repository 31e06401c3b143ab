package elements_test

import (
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/packet"
)

// everyHeader has all elements that read headers, fed with whatever comes.
const everyHeader = `
in :: ScriptIn -> t :: Tee;
t[0] -> HostEtherFilter(2:0:0:0:0:1) -> ARPResponder(10.0.0.0/8 2:0:0:0:0:1) -> Discard;
arp :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> Discard;
t[1] -> [1] arp;
t[2] -> CheckIPHeader -> g :: IPGWOptions(10.0.0.1) -> d :: DecIPTTL -> f :: IPFragmenter(68) -> [0] arp;
g[1], d[1], f[1] -> ICMPError(10.0.0.1, parameterproblem) -> FixIPSrc(10.0.0.9) -> Discard;
t[3] -> MarkIPHeader -> u :: Tee; // not checked
u[0] -> IPGWOptions(10.0.0.1) -> SetIPChecksum -> IPFragmenter(68) -> Discard;
u[1] -> ICMPError(10.0.0.1, timeexceeded) -> Discard;
u[2] -> ICMPPingResponder -> StripIPHeader -> Discard;
u[3] -> DecIPTTL -> IPFilter(allow tcp dst port 1-100 or icmp type echo or ip ttl < 5 and not ip frag) -> Discard;
u[4] -> GetIPAddress(16) -> RadixIPLookup(10.0.0.0/8 0) -> UDPIPEncap(10.0.0.1, 1, DST_ANNO, 2) -> Discard;
t[4] -> Classifier(12/0806 20/0001, !0/45, -) => Discard, Discard, Discard;
x :: MarkIPHeader -> w :: Tee; t[6] -> x; t[7] -> CheckIPHeader2(INTERFACES 10.0.0.1/8) -> x;
w[0] -> CheckTCPHeader -> Discard; w[1] -> CheckUDPHeader -> Discard; w[2] -> CheckICMPHeader -> Discard; w[3] -> IPPrint(x, ID true, TTL true, TOS true, LENGTH true, PAYLOAD ASCII) -> Discard;
w[4] -> SetTCPChecksum(true) -> CheckTCPHeader -> Discard; w[5] -> SetUDPChecksum -> CheckUDPHeader -> Discard;
w[6] -> SetIPDSCP(1) -> SetIPECN(2) -> MarkIPCE(true) -> IPMirror -> StoreIPAddress(1.2.3.4, src) -> StripToNetworkHeader -> StripIPHeader -> UnstripIPHeader -> Discard;
w[7] -> GetIPAddress(IP dst) -> StoreIPAddress(3) -> StoreIPAddress(dst) -> DecIPTTL(MULTICAST false) -> IPFragmenter(30, HEADROOM 100) -> ICMPIPEncap(1.2.3.4, 1.2.3.5, timestamp) -> Discard;
t[8] -> IPInputCombo(1) -> Discard; w[8] -> o :: IPOutputCombo(0, 1.2.3.4, 100) => Discard, Discard, Discard, Discard, Discard;
t[9] -> CheckARPHeader(14, VERBOSE true) -> ARPPrint(x, ETHER true) -> VLANDecap -> VLANEncap(ANNO, NATIVE_VLAN 1) -> EtherMirror -> EtherRewrite(1:1:1:1:1:1, 2:2:2:2:2:2) -> StripEtherVLANHeader -> MarkMACHeader(2, 14) -> EnsureEther -> EtherVLANEncap(1, 1:1:1:1:1:1, 2:2:2:2:2:2, ANNO) -> StoreEtherAddress(1:1:1:1:1:1, 20) -> sw :: EtherSwitch -> Discard; t[10] -> [1] sw [1] -> Discard; t[11] -> MarkIPHeader(14) -> EnsureEther -> Discard;
w[12] -> TruncateIPPayload(3) -> Discard;
w[9] -> IPReassembler -> IPFragmenter(28) -> IPReassembler(HIMEM 5000, MAX_MTU_ANNO 20) -> Discard;
t[12] -> nd :: IP6NDAdvertiser(::/0 2:0:0:0:0:1) -> Discard; t[13] -> [1] ns :: IP6NDSolicitor(::1, 2:0:0:0:0:1) -> Discard; t[14] -> CheckIP6Header -> s6 :: Tee; t[15] -> MarkIP6Header -> s6;
s6[3] -> ProtocolTranslator64 -> Discard; w[11] -> ProtocolTranslator46(64:ff9b::/96) -> ProtocolTranslator64(64:ff9b::/96) -> Discard;
s6[0] -> DecIP6HLIM -> SetIP6DSCP(1) -> IP6Mirror -> IP6Print(x) -> [0] ns; s6[1] -> ICMP6Error(::1, toobig) -> Discard; s6[2] -> GetIP6Address(24) -> LookupIP6Route(::/0 0) -> UDPIP6Encap(::1, 1, DST_ANNO, 2) -> ICMP6Error(::1, unreachable) -> Discard;
w[10] -> ICMPPingSource(1.2.3.4, 10.0.0.1, VERBOSE false) -> Discard;
t[5] -> MarkIPHeader(30) -> v :: Tee -> ICMPError(10.0.0.1, redirect) -> Discard; v[1] -> IPFragmenter(68) -> Discard;
`

func FuzzHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x01\x11\x65\xcf\x0a\x00\x00\x01\x0a\x00\x01\x02\x00\x05\x00\x06\x00\x08\x00\x00"))
	f.Add([]byte("\x46\x00\x00\x18\x00\x00\x00\x00\x01\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x01\x02\x07\x07\x04\x00"))
	f.Add(append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x05\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1500 {
			return
		}
		s, err := elementtest.New(t, everyHeader, elementtest.Options{Frames: 256})
		if err != nil {
			t.Fatal(err)
		}
		in := s.Router.Element("in").(*elementtest.ScriptIn)
		if err := s.Router.Do(func() {
			b := in.Thread().Scratch()
			if p := in.Cache().AllocFrom(in.Owner(), data); p != nil {
				b.Append(p)
			}
			in.Out(0).Push(b)
			in.Thread().Release(b)
		}); err != nil {
			t.Fatal(err)
		}
		if n := s.Close(); n != 0 {
			t.Fatalf("%d frames were not given back", n)
		}
		_ = s.Node.Close()
	})
}

// FuzzConfigure: no configuration of any element panics.
func FuzzConfigure(f *testing.F) {
	for _, c := range click.Classes() {
		f.Add("Idle -> " + c.Name + "(1, 2) -> Discard;")
		if c.Doc.Example != "" {
			f.Add(c.Doc.Example)
		}
	}
	f.Fuzz(func(t *testing.T, config string) {
		if len(config) > 2000 {
			return
		}
		s, err := elementtest.New(t, config, elementtest.Options{Frames: packet.MaxBatch})
		if err == nil {
			s.Node.Step()
			s.Close()
		}
		_ = s.Node.Close()
	})
}
