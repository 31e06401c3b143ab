package ckit

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// directive begins the line of a C source that says how it is built; see FileOptions.
const directive = "janos:build"

// FileOptions reads how a C source wants to be built from the line in its first 50 lines that has the word
// janos:build, if there is one. It stands in a comment:
//
//	janos:build pages=16 stack=8192
//
// process=1 makes it a process, see Options.Process. A source that includes janos_element.h in these lines is a graph element. An unknown name and a number out of range are errs.Invalid and name file and line.
func FileOptions(file string, src []byte) (Options, error) {
	var o Options
	lines := bytes.SplitN(src, []byte("\n"), 51)
	for _, line := range lines[:min(len(lines), 50)] {
		if rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("#")); ok && bytes.HasPrefix(bytes.TrimSpace(rest), []byte("include")) && bytes.Contains(rest, []byte("janos_element.h")) {
			o.Element = true
		}
	}
	for i, line := range lines {
		_, rest, found := strings.Cut(string(line), directive)
		if !found || i == 50 {
			continue
		}
		rest, _, _ = strings.Cut(rest, "*/")
		for _, f := range strings.Fields(rest) {
			name, value, _ := strings.Cut(f, "=")
			n, err := strconv.Atoi(value)
			at := errs.Pos{File: file, Line: i + 1, Col: strings.Index(string(line), f) + 1}
			switch {
			case name == "pages" && err == nil && n >= 1 && n <= 1<<16:
				o.Pages = n
			case name == "stack" && err == nil && n >= 16 && n <= 1<<20 && n%16 == 0:
				o.Stack = n
			case name == "process" && err == nil && n == 1:
				o.Process = true
			default:
				return o, &errs.At{Pos: at, Err: errs.New(errs.Invalid, "%q: want pages=1 to 65536, stack=16 to 1048576 in steps of 16, or process=1", f)}
			}
		}
		return o, nil
	}
	return o, nil
}
