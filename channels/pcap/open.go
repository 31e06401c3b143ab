package pcap

import (
	"errors"
	"hash/fnv"
	"io"
	"os"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/channels/internal/opts"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// Defaults of a link.
const (
	DefaultMTU   = 1500
	DefaultDelay = 100 * time.Millisecond
)

func init() { nodeos.RegisterDriver("pcap", 0, Open) }

// Open opens the files that the options name; the first frame is read already. It is a nodeos.OpenFunc.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (_ nodeos.Link, err error) {
	o := opts.New(spec.Opts)
	in, out := o.Text("in", ""), o.Text("out", "")
	l := &Link{clk: n.Clock(), real: o.OneOf("speed", "asfast", "real") == "real", delay: o.Duration("delay", DefaultDelay, 0, time.Hour)}
	l.info = nodeos.LinkInfo{
		Name: spec.Name, Driver: "pcap", Number: number, Base: demux.Ether,
		MTU: o.Int("mtu", DefaultMTU, 68, 9000), HWAddr: o.MAC("mac"), Prefixes: o.Prefixes("addr"),
	}
	if err := o.Done("pcap"); err != nil {
		return nil, err
	}
	switch {
	case in == "" && out == "":
		return nil, errs.New(errs.Invalid, "link %s: driver pcap wants a file: option in, out or both", spec.Name)
	case spec.Device != "" && spec.Device != spec.Name:
		return nil, errs.New(errs.Invalid, "link %s: driver pcap has no devices such as %q: name files by the options in and out", spec.Name, spec.Device)
	case spec.Ring != 0:
		return nil, errs.New(errs.Invalid, "link %s: driver pcap has no ring", spec.Name)
	}
	pool := n.Pool().Spec()
	l.room = pool.FrameSize - pool.Headroom
	if room := l.room - demux.EtherLen - 2*demux.VLANLen; l.info.MTU > room {
		return nil, errs.New(errs.TooBig, "link %s: MTU %d, the node's packet frames hold %d; use larger frames or a smaller MTU", spec.Name, l.info.MTU, room)
	}
	if l.filter = l.info.HWAddr != [6]byte{}; !l.filter {
		h := fnv.New32a()
		io.WriteString(h, n.Name()+"/"+spec.Name)
		s := h.Sum32()
		l.info.HWAddr = [6]byte{0x02, 0x4a, byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}
	}
	defer func() {
		if err != nil {
			l.Close()
			err = errs.New(errs.KindOf(err), "link %s: %w", spec.Name, err)
		}
	}()
	switch {
	case in == standardInput && n.Stepped():
		return nil, errs.New(errs.NotSupported, "driver pcap: a stepped node cannot wait for a pipe; write the capture to a file")
	case in == standardInput:
		if l.src, err = openStdin(l.room, l.wake); err != nil {
			return nil, err
		}
	case in != "":
		if l.src, err = openSource(in); err != nil {
			return nil, err
		}
	}
	if out != "" {
		if l.dst, err = openRecord(out, l.src); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// regular returns an error if there is something else than a regular file.
func regular(file string) error {
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return fileError(err)
	case !st.Mode().IsRegular():
		return errs.New(errs.Invalid, "%s is not a regular file", file)
	}
	return nil
}

// fileError gives an error of the host's a kind.
func fileError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errs.New(errs.NotFound, "%w", err)
	case errors.Is(err, os.ErrPermission):
		return errs.New(errs.Permission, "%w", err)
	}
	return errs.New(errs.Invalid, "%w", err)
}

const ethernet = layers.LinkTypeEthernet
