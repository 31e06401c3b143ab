package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Idle", Ports: "-/-", Processing: "a/a", Flow: "x/y", New: func() click.Element { return &Idle{} },
		Doc: click.Doc{
			Group: "standard", Title: "does nothing on any number of ports",
			Text:    "It never pushes, yields nothing to those that pull from it, never pulls, and drops what is pushed to it.",
			Example: "Idle -> ToDevice(eth0);", See: []string{"Discard"},
		},
	})
}

// Idle does nothing.
type Idle struct {
	click.Base
	never click.Notifier
}

// Configure implements click.Element.
func (e *Idle) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *Idle) Push(_ int, b *packet.Batch) { e.Drop(b) }

// Pull implements click.Puller.
func (e *Idle) Pull(int, *packet.Batch, int) {}

// EmptyNotifier implements click.EmptyNotifying.
func (e *Idle) EmptyNotifier(int) *click.Notifier { return &e.never }
