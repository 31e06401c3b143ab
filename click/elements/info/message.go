package info

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Message", Ports: "0/0", Processing: "a", New: func() click.Element { return &Message{} },
		Doc: click.Doc{
			Group: "control", Title: "prints a message when it is configured",
			Args:    []string{"MESSAGE: What to print.", "TYPE: MESSAGE, the default, WARNING, or ERROR, which keeps the router from starting."},
			Example: "Message(\"needs a link named eth0\", WARNING);", See: []string{"Error"},
		},
	})
	click.Register(click.Class{
		Name: "Error", Ports: "-/-", Processing: "a/a", Flow: "x/y", New: func() click.Element { return &Error{} },
		Doc: click.Doc{
			Group: "control", Title: "keeps the router from starting",
			Text:    "It takes any arguments and any connections and complains about none of them, so that it can stand for something that is not there.",
			Args:    []string{"<ANYTHING>...: Not looked at."},
			Example: "Error(not for this machine);", See: []string{"Message"},
		},
	})
	click.Register(click.Class{
		Name: "RandomSeed", Ports: "0/0", Processing: "a", New: func() click.Element { return &RandomSeed{} },
		Doc: click.Doc{
			Group: "control", Title: "seeds the router's random numbers",
			Args:     []string{"SEED: A number; without it the machine's entropy is used."},
			Handlers: []string{"seed (w): Seeds them again; an empty value takes the machine's entropy."},
			Example:  "RandomSeed(17);",
		},
	})
}

// Message prints.
type Message struct{ info }

// Configure implements click.Element.
func (*Message) Configure(a *click.Args) {
	var text string
	kind := "MESSAGE"
	if !a.Parse(click.Must("MESSAGE", click.String(&text)), click.May("TYPE", click.String(&kind))) {
		return
	}
	switch strings.ToUpper(kind) {
	case "MESSAGE":
		a.Messagef("%s", text)
	case "WARNING":
		a.Messagef("warning: %s", text)
	case "ERROR":
		a.Errorf("%s", text)
	default:
		a.Errorf("TYPE: expected MESSAGE, WARNING or ERROR, not '%s'", kind)
	}
}

// Error refuses to start.
type Error struct{ click.Base }

// Configure implements click.Element.
func (*Error) Configure(*click.Args) {}

// CheckGraph fails.
func (*Error) CheckGraph() error {
	return fmt.Errorf("an Error element always keeps the router from starting")
}

// Push implements click.Pusher.
func (e *Error) Push(_ int, b *packet.Batch) { e.Drop(b) }

// Pull implements click.Puller.
func (*Error) Pull(int, *packet.Batch, int) {}

// RandomSeed seeds random numbers.
type RandomSeed struct{ info }

// Configure implements click.Element.
func (e *RandomSeed) Configure(a *click.Args) {
	var seed uint64
	given := false
	if a.Parse(click.May("SEED", click.Uint64(&seed)).Given(&given)) {
		e.seed(seed, given)
	}
}

func (e *RandomSeed) seed(n uint64, given bool) {
	if !given {
		var b [8]byte
		_, _ = rand.Read(b[:]) // which never fails, crypto/rand says
		n = binary.NativeEndian.Uint64(b[:])
	}
	e.Router().Reseed(n)
}

// AddHandlers implements click.HandlerAdder.
func (e *RandomSeed) AddHandlers(h *click.Handlers) {
	h.Write("seed", func(s string) error {
		var n uint64
		s = strings.TrimSpace(s)
		if s != "" {
			if err := click.Uint64(&n)(s, nil); err != nil {
				return err
			}
		}
		e.seed(n, s != "")
		return nil
	})
}
