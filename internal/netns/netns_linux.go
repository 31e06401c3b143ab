package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dir is where iproute2 keeps named network namespaces.
const Dir = "/run/netns"

// maxName bounds a namespace's name; it is a file name.
const maxName = 100

// Namespace is an open handle of a named network namespace. Its methods may be called concurrently, but not
// after Close.
type Namespace struct {
	name string
	path string
	file *os.File
}

// Create makes a network namespace and names it dir/name. It fails with an error that is fs.ErrExist when the name is
// taken. It needs CAP_SYS_ADMIN in the user namespace that owns the caller's mount namespace. The caller closes the
// result, and removes the namespace with Delete.
func Create(dir, name string) (*Namespace, error) {
	path, err := join(dir, name)
	if err != nil {
		return nil, err
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("namespace %s: unshare: %w", name, err)
		}
		if err := unix.Mount(threadNS, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("namespace %s: bind mount on %s: %w", name, path, err)
		}
		return nil
	})
	if err != nil {
		_ = Delete(dir, name)
		return nil, err
	}
	return Open(dir, name)
}

// Open opens the existing namespace dir/name. The caller closes the result.
func Open(dir, name string) (*Namespace, error) {
	path, err := join(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("namespace %s: %s is a plain file, nothing is mounted on it", name, path)
	}
	return &Namespace{name: name, path: path, file: f}, nil
}

// Delete removes the name dir/name, and with it the namespace as soon as no process, socket or handle uses it. A name
// that does not exist is not an error.
func Delete(dir, name string) error {
	path, err := join(dir, name)
	if err != nil {
		return err
	}
	for {
		// A mount that somebody copied on top (ip netns does) would keep the namespace: unmount until none is left.
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == unix.EINVAL || err == unix.ENOENT {
			break
		}
		if err != nil {
			return fmt.Errorf("namespace %s: unmount: %w", name, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}

// List returns the names in dir that start with prefix, sorted. A directory that does not exist has none.
func List(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Name returns the name of the namespace.
func (n *Namespace) Name() string { return n.name }

// Path returns the file that the namespace is mounted on.
func (n *Namespace) Path() string { return n.path }

// Fd returns a descriptor of the namespace that is valid until Close.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// Inode returns the number by which /proc/PID/ns/net names this namespace.
func (n *Namespace) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.Fd(), &st); err != nil {
		return 0, fmt.Errorf("namespace %s: %w", n.name, err)
	}
	return st.Ino, nil
}

// Close gives the handle up. The namespace stays.
func (n *Namespace) Close() error { return n.file.Close() }

// Do runs fn on an OS thread that is inside the namespace, and returns its error. Processes that fn starts and sockets
// that it opens belong to the namespace; goroutines that it starts do not. It blocks until fn returns.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := n.Enter(); err != nil {
			return err
		}
		return fn()
	})
}

// Enter moves the calling OS thread into the namespace for good. The caller has locked its goroutine to the thread
// and does not unlock it: the thread then ends with the goroutine.
func (n *Namespace) Enter() error {
	if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n.name, err)
	}
	return nil
}

// Netlink returns a route socket of the namespace. The caller closes it with Close.
func (n *Namespace) Netlink() (*netlink.Handle, error) {
	var h *netlink.Handle
	err := n.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlink socket in namespace %s: %w", n.name, err)
	}
	return h, nil
}

// Sysctl writes value to the net.* setting of the namespace whose path below /proc/sys/net is key, for example
// "ipv4/ip_forward".
func (n *Namespace) Sysctl(key, value string) error {
	if !filepath.IsLocal(key) {
		return fmt.Errorf("sysctl %q: not a path below /proc/sys/net", key)
	}
	err := n.Do(func() error {
		f, err := os.OpenFile(filepath.Join("/proc/sys/net", key), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("namespace %s: set net/%s to %s: %w", n.name, key, value, err)
	}
	return nil
}

// threadNS names the calling thread's network namespace.
const threadNS = "/proc/thread-self/ns/net"

// onThread runs fn on the calling goroutine, locked to a thread whose network namespace it puts back afterwards. A thread
// that cannot be put back stays locked and is thrown away by the runtime when its goroutine ends, so
// that no other goroutine ever finds itself in a strange namespace; therefore fn runs on a goroutine of its own.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(threadNS)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = fn()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
		done <- err
	}()
	return <-done
}

// prepare makes dir. Under root's Dir it does what iproute2 does: the directory is made a shared mount, so that a
// name made by one mount namespace is seen, and removed, in all.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("directory for namespaces: %w", err)
	}
	if dir != Dir {
		return nil
	}
	if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err == nil {
		return nil
	}
	if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind mount %s on itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s a shared mount: %w", dir, err)
	}
	return nil
}

func join(dir, name string) (string, error) {
	if name == "" || len(name) > maxName || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("namespace name %q: use 1 to %d bytes without slashes", name, maxName)
	}
	return filepath.Join(dir, name), nil
}
