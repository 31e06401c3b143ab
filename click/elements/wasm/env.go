package wasm

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

// Key is the name of the *Env in click.Env.Values.
const Key = "wasm"

// Env is what the elements are given from outside. It must not be copied.
type Env struct {
	Engine *vm.Engine                        // outlives the router; nil: one of the elements' own
	Read   func(name string) ([]byte, error) // finds modules; nil: the host's files, for graphs that may use them

	mu    sync.Mutex
	given *machine
}

// maxModule bounds what is read of a file: the gate's limit for elements.
var maxModule = int64(gate.HandlerLimits().Module)

// ReadFile reads a module from a regular file, at most as much as the gate takes.
func ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errs.New(errs.Invalid, "%s is not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, errs.New(errs.Internal, "%w", err)
	}
	if int64(len(b)) > maxModule {
		return nil, errs.New(errs.TooBig, "%s has more than %d bytes", name, maxModule)
	}
	return b, nil
}

// machine is an engine with the class of elements.
type machine struct {
	engine *vm.Engine
	class  *vm.Class
	node   *nodeos.Node // whose the engine is, or nil
	users  int
}

// own are the machines of nodes whose elements were given no engine.
var own = struct {
	sync.Mutex
	of map[*nodeos.Node]*machine
}{of: map[*nodeos.Node]*machine{}}

// use finds or makes a machine. It is given back by release.
func use(r *click.Router, e *Env) (*machine, error) {
	if e != nil && e.Engine != nil {
		return e.machine()
	}
	own.Lock()
	defer own.Unlock()
	node := r.Domain().Node()
	m := own.of[node]
	if m == nil {
		engine, err := vm.NewEngine(vm.EngineSpec{Clock: node.Clock()})
		if err != nil {
			return nil, err
		}
		if m, err = newMachine(engine); err != nil {
			return nil, errors.Join(err, engine.Close())
		}
		m.node = node
		own.of[node] = m
	}
	m.users++
	return m, nil
}

func newMachine(engine *vm.Engine) (*machine, error) {
	class, err := engine.NewClass(vm.ClassSpec{Name: "element", Element: true})
	return &machine{engine: engine, class: class}, err
}

// machine returns that of the engine which e gives.
func (e *Env) machine() (*machine, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.given == nil {
		m, err := newMachine(e.Engine)
		if err != nil {
			return nil, err
		}
		e.given = m
	}
	return e.given, nil
}

func (m *machine) release() error {
	if m.node == nil {
		return nil
	}
	own.Lock()
	m.users--
	last := m.users == 0
	if last {
		delete(own.of, m.node)
	}
	own.Unlock()
	if last {
		return m.engine.Close()
	}
	return nil
}
