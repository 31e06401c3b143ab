package errs

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKinds(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	err := fmt.Errorf("outer: %w", New(Limit, "account a/b: %w", cause))
	if !errors.Is(err, Limit) || errors.Is(err, Trap) || !errors.Is(err, cause) {
		t.Fatalf("Is: limit %v trap %v cause %v", errors.Is(err, Limit), errors.Is(err, Trap), errors.Is(err, cause))
	}
	for _, c := range []struct {
		err  error
		kind Kind
		exit int
	}{
		{nil, OK, 0}, {io.EOF, Internal, 1}, {err, Limit, 22}, {fmt.Errorf("x: %w", Dead), Dead, 25},
	} {
		if got := KindOf(c.err); got != c.kind {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.kind)
		}
		if got := ExitCode(c.err); got != c.exit {
			t.Errorf("ExitCode(%v) = %d, want %d", c.err, got, c.exit)
		}
	}
	// The numbers are a contract: one look here shows a renumbering.
	for k, want := range map[Kind]uint8{Invalid: 2, Limit: 6, OutOfFuel: 12, Trap: 13, Corrupt: 18} {
		if uint8(k) != want {
			t.Errorf("kind %v has number %d, want %d", k, uint8(k), want)
		}
	}
	if len(kindNames) != int(kinds) {
		t.Fatalf("%d names for %d kinds", len(kindNames), kinds)
	}
}

func TestListSortsByPlace(t *testing.T) {
	var l List
	if l.Err() != nil {
		t.Fatal("empty list is an error")
	}
	l.Addf(Pos{"f", 3, 1}, "later")
	l.Addf(Pos{"f", 1, 9}, "first")
	l.Add(nil)
	want := "f:1:9: first\nf:3:1: later"
	if got := l.Err().Error(); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if !errors.Is(l.Err(), Invalid) {
		t.Fatal("list hides the kind of its members")
	}
}
