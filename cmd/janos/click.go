package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/click/tool"
	"github.com/janos-os/janos/errs"
)

// clickCommand runs Click's tools.
func clickCommand() *cobra.Command {
	return &cobra.Command{
		Use: "click TOOL [ARGUMENT]...", Short: "Click's tools: change and show configurations of element graphs", DisableFlagParsing: true,
		Long: `Runs one of Click's tools on a configuration, as bin/click-TOOL does: "janos click undead FILE" is "click-undead FILE".
"janos click names" lists them, "janos click TOOL --help" has a tool's options; docs/click-tools.md says what they do.`,
		Example: "  janos click flatten router.click\n  janos click pretty --svg router.click > router.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			if args[0] != "names" && tool.Lookup(args[0]) == "" {
				return misused(cmd, "no tool '%s'", args[0])
			}
			tool.Version = versionText()
			if tool.Run(args[0], args[1:], tool.Stdio{In: os.Stdin, Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}) != 0 {
				return errs.New(errs.Invalid, "%s failed", tool.Lookup(args[0]))
			}
			return nil
		},
	}
}
