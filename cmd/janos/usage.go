package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
)

// strict makes c and all commands below it refuse what they do not understand: with the kind Invalid, and with the way to the right
// help. By itself cobra prints the help of a command that has others below it, and succeeds, whatever the argument.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return misused(c, "%w", err) })
	if c.HasSubCommands() && !c.Runnable() {
		c.SuggestionsMinimumDistance = 2
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			also := ""
			if s := c.SuggestionsFor(args[0]); len(s) > 0 {
				also = ", did you mean " + strings.Join(s, " or ") + "?"
			}
			return misused(c, "unknown command %q%s", args[0], also)
		}
		return
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return misused(c, "%w: %s", err, c.UseLine())
			}
			return nil
		}
	}
}

func misused(c *cobra.Command, format string, args ...any) error {
	return errs.New(errs.Invalid, format+" (see %s --help)", append(args, c.CommandPath())...)
}
