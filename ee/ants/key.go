package ants

import "github.com/janos-os/janos/demux"

// Key returns the demultiplexing key of ANTS capsules in UDP: the ANEP version and the type id.
func Key() demux.Key {
	return demux.Key{{Offset: 0, Value: []byte{ANEPVersion}}, {Offset: 2, Value: []byte{TypeANTS >> 8, TypeANTS & 0xff}}}
}
