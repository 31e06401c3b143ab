package traffic

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
)

// options are those of one sub-command; each uses some.
type options struct {
	addr             string
	count, size      int
	bytes            int64
	seed             uint64
	interval, length time.Duration
	patience         time.Duration
	untilEOF         bool
}

// Command returns `traffic`, with one sub-command for each kind of traffic and end. Each prints its result as one
// line of JSON.
func Command() *cobra.Command {
	root := &cobra.Command{Use: "traffic", Short: "Ordinary traffic through the host's own stack, measured", Hidden: true}
	add := func(use, short string, run func(*cobra.Command, *options) (any, error)) (*cobra.Command, *options) {
		o := new(options)
		c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := run(cmd, o)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
		}}
		root.AddCommand(c)
		return c, o
	}

	c, o := add("icmp", "Send ICMP echo requests", func(cmd *cobra.Command, o *options) (any, error) {
		to, err := netip.ParseAddr(o.addr)
		if err != nil {
			return nil, err
		}
		return Echo(cmd.Context(), to, o.count, o.interval)
	})
	c.Flags().StringVar(&o.addr, "to", "", "IPv4 address")
	c.Flags().IntVar(&o.count, "count", 10, "requests")
	c.Flags().DurationVar(&o.interval, "interval", 50*time.Millisecond, "between requests")

	c, o = add("udp-send", "Send a stream of numbered datagrams", func(cmd *cobra.Command, o *options) (any, error) {
		to, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		return SendUDP(cmd.Context(), to, o.size, o.interval, o.length)
	})
	c.Flags().StringVar(&o.addr, "to", "", "address:port")
	c.Flags().IntVar(&o.size, "size", 200, "bytes in a datagram")
	c.Flags().DurationVar(&o.interval, "interval", 5*time.Millisecond, "between datagrams")
	c.Flags().DurationVar(&o.length, "for", time.Second, "how long")

	c, o = add("udp-receive", "Receive a stream of numbered datagrams", func(cmd *cobra.Command, o *options) (any, error) {
		at, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		return ReceiveUDP(cmd.Context(), cmd.OutOrStdout(), at, o.patience)
	})
	c.Flags().StringVar(&o.addr, "listen", "0.0.0.0:7000", "address:port")
	c.Flags().DurationVar(&o.patience, "idle", 5*time.Second, "end after so long without a datagram")

	c, o = add("tcp-send", "Send bytes over TCP and hash them", func(cmd *cobra.Command, o *options) (any, error) {
		to, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		return SendTCP(cmd.Context(), to, o.bytes, o.seed)
	})
	c.Flags().StringVar(&o.addr, "to", "", "address:port")
	c.Flags().Int64Var(&o.bytes, "bytes", 1<<20, "how many")
	c.Flags().Uint64Var(&o.seed, "seed", 1, "determines the contents")

	c, o = add("tcp-receive", "Receive bytes over TCP and hash them", func(cmd *cobra.Command, o *options) (any, error) {
		at, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		return ReceiveTCP(cmd.Context(), cmd.OutOrStdout(), at)
	})
	c.Flags().StringVar(&o.addr, "listen", "0.0.0.0:7001", "address:port")

	c, o = add("session", "Hold a TCP session that says lines and waits for their echoes, until interrupted", func(cmd *cobra.Command, o *options) (any, error) {
		to, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		if o.untilEOF {
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				stop()
			}()
		}
		return Session(ctx, to, o.interval, o.patience)
	})
	c.Flags().StringVar(&o.addr, "to", "", "address:port")
	c.Flags().DurationVar(&o.interval, "interval", 100*time.Millisecond, "between lines")
	c.Flags().DurationVar(&o.patience, "patience", 10*time.Second, "for an echo")

	c.Flags().BoolVar(&o.untilEOF, "until-eof", false, "end when standard input does")

	c, o = add("session-serve", "Echo the lines of one session", func(cmd *cobra.Command, o *options) (any, error) {
		at, err := netip.ParseAddrPort(o.addr)
		if err != nil {
			return nil, err
		}
		return ServeSession(cmd.Context(), cmd.OutOrStdout(), at)
	})
	c.Flags().StringVar(&o.addr, "listen", "0.0.0.0:7022", "address:port")
	return root
}
