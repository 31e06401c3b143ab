// Package all registers every link driver with nodeos. A program that opens links by a driver's name, or
// lets the node choose, imports it for its effect.
//
// The order in which drivers are tried where none is named is given by their ranks, the fastest first: xdp has 10,
// packet 20, udp 30. mem and pcap are only used when they are named.
package all

import (
	_ "github.com/janos-os/janos/channels/mem"
	_ "github.com/janos-os/janos/channels/packet"
	_ "github.com/janos-os/janos/channels/pcap"
	_ "github.com/janos-os/janos/channels/udp"
	_ "github.com/janos-os/janos/channels/xdp"
)
