package host

// Spec says what to follow. The zero value is right for a router without VRFs.
type Spec struct {
	Table  uint32 // the kernel's table, such as that of a VRF; 0: local and main
	Buffer int    // bytes of announcements that may wait; 0: 64 MiB, which without CAP_NET_ADMIN is cut to the system's limit
}
