package packet

// KindOf returns how an Ethernet frame to dst is addressed for the interface with the address own.
func KindOf(dst, own [6]byte) LinkKind {
	switch {
	case dst == own:
		return ToHost
	case dst == [6]byte{255, 255, 255, 255, 255, 255}:
		return ToBroadcast
	case dst[0]&1 != 0:
		return ToMulticast
	}
	return ToOther
}
