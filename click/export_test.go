package click

import "fmt"

// Wiring shows what the ports and tasks of an element are bound to.
func Wiring(el Element) string {
	b := el.base()
	s := ""
	for _, o := range b.outs {
		s += fmt.Sprintf("%p %d;", o.to, o.port)
	}
	for _, i := range b.ins {
		s += fmt.Sprintf("%p %d;", i.from, i.port)
	}
	for _, k := range b.tasks {
		s += fmt.Sprintf("%p;", k.fn)
	}
	return s
}
