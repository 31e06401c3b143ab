package ants

import (
	"fmt"
	"regexp"

	"github.com/janos-os/janos/errs"
)

// Protocol is a set of capsule classes that share state and are protected from all others: the unit that is registered. It
// is inert; EE.Register makes it live.
type Protocol struct {
	Name   string
	Groups []Group
}

// Group is a set of classes that are loaded together.
type Group struct {
	Name    string
	Classes []Class
}

// Class is a capsule class: a WebAssembly module. Its name is the one in the module's manifest (package sdk/abi). The
// number of a class, by which the group's other classes emit it, is its place in the alphabetical
// order of the group's class names, because that order is covered by the fingerprints.
type Class struct {
	Name string
	Code []byte
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// Check reports everything that is wrong with names, counts and sizes. It does not look into the code.
func (p *Protocol) Check() error {
	var l errs.List
	bad := func(format string, args ...any) { l.Add(errs.New(errs.Invalid, format, args...)) }
	name := func(what, s string) {
		if !goodName.MatchString(s) {
			bad("%s %.40q: want 1 to %d letters, digits, dots, dashes or underscores", what, s, MaxNameLen)
		}
	}
	name("protocol name", p.Name)
	if n := len(p.Groups); n < 1 || n > MaxGroups {
		bad("protocol %s: %d groups, want 1 to %d", p.Name, n, MaxGroups)
		return l.Err()
	}
	groups := make(map[string]bool)
	for _, g := range p.Groups {
		name(fmt.Sprintf("protocol %s: group name", p.Name), g.Name)
		if groups[g.Name] {
			bad("protocol %s: group %s is there twice", p.Name, g.Name)
		}
		groups[g.Name] = true
		if n := len(g.Classes); n < 1 || n > MaxClasses {
			bad("protocol %s: group %s: %d classes, want 1 to %d", p.Name, g.Name, n, MaxClasses)
			continue
		}
		classes := make(map[string]bool)
		codes := make(map[CodeID]string)
		for _, c := range g.Classes {
			name(fmt.Sprintf("protocol %s: group %s: class name", p.Name, g.Name), c.Name)
			if classes[c.Name] {
				bad("protocol %s: group %s: class %s is there twice", p.Name, g.Name, c.Name)
			}
			classes[c.Name] = true
			if n := len(c.Code); n < 1 || n > MaxCode {
				bad("protocol %s: class %s: %d bytes of code, want 1 to %d", p.Name, c.Name, n, MaxCode)
				continue
			}
			id := CodeIDOf(c.Code)
			if o, dup := codes[id]; dup {
				bad("protocol %s: group %s: classes %s and %s have the same code", p.Name, g.Name, o, c.Name)
			}
			codes[id] = c.Name
		}
	}
	ids := make(map[GroupID]string)
	for _, g := range p.Groups {
		id := g.ID()
		if o, dup := ids[id]; dup {
			bad("protocol %s: groups %s and %s have the same code", p.Name, o, g.Name)
		}
		ids[id] = g.Name
	}
	return l.Err()
}

// ID returns the group's fingerprint.
func (g *Group) ID() GroupID {
	codes := make([]CodeID, len(g.Classes))
	for i := range g.Classes {
		codes[i] = CodeIDOf(g.Classes[i].Code)
	}
	return GroupIDOf(codes)
}

// ID returns the protocol's fingerprint.
func (p *Protocol) ID() ProtocolID {
	ids := make([]GroupID, len(p.Groups))
	for i := range p.Groups {
		ids[i] = p.Groups[i].ID()
	}
	return ProtocolIDOf(ids)
}

// Method returns the method id of a class. The name is that of the class or, where two groups have
// a class of that name, group/class. errs.NotFound if there is no such class, errs.Invalid if the name is ambiguous.
func (p *Protocol) Method(class string) (id MethodID, err error) {
	pid := p.ID()
	found := 0
	for i := range p.Groups {
		g := &p.Groups[i]
		for _, c := range g.Classes {
			if c.Name == class || g.Name+"/"+c.Name == class {
				id = MethodIDOf(CodeIDOf(c.Code), g.ID(), pid)
				found++
			}
		}
	}
	switch found {
	case 0:
		return id, errs.New(errs.NotFound, "protocol %s has no class %q", p.Name, class)
	case 1:
		return id, nil
	}
	return MethodID{}, errs.New(errs.Invalid, "protocol %s: several groups have a class %q: say group/class", p.Name, class)
}
