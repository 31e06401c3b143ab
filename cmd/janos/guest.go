package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/nodeosabi/udphost"
)

func guestCommand() *cobra.Command {
	c := &cobra.Command{Use: "guest", Short: "Run an execution environment that is a guest, without a node"}
	c.AddCommand(guestRunCommand(), guestLoadCommand())
	return c
}

// readProgram reads a module.
func readProgram(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	code, err := io.ReadAll(io.LimitReader(f, node.MaxProgram+1))
	if err != nil || len(code) > node.MaxProgram {
		return nil, errs.New(errs.TooBig, "%s: cannot be read, or has more than %d bytes (%v)", path, node.MaxProgram, err)
	}
	return code, nil
}

// told waits for the end of a program and says how it ended; interrupting ends it.
func told(ctx context.Context, what string, iso *vm.Isolate, done <-chan struct{}) error {
	select {
	case <-done:
	case <-ctx.Done():
		iso.Kill(errs.New(errs.Dead, "interrupted"))
		<-done
		return ctx.Err()
	}
	switch st := iso.Status(); {
	case st.Err != nil:
		return errs.New(errs.KindOf(st.Err), "%s: %v: %w", what, st.Cause, st.Err)
	case st.Code < 0 && st.Code > -256:
		return errs.New(errs.Kind(-st.Code), "%s: %v with code %d (%v)", what, st.Cause, st.Code, errs.Kind(-st.Code))
	case st.Code != 0:
		return errs.New(errs.Refused, "%s: %v with code %d", what, st.Cause, st.Code)
	}
	return nil
}

func guestRunCommand() *cobra.Command {
	var (
		listen, args, key string
		memory, fuel      int64
		to                []string
	)
	c := &cobra.Command{
		Use: "run FILE", Short: "Run a guest over a UDP socket, until it ends or is interrupted", Args: cobra.ExactArgs(1),
		Long: `Runs a guest in this program, without a node and without privileges: its channels are one UDP socket, and its domains are
accounts. The guest is given a domain with the limits of --memory and --fuel, and a port of protocol if/udp. The same module runs unchanged as the
execution environment of a domain of a node ("guest:" in the node file). docs/abi-calls.md has the calls.`,
		Example: "  janos guest run examples/guest-ee/guests/ee.wasm --udp 127.0.0.1:3340",
	}
	f := c.Flags()
	f.StringVar(&listen, "udp", "127.0.0.1:3340", "local address of the socket; port 0: any free one")
	f.StringVar(&args, "args", "", "what the guest is told, behind the numbers of its handles")
	f.StringVar(&key, "key", "", "demultiplexing key that all its packets match, such as 0/4745")
	f.Int64Var(&memory, "memory", 32<<20, "most bytes of everything that it holds")
	f.Int64Var(&fuel, "fuel", 400_000_000, "most units of fuel a second")
	f.StringSliceVar(&to, "to", nil, "prefix that it may send to; may be repeated (default anywhere)")
	c.RunE = func(cmd *cobra.Command, names []string) error {
		code, err := readProgram(names[0])
		if err != nil {
			return err
		}
		port := &nodeosabi.Port{Protocol: "if/udp"}
		if port.Key, err = demux.ParseKey(key); err != nil {
			return err
		}
		for _, s := range to {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return errs.New(errs.Invalid, "--to: %q is no prefix such as 10.0.0.0/8", s)
			}
			port.To = append(port.To, p)
		}
		clk := clock.NewReal()
		e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
		if err != nil {
			return err
		}
		defer e.Close()
		b, err := nodeosabi.New(nodeosabi.Spec{Engine: e, Seed: uint64(time.Now().UnixNano())})
		if err != nil {
			return err
		}
		h, err := udphost.New(udphost.Spec{Listen: listen, Clock: clk})
		if err != nil {
			return err
		}
		defer h.Close()
		d, err := h.NewDomain("guest", resctl.Amounts{resctl.Memory: memory, resctl.Fuel: fuel})
		if err != nil {
			return err
		}
		g, err := b.Start(d, nodeosabi.GuestSpec{Name: "guest", Code: code, Args: []byte(args), Ports: []*nodeosabi.Port{port}, Log: func(line string) {
			fmt.Fprintln(cmd.ErrOrStderr(), "guest:", line)
		}})
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "guest: running on %s\n", h.Local())
		return told(cmd.Context(), "guest", g.Isolate(), g.Done())
	}
	return c
}

func guestLoadCommand() *cobra.Command {
	var (
		place   int
		say     []string
		timeout time.Duration
	)
	c := &cobra.Command{
		Use: "load ADDRESS FILE", Short: "Give a program to the execution environment of examples/guest-ee, and talk to it", Args: cobra.ExactArgs(2),
		Long: `Sends a program to the execution environment of examples/guest-ee at ADDRESS, has it started in one of the four places there, sends what
--say says, and prints what comes back.`,
		Example: "  janos guest load 127.0.0.1:3340 examples/guest-ee/guests/upper.wasm --say hello",
	}
	f := c.Flags()
	f.IntVar(&place, "place", 0, "where to, 0 to 3; what was there ends")
	f.StringArrayVar(&say, "say", nil, "what to send to it; may be repeated")
	f.DurationVar(&timeout, "timeout", 2*time.Second, "how long to wait for each answer")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		code, err := readProgram(args[1])
		if err != nil {
			return err
		}
		if place < 0 || place > 3 || len(code) > 32768 || timeout <= 0 {
			return errs.New(errs.Invalid, "place %d, %d bytes, timeout %v: want 0 to 3, at most 32768 bytes, and more than 0", place, len(code), timeout)
		}
		conn, err := net.Dial("udp", args[0])
		if err != nil {
			return errs.New(errs.Invalid, "%w", err)
		}
		defer conn.Close()
		t := &eeTalk{conn: conn, place: byte(place), out: cmd.OutOrStdout(), timeout: timeout}
		const piece = 1024
		for at := 0; at < len(code); at += piece {
			b := binary.LittleEndian.AppendUint16(t.head('L'), uint16(at))
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(code))), code[at:min(at+piece, len(code))]...)
			if _, err := conn.Write(b); err != nil {
				return errs.New(errs.Unreachable, "%w", err)
			}
		}
		if err := t.answer('A'); err != nil {
			return err
		}
		for _, s := range say {
			if _, err := conn.Write(append(t.head('P'), s...)); err != nil {
				return errs.New(errs.Unreachable, "%w", err)
			}
			if err := t.answer('P'); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// eeTalk is a conversation with examples/guest-ee.
type eeTalk struct {
	conn    net.Conn
	place   byte
	out     io.Writer
	timeout time.Duration
}

func (t *eeTalk) head(op byte) []byte { return []byte{'G', 'E', op, t.place} }

// answer waits for an answer of a kind, or that the program has ended, and prints it.
func (t *eeTalk) answer(op byte) error {
	buf := make([]byte, 1<<16)
	t.conn.SetReadDeadline(time.Now().Add(t.timeout))
	for {
		n, err := t.conn.Read(buf)
		if err != nil {
			return errs.New(errs.Timeout, "no answer from %s within %v: is the execution environment running there?", t.conn.RemoteAddr(), t.timeout)
		}
		b := buf[:n]
		if n < 4 || !bytes.HasPrefix(b, []byte("GE")) || b[3] != t.place {
			continue
		}
		switch {
		case b[2] == 'K' && n >= 8:
			fmt.Fprintf(t.out, "place %d: ended: %v\n", t.place, errs.Kind(b[4]))
			return nil
		case b[2] != op:
		case op == 'A' && n >= 8:
			if r := int32(binary.LittleEndian.Uint32(b[4:])); r < 0 {
				return errs.New(errs.Kind(-r), "place %d: not started: %v", t.place, errs.Kind(-r))
			}
			fmt.Fprintf(t.out, "place %d: started\n", t.place)
			return nil
		case op == 'P':
			fmt.Fprintf(t.out, "place %d: %s\n", t.place, b[4:])
			return nil
		}
	}
}
