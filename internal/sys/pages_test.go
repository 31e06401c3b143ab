//go:build unix

package sys

import "testing"

func TestPages(t *testing.T) {
	page := PageSize()
	r, err := Reserve(16 * page)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(r)
	b := r[4*page : 8*page]
	if err := SetAccess(b, ReadWrite); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if b[i] != 0 {
			t.Fatalf("byte %d is %d", i, b[i])
		}
		b[i] = 1
	}
	if err := SetAccess(b, ReadOnly); err != nil || b[page] != 1 {
		t.Fatal(err)
	}
	if err := SetAccess(b, ReadWrite); err != nil {
		t.Fatal(err)
	}
	if err := Discard(b[:page]); err != nil || b[0] != 0 || b[page-1] != 0 || b[page] != 1 {
		t.Fatalf("%v: %d %d %d", err, b[0], b[page-1], b[page])
	}
	if err := SetAccess(b, NoAccess); err != nil {
		t.Fatal(err)
	}
}

func TestOffset(t *testing.T) {
	r := make([]byte, 64)
	for _, c := range []struct {
		b   []byte
		off int
		ok  bool
	}{
		{r, 0, true}, {r[10:20], 10, true}, {r[10:10], 10, true}, {r[63:], 63, true}, {nil, 0, false}, {[]byte{}, 0, false}, {make([]byte, 64), 0, false},
	} {
		if off, ok := Offset(r, c.b); ok != c.ok || ok && off != c.off {
			t.Errorf("%d bytes of %d: %d, %v", len(c.b), cap(c.b), off, ok)
		}
	}
	if _, ok := Offset(r[:32], r[40:]); ok {
		t.Error("what lies behind a region is in it")
	}
	if _, ok := Offset(r[8:], r[:4]); ok {
		t.Error("what lies before a region is in it")
	}
}
