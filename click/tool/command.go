package tool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// Stdio is what a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Version is what commands print for --version.
var Version = "unknown"

// command is a tool as it is run from a shell.
type command struct {
	name    string
	short   string // what it does, a line
	about   string // usage
	options []option
	plain   func(c *call, word string) error // a word that is no option; nil: the configuration's file
	several bool                             // more than one configuration
	run     func(c *call) error
}

type option struct {
	letter byte   // 0: none
	long   string // "=" behind it: it has a value
	help   string
}

// call is one run of a command.
type call struct {
	*command
	io      Stdio
	set     map[string][]string // options by their long name, with their values
	order   []given             // and as they came
	vars    map[string]string
	columns bool          // errors have columns
	members []lang.Member // of the archive that the configuration came in
}

type given struct{ name, value string }

func (c *call) has(name string) bool { return len(c.set[name]) > 0 }

func (c *call) value(name string) string {
	if v := c.set[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

var input = []option{{'f', "file=", "read the configuration from FILE"}, {'e', "expression=", "the configuration is the text EXPR"}}

var common = []option{{'o', "output=", "write to FILE"}, {'C', "clickpath=", "where require(library) looks"},
	{0, "help", "print this"}, {'v', "version", "print the version"}}

var commands = []*command{&flattenCommand, &undeadCommand, &xformCommand, &alignCommand, &fastCommand, &combineCommand, &uncombineCommand, &devirtualizeCommand, &prettyCommand}

// Names returns the names of all tools.
func Names() []string {
	var out []string
	for _, c := range commands {
		out = append(out, c.name)
	}
	sort.Strings(out)
	return out
}

// Lookup returns the full name of a tool that is known under this one, with or without "click-", or "".
func Lookup(name string) string {
	name = "click-" + strings.TrimPrefix(name, "click-")
	for _, c := range commands {
		if c.name == name {
			return name
		}
	}
	return ""
}

// Run runs a tool with the arguments of a command line and returns its exit status: 0, or 1 after a message. The tool "names" prints
// the names of the others.
func Run(name string, args []string, io Stdio) int {
	if name == "names" {
		fmt.Fprintln(io.Out, strings.Join(Names(), "\n"))
		return 0
	}
	full := Lookup(name)
	for _, cmd := range commands {
		if cmd.name != full {
			continue
		}
		c := &call{command: cmd, io: io, set: map[string][]string{}, vars: map[string]string{}}
		if err := c.parse(args); err != nil {
			fmt.Fprintf(io.Err, "%s: %v\nTry '%s --help' for more information.\n", cmd.name, err, cmd.name)
			return 1
		}
		switch {
		case c.has("help"):
			fmt.Fprint(io.Out, c.help())
			return 0
		case c.has("version"):
			fmt.Fprintf(io.Out, "%s (Janos) %s\n", cmd.name, Version)
			return 0
		}
		if err := cmd.run(c); err != nil {
			fmt.Fprintln(io.Err, err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(io.Err, "click: no tool '%s', there are %s\n", name, strings.Join(Names(), ", "))
	return 1
}

func (c *call) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s %s\n\n%s\n\n", c.name, c.about, c.short)
	for _, o := range c.options {
		long, value := strings.CutSuffix(o.long, "=")
		if value {
			long += " VALUE"
		}
		letter := "    "
		if o.letter != 0 {
			letter = "-" + string(o.letter) + ", "
		}
		fmt.Fprintf(&b, "  %s--%-24s %s\n", letter, long, o.help)
	}
	return b.String()
}

// find returns the option of that long name, or the only one that begins so.
func (c *call) find(long string) (option, error) {
	var found []option
	for _, o := range c.options {
		name := strings.TrimSuffix(o.long, "=")
		if name == long {
			return o, nil
		}
		if strings.HasPrefix(name, long) {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		return option{}, errs.New(errs.Invalid, "unrecognized option '--%s'", long)
	}
	return found[0], nil
}

func (c *call) parse(args []string) error {
	give := func(o option, value string) {
		name := strings.TrimSuffix(o.long, "=")
		c.set[name] = append(c.set[name], value)
		c.order = append(c.order, given{name, value})
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		need := func(name string) (string, error) {
			if i++; i >= len(args) {
				return "", errs.New(errs.Invalid, "option '%s' requires an argument", name)
			}
			return args[i], nil
		}
		switch {
		case strings.HasPrefix(a, "--") && len(a) > 2:
			long, value, given := strings.Cut(a[2:], "=")
			o, err := c.find(long)
			if err != nil {
				return err
			}
			wants := strings.HasSuffix(o.long, "=")
			if given && !wants {
				return errs.New(errs.Invalid, "option '--%s' takes no argument", long)
			}
			if wants && !given {
				if value, err = need("--" + long); err != nil {
					return err
				}
			}
			give(o, value)
		case strings.HasPrefix(a, "-") && len(a) > 1:
			for rest := a[1:]; rest != ""; {
				letter := rest[0]
				rest = rest[1:]
				var o option
				for _, x := range c.options {
					if x.letter == letter {
						o = x
					}
				}
				if o.long == "" {
					return errs.New(errs.Invalid, "unrecognized option '-%c'", letter)
				}
				value := ""
				if strings.HasSuffix(o.long, "=") {
					if value, rest = rest, ""; value == "" {
						var err error
						if value, err = need("-" + string(letter)); err != nil {
							return err
						}
					}
				}
				give(o, value)
			}
		default:
			if c.plain != nil {
				if err := c.plain(c, a); err != nil {
					return err
				}
				continue
			}
			if c.variable(a) {
				continue
			}
			give(option{long: "file="}, a)
		}
	}
	if len(c.set["file"])+len(c.set["expression"]) > 1 && !c.several {
		return errs.New(errs.Invalid, "router configuration specified twice")
	}
	return nil
}

// variable takes VAR=VALUE.
func (c *call) variable(word string) bool {
	name, value, ok := strings.Cut(word, "=")
	if !ok || name == "" || strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) >= 0 {
		return false
	}
	c.vars[name] = value
	return true
}

// graph reads and flattens the configuration. Global variables stay.
func (c *call) graph() (*lang.Graph, error) {
	if c.has("expression") {
		return c.flat("config", c.value("expression"), true)
	}
	name, data, err := c.read(c.value("file"))
	if err != nil {
		return nil, err
	}
	if lang.IsArchive(data) {
		if c.members, err = lang.ReadArchive(data); err == nil {
			data, err = lang.Source(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c.flat(name, data, true)
}

func (c *call) flat(name, text string, keep bool) (*lang.Graph, error) {
	path := os.Getenv("CLICKPATH")
	if c.has("clickpath") {
		path = c.value("clickpath")
	}
	return lang.ParseGraph(name, text, lang.Options{IsClass: Known, Vars: c.vars, Library: Library(path), Lines: !c.columns, KeepVars: keep, KeepOrder: true})
}

// read reads a file, standard input for "" and "-".
func (c *call) read(file string) (name, data string, err error) {
	var b []byte
	if file == "" || file == "-" {
		name = "<stdin>"
		b, err = io.ReadAll(c.io.In)
	} else {
		name = file
		b, err = os.ReadFile(file)
	}
	return name, string(b), err
}

// write writes a text where --output says.
func (c *call) write(text string) error {
	if f := c.value("output"); f != "" && f != "-" {
		return os.WriteFile(f, []byte(text), 0o644)
	}
	_, err := io.WriteString(c.io.Out, text)
	return err
}

// writeGraph writes a configuration: as an archive if it came in one with more, or has more now, unless --config asks for it alone.
func (c *call) writeGraph(g *lang.Graph) error {
	text := g.Marked()
	others := false
	out := []lang.Member{{Name: "config", Data: text}}
	for _, m := range c.members {
		if m.Name != "config" {
			out, others = append(out, m), true
		}
	}
	if !others || c.has("config") {
		return c.write(text)
	}
	return c.write(lang.WriteArchive(out))
}

// Library returns a function that finds the file for require(library NAME): in the directories of path and their conf directories,
// then as it is.
func Library(path string) func(name string) (file, text string, err error) {
	return func(name string) (file, text string, err error) {
		var tries []string
		for _, dir := range filepath.SplitList(path) {
			if dir != "" {
				tries = append(tries, filepath.Join(dir, "conf", name), filepath.Join(dir, name))
			}
		}
		for _, f := range append(tries, name) {
			b, rerr := os.ReadFile(f)
			if rerr == nil {
				return f, string(b), nil
			}
			err = rerr
		}
		return "", "", err
	}
}

func options(lists ...[]option) (out []option) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

var undeadCommand = command{
	name: "click-undead", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Removes from a configuration what no packet uses.",
	options: options(input, []option{{'c', "config", "the configuration only, without what else the archive has"},
		{'k', "kernel", "accepted; there is one driver"}, {'u', "user", "accepted"}, {'V', "verbose", "say what is removed"}}, common),
	run: func(c *call) error {
		g, err := c.graph()
		if err != nil {
			return err
		}
		o := UndeadOptions{}
		if c.has("verbose") {
			o.Say = func(pos errs.Pos, text string) { fmt.Fprintf(c.io.Err, "%v: %s\n", pos, text) }
		}
		c.warn(g)
		if err := Undead(g, o); err != nil {
			fmt.Fprintln(c.io.Err, err)
		}
		if len(g.Elements) == 0 {
			fmt.Fprintln(c.io.Err, "warning: no live elements in configuration")
		}
		return c.writeGraph(g)
	},
}

// note prints a line for the user.
func (c *call) note(line string) { fmt.Fprintln(c.io.Err, line) }

// warn tells about classes that nothing is known of.
func (c *call) warn(g *lang.Graph) {
	said := map[string]bool{}
	for i := range g.Elements {
		n := &g.Elements[i]
		if !Known(n.Class) && !said[n.Class] {
			said[n.Class] = true
			fmt.Fprintf(c.io.Err, "%v: warning: unknown element class '%s'\n", n.Pos, n.Class)
		}
	}
}
