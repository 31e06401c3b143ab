// Command cmd writes the generated forms of the guest ABI; run it with go generate in sdk/abi.
package main

import (
	"log"
	"os"

	"github.com/janos-os/janos/sdk/abi/internal/gen"
)

func main() {
	log.SetFlags(0)
	for _, list := range []func(string) (map[string][]byte, error){gen.Files, gen.CallFiles} {
		files, err := list(".")
		if err != nil {
			log.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				log.Fatal(err)
			}
		}
	}
}
