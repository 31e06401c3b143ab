package capsulecmd

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Processes are checked as what they are.
func TestCheckProcesses(t *testing.T) {
	for file, want := range map[string]string{
		"../../examples/guest-ee/guests/ee.wasm": "  process  guest of the NodeOS", "../../vm/testdata/process_vm.wasm": "  process  guest of the NodeOS",
		"../../vm/wasi/testdata/words.wasm": "  process  WASI preview 1 program", "../../vm/nodeosabi/conformance/testdata/shout.wasm": "  class    shout",
	} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := examine(file, code)
		var out bytes.Buffer
		r.print(&out, true)
		if !r.Accepted || !strings.Contains(out.String(), want) || r.Process == "" && len(r.Imports) > 0 {
			t.Errorf("%s: %v\n%s", file, r.err, out.String())
		}
	}
	if r := examine("x", append([]byte("\x00asm\x01\x00\x00\x00"), "\x16wasi_snapshot_preview1"...)); r.Accepted || r.Refusal.Offset < 0 {
		t.Errorf("a false one: %+v", r)
	}
}
