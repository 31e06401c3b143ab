// Command nodeos uses Janos's NodeOS and a link driver alone: two nodes in one process on an in-memory
// Ethernet; a domain on one sends datagrams, a domain on the other answers them.
package main

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func main() {
	clk := clock.NewVirtual(time.Time{})
	ether := mem.NewNet()
	a, b := newNode("a", clk, ether, "10.0.0.1/24"), newNode("b", clk, ether, "10.0.0.2/24")
	defer a.Close()
	defer b.Close()

	// b echoes what comes to port 7, in a domain that may hold eight frames.
	server, err := b.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "echo", Limit: resctl.Amounts{resctl.Frames: 8}}})
	check(err)
	reply, err := server.NewOutChan(nodeos.OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:9000", Source: ":7", LinkAddr: broadcast})
	check(err)
	_, err = server.NewInChan(nodeos.InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: reply.Send})
	check(err)

	// a counts the answers.
	client, err := a.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "client"}})
	check(err)
	answers := 0
	_, err = client.NewInChan(nodeos.InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":9000", Worker: -1,
		Handler: func(w *nodeos.Worker, batch *packet.Batch) {
			answers += batch.Len()
			w.Cache().FreeBatch(batch)
		}})
	check(err)
	send, err := client.NewOutChan(nodeos.OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.2:7", Source: ":9000", LinkAddr: broadcast})
	check(err)
	w := a.Worker(0)
	for range 5 {
		var batch packet.Batch
		batch.Append(w.Cache().AllocFrom(client.Owner(), []byte("are you there?")))
		send.Send(w, &batch)
		nodeos.Settle(1000, a, b)
	}
	fmt.Printf("%d answers to 5 questions\n", answers)
	if answers != 5 {
		log.Fatal("some are missing")
	}

	// A domain ends with everything that it has.
	server.Terminate(nil)
	nodeos.Settle(1000, b)
	fmt.Printf("the server is %s and holds %d frames\n", server.State(), server.Account().Use(resctl.Frames))
}

var broadcast = [6]byte{255, 255, 255, 255, 255, 255}

func newNode(name string, clk clock.Clock, ether *mem.Net, addr string) *nodeos.Node {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: name, Clock: clk, Stepped: true})
	check(err)
	l, err := ether.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: "eth0", Device: "wire", Opts: map[string]string{"addr": netip.MustParsePrefix(addr).String()}})
	check(err)
	check(n.AddLink(l, 0))
	return n
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
