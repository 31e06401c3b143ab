// Command click uses Janos's element graph alone: it reports the mistakes of one configuration, runs another under a
// virtual clock, reads its handlers, and adds an element of its own.
package main

import (
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements" // the classes
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

const graph = `
// A packet each millisecond, every third one to the side.
RatedSource("hello", RATE 1000, LIMIT 300) -> everyThird :: EveryThird;
everyThird [0] -> rest :: Counter -> Queue(500) -> Unqueue -> Discard;
everyThird [1] -> third :: Counter -> Discard;
`

const mistaken = `
TimedSource -> Unqueue -> Discard;
q :: Queue -> Discard;
RatedSource -> Nope -> Discard;
`

// EveryThird pushes every third packet to its second output.
type EveryThird struct {
	click.Base
	seen int
}

func init() {
	click.Register(click.Class{Name: "EveryThird", Ports: "1/2", Processing: "h", New: func() click.Element { return new(EveryThird) },
		Doc: click.Doc{Group: "examples", Title: "every third packet takes the second output"}})
}

// Configure implements click.Element.
func (e *EveryThird) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher. The packets are given away, and b comes back empty.
func (e *EveryThird) Push(_ int, b *packet.Batch) {
	out := [2]*packet.Batch{e.Thread().Scratch(), e.Thread().Scratch()}
	for _, p := range b.Packets() {
		e.seen++
		i := 0
		if e.seen%3 == 0 {
			i = 1
		}
		out[i].Append(p)
	}
	b.Reset()
	for i, o := range out {
		e.Out(i).Push(o)
	}
	e.Thread().Release(out[1])
	e.Thread().Release(out[0])
}

func main() {
	clk := clock.NewVirtual(time.Time{})
	node, err := nodeos.NewNode(nodeos.NodeSpec{Name: "host", Clock: clk, Seed: 1, Stepped: true})
	check(err)
	defer node.Close()
	domain, err := node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
	check(err)
	env := click.Env{Domain: domain}

	spec, err := click.Parse("mistaken", mistaken, click.ParseOptions{})
	check(err)
	err = click.Check(spec, env)
	fmt.Println(err)
	if err == nil || strings.Count(err.Error(), "mistaken:") != 3 {
		log.Fatal("mistakes were missed")
	}

	spec, err = click.Parse("graph", graph, click.ParseOptions{})
	check(err)
	router, err := click.New(spec, env)
	check(err)
	for end := clk.Now().Add(time.Second); clk.Now() < end; {
		if !node.Step() { // nothing to do: let the time pass to the next timer
			clk.AdvanceTo(min(node.NextEvent(), end))
		}
	}
	for handler, want := range map[string]string{"rest.count": "200", "third.count": "100"} {
		got, err := router.Read(handler, "")
		check(err)
		if got = strings.TrimSpace(got); got != want {
			log.Fatalf("%s is %s, want %s", handler, got, want)
		}
	}
	fmt.Println("300 packets in a virtual second: 200 straight on, 100 to the side")
	router.Close()
	node.Step()
	fmt.Printf("the graph holds %d frames\n", domain.Account().Use(resctl.Frames))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
