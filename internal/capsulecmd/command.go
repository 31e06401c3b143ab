package capsulecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm/wasi"
)

// New returns the command "capsule" with what this package has below it. The caller may add more.
func New() *cobra.Command {
	c := &cobra.Command{
		Use:   "capsule",
		Short: "Write capsules, build them, and try them without a network",
		Long: `A capsule is a packet with the name of the code that forwards it. The code of one capsule class is one WebAssembly
module, written in C or anything else that compiles to it; one or more classes are a protocol, which a file
protocol.yaml describes.

  janos capsule new hello       makes a directory with a capsule that works
  janos capsule build hello     builds it and shows what nodes would say to it
  janos capsule run hello       evaluates it on a small network in this process
  janos capsule debug hello     replays an evaluation of it step by step
  janos capsule profile hello   shows where it spends fuel and time`,
	}
	c.AddCommand(newCommand(), buildCommand(), checkCommand(), runCommand(), debugCommand(), profileCommand())
	return c
}

// class is a capsule class that was read from a file.
type class struct {
	name  string // from the protocol's description, or the file's name
	group string
	file  string
	code  []byte
}

// protocol is classes that share state. They are in the order of their names; emits name them so, within a group.
type protocol struct {
	name    string
	classes []class
	ants    *ants.Protocol // nil for a lone module
}

// load reads a module, a protocol description, or a directory with a protocol.yaml.
func load(path string) (*protocol, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	if dir := path; st.IsDir() {
		path = filepath.Join(dir, "protocol.yaml")
		if _, err := os.Stat(path); err != nil {
			return nil, errs.New(errs.NotFound, "%s has no protocol.yaml; name a description or modules (FILE.wasm) in it", dir)
		}
	}
	base := filepath.Base(path)
	if ext := filepath.Ext(base); ext == ".yaml" || ext == ".yml" {
		p, err := ants.LoadProtocol(path)
		if err != nil {
			return nil, fmt.Errorf("%w\n(modules are built with: janos capsule build %s)", err, filepath.Dir(path))
		}
		out := &protocol{name: p.Name, ants: p}
		for _, g := range p.Groups {
			for _, c := range g.Classes {
				out.classes = append(out.classes, class{name: c.Name, group: g.Name, file: path, code: c.Code})
			}
		}
		sortClasses(out.classes)
		return out, nil
	}
	if st, err = os.Stat(path); err == nil && st.Size() > int64(wasi.Limits().Module) {
		return nil, tooBig(path, st.Size(), int(wasi.Limits().Module))
	}
	code, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	if n := most(code); len(code) > n {
		return nil, tooBig(path, int64(len(code)), n)
	}
	name := strings.TrimSuffix(base, filepath.Ext(base))
	return &protocol{name: name, classes: []class{{name: name, file: path, code: code}}}, nil
}
