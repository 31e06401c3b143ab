package pcap

import (
	"os"
	"syscall"

	"github.com/janos-os/janos/errs"
)

// pipe opens the standard input again, so that closing it ends a read, which it does for pipes that do not block.
func pipe() (*os.File, error) {
	st, err := os.Stdin.Stat()
	if err != nil {
		return nil, fileError(err)
	}
	if m := st.Mode(); m&os.ModeNamedPipe == 0 && !m.IsRegular() {
		return nil, errs.New(errs.Invalid, "the standard input is no pipe and no file; use it as in: tcpdump -w - | janos")
	}
	f, err := os.OpenFile("/proc/self/fd/0", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(err)
	}
	return f, nil
}
