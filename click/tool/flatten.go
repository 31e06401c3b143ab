package tool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/janos-os/janos/click/lang"
)

var flattenCommand = command{
	name: "click-flatten", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Expands the compound elements of a configuration.",
	options: options(input, []option{{'c', "classes", "print the names of the classes instead"}, {'n', "names", "print the names of the elements instead"},
		{0, "elements", "the same"}, {'d', "declarations", "print the declarations instead"},
		{0, "config", "the configuration only, without what else the archive has"}, {0, "expand-vars", "expand global variables too"}}, common),
	run: func(c *call) error {
		g, err := c.graph()
		if err != nil {
			return err
		}
		if c.has("expand-vars") {
			ExpandVars(g)
		}
		var lines []string
		listed := true
		switch {
		case c.has("classes"):
			for i := range g.Elements {
				lines = append(lines, g.Elements[i].Class)
			}
		case c.has("names") || c.has("elements"):
			for i := range g.Elements {
				lines = append(lines, g.Elements[i].Name)
			}
		case c.has("declarations"):
			for i := range g.Elements {
				lines = append(lines, g.Elements[i].Name+" :: "+g.Elements[i].Class)
			}
		default:
			listed = false
		}
		if !listed {
			return c.writeGraph(g)
		}
		slices.Sort(lines)
		return c.write(fmt.Sprintln(strings.Join(slices.Compact(lines), "\n")))
	},
}

// ExpandVars replaces the references to global variables by their values.
func ExpandVars(g *lang.Graph) {
	if len(g.Defines) == 0 {
		return
	}
	for i := range g.Elements {
		n := &g.Elements[i]
		n.Text = g.Expand(n.Config())
		n.Args = lang.SplitArgs(n.Text)
	}
	g.Defines = nil
}
