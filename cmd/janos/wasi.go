package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/wasi"
)

func wasiCommand() *cobra.Command {
	c := &cobra.Command{Use: "wasi", Short: "Run an ordinary WASI program in an isolate, without a node"}
	c.AddCommand(wasiRunCommand())
	return c
}

// exitCode is the error of a program that ended with a code of its own, which is the command's.
type exitCode int32

// Error implements error.
func (e exitCode) Error() string { return fmt.Sprintf("ended with code %d", int32(e)) }

// maxStdin bounds what a program is given on its standard input.
const maxStdin = 64 << 20

func wasiRunCommand() *cobra.Command {
	var (
		root, stdin              string
		env                      []string
		memory, fuel, quota, out int64
		open, names              int
		limit                    time.Duration
	)
	c := &cobra.Command{
		Use: "run FILE [flags] [-- ARGS...]", Short: "Run a WASI preview 1 program, unmodified", Args: cobra.MinimumNArgs(1),
		Long: `Runs a program that was compiled for WASI preview 1, for example by clang --target=wasm32-wasi, in an isolate: it has the directory
of --root as /, what --env and --stdin give, and nothing else of this machine. It may not open sockets, and leaves --root neither by .. nor by a
symbolic link. The command ends with the program's exit code.`,
		Example: "  janos wasi run words.wasm --root . -- README.md",
	}
	f := c.Flags()
	f.StringVar(&root, "root", "", "directory that the program sees as / (default none)")
	f.StringVar(&stdin, "stdin", "", "file that is its standard input; -: that of this command (default none)")
	f.StringArrayVar(&env, "env", nil, "NAME=VALUE of its environment; may be repeated")
	f.Int64Var(&memory, "memory", 64<<20, "most bytes of everything that it holds, its code included")
	f.Int64Var(&fuel, "fuel", 0, "most units of fuel in its life (default any number)")
	f.DurationVar(&limit, "time", 0, "most processor time in its life (default any)")
	f.Int64Var(&quota, "quota", 64<<20, "most bytes that it may write to files; 0: none")
	f.Int64Var(&out, "max-output", 64<<20, "most bytes that it may print; what is more is dropped")
	f.IntVar(&open, "max-open", wasi.DefaultFDs, "most files open at a time")
	f.IntVar(&names, "max-names", wasi.DefaultNew, "most files and directories that it may make")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		code, err := readProgram(args[0])
		if err != nil {
			return err
		}
		spec := wasi.Spec{
			Name: "program", Code: code, Args: append([]string{filepath.Base(args[0])}, args[1:]...), Env: env, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
			MaxOut: out, MaxOpen: open, MaxNew: names, Fuel: uint64(max(fuel, 0)), Time: limit,
		}
		switch stdin {
		case "":
		case "-":
			spec.Stdin, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxStdin))
		default:
			var in *os.File
			if in, err = os.Open(stdin); err == nil {
				spec.Stdin, err = io.ReadAll(io.LimitReader(in, maxStdin))
				in.Close()
			}
		}
		if err != nil {
			return errs.New(errs.NotFound, "--stdin: %w", err)
		}
		clk := clock.NewReal()
		e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
		if err != nil {
			return err
		}
		defer e.Close()
		r, err := wasi.New(e, gate.Limits{})
		if err != nil {
			return err
		}
		n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "wasi", Clock: clk, Packets: packet.PoolSpec{Frames: 16}})
		if err != nil {
			return err
		}
		defer n.Close()
		ds := nodeos.DomainSpec{Account: resctl.Spec{Name: "program", Limit: resctl.Amounts{resctl.Memory: memory}}}
		if root != "" {
			if quota == 0 {
				quota = resctl.Nothing
			}
			ds.Files = nodeos.FilesSpec{Dir: root, MaxBytes: quota, MaxOpen: open}
		}
		d, err := n.Root().NewDomain(ds)
		if err != nil {
			return err
		}
		p, err := r.Start(d, spec)
		if err != nil {
			return err
		}
		err = told(cmd.Context(), args[0], p.Isolate(), p.Done())
		if _, dropped := p.Output(); dropped > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "janos: %d bytes of output were dropped (--max-output)\n", dropped)
		}
		if st := p.Status(); err != nil && st.Err == nil && cmd.Context().Err() == nil {
			return exitCode(st.Code)
		}
		return err
	}
	return c
}
