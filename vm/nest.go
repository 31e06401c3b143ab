package vm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// MaxNesting is how deep isolates may be nested.
const MaxNesting = 16

// ChildSpec says what a child should be. The zero value, with a name, is a child that may use whatever its parent may.
type ChildSpec struct {
	Name    string // unique among the parent's children; no '/'
	Memory  int64  // most bytes; 0: what the account allows
	Handles int    // most handles; 0: DefaultHandles
	Data    any    // for the caller's host functions; nil: the parent's
	// Limit, Share, Reserve and Window are those of the child's account, which is below the parent's: what it uses, the parent uses.
	Limit, Reserve resctl.Amounts
	Share          resctl.Share
	Window         time.Duration
	// Account is used instead of one made from these: the parent's own, or one below it that the caller made and will close. Nil: one is made.
	Account *resctl.Account
	// Imports are the host functions that the child's code may import; nil: those of the parent. Others are refused when it is instantiated.
	Imports []Binding
}

// Binding says what an import of a child is. Names are "module.name", as the class has them.
type Binding struct {
	Import string   // as the child's code has it
	As     string   // which of the parent's functions it is, of the same type; "": the one of that name
	By     *Service // is asked first; nil: nobody
}

// A service that is asked about an import gets its arguments in the window, 4 bytes each. It answers forward, with the result in the first 4 bytes, and
// the function is not called; punt, and it is called, with the arguments as they are in the window then; or drop, and it is refused with
// errs.Permission. The caller waits and pays.

// bound is an import of an instance that is not what its class says.
type bound struct {
	as *HostFunc
	by []*Service // outermost last: asked first
}

// NewChild makes an isolate inside i: it has an account below that of i, and ends with i, before it. Whoever made it ends it as any other; i cannot end as
// long as it lives.
func (i *Isolate) NewChild(spec ChildSpec) (*Isolate, error) {
	if i.depth >= MaxNesting {
		return nil, errs.New(errs.Limit, "vm: isolate %s: isolates are nested %d deep, as deep as they may", i.spec.Name, i.depth)
	}
	if err := i.enter(false); err != nil { // the child is inside
		return nil, err
	}
	c, err := i.newChild(spec)
	if err != nil {
		i.leave()
	}
	return c, err
}

func (i *Isolate) newChild(spec ChildSpec) (*Isolate, error) {
	s := IsolateSpec{Name: i.spec.Name + "/" + spec.Name, Memory: spec.Memory, Handles: spec.Handles, Data: spec.Data, Fresh: i.spec.Fresh}
	if s.Data == nil {
		s.Data = i.spec.Data
	}
	made := spec.Account == nil
	if !made {
		if s.Account = spec.Account; !pays(i.spec.Account, s.Account) {
			return nil, errs.New(errs.Permission, "vm: isolate %s: account %s of a child is not below its own", s.Name, s.Account.Path())
		}
	} else if a := i.spec.Account; a != nil {
		var err error
		s.Account, err = a.NewChild(resctl.Spec{Name: spec.Name, Share: spec.Share, Limit: spec.Limit, Reserve: spec.Reserve, Window: spec.Window})
		if err != nil {
			return nil, err
		}
	}
	c, err := i.e.NewIsolate(s)
	if err == nil {
		c.parent, c.depth = i, i.depth+1
		c.imports = i.imports
		if spec.Imports != nil {
			c.imports, err = i.bind(spec.Imports)
		}
		if err != nil {
			c.parent = nil
			c.Kill(err)
		}
	}
	if err != nil {
		if made && s.Account != nil {
			s.Account.Close()
		}
		return nil, err
	}
	if made {
		c.ownAccount = s.Account
	}
	i.mu.Lock()
	if i.children == nil {
		i.children = make(map[*Isolate]bool)
	}
	i.children[c] = true
	i.mu.Unlock()
	if f := i.flags.Load(); f&(flagExit|flagHalt) != 0 { // meanwhile
		c.Kill(errs.Dead)
	}
	return c, nil
}

// pays reports whether above is a or an account above it.
func pays(above, a *resctl.Account) bool {
	for ; a != nil; a = a.Parent() {
		if a == above {
			return true
		}
	}
	return false
}

// Parent returns the isolate that i is a child of, or nil.
func (i *Isolate) Parent() *Isolate { return i.parent }

// Children returns the children that have not terminated.
func (i *Isolate) Children() []*Isolate {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []*Isolate
	for c := range i.children {
		all = append(all, c)
	}
	return all
}

// endChildren kills all children, since their parent ends.
func (i *Isolate) endChildren() {
	for _, c := range i.Children() {
		c.die(flagHalt, ByKill, 0, errs.New(errs.Dead, "vm: isolate %s ends", i.spec.Name))
	}
}

// bind resolves the bindings of a child of i.
func (i *Isolate) bind(list []Binding) (map[string]bindings, error) {
	m := make(map[string]bindings, len(list))
	for _, b := range list {
		if b.As == "" {
			b.As = b.Import
		}
		chain := bindings{as: b.As}
		if i.imports != nil {
			up, ok := i.imports[b.As]
			if !ok {
				return nil, errs.New(errs.Permission, "vm: isolate %s: it cannot grant %s, which it does not have", i.spec.Name, b.As)
			}
			chain = bindings{as: up.as, by: slices.Clone(up.by)}
		}
		if b.By != nil {
			chain.by = append(chain.by, b.By)
		}
		if _, ok := m[b.Import]; ok {
			return nil, errs.New(errs.Invalid, "vm: isolate %s: import %s is bound twice", i.spec.Name, b.Import)
		}
		m[b.Import] = chain
	}
	return m, nil
}

// bindings is what an import stands for, and who is asked.
type bindings struct {
	as string
	by []*Service
}

// resolve finds out what the imports of code are in isolate i.
func (i *Isolate) resolve(code *Code) ([]bound, error) {
	if i.imports == nil {
		return nil, nil
	}
	class := code.Class()
	all := make([]bound, len(class.all))
	for _, name := range code.entry.mod.Imports {
		b, ok := i.imports[name]
		if !ok {
			return nil, errs.New(errs.Permission, "vm: isolate %s: the code imports %s, which it was not granted", i.spec.Name, name)
		}
		f, as := class.byName(name), class.byName(b.as)
		if as == nil || as.Params != f.Params || as.Wide != f.Wide || as.Result != f.Result {
			return nil, errs.New(errs.Invalid, "vm: isolate %s: import %s cannot be %s, which is not there or of another type", i.spec.Name, name, b.as)
		}
		if len(b.by) > 0 && (!f.Result || f.Wide != 0) {
			return nil, errs.New(errs.Invalid, "vm: isolate %s: nobody can be asked about %s, which has no result, or a parameter of 64 bits", i.spec.Name, name)
		}
		all[f.index] = bound{as: as, by: b.by}
	}
	return all, nil
}

func (c *Class) byName(name string) *HostFunc {
	for k := range c.all {
		if c.all[k].Module+"."+c.all[k].Name == name {
			return &c.all[k]
		}
	}
	return nil
}

// call calls what the import stands for in this instance.
func (b *bound) call(in *Instance, stack []uint64) {
	for k := len(b.by) - 1; k >= 0; k-- {
		answered, err := in.ask(b.by[k], b.as, stack)
		if err != nil {
			stack[0] = refusal(err)
			return
		}
		if answered {
			return
		}
	}
	b.as.Call(in, stack)
}

// ask lets a service decide about a call.
func (in *Instance) ask(s *Service, f *HostFunc, stack []uint64) (answered bool, err error) {
	var args [4 * 16]byte
	n := 4 * f.Params
	for k := range f.Params {
		binary.LittleEndian.PutUint32(args[4*k:], uint32(stack[k]))
	}
	var c Call
	v, leave, err := in.visit(s, &c, args[:n], 0)
	if err != nil {
		return true, err
	}
	defer leave()
	switch v {
	case abi.Forward:
		stack[0] = 0
		if len(c.Payload) >= 4 {
			stack[0] = uint64(binary.LittleEndian.Uint32(c.Payload))
		}
		return true, nil
	case abi.Punt:
		for k := range min(f.Params, len(c.Payload)/4) {
			stack[k] = uint64(binary.LittleEndian.Uint32(c.Payload[4*k:]))
		}
		return false, nil
	}
	return true, errs.New(errs.Permission, "vm: the service refuses")
}

// visit evaluates a service for a guest, waiting if the guest may wait. The results are valid until leave is called, which is after there was no error.
func (in *Instance) visit(s *Service, c *Call, window []byte, budget uint64) (v abi.Verdict, leave func(), err error) {
	var w *waiter
	if in.proc != nil {
		w = &in.proc.waiter
	}
	inside, err := s.acquire(w)
	if err != nil {
		return abi.Error, nil, err
	}
	if !inside {
		if in.proc.park(&w.done); !w.done.Load() && s.cancel(w) {
			return abi.Error, nil, errs.New(errs.Dead, "vm: the isolate ends")
		}
	}
	var by payer
	if a := in.iso.spec.Account; a != nil {
		by = a
	}
	*c = Call{Window: window, Budget: budget}
	c.In.Length = uint32(len(window))
	if v, err = s.evaluate(by, c); err != nil {
		s.release()
		return abi.Error, nil, err
	}
	return v, s.release, nil
}

// refusal is an error as guests see it: minus its kind.
func refusal(err error) uint64 { return uint64(uint32(-int32(errs.KindOf(err)))) }

// String describes the binding for logs.
func (b Binding) String() string {
	s := b.Import
	if b.As != "" && b.As != b.Import {
		s += " = " + b.As
	}
	if b.By != nil {
		s += fmt.Sprintf(" by %s", b.By.iso.spec.Name)
	}
	return s
}
