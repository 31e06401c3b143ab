package device_test

import (
	"testing"

	"github.com/janos-os/janos/channels/mem"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/nodeos"
)

// Two segments, each with two ends on the node of the script: gen - left and right - sink.
func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{Prepare: func(n *nodeos.Node) error {
		net := mem.NewNet()
		for _, l := range []struct{ name, segment, mac, addr string }{
			{"gen", "one", "02:00:00:00:00:01", "10.0.0.1/24"}, {"left", "one", "02:00:00:00:00:02", "10.0.0.2/24"},
			{"right", "two", "02:00:00:00:00:03", "10.0.1.3/24"}, {"sink", "two", "02:00:00:00:00:04", "10.0.1.4/24"},
		} {
			link, err := net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l.name, Device: l.segment, Opts: map[string]string{"mac": l.mac, "addr": l.addr}})
			if err != nil {
				return err
			}
			if err := n.AddLink(link, 0); err != nil {
				return err
			}
		}
		return nil
	}})
}
