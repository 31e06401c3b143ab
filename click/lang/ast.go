package lang

import "github.com/janos-os/janos/errs"

// File is the tree of one configuration.
type File struct {
	Name  string
	Stmts []Stmt
}

// Stmt is a statement: *Connection, *ClassStmt, *RequireStmt or *DefineStmt.
type Stmt interface{ stmt() }

// Connection is a chain of one or more hops, or a mere declaration (one hop).
type Connection struct {
	Pos  errs.Pos
	Hops []Hop
}

// Hop is a comma-separated list of elements in a chain and the arrow before it. A hop
// without elements, at the start or the end of a chain, stands for input or output;
// its ports are then in Ports.
type Hop struct {
	Arrow    string // "->" or "=>", empty for the first hop
	ArrowPos errs.Pos
	Elements []*Element
	Ports    *Ports // of an implicit input or output
}

// Element is a mention of an element: a reference, a declaration, an anonymous
// element, or a group in parentheses.
type Element struct {
	Pos     errs.Pos
	In, Out *Ports // nil when not given
	Name    string // reference or declared name; for a bare identifier also perhaps a class
	Class   *Class // nil for a bare identifier and for a group
	Config  *Config
	Group   []Stmt
	IsGroup bool
}

// Ports is an explicit list of port numbers; it may be empty.
type Ports struct {
	Pos errs.Pos
	Num []int
}

// Config is a configuration string as written, without the parentheses.
type Config struct {
	Pos  errs.Pos
	Text string
}

// Class names an element class or spells a compound one out.
type Class struct {
	Pos      errs.Pos
	Name     string
	Compound *Compound // nil if named
}

// Compound is the text between braces: overloaded definitions, and whether
// "|| ..." adds those of the class of the same name that was visible before.
type Compound struct {
	Pos    errs.Pos
	Defs   []*Def
	Extend bool
}

// Def is one definition within a Compound.
type Def struct {
	Pos     errs.Pos
	Formals []Formal
	Stmts   []Stmt
}

// Formal is a parameter of a compound element. Key is empty for positional ones.
type Formal struct {
	Pos  errs.Pos
	Key  string
	Name string // without the dollar sign
}

// ClassStmt is an elementclass statement.
type ClassStmt struct {
	Pos   errs.Pos
	Name  string
	Class *Class
}

// RequireStmt is a require or, with Provide, a provide statement.
type RequireStmt struct {
	Pos     errs.Pos
	Provide bool
	Config  *Config
}

// DefineStmt is a define statement.
type DefineStmt struct {
	Pos    errs.Pos
	Config *Config
}

func (*Connection) stmt()  {}
func (*ClassStmt) stmt()   {}
func (*RequireStmt) stmt() {}
func (*DefineStmt) stmt()  {}
