package capsulecmd

import (
	"bytes"
	"fmt"
	"io"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/wasi"
)

// The kinds of processes, as reports call them.
const (
	guestProcess = "guest" // of the NodeOS
	wasiProcess  = "wasi"
)

// processOf says which kind of process a module is to be, or "" if it is none: by the modules that it imports from. It may be wrong about hostile ones, whom the gate
// then refuses.
func processOf(code []byte) string {
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	switch {
	case bytes.Contains(code, name(wasi.Module)):
		return wasiProcess
	case bytes.Contains(code, name(abi.VMModule)) || bytes.Contains(code, name(abi.NOModule)):
		if !bytes.Contains(code, name(abi.ExportEvaluate)) {
			return guestProcess
		}
	}
	return ""
}

// processClass returns the class of a kind of process.
func (e *engine) processClass(kind string) (*vm.Class, error) {
	if kind == wasiProcess {
		r, err := wasi.New(e.engine, gate.Limits{})
		if err != nil {
			return nil, err
		}
		return r.Class(), nil
	}
	b, err := nodeosabi.New(nodeosabi.Spec{Engine: e.engine})
	if err != nil {
		return nil, err
	}
	return b.Process(), nil
}

// configOf returns what the gate accepts of a module.
func configOf(code []byte) (*gate.Config, error) {
	kind := processOf(code)
	if kind == "" {
		return gateConfig(), nil
	}
	e, err := newEngine(nil)
	if err != nil {
		return nil, err
	}
	defer e.close()
	class, err := e.processClass(kind)
	if err != nil {
		return nil, err
	}
	return class.Gate(), nil
}

// printProcess writes the first lines of the report of a process.
func (r *report) printProcess(w io.Writer) {
	what := "guest of the NodeOS, or of package vm (docs/abi-calls.md)"
	if r.Process == wasiProcess {
		what = "WASI preview 1 program (janos wasi run)"
	}
	fmt.Fprintf(w, "  process  %s\n", what)
}

// most is how long a module may be.
func most(code []byte) int {
	if processOf(code) == wasiProcess {
		return int(wasi.Limits().Module)
	}
	return int(gate.HandlerLimits().Module)
}

// tooBig is the refusal of a file that is not even read.
func tooBig(path string, size int64, most int) error {
	return errs.New(errs.TooBig, "%s has %d bytes; code of more than %d is not accepted anywhere, make it smaller: -Os, --strip-all, no data tables", path, size, most)
}
