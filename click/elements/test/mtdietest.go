package test

import "github.com/janos-os/janos/click"

func init() {
	click.Register(click.Class{
		Name: "MTDieTest", Ports: "0/0", Processing: "a/a", New: func() click.Element { return &MTDieTest{} },
		Doc: click.Doc{
			Group: "test", Title: "makes every thread of the router ask for the end once",
			Example: "MTDieTest; DriverManager(wait, wait, print stopping, stop); // with two threads", See: []string{"DriverManager", "StaticThreadSched"},
		},
	})
}

// MTDieTest asks for the end.
type MTDieTest struct{ click.Base }

// Configure implements click.Element.
func (e *MTDieTest) Configure(a *click.Args) { a.Parse() }

// Start implements click.Starter.
func (e *MTDieTest) Start() {
	for _, t := range e.Router().Threads() {
		t.Worker().Post(e.Router().RequestStop)
	}
}
