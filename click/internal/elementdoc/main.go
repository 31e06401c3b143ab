// Command elementdoc writes the reference of all elements, docs/elements.md. go generate runs it; it takes the
// file's name, does nothing else, and ends.
package main

import (
	"fmt"
	"os"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	_ "github.com/janos-os/janos/click/elements/wasm"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: elementdoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(click.Reference()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
