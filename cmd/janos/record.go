package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm"
)

func capsuleRecordCommand() *cobra.Command {
	var (
		socket, dir string
		count       int
		wait        time.Duration
	)
	c := &cobra.Command{
		Use: "record [FILE.wasm]", Short: "Fetch recordings of evaluations from a running node", Args: cobra.MaximumNArgs(1),
		Long: `A node records the first faults of each code, with what they depended on. This prints the list, and with --out writes each recording to a file for
"janos capsule debug".

With FILE.wasm, a module that is in use on the node, its next evaluations are recorded too, with what the host answered;
--wait is how long they are waited for. A node keeps at most 16 recordings.`,
		Example: `  janos capsule record --out rec
  janos capsule record examples/capsules/ping/ping.wasm --count 2 --wait 10s --out rec`,
	}
	f := c.Flags()
	f.StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	f.StringVar(&dir, "out", "", "write the recordings to this directory, as 1.json and so on")
	f.IntVar(&count, "count", 1, "with FILE.wasm: how many evaluations")
	f.DurationVar(&wait, "wait", 5*time.Second, "with FILE.wasm: how long to wait for them")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := socketOf(socket)
		if err != nil {
			return err
		}
		client, ctx, out := control.Dial(path), cmd.Context(), cmd.OutOrStdout()
		if count < 1 || count > vm.MaxRecord || wait < 0 {
			return errs.New(errs.Invalid, "--count %d, --wait %s: want 1 to %d, and a time", count, wait, vm.MaxRecord)
		}
		missing := 0
		if len(args) == 1 {
			code, err := os.ReadFile(args[0])
			if err != nil {
				return errs.New(errs.NotFound, "%w", err)
			}
			id := sha256.Sum256(code)
			if err := client.Record(ctx, id, count); err != nil {
				return err
			}
			missing = count
			for end := time.Now().Add(wait); missing > 0 && time.Now().Before(end); {
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
				rs, err := client.Recordings(ctx)
				if err != nil {
					return err
				}
				missing = min(missing, rs.Wanted)
			}
		}
		rs, err := client.Recordings(ctx)
		if err != nil {
			return err
		}
		if dir != "" {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return errs.New(errs.Permission, "--out: %w", err)
			}
		}
		for i, r := range rs.List {
			what := r.Verdict
			if r.Fault != "" {
				what = "killed: " + r.Fault
			}
			fmt.Fprintf(out, "%d. %s, code %x, %s after %d fuel\n", i+1, r.Class, []byte(r.Code[:16]), what, r.Used)
			if dir == "" {
				continue
			}
			text, err := json.MarshalIndent(r, "", "  ")
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i+1)), append(text, '\n'), 0o666)
			}
			if err != nil {
				return errs.New(errs.Permission, "--out: %w", err)
			}
		}
		if missing > 0 {
			return errs.New(errs.Timeout, "%d of %d evaluations were not made within %s", missing, count, wait)
		}
		return nil
	}
	return c
}
