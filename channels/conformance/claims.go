package conformance

import (
	"testing"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
)

// Claims returns what a node would ask of a link that Ethernet frames arrive on if these were its channels' rules.
func Claims(t testing.TB, link string, rules ...demux.Rule) nodeos.Claims {
	t.Helper()
	p, err := demux.Compile(demux.Ether, link, rules)
	if err != nil {
		t.Fatal(err)
	}
	return nodeos.Claims{Program: p}
}
