package capsulecmd

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestCheckElement: a graph element is checked as one.
func TestCheckElement(t *testing.T) {
	const file = "../../examples/elements/rewrite/rewrite.wasm"
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := examine(file, code)
	var b bytes.Buffer
	r.print(&b, false)
	if !r.Accepted || !r.Element || r.Class != "rewrite" || !strings.Contains(b.String(), "element  rewrite") || !strings.Contains(b.String(), "packets with less than 20") {
		t.Errorf("%+v prints\n%s", r, &b)
	}
	code = bytes.Replace(code, []byte("janos_packet"), []byte("janos_pocket"), 1)
	if r := examine(file, code); r.Accepted || !strings.Contains(r.err.Error(), "janos_packet") {
		t.Errorf("without its record: %+v", r)
	}
}
