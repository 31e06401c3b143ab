package threads_test

import (
	"testing"

	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
