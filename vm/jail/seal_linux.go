package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// seal takes everything from the process that it does not need any more. After it only the calls of the list are left, and no guest has been here before.
func (w *worker) seal() (*Sealed, error) {
	s, p, err := w.confine()
	if err != nil {
		return nil, err
	}
	return s, bar(s, p, retKill)
}

// confine is all of seal but the list of calls, in an order in which each step is still allowed to the process.
func (w *worker) confine() (*Sealed, *policy, error) {
	s := &Sealed{}
	w.threads()
	inherited, err := descriptors()
	if err != nil {
		return nil, nil, err
	}
	space, data, err := memory()
	if err != nil {
		return nil, nil, err
	}
	// When the machine runs out of memory, this process is to go before the node.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		s.Missing = append(s.Missing, fmt.Sprintf("first to go when memory is short: %v", err))
	}
	if err := w.root(s); err != nil {
		return nil, nil, err
	}
	if w.Nobody { // which takes the capabilities from all threads
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(nobody, nobody, nobody), syscall.Setresuid(nobody, nobody, nobody)); err != nil {
			s.Missing = append(s.Missing, fmt.Sprintf("another user: %v", err))
		}
	}
	if err := sys.DropCapabilities(); errors.Is(err, unix.ENOTSUP) && !w.Nobody {
		s.Missing = append(s.Missing, "no capabilities in its own namespaces: the program was built with cgo")
	} else if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, nil, fmt.Errorf("not dumpable: %w", err)
	}
	if err := sys.DieWithParent(); err != nil {
		return nil, nil, err
	}
	life := []unix.PollFd{{Fd: fdLife}}
	if n, _ := unix.Poll(life, 0); n > 0 {
		return nil, nil, errs.New(errs.Dead, "the node ended before its worker was ready")
	}
	p := &policy{pid: uint32(os.Getpid()), compile: w.engine.Compiler() == nil}
	p.writes = append(p.writes, 2)
	for _, e := range w.events {
		p.writes = append(p.writes, uint32(e))
	}
	if err := unix.SetNonblock(2, true); err != nil {
		return nil, nil, fmt.Errorf("standard error: %w", err)
	}
	for fd, what := range inherited {
		switch {
		case fd == 2 || fd >= fdEvents && fd < fdEvents+len(w.events):
		case what == "anon_inode:[eventpoll]":
		case what == "anon_inode:[eventfd]":
			p.reads = append(p.reads, uint32(fd))
			p.writes = append(p.writes, uint32(fd))
		default:
			unix.Close(fd)
		}
	}
	if len(p.reads) == 0 {
		p.reads = []uint32{^uint32(0)} // none
	}
	if err := w.limits(space, data); err != nil {
		return nil, nil, err
	}
	return s, p, nil
}

// bar leaves the process the calls of its list. What is not on it gets an answer of the filter, which is that the process is killed, but for tests.
func bar(s *Sealed, p *policy, answer uint32) error {
	list := calls(p)
	prog, err := filter(list, answer)
	if err != nil {
		return err
	}
	s.Calls, s.Filter = len(list), len(prog)
	if err := sys.NoNewPrivs(); err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(prog))
	for i, in := range prog {
		raw[i] = unix.SockFilter{Code: in.code, Jt: in.jt, Jf: in.jf, K: in.k}
	}
	return sys.Seccomp(raw)
}

// threads has the runtime make, while it may, all that it will ever need: its threads, which wait for work afterwards, and its poller.
func (w *worker) threads() {
	n := w.Lanes + 1 + 2*runtime.GOMAXPROCS(0) + 6
	var up, down sync.WaitGroup
	leave := make(chan struct{})
	up.Add(n)
	down.Add(n)
	for range n {
		go func() {
			runtime.LockOSThread()
			up.Done()
			<-leave
			runtime.UnlockOSThread() // otherwise it would end
			down.Done()
		}()
	}
	up.Wait()
	close(leave)
	down.Wait()
	<-time.After(time.Nanosecond)
	runtime.GC()
}

// descriptors are the open files of the process, with what they are.
func descriptors() (map[int]string, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	fds := map[int]string{}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if what, err := os.Readlink(filepath.Join("/proc/self/fd", name)); err == nil {
			fds[fd] = what
		}
	}
	return fds, nil
}

// memory returns the bytes of address space in use, and of private memory that may be written.
func memory() (space, data uint64, err error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, fmt.Errorf("memory in use: %w", err)
	}
	var size, resident, shared, text, lib uint64
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared, &text, &lib, &data); err != nil {
		return 0, 0, fmt.Errorf("memory in use: %w", err)
	}
	page := uint64(os.Getpagesize())
	return size * page, data * page, nil
}

// root makes the file system empty.
func (w *worker) root(s *Sealed) error {
	if !w.Separate {
		s.Root = "empty"
		if err := unix.Chroot(w.Root); err != nil {
			s.Root = "/"
			s.Missing = append(s.Missing, fmt.Sprintf("an empty root: %v", err))
			return nil
		}
		return unix.Chdir("/")
	}
	for _, ns := range strings.Fields("mnt net pid ipc uts user") {
		s.Namespaces = append(s.Namespaces, ns)
	}
	if w.Nobody {
		s.Namespaces = s.Namespaces[:5]
	}
	step := func(what string, err error) error {
		if err != nil {
			return fmt.Errorf("an empty root: %s: %w", what, err)
		}
		return nil
	}
	for _, do := range []func() error{
		func() error { return step("private mounts", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) },
		func() error {
			return step("tmpfs", unix.Mount("jail", w.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,nr_inodes=2,mode=0555"))
		},
		func() error { return step("chdir", unix.Chdir(w.Root)) },
		func() error { return step("pivot_root", unix.PivotRoot(".", ".")) },
		func() error { return step("the old root", unix.Unmount(".", unix.MNT_DETACH)) },
		func() error { return step("chdir", unix.Chdir("/")) },
		func() error {
			return step("read-only", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
		},
	} {
		if err := do(); err != nil {
			return err
		}
	}
	s.Root = "empty"
	return nil
}

// reserve is address space beyond what may be used: the runtime reserves it in pieces of 64 MiB.
const reserve = 256 << 20

// limits sets what the kernel counts. What is in use already, space and data, is the runtime's.
func (w *worker) limits(space, data uint64) error {
	set := func(what int, n uint64) error {
		if err := unix.Prlimit(0, what, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
			return fmt.Errorf("limit %d: %w", what, err)
		}
		return nil
	}
	err := errors.Join(set(unix.RLIMIT_CORE, 0), set(unix.RLIMIT_NPROC, 0), set(unix.RLIMIT_FSIZE, 0), set(unix.RLIMIT_MEMLOCK, 0), set(unix.RLIMIT_MSGQUEUE, 0),
		set(unix.RLIMIT_DATA, data+uint64(w.Memory)), set(unix.RLIMIT_AS, space+uint64(w.Memory)+reserve), set(unix.RLIMIT_NOFILE, 0))
	if w.CPU > 0 {
		err = errors.Join(err, set(unix.RLIMIT_CPU, uint64(w.CPU)))
	}
	return err
}
