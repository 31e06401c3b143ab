package packet

import (
	"fmt"
	"os"
	"testing"

	"github.com/janos-os/janos/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, fmt.Sprintf("jnpkt%d", os.Getpid()), "jnv") }
