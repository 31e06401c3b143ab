package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
)

func TestMisuseIsAnError(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"nothing", `unknown command "nothing" (see janos --help)`},
		{"capsul", `unknown command "capsul", did you mean capsule? (see janos --help)`},
		{"lab stat", `unknown command "stat", did you mean status? (see janos lab --help)`},
		{"show --jsn", "unknown flag: --jsn (see janos show --help)"},
		{"show kills --control", "flag needs an argument: --control (see janos show kills --help)"},
		{"capsule new", "accepts 1 arg(s), received 0: janos capsule new NAME [flags] (see janos capsule new --help)"},
	} {
		root := rootCommand()
		root.SetArgs(strings.Fields(c.line))
		root.SetOut(new(bytes.Buffer))
		err := root.Execute()
		if errs.KindOf(err) != errs.Invalid || err.Error() != c.want {
			t.Errorf("janos %s: %v, want %s", c.line, err, c.want)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
		var out bytes.Buffer
		c.SetOut(&out)
		if err := c.Help(); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 150 {
				t.Errorf("%s --help: a line of %d characters: %s", c.CommandPath(), n, line)
			}
		}
	}
	walk(rootCommand())
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"lab"})
	if err := root.Execute(); err != nil || !strings.Contains(out.String(), "Usage:\n  janos lab [command]\n") {
		t.Errorf("janos lab: %v\n%s", err, &out)
	}
}
