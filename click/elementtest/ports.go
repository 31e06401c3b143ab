package elementtest

import (
	"fmt"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{Name: "ScriptIn", Ports: "0/1", Processing: "h", New: func() click.Element { return &ScriptIn{} },
		Doc: click.Doc{Group: "test", Title: "pushes the packets that a script sends"}})
	click.Register(click.Class{Name: "ScriptOut", Ports: "1/0", Processing: "a", New: func() click.Element { return &ScriptOut{} },
		Doc: click.Doc{Group: "test", Title: "prints packets in a script's transcript", Args: []string{"FORMAT: ether (the default), ip or raw."}}})
}

// ScriptIn is where a script sends packets to.
type ScriptIn struct{ click.Base }

// Configure implements click.Element.
func (e *ScriptIn) Configure(a *click.Args) { a.Parse() }

// ScriptOut prints packets.
type ScriptOut struct {
	click.Base
	format string
	count  uint64
	task   *click.Task
	intake *click.Intake
}

// Configure implements click.Element.
func (e *ScriptOut) Configure(a *click.Args) {
	e.format = "ether"
	a.Parse(click.May("FORMAT", click.String(&e.format)))
	if e.format != "ether" && e.format != "ip" && e.format != "raw" {
		a.Errorf("FORMAT: expected ether, ip or raw, not '%s'", e.format)
	}
}

// Initialize implements click.Initializer.
func (e *ScriptOut) Initialize() error {
	if e.InputKind(0) == click.PullKind {
		e.task = e.NewTask(func() (int, bool) {
			b := e.Thread().Scratch()
			n, more := e.intake.Pull(b, packet.MaxBatch)
			e.Push(0, b)
			e.Thread().Release(b)
			return n, more
		})
		e.intake = e.NewIntake(0, e.task)
		e.task.Schedule()
	}
	return nil
}

// Push implements click.Pusher.
func (e *ScriptOut) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		fmt.Fprintf(e.Output(), "%s %.6f %s\n", e.Name(), e.Now().Seconds()-1, Describe(e.format, p))
	}
	e.count += uint64(b.Len())
	e.Cache().FreeBatch(b)
}

// AddHandlers implements click.HandlerAdder.
func (e *ScriptOut) AddHandlers(h *click.Handlers) { h.Count("count", &e.count) }
