package socket_test

import (
	"fmt"
	"os"
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "jnsock") }

// Sockets of files need no network, and what is sent is there at once, so that a script has one outcome.
func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{Host: true, Vars: map[string]string{"AT": fmt.Sprintf("@jnsock-%d-", os.Getpid())}})
}
