package script

import "testing"

func TestRoundTrip(t *testing.T) {
	const text = "comment\n-- a --\none\n-- b/c --\n-- d --\ntwo\nthree\n"
	a := Parse(text)
	if a.Comment != "comment\n" || len(a.Files) != 3 || a.Text("a") != "one\n" || a.Text("b/c") != "" || a.Get("x") != nil {
		t.Fatalf("parsed %+v", a)
	}
	if got := a.Format(); got != text {
		t.Fatalf("formatted %q", got)
	}
}
