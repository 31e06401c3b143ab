package click

import (
	"sort"
	"strings"
	"sync"

	"github.com/janos-os/janos/click/lang"
)

// Class describes an element class: what the language needs to know, how to make an
// element, and its manual page.
type Class struct {
	Name string
	// Ports is the number of inputs and outputs, such as "1/1", "1/1-2", "0/-", "1-/=". A dash
	// makes a range, without a second number an open one; "=" is as many outputs as inputs.
	Ports string
	// Processing has a letter for each port, inputs before the slash: h pushes, l pulls, a is
	// agnostic, either of the two; the last letter holds for all further ports. Without a slash it
	// holds for both sides.
	Processing string
	// Flow says which inputs packets travel from to which outputs: ports with a letter in common are
	// linked, # links equal port numbers. Empty means "x/x", all to all.
	Flow string
	// Merging says whether runs of tasks whose packets pass such elements may be merged. An element that implements Plain() bool and returns
	// false is Unmerged for the time being; it calls MergingChanged when that changes.
	Merging Merging
	// New makes an element that is then configured.
	New func() Element
	Doc Doc
}

// Doc is the structured header of a class, from which its manual page is generated.
type Doc struct {
	Group    string   // domain, such as ip
	Title    string   // half a line: what it does
	Text     string   // paragraphs separated by empty lines
	Args     []string // each "NAME: text"; a name in capitals is a keyword as well, one in angle brackets is not
	Handlers []string // each "name (r): text", with (w) or (rw)
	Example  string
	See      []string
}

var registry = struct {
	sync.RWMutex
	classes map[string]*Class
}{classes: map[string]*Class{}}

// Register makes a class known. Packages of elements call it from init; registering a name twice, or a
// class whose port codes are malformed, panics, for it is a mistake in the program.
func Register(c Class) {
	if _, err := parsePorts(c.Ports); err != nil {
		panic("click: class " + c.Name + ": " + err.Error())
	}
	if _, err := parseProcessing(c.Processing); err != nil {
		panic("click: class " + c.Name + ": " + err.Error())
	}
	if _, err := parseFlow(c.Flow); err != nil {
		panic("click: class " + c.Name + ": " + err.Error())
	}
	registry.Lock()
	defer registry.Unlock()
	if c.New == nil || registry.classes[c.Name] != nil {
		panic("click: class " + c.Name + " is registered twice or has no New")
	}
	registry.classes[c.Name] = &c
}

// LookupClass returns a registered class, or nil.
func LookupClass(name string) *Class {
	registry.RLock()
	defer registry.RUnlock()
	return registry.classes[name]
}

// Classes returns all registered classes by name.
func Classes() []*Class {
	registry.RLock()
	defer registry.RUnlock()
	out := make([]*Class, 0, len(registry.classes))
	for _, c := range registry.classes {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// nearest returns up to three registered names that look like name.
func nearest(name string) []string {
	type near struct {
		name string
		dist int
	}
	var found []near
	lower := strings.ToLower(name)
	for _, c := range Classes() {
		d := editDistance(lower, strings.ToLower(c.Name), 3)
		if d <= 2 && d < len(name) {
			found = append(found, near{c.Name, d})
		}
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].dist < found[j].dist })
	var out []string
	for i := 0; i < len(found) && i < 3; i++ {
		out = append(out, "'"+found[i].name+"'")
	}
	return out
}

// editDistance is Levenshtein's, or limit if that is reached.
func editDistance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diag, row[j] = row[j], min(row[j]+1, row[j-1]+1, diag+cost)
		}
	}
	return min(row[len(b)], limit)
}

// GraphSpec is a flat, inert configuration.
type GraphSpec = lang.Graph

// ParseOptions are for Parse; the zero value is useful.
type ParseOptions struct {
	Vars    map[string]string                                // override global define()s
	Library func(name string) (file, text string, err error) // for require(library NAME); nil refuses
	Limit   int                                              // elements; 0: lang.DefaultMaxElements
	Lines   bool                                             // places in errors are file and line, without a column, as Click prints them
}

// Parse reads a configuration. The name is for messages. The error has every mistake of the text, with
// file, line and column.
func Parse(name, text string, opt ParseOptions) (*GraphSpec, error) {
	src, err := lang.Source(text)
	if err != nil {
		return nil, err
	}
	g, err := lang.ParseGraph(name, src, lang.Options{
		IsClass: func(n string) bool { return LookupClass(n) != nil },
		Vars:    opt.Vars, Library: opt.Library, MaxElements: opt.Limit, Lines: opt.Lines,
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}
