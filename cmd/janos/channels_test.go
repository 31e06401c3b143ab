package main

import (
	"bytes"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/janos-os/janos/control"
)

func TestPrintChannels(t *testing.T) {
	slot := uint32(3)
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	printChannels(w, []control.ChannelInfo{
		{Kind: "in", Domain: "node/d", Protocol: "eth0/ether/ip/udp", Address: ":7", Key: "2/0102", Slot: &slot, Where: "user", Packets: 12, Drops: map[string]uint64{"poor": 1, "full": 2, "limited": 0}, Quota: 256, Held: 4},
		{Kind: "out", Domain: "node/d", Protocol: "eth1/ether/ip", Where: "user"},
		{Kind: "cut", Domain: "node/d", Protocol: "eth0/ether", Address: "0x0800", Out: "eth1/ether/ip", OutAddress: "10.0.0.9,4", Where: "kernel", Packets: 7},
		{Kind: "cut", Domain: "node/d", Protocol: "eth0/ether", Out: "eth2/ether", Where: "user", Why: "link eth2 is closed"},
	})
	w.Flush()
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"domain channel protocol address key slot done by packets dropped held why",
		"node/d in eth0/ether/ip/udp :7 2/0102 3 user 12 full 2, poor 1 4/256",
		"node/d out eth1/ether/ip - - - user 0 0 -",
		"node/d cut eth0/ether to eth1/ether/ip 0x0800 to 10.0.0.9,4 - - kernel 7 0 -",
		"node/d cut eth0/ether to eth2/ether - to - - - user 0 0 - link eth2 is closed",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
