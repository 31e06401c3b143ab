package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/capsulecmd"
)

// capsuleCommand is what internal/capsulecmd offers, and what needs a running node.
func capsuleCommand() *cobra.Command {
	c := capsulecmd.New()
	c.AddCommand(capsuleSendCommand(), capsuleReceiveCommand(), capsuleRecordCommand(), jailCommand())
	return c
}

func capsuleSendCommand() *cobra.Command {
	var (
		socket, file, class, dst, payload, text string
		count, seqAt, port                      int
		ttl, credit                             uint32
		interval, wait                          time.Duration
		probe, asJSON                           bool
	)
	c := &cobra.Command{
		Use: "send PROTOCOL", Short: "Inject capsules at a running node, and see what comes back", Args: cobra.ExactArgs(1),
		Long: `Injects capsules of a protocol at a running node, say a host of a laboratory network. PROTOCOL is the description of a bundle
(protocol.yaml) or the directory it is in, which is registered at the node first, or the name of one that is registered there. A
bundle that was changed and built again is another protocol of the same name; the node keeps both, and the file says which.

With --probe the capsules carry a number at --seq, and those that are delivered at this node again are timed.
With --wait, what they deliver to --port of this node is printed; "janos capsule receive" prints it at another node.

"sent" counts what this node took. What became of it: janos show ants and janos show kills, here and at the next nodes.`,
		Example: `  janos capsule send examples/capsules/ping --to 10.255.0.4 --size 64 --probe --count 10
  janos capsule send examples/capsules/trace --to 10.255.0.4 --size 4 --port 5001 --wait 1s`,
	}
	var size int
	f := c.Flags()
	f.StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	f.StringVar(&class, "class", "", "capsule class (default: the protocol's only one)")
	f.StringVar(&dst, "to", "", "address of the destination node")
	f.StringVar(&payload, "payload", "", "class-specific bytes, hexadecimal")
	f.StringVar(&text, "text", "", "class-specific bytes, as text")
	f.IntVar(&size, "size", 0, "pad the bytes with zeros to this size")
	f.IntVar(&count, "count", 1, "how many")
	f.DurationVar(&interval, "interval", 100*time.Millisecond, "between two")
	f.IntVar(&seqAt, "seq", 0, "offset of a 32-bit sequence number, for --probe")
	f.IntVar(&port, "port", 0, "application port at both ends")
	f.Uint32Var(&ttl, "ttl", 0, "hops (default 64)")
	f.Uint32Var(&credit, "credit", 0, "resource count (default 1024)")
	f.DurationVar(&wait, "wait", 0, "print what is delivered to --port for so long; with --probe: for the last one")
	f.BoolVar(&probe, "probe", false, "number the capsules and time those that come back")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := socketOf(socket)
		if err != nil {
			return err
		}
		client, ctx, out := control.Dial(path), cmd.Context(), cmd.OutOrStdout()
		var methods map[string]ants.MethodID // of the bundle that args[0] is
		r := control.SendRequest{Protocol: args[0], Class: class, Count: count, Interval: interval, TTL: ttl, Credit: credit, SrcPort: uint16(port), DstPort: uint16(port)}
		if port < 0 || port > 65535 {
			return errs.New(errs.Invalid, "--port %d: want 0 to 65535", port)
		}
		if dst == "" {
			return errs.New(errs.Invalid, "--to: say which node the capsules are for")
		}
		if r.Dst, err = ants.ParseNodeAddr(dst); err != nil {
			return errs.New(errs.Invalid, "--to: %w", err)
		}
		if r.Payload, err = bytesOf(payload, text, size); err != nil {
			return err
		}
		if file, err = bundleFile(args[0]); err != nil {
			return err
		}
		if file != "" {
			reg, err := client.Register(ctx, file)
			if err != nil {
				return err
			}
			r.Protocol, methods = reg.Name, reg.Methods
			if class == "" && len(reg.Methods) == 1 {
				for name := range reg.Methods {
					r.Class = name
				}
			}
		}
		if r.Class == "" {
			return errs.New(errs.Invalid, "--class: say which capsule class of %s", r.Protocol)
		}
		if file != "" {
			if r.Method = methods[r.Class]; r.Method == (ants.MethodID{}) {
				return errs.New(errs.NotFound, "--class: protocol %s has no class %q", r.Protocol, r.Class)
			}
		}
		if probe {
			r.SeqAt = seqAt + 1
			res, err := client.Probe(ctx, control.ProbeRequest{SendRequest: r, Wait: wait})
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(out).Encode(res)
			}
			fmt.Fprintf(out, "%d sent, %d came back, %d lost", res.Sent, res.Received, len(res.Lost))
			if res.Received > 0 {
				fmt.Fprintf(out, "; round trip min %s median %s max %s", round(res.Quantile(0)), round(res.Quantile(0.5)), round(res.Quantile(1)))
			}
			fmt.Fprintln(out)
			return nil
		}
		send := func() error {
			sent, err := client.Send(ctx, r)
			if err != nil {
				return err
			}
			if wait == 0 && asJSON {
				return json.NewEncoder(out).Encode(sent)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d sent, %d refused\n", sent.Sent, sent.Refused)
			return nil
		}
		if wait == 0 {
			return send()
		}
		return client.ReceiveFor(ctx, uint16(port), wait, send, func(d control.Delivery) error { return printDelivery(out, &d, asJSON) })
	}
	return c
}

// round makes a time short enough to be read.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// bundleFile returns the absolute path of the description that arg names, a file or a directory with a protocol.yaml. It is empty if
// arg can only be the name of a protocol.
func bundleFile(arg string) (string, error) {
	fi, err := os.Stat(arg)
	if err == nil && fi.IsDir() {
		arg = filepath.Join(arg, "protocol.yaml")
		_, err = os.Stat(arg)
	}
	if err == nil {
		return filepath.Abs(arg)
	}
	if filepath.Ext(arg) == ".yaml" {
		return "", errs.New(errs.NotFound, "protocol: %w", err)
	}
	return "", nil
}

func capsuleReceiveCommand() *cobra.Command {
	var (
		socket      string
		port, count int
		wait        time.Duration
		asJSON      bool
	)
	c := &cobra.Command{
		Use: "receive", Short: "Print what capsules deliver at a running node", Args: cobra.NoArgs,
		Long: `Opens an application port at a running node and prints what capsules deliver to it. Nodes drop capsules for ports that nobody has
opened (show ants counts them as no_app). It ends after --count deliveries; with --wait it fails if there are fewer by then.`,
		Example: `  janos capsule receive --port 5001
  janos lab exec bob janos capsule receive --port 5001 --count 1 --wait 10s`,
	}
	f := c.Flags()
	f.StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	f.IntVar(&port, "port", 0, "application port")
	f.IntVar(&count, "count", 0, "end after so many (default: go on until interrupted)")
	f.DurationVar(&wait, "wait", 0, "end after so long (default: never)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := socketOf(socket)
		if err != nil {
			return err
		}
		switch {
		case port < 1 || port > 65535:
			return errs.New(errs.Invalid, "--port %d: want 1 to 65535", port)
		case count < 0 || wait < 0:
			return errs.New(errs.Invalid, "--count and --wait cannot be negative")
		}
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		if wait > 0 {
			ctx, stop = context.WithTimeout(ctx, wait)
			defer stop()
		}
		got := 0
		err = control.Dial(path).Receive(ctx, uint16(port), func(d control.Delivery) error {
			if got++; got == count {
				defer stop()
			} else if count > 0 && got > count {
				return nil // it was on its way already
			}
			return printDelivery(cmd.OutOrStdout(), &d, asJSON)
		})
		if err == nil && got < count && cmd.Context().Err() == nil {
			if wait == 0 {
				return errs.New(errs.Dead, "the node ended, %d of %d capsules were delivered to port %d before", got, count, port)
			}
			return errs.New(errs.Timeout, "%d of %d capsules were delivered to port %d in %s", got, count, port, wait)
		}
		return err
	}
	return c
}

func printDelivery(out io.Writer, d *control.Delivery, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(d)
	}
	_, err := fmt.Fprintf(out, "from %s, %d bytes\n%s", d.Src, len(d.Payload), hex.Dump(d.Payload))
	return err
}

// bytesOf makes the payload that the flags describe.
func bytesOf(hexa, text string, size int) ([]byte, error) {
	b := []byte(text)
	if hexa != "" {
		if text != "" {
			return nil, errs.New(errs.Invalid, "--payload and --text exclude each other")
		}
		var err error
		if b, err = hex.DecodeString(strings.ReplaceAll(hexa, " ", "")); err != nil {
			return nil, errs.New(errs.Invalid, "--payload: %w", err)
		}
	}
	if size < 0 || size > 65000 {
		return nil, errs.New(errs.Invalid, "--size %d: want 0 to 65000", size)
	}
	for len(b) < size {
		b = append(b, 0)
	}
	return b, nil
}
