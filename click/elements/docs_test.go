package elements_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func TestReferenceIsCurrent(t *testing.T) {
	have, err := os.ReadFile("../../docs/elements.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != click.Reference() {
		t.Error("docs/elements.md is not what the headers say; run go generate ./click/elements")
	}
}

// TestHeaders: every class says what it is, its example is Click, and a golden script uses it.
func TestHeaders(t *testing.T) {
	used := map[string]bool{}
	scripts, err := filepath.Glob("*/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile(`[A-Za-z0-9_]+`)
	for _, f := range append(scripts, own...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range word.FindAllString(string(b), -1) {
			used[w] = true
		}
	}
	// Names for one and the same element, which its other name's script exercises.
	alias := map[string]string{"PushNull": "Null", "PullNull": "Null", "FullNoteQueue": "Queue", "SimpleQueue": "Queue", "LinearIPLookup": "RadixIPLookup", "DirectIPLookup": "RadixIPLookup", "RangeIPLookup": "RadixIPLookup", "SortedIPLookup": "RadixIPLookup"}
	for _, c := range click.Classes() {
		if c.Doc.Group == "test" {
			continue
		}
		name := c.Name
		if a := alias[name]; a != "" {
			name = a
		}
		if !used[name] {
			t.Errorf("no golden script uses %s", c.Name)
		}
		if c.Doc.Group == "" || c.Doc.Title == "" || c.Doc.Example == "" {
			t.Errorf("%s: group, title or example is missing in its header", c.Name)
		}
		for _, s := range append(append([]string{}, c.Doc.Args...), c.Doc.Handlers...) {
			if n, text, ok := strings.Cut(s, ": "); !ok || n == "" || text == "" {
				t.Errorf("%s: header entry %q is not 'NAME: text'", c.Name, s)
			}
		}
		for _, s := range c.Doc.See {
			if click.LookupClass(s) == nil {
				t.Errorf("%s: see also %s, which does not exist", c.Name, s)
			}
		}
		if _, err := lang.ParseGraph(c.Name, strings.ReplaceAll(strings.ReplaceAll(c.Doc.Example, "(...)", ""), "...", "Rest"), lang.Options{}); err != nil {
			t.Errorf("%s: the example does not parse: %v", c.Name, err)
		}
	}
}

// TestHandlersAreInHeaders: the handlers of an element are those that its header names.
func TestHandlersAreInHeaders(t *testing.T) {
	config := map[string]string{
		"CheckPaint": "(1)", "PaintTee": "(1)", "Paint": "(1)", "Strip": "(1)", "Unstrip": "(1)", "Truncate": "(1)", "RandomSample": "(0.5)",
		"DelayUnqueue": "(1s)", "LinkUnqueue": "(1s, 1Mbps)", "Shaper": "(1)", "BandwidthShaper": "(1)", "ICMPError": "(1.2.3.4, redirect)", "FixIPSrc": "(1.2.3.4)",
		"IPGWOptions": "(1.2.3.4)", "GetIPAddress": "(16)", "Message": "(hello)",
		"RatedUnqueue": "(10)", "BandwidthRatedUnqueue": "(1Mbps)", "RatedSplitter": "(10)", "BandwidthRatedSplitter": "(1Mbps)", "StaticSwitch": "(-1)", "StaticPullSwitch": "(0)",
		"StrideSched": "(1)", "StrideSwitch": "(1)", "HashSwitch": "(0, 1)", "Resize": "(1, 1)", "CheckLength": "(1)", "Align": "(4, 0)", "RandomBitErrors": "(0)", "Clipboard": "(0/1)",
		"TimedUnqueue": "(1s)", "Burster": "(1s)", "RandomSource": "(1)", "SetAnnoByte": "(32, 1)", "DelayShaper": "(1s)", "IPFragmenter": "(1500)", "UDPIPEncap": "(1.2.3.4, 1, 1.2.3.5, 2)", "IPEncap": "(4, 1.2.3.4, 1.2.3.5)",
		"EtherEncap": "(0x800, 0:0:0:0:0:1, 0:0:0:0:0:2)", "HostEtherFilter": "(0:0:0:0:0:1)", "ARPQuerier": "(1.2.3.4, 0:0:0:0:0:1)",
		"VLANEncap": "(1)", "EtherVLANEncap": "(0x800, 0:0:0:0:0:1, 0:0:0:0:0:2, 1)", "SetVLANAnno": "(1)", "EtherRewrite": "(0:0:0:0:0:1, 0:0:0:0:0:2)", "StoreEtherAddress": "(0:0:0:0:0:1, src)",
		"IP6NDSolicitor": "(::1, 0:0:0:0:0:1)", "CheckIP6Header": "(DETAILS true)", "SetIP6DSCP": "(1)", "GetIP6Address": "(24)", "SetIP6Address": "(::1)", "IP6Encap": "(4, ::1, ::2)", "UDPIP6Encap": "(::1, 1, ::2, 2)", "ICMP6Error": "(::1, 1)",
		"ICMPPingSource": "(1.2.3.4, 1.2.3.5); Idle -> x",
		"ARPFaker":       "(1.2.3.4, 0:0:0:0:0:1, 1.2.3.5, 0:0:0:0:0:2)", "CheckARPHeader": "(DETAILS true)",
		"FastClassifier": "(c Classifier - 0); x -> Idle", "IPClassifier": "(-); x -> Idle", "IPInputCombo": "(1)", "IPOutputCombo": "(1, 1.2.3.4, 1500)", "SetIPDSCP": "(1)", "SetIPECN": "(1)", "SetIPAddress": "(1.2.3.4)", "SetRandIPAddress": "(1.0.0.0/8)", "StoreIPAddress": "(src)",
		"ICMPPingEncap": "(1.2.3.4, 1.2.3.5)", "ICMPIPEncap": "(1.2.3.4, 1.2.3.5, echo)",
		"CheckIPHeader": "(DETAILS true)", "CheckIPHeader2": "(DETAILS true)", "CheckICMPHeader": "(DETAILS true)", "CheckTCPHeader": "(DETAILS true)", "CheckUDPHeader": "(DETAILS true)",
		"IPRewriter": "(drop)", "TCPRewriter": "(drop)", "UDPRewriter": "(drop)", "IPAddrRewriter": "(drop)", "IPAddrPairRewriter": "(drop)", "ICMPPingRewriter": "(drop)",
		"ICMPRewriter": "(rw); rw :: IPRewriter(drop); Idle -> rw -> Idle", "FTPPortMapper": "(rw, rw, 0); rw :: TCPRewriter(drop); Idle -> rw -> Idle",
		"RoundRobinIPMapper": "(- - 0 0, - - 0 0)", "SourceIPHashMapper": "(1 1, - - 0 0 1, - - 0 0 2)",
		"ControlSocket": "(tcp, 0)", "Wasm": "(../../examples/elements/balance/balance.wasm, 1)", "FromDump": "(analysis/testdata/five.pcap)", "ToDump": "(-)", "AdjustTimestamp": "(1)", "AggregateFilter": "(drop all)", "AggregateIP": "(ip src)",
		"FromIPSummaryDump": "(DATA \"\")", "ToIPSummaryDump": "(-)",
	}
	general := map[string]bool{"class": true, "name": true, "config": true, "ports": true, "handlers": true, "drops": true, "scheduled": true, "tickets": true, "home_thread": true, "runs": true}
	for _, c := range click.Classes() {
		if c.Doc.Group == "test" || c.Doc.Group == "device" || c.Name == "Error" || c.Name == "RED" { // the one never starts, the other not without a queue
			continue
		}
		s, err := alone(t, c, config[c.Name])
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		want := map[string]bool{}
		for _, e := range c.Doc.Handlers {
			// Handlers of one kind may share an entry: a, b (r): TEXT.
			n, _, _ := strings.Cut(e, ": ")
			names, mode, _ := strings.Cut(n, " (")
			for _, name := range strings.Split(names, ", ") {
				want[name+" ("+mode] = true
			}
		}
		text, err := s.Router.Read("x.handlers", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			n, mode, _ := strings.Cut(line, "\t")
			if e := n + " (" + mode + ")"; !want[e] && !general[n] {
				t.Errorf("%s has the handler %s, which its header does not name", c.Name, e)
			} else {
				delete(want, e)
			}
		}
		for e := range want {
			t.Errorf("%s has no handler %s, which its header names", c.Name, e)
		}
	}
}
