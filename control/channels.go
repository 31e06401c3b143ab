package control

import (
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
)

// ChannelInfo is a channel of a domain.
type ChannelInfo struct {
	Kind       string            `json:"kind"` // in, out or cut
	Domain     string            `json:"domain"`
	Protocol   string            `json:"protocol"` // of a cut-through channel: that it takes from
	Address    string            `json:"address,omitempty"`
	Key        string            `json:"key,omitempty"`
	Out        string            `json:"out,omitempty"` // of a cut-through channel: protocol that it leaves by
	OutAddress string            `json:"out_address,omitempty"`
	Slot       *uint32           `json:"slot,omitempty"` // of an in-channel on links
	Where      string            `json:"where"`          // kernel, or user: who does it
	Why        string            `json:"why,omitempty"`  // a cut-through channel is not done in the kernel
	Packets    uint64            `json:"packets"`        // accepted by an in-channel, forwarded or sent by others
	Bytes      uint64            `json:"bytes"`
	Kernel     uint64            `json:"kernel,omitempty"` // of them, packets that the kernel forwarded by itself
	Up         uint64            `json:"up,omitempty"`     // packets that the kernel left to user space
	Drops      map[string]uint64 `json:"drops"`            // by cause
	Quota      int               `json:"quota,omitempty"`  // packets held at most
	Held       int               `json:"held"`
	PacketRate int               `json:"packet_rate,omitempty"` // packets per second at most
	BitRate    uint64            `json:"bit_rate,omitempty"`    // bits per second at most
}

// ChannelsOf reads the channels of a node of this process, by domain, parents first.
func ChannelsOf(n *node.Node) []ChannelInfo {
	o := n.OS()
	cut := make(map[*nodeos.InChan]bool)
	by := make(map[*nodeos.Domain][]ChannelInfo)
	for _, c := range o.CutChans() {
		cut[c.In()] = true
		by[c.In().Domain()] = append(by[c.In().Domain()], cutInfo(c))
	}
	var ins []ChannelInfo
	for _, c := range o.InChans() {
		if cut[c] {
			continue
		}
		st := c.Stats()
		i := inInfo("in", c, st)
		i.Where, i.Packets, i.Bytes = "user", st.Packets, st.Bytes
		i.Drops = map[string]uint64{"full": st.Full, "limited": st.Limited, "poor": st.Poor}
		by[c.Domain()] = append(by[c.Domain()], i)
	}
	walkDomains(o.Root(), func(d *nodeos.Domain) {
		ins = append(ins, by[d]...)
		for _, c := range d.OutChans() {
			s, st := c.Spec(), c.Stats()
			ins = append(ins, ChannelInfo{
				Kind: "out", Domain: d.Path(), Protocol: s.Protocol, Address: s.Address, Where: "user",
				Packets: st.Packets, Bytes: st.Bytes, Drops: map[string]uint64{"invalid": st.Invalid},
			})
		}
	})
	return ins
}

func inInfo(kind string, c *nodeos.InChan, st nodeos.ChanStats) ChannelInfo {
	s := c.Spec()
	i := ChannelInfo{
		Kind: kind, Domain: c.Domain().Path(), Protocol: s.Protocol, Address: s.Address, Key: s.Key.String(),
		Quota: s.Quota, Held: st.Held, PacketRate: s.Rate,
	}
	if slot, ok := c.Slot(); ok {
		i.Slot = &slot
	}
	return i
}

func cutInfo(c *nodeos.CutChan) ChannelInfo {
	s, st := c.Spec(), c.Stats()
	i := inInfo("cut", c.In(), c.In().Stats())
	i.Out, i.OutAddress, i.BitRate = s.Out.Protocol, s.Out.Address, s.BitRate
	i.Where, i.Why = c.Where()
	i.Packets, i.Bytes, i.Kernel, i.Up = st.Packets, st.Bytes, st.Kernel, st.Up
	i.Drops = map[string]uint64{
		"full": st.Full, "limited": st.Limited, "poor": st.Poor, "rate": st.Rate, "too_big": st.TooBig, "ttl": st.TTL, "invalid": st.Invalid, "gone": st.Gone,
	}
	return i
}
