package ip

import "net/netip"

// Knows reports whether there is a route to an IPv4 address. On the worker.
func (e *Lookup) Knows(a netip.Addr) bool { return a.Is4() && e.table.lookup(a.As4()).Port != noRoute }
