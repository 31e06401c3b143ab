package capsulecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/ckit"
)

func buildCommand() *cobra.Command {
	var debug bool
	c := &cobra.Command{
		Use: "build [FILE.c | DIR]...", Short: "Compile capsules and graph elements from C",
		Long: `Compiles each C file, or all in each directory (the present one if none is named), to a module beside it with the
suffix .wasm, and shows whether nodes accept it. It needs clang with the WebAssembly target and its linker; the
variable JANOS_CLANG chooses one. A line of the source may say how it wants to be built:

  /* janos:build pages=16 stack=8192 */

pages is the most memory in units of 64 KiB (default 1), stack the bytes of C stack (default 4096).

A source that includes janos_element.h is an element for graphs (Wasm, docs/elements-howto.md), any other a capsule.

With --debug the module keeps the names of its functions and the lines of its source, which janos capsule check, debug and profile show. Nodes
take it as well, and leave all that out before an engine sees it; but it is larger to send, and has another fingerprint.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			var sources []string
			for _, a := range args {
				if st, err := os.Stat(a); err != nil {
					return errs.New(errs.NotFound, "%w", err)
				} else if !st.IsDir() {
					if filepath.Ext(a) != ".c" {
						return errs.New(errs.Invalid, "%s: want a file with the suffix .c, or a directory", a)
					}
					sources = append(sources, a)
					continue
				}
				found, err := filepath.Glob(filepath.Join(escape(a), "*.c"))
				if err != nil || len(found) == 0 {
					return errs.New(errs.NotFound, "%s has no C source: janos capsule new NAME makes one", a)
				}
				sources = append(sources, found...)
			}
			comp, err := ckit.FindCompiler(cmd.Context())
			if err != nil {
				return err
			}
			var failed errs.List
			for _, src := range sources {
				failed.Add(build(cmd, comp, src, debug))
			}
			return failed.Err()
		},
	}
	c.Flags().BoolVar(&debug, "debug", false, "keep names of functions and lines of the source")
	return c
}

// escape makes a directory's name match itself in a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// build compiles one file and checks what came of it. The module is written even if nodes would refuse it, so that
// it can be looked at.
func build(cmd *cobra.Command, comp *ckit.Compiler, src string, debug bool) error {
	text, err := os.ReadFile(src)
	if err != nil {
		return errs.New(errs.NotFound, "%w", err)
	}
	opt, err := ckit.FileOptions(src, text)
	if err != nil {
		return err
	}
	opt.Debug = debug
	module, warnings, err := comp.Build(cmd.Context(), src, opt)
	if err != nil {
		return err
	}
	if warnings != "" {
		fmt.Fprint(cmd.ErrOrStderr(), warnings)
	}
	out := strings.TrimSuffix(src, ".c") + ".wasm"
	if err := os.WriteFile(out, module, 0o666); err != nil {
		return errs.New(errs.Permission, "%w", err)
	}
	r := examine(out, module)
	verdict := "accepted"
	if !r.Accepted {
		verdict = "refused: " + r.Refusal.Text
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s -> %s: %d bytes, %s\n", src, out, len(module), verdict)
	if !r.Accepted {
		return errs.New(errs.KindOf(r.err), "%s is refused", out)
	}
	return nil
}
