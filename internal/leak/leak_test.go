package leak

import (
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// What the checks are for must be visible to them.
func TestFindsWhatIsLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	before := files()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if n := files()["socket"] - before["socket"]; n != 1 {
		t.Errorf("%d sockets more, want 1", n)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if l := children(); len(l) != 1 || !strings.HasSuffix(l[0], " cat") {
		t.Errorf("children %v, want cat", l)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if l := named([]string{"lo"}); len(l) != 1 || !strings.HasPrefix(l[0], "link lo") {
		t.Errorf("links called lo: %v", l)
	}
}
