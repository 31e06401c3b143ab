package click

import (
	"fmt"
	"sort"
	"strings"
)

// Manual returns a class's manual page in Markdown.
func (c *Class) Manual() string {
	var b strings.Builder
	d := &c.Doc
	fmt.Fprintf(&b, "### %s\n\n%s.\n\n", c.Name, upper(d.Title))
	if sig := c.Signature(); sig != "" {
		fmt.Fprintf(&b, "`%s`\n\n", sig)
	}
	flow := ""
	if c.Flow != "" {
		flow = ", flow " + c.Flow
	}
	fmt.Fprintf(&b, "Ports %s, processing %s%s.\n\n", c.Ports, c.Processing, flow)
	if d.Text != "" {
		b.WriteString(d.Text + "\n\n")
	}
	list := func(title string, items []string) {
		if len(items) == 0 {
			return
		}
		b.WriteString(title + ":\n\n")
		for _, s := range items {
			name, text, _ := strings.Cut(s, ": ")
			fmt.Fprintf(&b, "- `%s` %s\n", name, text)
		}
		b.WriteString("\n")
	}
	list("Arguments", d.Args)
	list("Handlers", d.Handlers)
	if d.Example != "" {
		fmt.Fprintf(&b, "Example: `%s`\n\n", d.Example)
	}
	if len(d.See) > 0 {
		b.WriteString("See also: " + strings.Join(d.See, ", ") + ".\n\n")
	}
	return b.String()
}

// Signature shows a class with the names of its arguments, the optional ones by position not told apart.
func (c *Class) Signature() string {
	var names []string
	for _, a := range c.Doc.Args {
		name, _, _ := strings.Cut(a, ": ")
		names = append(names, strings.Trim(strings.Replace(name, ">...", "...", 1), "<"))
	}
	if len(names) == 0 {
		return c.Name
	}
	return c.Name + "(" + strings.Join(names, ", ") + ")"
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// Reference returns the manual pages of all registered classes but those of group "test", by group and name.
func Reference() string {
	groups := map[string][]*Class{}
	for _, c := range Classes() {
		if c.Doc.Group != "test" {
			groups[c.Doc.Group] = append(groups[c.Doc.Group], c)
		}
	}
	names := make([]string, 0, len(groups))
	for g := range groups {
		names = append(names, g)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("# Elements\n\n<!-- Generated from the classes' headers by go generate ./click/elements. Do not edit. -->\n\n")
	b.WriteString("Every element also has the handlers class, name, config, ports, handlers and drops; elements with a task have scheduled, tickets, home_thread and runs.\n\n")
	for _, g := range names {
		var list []string
		for _, c := range groups[g] {
			list = append(list, fmt.Sprintf("[%s](#%s)", c.Name, strings.ToLower(c.Name)))
		}
		fmt.Fprintf(&b, "- %s: %s\n", g, strings.Join(list, ", "))
	}
	b.WriteString("\n")
	for _, g := range names {
		fmt.Fprintf(&b, "## %s\n\n", g)
		for _, c := range groups[g] {
			b.WriteString(c.Manual())
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
