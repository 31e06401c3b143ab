package info

import "github.com/janos-os/janos/click"

func init() {
	click.Register(click.Class{
		Name: "ClickyInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &ClickyInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "holds styles for the graphical interface Clicky",
			Text: "Clicky reads the arguments from the handler config. The router does nothing with them.",
			Args: []string{"<style>...: As Clicky has them."}, Example: "ClickyInfo(style #q { queue-style: vertical });",
		},
	})
}

// ClickyInfo is for others to read.
type ClickyInfo struct{ click.Base }

// Configure implements click.Element.
func (e *ClickyInfo) Configure(*click.Args) {}
