package nodeos

import (
	"slices"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Refusal is a driver of the degradation order that could not open a link, and why.
type Refusal struct {
	Driver string
	Err    error
}

// LinkRefusals returns the drivers that OpenLink tried before the one that a link has, in the order in which it tried them; nil where
// the first did, where LinkSpec named one, and where the link is not open.
func (n *Node) LinkRefusals(name string) []Refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.links[name]; s != nil {
		return slices.Clone(s.refused)
	}
	return nil
}

func (n *Node) noteRefusals(name string, refused []Refusal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.links[name]; s != nil {
		s.refused = refused
	}
}

// refusals joins the texts of errors about a link, each of which names it and its driver. What several say, such as that there is no interface of that name, is there once.
func refusals(link string, rs []Refusal) string {
	var texts []string
	for _, r := range rs {
		if s := strings.TrimPrefix(r.Err.Error(), "link "+link+": "); !slices.Contains(texts, s) {
			texts = append(texts, s)
		}
	}
	return strings.Join(texts, "; ")
}

// refusedKind is the kind that refusals have in common, and errs.NotSupported where there is none. Those of drivers that the link was not meant
// for (errs.Invalid: driver udp has no address) do not count.
func refusedKind(rs []Refusal) errs.Kind {
	kind := errs.OK
	for _, r := range rs {
		switch k := errs.KindOf(r.Err); {
		case k == errs.Invalid || k == kind:
		case kind == errs.OK:
			kind = k
		default:
			return errs.NotSupported
		}
	}
	if kind == errs.OK {
		return errs.NotSupported
	}
	return kind
}
