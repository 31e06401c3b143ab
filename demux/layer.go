package demux

import "strings"

// Layer is a protocol module of a protocol string.
type Layer uint8

// The layers. None is the bare link: whole frames.
const (
	None  Layer = iota
	Ether       // Ethernet II, up to two VLAN tags
	IPv4        // module ip (RFC 791)
	IPv6        // module ip6 (RFC 8200)
	UDP         // RFC 768
	TCP         // RFC 9293
	ANEP        // active network encapsulation, version 1
	numLayers
)

var layerNames = [numLayers]string{"none", "ether", "ip", "ip6", "udp", "tcp", "anep"}

// String returns the module's name in protocol strings, and "none" for None.
func (l Layer) String() string {
	if l < numLayers {
		return layerNames[l]
	}
	return "unknown"
}

// layerOf finds the module called name.
func layerOf(name string) (Layer, bool) {
	for l := Ether; l < numLayers; l++ {
		if layerNames[l] == name {
			return l, true
		}
	}
	return None, false
}

func knownLayers() string { return strings.Join(layerNames[Ether:], ", ") }

// follows reports whether module l may stand on top of below; None as below is the link itself.
func (l Layer) follows(below Layer) bool {
	switch l {
	case Ether:
		return below == None
	case IPv4, IPv6:
		return below == None || below == Ether || below == IPv4 || below == IPv6
	case UDP:
		return below == None || below == IPv4 || below == IPv6
	case TCP:
		return below == IPv4 || below == IPv6
	case ANEP:
		return below == UDP
	}
	return false
}
