package node

import (
	"io"

	"github.com/janos-os/janos/ee/ants/routing/kroute"
)

// kernelRoutes keeps the computed routes in the host's main table until it is closed.
func (n *Node) kernelRoutes() (io.Closer, error) {
	device := make(map[string]string)
	for _, l := range n.spec.Links {
		device[l.Name] = l.device()
	}
	s, err := kroute.Open(n.router, kroute.Spec{
		Device: func(link string) string { return device[link] },
		OnNews: func(version uint64, err error) {
			if err != nil {
				n.env.Log.Error("routes of the host", "version", version, "error", err)
			}
		},
	})
	if err != nil {
		return nil, err // and no *Sink, which would be a Closer
	}
	return s, nil
}
