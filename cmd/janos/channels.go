package main

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/janos-os/janos/control"
)

const channelsHelp = `Prints the channels of all domains: in-channels, out-channels, and cut-through channels, which forward by themselves from one to the other.
The key is over the payload of the protocol. A cut-through channel is done in the kernel where the driver of its in-link can do that,
otherwise in user space, and the last column says why. Slot is the number by which programs in the kernel know an in-channel. Held is how
many packets wait, of the quota.

Drops by cause: full (the queue), limited (the channel's packet rate), rate (its bit rate), poor (the domain's account),
too_big (the MTU of the link that it leaves by), ttl (no hop left), invalid (no address, no room, no IP packet),
gone (the link that it leaves by is closed).`

// printChannels writes a line for each channel. The reason is last, where its length widens no column.
func printChannels(w io.Writer, cs []control.ChannelInfo) {
	fmt.Fprintln(w, "domain\tchannel\tprotocol\taddress\tkey\tslot\tdone by\tpackets\tdropped\theld\twhy")
	for _, c := range cs {
		slot, held := "-", "-"
		if c.Slot != nil {
			slot = fmt.Sprint(*c.Slot)
		}
		if c.Quota > 0 {
			held = fmt.Sprintf("%d/%d", c.Held, c.Quota)
		}
		protocol, address := c.Protocol, orDash(c.Address)
		if c.Out != "" {
			protocol += " to " + c.Out
			address += " to " + orDash(c.OutAddress)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", c.Domain, c.Kind, protocol, address, orDash(c.Key), slot, c.Where, c.Packets, drops(c.Drops), held, c.Why)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// drops writes the causes that there were.
func drops(by map[string]uint64) string {
	var parts []string
	for cause, n := range by {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", cause, n))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}
