package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
)

// Variables of the environment by which a process in a user namespace of our own knows where it is.
const (
	envUserNS   = "JANOS_LAB_USERNS"
	envStateDir = "JANOS_LAB_STATE"
)

// inOwnUserNS reports whether InUserNamespace started this process or an ancestor.
func inOwnUserNS() bool { return os.Getenv(envUserNS) != "" }

// InUserNamespace makes cmd run as root of new user, network and mount namespaces, in which Up works without
// privileges; its files stay the caller's. The process dies with the thread that starts it, so the caller locks its goroutine to
// its thread until cmd has ended. Nobody outside sees the namespaces; commands go in through the lab's control socket.
func InUserNamespace(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	a := cmd.SysProcAttr
	a.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	a.Pdeathsig = syscall.SIGKILL
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	// Said here, because inside the process takes itself for root.
	cmd.Env = append(cmd.Env, envUserNS+"=1", envStateDir+"="+DefaultStateDir())
}

// BestForm returns the best form that this process can build on this machine, and why a better one cannot be. helper is as in
// Options; its verb "probe" is run in a user namespace to try.
func BestForm(helper []string) (Form, string) {
	if inOwnUserNS() {
		return Namespaces, ""
	}
	var why string
	if os.Geteuid() == 0 {
		err := tryLink()
		if err == nil {
			return Namespaces, ""
		}
		why = fmt.Sprintf("root, but: %v; ", err)
	} else {
		why = "not root; "
	}
	if len(helper) == 0 {
		self, err := os.Executable()
		if err != nil {
			return OneProcess, why + err.Error()
		}
		helper = []string{self, "lab"}
	}
	argv := append(append([]string(nil), helper...), "probe")
	cmd := exec.Command(argv[0], argv[1:]...)
	InUserNamespace(cmd)
	cmd.SysProcAttr.Pdeathsig = 0 // it ends by itself
	var msg bytes.Buffer
	cmd.Stderr = &msg
	if err := cmd.Run(); err != nil {
		return OneProcess, why + strings.TrimSpace(fmt.Sprintf("no user namespace: %v %s", err, &msg))
	}
	return UserNamespace, strings.TrimSuffix(why, "; ")
}

// ProbeMain is what BestForm runs: it tries in the current network namespace what a laboratory needs. It returns the exit code.
func ProbeMain(stderr io.Writer) int {
	if err := tryLink(); err != nil {
		fmt.Fprintln(stderr, err)
		return errs.ExitCode(err)
	}
	return 0
}

// tryLink makes a namespace with a pair of virtual links and a packet socket, and lets all of it go.
func tryLink() error {
	errc := make(chan error, 1)
	go func() { errc <- tryLinkHere() }()
	return <-errc
}

// tryLinkHere runs on a goroutine that ends with its thread, which is in a namespace of its own by then.
func tryLinkHere() error {
	runtime.LockOSThread() // and never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return errs.New(errs.NotSupported, "network namespace: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return errs.New(errs.NotSupported, "netlink socket: %w", err)
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnprobe0"}, PeerName: "jnprobe1"}); err != nil {
		return errs.New(errs.NotSupported, "virtual link: %w; does the kernel have veth?", err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errs.New(errs.NotSupported, "packet socket: %w", err)
	}
	return unix.Close(fd)
}
