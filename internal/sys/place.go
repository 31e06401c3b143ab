package sys

// Place is where a packet lies in a region that the kernel shares: the entry of a ring of AF_XDP (struct xdp_desc of linux/if_xdp.h).
type Place struct {
	Addr    uint64 // offset in the region
	Len     uint32
	Options uint32
}
