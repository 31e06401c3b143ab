package ip_test

import (
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
)

// TestCommandsAreAllOrNone: a list of commands with a mistake changes nothing, wherever the mistake is.
func TestCommandsAreAllOrNone(t *testing.T) {
	s, err := elementtest.New(t, "Idle -> rt :: RadixIPLookup(10.0.0.0/8 0, 11.0.0.0/8 1.1.1.1 0) -> Discard;", elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	read := func() string {
		v, err := s.Router.Read("rt.table", "")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := read()
	for _, bad := range []string{"add 12.0.0.0/8 5", "add 11.0.0.0/8 0", "remove 12.0.0.0/16", "frob", "set"} {
		if err := s.Router.Write("rt.ctrl", "remove 10.0.0.0/8\nset 11.0.0.0/8 0\nadd 12.0.0.0/8 0\n"+bad+"\nadd 13.0.0.0/8 0"); err == nil {
			t.Errorf("'%s' is not refused", bad)
		}
		if after := read(); after != before {
			t.Errorf("after '%s' the table is\n%sand was\n%s", bad, after, before)
		}
	}
	if err := s.Router.Write("rt.ctrl", "remove 10.0.0.0/8\nset 11.0.0.0/8 0\nadd 12.0.0.0/8 0\n"); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "12.0.0.0/8\t\t-\t\t0\n11.0.0.0/8\t\t-\t\t0\n" {
		t.Errorf("the table is\n%s", got)
	}
	// A replacement keeps what the handlers added.
	spec, err := click.Parse("config", "Idle -> rt :: RadixIPLookup(10.0.0.0/8 0) -> Discard;", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Router.Replace(spec)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := n.Read("rt.table", ""); err != nil || v != "10.0.0.0/8\t\t-\t\t0\n12.0.0.0/8\t\t-\t\t0\n11.0.0.0/8\t\t-\t\t0\n" {
		t.Errorf("after the replacement the table is\n%s(%v)", v, err)
	}
	n.Close()
}
