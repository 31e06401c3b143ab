package standard

import (
	"fmt"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "DriverManager", Ports: "0/0", Processing: "a", New: func() click.Element { return &DriverManager{} },
		Doc: click.Doc{
			Group: "standard", Title: "decides when the router stops",
			Text: "Its instructions run in order; after the last one the router stops. While there is a DriverManager, a request to stop (STOP of a source, the stop handler) only ends the present wait.\n\n" +
				"Instructions: wait_stop [N] waits for N requests to stop, wait TIME for a time or a request, write HANDLER VALUE writes, read HANDLER prints name and value, print TEXT|HANDLER prints, stop stops at once.",
			Args:    []string{"<instruction>...: What to do."},
			Example: "DriverManager(wait_stop 2, print c.count, stop);",
		},
	})
}

// DriverManager runs instructions until the router is to stop.
type DriverManager struct {
	click.Base
	steps []instruction
	next  int
	left  int  // requests to wait for
	timed bool // waiting for a time
	timer *click.Timer
}

type instruction struct {
	verb, what, value string
	n                 int
	d                 time.Duration
}

// Configure implements click.Element.
func (e *DriverManager) Configure(a *click.Args) {
	for _, arg := range a.List() {
		verb, rest := lang.NextWord(arg)
		k := instruction{verb: verb, n: 1}
		switch verb {
		case "wait_stop", "wait_pause", "pause":
			if rest != "" {
				if err := click.IntRange(&k.n, 0, 1<<30)(rest, a); err != nil {
					a.Errorf("%s: %v", verb, err)
				}
			}
			k.verb = "wait_stop"
		case "wait", "wait_time":
			if err := click.Duration(&k.d)(rest, a); err != nil {
				a.Errorf("%s: %v", verb, err)
			}
			k.verb = "wait"
		case "write", "read":
			k.what, k.value = lang.NextWord(rest)
			k.value = lang.Unquote(k.value)
			if k.what == "" {
				a.Errorf("%s: a handler is missing", verb)
			}
		case "print":
			k.value = rest
		case "stop":
		default:
			a.Errorf("unknown instruction '%s', known are wait_stop, wait, write, read, print, stop", verb)
		}
		e.steps = append(e.steps, k)
	}
}

// Initialize implements click.Initializer.
func (e *DriverManager) Initialize() error {
	if !e.Router().OnStop(e.request) {
		return fmt.Errorf("there can be only one DriverManager")
	}
	e.timer = e.NewTimer(func() {
		if e.timed {
			e.timed = false
			e.next++
		}
		e.run()
	})
	return nil
}

// Start implements click.Starter.
func (e *DriverManager) Start() {
	if len(e.steps) == 0 {
		return // then a request ends it
	}
	e.timer.SetAfter(0) // not before everything runs
}

// request decides about a request to stop.
func (e *DriverManager) request() bool {
	switch {
	case e.next >= len(e.steps):
		return false
	case e.timed:
		e.timed = false
		e.next++
		e.timer.SetAfter(0)
	case e.left > 0:
		if e.left--; e.left == 0 {
			e.next++
			e.timer.SetAfter(0)
		}
	case e.steps[e.next].verb == "wait_stop":
		// It came before the wait that it is for.
		if e.steps[e.next].n--; e.steps[e.next].n == 0 {
			e.next++
		}
	}
	return true
}

func (e *DriverManager) run() {
	for e.next < len(e.steps) {
		k := &e.steps[e.next]
		switch k.verb {
		case "wait_stop":
			if k.n > 0 {
				e.left = k.n
				return
			}
		case "wait":
			e.timed = true
			e.timer.SetAfter(k.d)
			return
		case "write":
			if err := e.Router().WriteHere(k.what, k.value); err != nil {
				fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
			}
		case "read":
			v, err := e.Router().ReadHere(k.what, k.value)
			if err != nil {
				v = err.Error()
			}
			fmt.Fprintf(e.Output(), "%s:\n%s\n", k.what, strings.TrimSuffix(v, "\n"))
		case "print":
			text := lang.Unquote(k.value)
			if v, err := e.Router().ReadHere(text, ""); err == nil {
				text = strings.TrimSuffix(v, "\n")
			}
			fmt.Fprintln(e.Output(), text)
		case "stop":
			e.next = len(e.steps)
			continue
		}
		e.next++
	}
	e.Router().Stop()
}
