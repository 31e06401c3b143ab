// Package elements imports all packages of elements of this project that need nothing but a node, so that their classes are registered. (Those of click/elements/wasm need a machine for guest code.)
// A program that runs graphs imports it for that effect, and imports the elements of execution environments beside it. It has
// nothing to call and no state, hence no life to describe and no traps.
package elements

//go:generate go run ../internal/elementdoc ../../docs/elements.md

import (
	_ "github.com/janos-os/janos/click/elements/analysis"
	_ "github.com/janos-os/janos/click/elements/control"
	_ "github.com/janos-os/janos/click/elements/device"
	_ "github.com/janos-os/janos/click/elements/ethernet"
	_ "github.com/janos-os/janos/click/elements/fast"
	_ "github.com/janos-os/janos/click/elements/hostip"
	_ "github.com/janos-os/janos/click/elements/icmp"
	_ "github.com/janos-os/janos/click/elements/info"
	_ "github.com/janos-os/janos/click/elements/ip"
	_ "github.com/janos-os/janos/click/elements/ip6"
	_ "github.com/janos-os/janos/click/elements/link"
	_ "github.com/janos-os/janos/click/elements/rewrite"
	_ "github.com/janos-os/janos/click/elements/socket"
	_ "github.com/janos-os/janos/click/elements/standard"
	_ "github.com/janos-os/janos/click/elements/tcpudp"
	_ "github.com/janos-os/janos/click/elements/test"
	_ "github.com/janos-os/janos/click/elements/threads"
)
