package node

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/mem"
)

// A route table that cannot be opened is an error like others.
func TestKernelRoutesThatFail(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	done := make(chan struct{})
	go func() { // in a namespace without interfaces, on a thread that ends with the goroutine
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		kernelRoutesThatFail(t)
	}()
	<-done
}

func kernelRoutesThatFail(t *testing.T) {
	s := pairSpec(1)
	s.Routing.Kernel = true
	e := Env{OpenLink: onNet(mem.NewNet())}
	n, err := Start(pairSpec(1), e) // all that is made on first use
	if err != nil {
		t.Error(err)
		return
	}
	if err := n.Close(); err != nil {
		t.Error(err)
		return
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Error(err)
		return
	}
	failed := 0
	for more := range 12 { // the limit strikes at another step each time
		lim := was
		lim.Cur = uint64(openFiles(t) + more)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			t.Error(err)
			return
		}
		n, err := Start(s, Env{OpenLink: onNet(mem.NewNet())})
		if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); e != nil {
			t.Error(e)
			return
		}
		if err != nil {
			failed++
			continue
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if failed == 0 {
		t.Error("it always started")
	}
}
