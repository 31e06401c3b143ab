package node

import (
	"testing"

	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/vm/jail"
)

func TestMain(m *testing.M) {
	jail.Enter()
	leak.Main(m, "jnnod")
}
