package control

import (
	"net/http"
	"path/filepath"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
)

// Reload asks a node to take another node file.
type Reload struct {
	File    string        `json:"file"`       // absolute path; empty: the file that it was started with
	Confirm time.Duration `json:"confirm_ns"` // undone unless it is confirmed in this time; 0: it is not to be confirmed
}

// reload reads the file on the node's side, as the node does at its start.
func (s *Server) reload(r *http.Request) (any, error) {
	var in Reload
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.File == "" {
		in.File = s.node.Spec().File()
	}
	if !filepath.IsAbs(in.File) {
		return nil, errs.New(errs.Invalid, "reload: file %.200q: want an absolute path", in.File)
	}
	return struct{}{}, ReloadNode(s.node, in)
}

// ReloadNode has a node of this process take another file, whose path may be relative.
func ReloadNode(n *node.Node, in Reload) error {
	spec, err := node.Load(in.File)
	if err != nil {
		return err
	}
	return n.ReloadFor(spec, in.Confirm)
}
