package packet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/channels/internal/opts"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
)

func init() { nodeos.RegisterDriver("packet", Rank, Open) }

// DefaultRing is the receive ring in frames where LinkSpec.Ring is 0: with an MTU of 1,500 it takes 8 MiB, as the blocks of latency=normal do by default.
const DefaultRing = 4096

// defaultBlocks is the same for latency=normal, whose blocks hold many frames each.
const defaultBlocks = 512

// Tests set these: noTCX makes links use clsact as on kernels without tcx, noBPF refuses programs as a user namespace does.
var noTCX, noBPF bool

// Open opens the interface that spec.Device names (empty: the link's name) in the network namespace of the
// calling thread. It is a nodeos.OpenFunc. The link takes nothing until it has claims.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	low := o.OneOf("latency", "low", "normal") == "low"
	promisc, bypass := o.Bool("promisc", false), o.Bool("bypass", false)
	strict := o.OneOf("claims", "auto", "strict") == "strict"
	if err := o.Done("packet"); err != nil {
		return nil, err
	}
	frames := DefaultRing
	if !low {
		frames = defaultBlocks
	}
	ring, err := linkio.Ring(&spec, frames, "frames")
	if err != nil {
		return nil, err
	}
	device := spec.Device
	if device == "" {
		device = spec.Name
	}
	l := &Link{promisc: promisc}
	ifindex, err := l.describe(device, number, spec)
	if err != nil {
		return nil, err
	}
	pool := n.Pool().Spec()
	l.room = pool.FrameSize - pool.Headroom
	if pool.Headroom < demux.VLANLen {
		return nil, errs.New(errs.Invalid, "link %s: the node's packets have a headroom of %d bytes, tags need %d", spec.Name, pool.Headroom, demux.VLANLen)
	}
	if longest := l.info.MTU + demux.EtherLen + 2*demux.VLANLen; longest > l.room {
		l.info.Notes = append(l.info.Notes, fmt.Sprintf("MTU %d is more than the node's packet frames hold (%d): longer frames are dropped and counted", l.info.MTU, l.room-demux.EtherLen-2*demux.VLANLen))
	}
	for range max(len(spec.Workers), 1) {
		p := &port{of: l, tx: -1, out: linkio.NewOutbox()}
		l.ports = append(l.ports, p)
		p.ring, err = sys.OpenPacketRing(sys.RingSpec{
			Ifindex: ifindex, Frames: ring, MaxLen: l.info.MTU + demux.EtherLen + 2*demux.VLANLen,
			Blocks: !low, RetireMS: 1, Promisc: promisc, VNet: true,
		})
		if err == nil {
			p.tx, err = sys.OpenPacketSender(ifindex, bypass)
		}
		if err != nil {
			l.Close()
			return nil, kernelError(spec.Name, err)
		}
	}
	l.port = l.ports[0]
	if noBPF {
		err = fs.ErrPermission
	} else {
		if l.chans, err = cells.Of(n); err != nil {
			l.info.Notes = append(l.info.Notes, "packets that come faster than their channel's rate are dropped after they were received, not before: "+err.Error())
		}
		l.claims, err = newClaims(ifindex, noTCX, l.chans)
	}
	if err != nil {
		if strict {
			l.Close()
			return nil, kernelError(spec.Name, err)
		}
		l.claims = nil
		if l.chans != nil {
			l.chans.Release()
			l.chans = nil
		}
		why := err.Error()
		if errors.Is(err, fs.ErrPermission) {
			why = "BPF programs may not be loaded here (it takes CAP_BPF and CAP_NET_ADMIN outside of user namespaces)"
		}
		l.info.Notes = append(l.info.Notes, "the host's stack sees claimed packets too, and the ring takes everything: "+why)
	}
	nothing, err := demux.Compile(demux.Ether, spec.Name, nil)
	if err == nil {
		err = l.Claim(nodeos.Claims{Program: nothing})
	}
	if err == nil {
		err = l.bind()
	}
	if err != nil {
		l.Close()
		return nil, kernelError(spec.Name, err)
	}
	return l, nil
}

// bind begins reception. With several rings, all have their filters, which take nothing yet, before the first is bound, so that no
// frame is there twice while they come together.
func (l *Link) bind() error {
	var group uint16
	for _, p := range l.ports {
		if err := p.ring.Bind(); err != nil {
			return err
		}
		if len(l.ports) > 1 {
			id, err := p.ring.Fanout(group)
			if err != nil {
				return err
			}
			group = id
		}
	}
	return nil
}

// describe fills in l.info from the host's interface.
func (l *Link) describe(device string, number uint16, spec nodeos.LinkSpec) (ifindex int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, kernelError(spec.Name, err)
	}
	defer h.Close()
	nl, err := h.LinkByName(device)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return 0, errs.New(errs.NotFound, "link %s: there is no interface %s", spec.Name, device)
		}
		return 0, kernelError(spec.Name, err)
	}
	a := nl.Attrs()
	if a.EncapType != "ether" {
		return 0, errs.New(errs.NotSupported, "link %s: interface %s is not an Ethernet but %s", spec.Name, device, a.EncapType)
	}
	l.info = nodeos.LinkInfo{Name: spec.Name, Driver: "packet", Number: number, Base: demux.Ether, MTU: a.MTU, OwnOnly: !l.promisc}
	copy(l.info.HWAddr[:], a.HardwareAddr)
	addrs, err := h.AddrList(nl, netlink.FAMILY_ALL)
	if err != nil {
		return 0, kernelError(spec.Name, err)
	}
	for _, ad := range addrs {
		if ip, ok := netip.AddrFromSlice(ad.IP); ok {
			ones, _ := ad.Mask.Size()
			l.info.Prefixes = append(l.info.Prefixes, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return a.Index, nil
}

// kernelError turns a refusal of the kernel into a kind and a likely cause.
func kernelError(name string, err error) error {
	switch {
	case errs.KindOf(err) != errs.Internal:
		return err
	case errors.Is(err, fs.ErrPermission):
		return errs.New(errs.Permission, "link %s: driver packet needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: %w", name, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return errs.New(errs.NotFound, "link %s: the interface is gone: %w", name, err)
	case errors.Is(err, unix.ENOMEM):
		return errs.New(errs.NoMemory, "link %s: no memory for the ring; make it smaller: %w", name, err)
	}
	return errs.New(errs.NotSupported, "link %s: driver packet: %w", name, err)
}
