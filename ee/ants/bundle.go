package ants

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/yamlfile"
)

// LoadProtocol reads a protocol from its description, a YAML file beside which the modules lie:
//
//	name: ping
//	groups:
//	  - name: main
//	    classes:
//	      - {name: ping, code: ping.wasm}
//
// All errors are reported at once, with file, line and column.
func LoadProtocol(file string) (*Protocol, error) {
	dir, base := filepath.Split(file)
	if dir == "" {
		dir = "."
	}
	return LoadProtocolFS(os.DirFS(dir), base)
}

// LoadProtocolFS is LoadProtocol in a file system.
func LoadProtocolFS(fsys fs.FS, file string) (*Protocol, error) {
	text, err := readBounded(fsys, file, yamlfile.MaxSize)
	if err != nil {
		return nil, err
	}
	f := yamlfile.Parse(file, text)
	m := f.Root().Map("protocol")
	p := &Protocol{}
	p.Name, _ = m.Need("name").Text()
	groups := m.Need("groups").List()
	if len(groups) > MaxGroups {
		m.Get("groups").Errorf("%d groups, at most %d", len(groups), MaxGroups)
		groups = groups[:MaxGroups]
	}
	for _, gn := range groups {
		gm := gn.Map("group")
		g := Group{}
		g.Name, _ = gm.Need("name").Text()
		classes := gm.Need("classes").List()
		if len(classes) > MaxClasses {
			gm.Get("classes").Errorf("%d classes, at most %d", len(classes), MaxClasses)
			classes = classes[:MaxClasses]
		}
		for _, cn := range classes {
			cm := cn.Map("class")
			c := Class{}
			c.Name, _ = cm.Need("name").Text()
			node := cm.Need("code")
			if name, ok := node.Text(); ok {
				if !fs.ValidPath(name) {
					node.Errorf("%q is not a path below the directory of %s", name, file)
				} else if c.Code, err = readBounded(fsys, path.Join(path.Dir(file), name), MaxCode); err != nil {
					node.Errorf("%v", err)
				}
			}
			cm.Close()
			g.Classes = append(g.Classes, c)
		}
		gm.Close()
		p.Groups = append(p.Groups, g)
	}
	m.Close()
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// readBounded reads a file of at most max bytes.
func readBounded(fsys fs.FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	if int64(len(b)) > max {
		return nil, errs.New(errs.TooBig, "%s has more than %d bytes, which is the limit", name, max)
	}
	return b, nil
}
