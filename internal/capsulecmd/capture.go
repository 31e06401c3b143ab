package capsulecmd

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pcapfile"
)

// capture evaluates each capsule of a capture file once. Of a protocol it takes those of its classes; a lone
// module, whose method id depends on the protocol it is in, gets them all.
func (n *network) capture(p *protocol, file, at string) error {
	var node addr
	if at != "" {
		a, err := parseAddr(at)
		if err != nil {
			return err
		}
		node = a
	}
	classes := map[ants.MethodID]*liveClass{}
	if p.ants != nil {
		for _, c := range n.classes {
			id, err := p.ants.Method(c.group + "/" + c.name)
			if err != nil {
				return err
			}
			classes[id] = c
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	found, others := 0, 0
	err = packets(f, file, func(when time.Duration, data []byte) error {
		var c ants.Capsule
		if c.Decode(data) != nil {
			return nil
		}
		cl := n.classes[0]
		if p.ants != nil {
			if cl = classes[c.Method]; cl == nil {
				others++
				return nil
			}
		}
		found++
		if n.steps == n.max {
			return errs.New(errs.Limit, "stopped after %d evaluations: raise --max", n.max)
		}
		n.steps++
		n.now = max(n.now, when)
		credit := c.Credit.Count
		if !c.HasCredit {
			credit = c.TTL + 1
		}
		to := node
		if to == 0 {
			to = c.Dst
		}
		if c.Prev != 0 && c.Prev != to {
			n.join(to, c.Prev)
		}
		st, err := n.evaluate(&flight{to: to, class: cl, prev: c.Prev, src: c.Src, dst: c.Dst, ttl: c.TTL, credit: max(credit, 1), data: c.Data})
		if err != nil {
			return err
		}
		n.flying = nil // what it sends is not followed
		n.record(st)
		return nil
	})
	if err == nil && found == 0 {
		return errs.New(errs.NotFound, "%s has no capsules of %s in UDP packets to port %d (%d capsules of other classes)", file, p.name, ants.UDPPort, others)
	}
	return err
}

// packets calls fn with the payload of every UDP packet to the capsules' port, and its time since the first packet. The
// payload is valid during the call.
func packets(r io.Reader, file string, fn func(when time.Duration, data []byte) error) error {
	pr, err := pcapfile.NewReader(r, file)
	if err != nil {
		return err
	}
	var start time.Duration
	for first := true; ; first = false {
		p, err := pr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if first {
			start = p.At
		}
		pk := gopacket.NewPacket(p.Data, p.Link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		udp, ok := pk.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || udp.DstPort != ants.UDPPort {
			continue
		}
		if err := fn(max(p.At-start, 0), udp.Payload); err != nil {
			return err
		}
	}
}
