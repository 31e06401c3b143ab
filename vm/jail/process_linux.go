package jail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/vm"
)

// command is the hidden argument by which the program knows that it is a worker.
const command = "jail-worker"

// birth is what a worker is told when it starts, in its environment.
type birth struct {
	Name     string  `json:"name"`
	Mode     vm.Mode `json:"mode"`
	Memory   int64   `json:"memory"`
	CPU      int64   `json:"cpu"` // seconds; 0: no limit
	Window   int     `json:"window"`
	Lanes    int     `json:"lanes"`
	Root     string  `json:"root"`     // an empty directory
	Separate bool    `json:"separate"` // it has namespaces of its own
	Nobody   bool    `json:"nobody"`   // it is to become nobody
}

// What a worker inherits, by number.
const (
	fdMemory = 3
	fdLife   = 4 // readable when the node has ended
	fdEvents = 5 // of the lanes, and then of the control area
)

// nobody is the user and group that workers of a privileged node become.
const nobody = 65534

func newEvent() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("vm/jail: eventfd: %w", err)
	}
	return fd, nil
}

func closeFD(fd int)                              { unix.Close(fd) }
func wake(w *atomic.Uint32)                       { sys.WakeWord(w) }
func sharedWord(b []byte, off int) *atomic.Uint32 { return sys.Word(b, off) }
func unmap(b []byte)                              { _ = sys.Unmap(b) }

// pollIn waits until an eventfd is readable, or the time is over.
func pollIn(fd int, limit time.Duration) bool {
	until := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ts := unix.NsecToTimespec(int64(max(limit, 0)))
		n, err := unix.Ppoll(fds, &ts, nil)
		if err != unix.EINTR {
			return n > 0
		}
		limit = time.Until(until)
	}
}

func drain(fd int) { sys.Drain(fd) }

// newMemory makes the memory that is shared: a file without a name that nobody can make shorter, or longer.
func newMemory(n int) (fd int, mem []byte, err error) {
	fd, err = unix.MemfdCreate("janos-jail", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil, fmt.Errorf("vm/jail: memfd_create: %w", err)
	}
	if err = unix.Ftruncate(fd, int64(n)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err == nil {
		mem, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("vm/jail: %d bytes to share with a worker: %w", n, err)
	}
	return fd, mem, nil
}

// supervise is the jail's goroutine: it starts workers and buries them. The kernel ends a worker with the thread that started it, so the goroutine keeps its own.
func (j *Jail) supervise(first chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(j.done)
	backoff := firstBackoff
	for {
		began := time.Now()
		p, wait, err := j.launch()
		if first == nil && err == nil && j.spec.OnStart != nil {
			j.spec.OnStart()
		}
		if first != nil {
			first <- err
			if err != nil {
				return
			}
			first = nil
		}
		if err == nil {
			err = wait()
			j.bury(p)
		}
		select {
		case <-j.stop:
			return
		default:
		}
		if time.Since(began) > goodLife {
			backoff = firstBackoff
		}
		j.mu.Lock()
		j.last = err
		j.status.Deaths++
		j.status.Last = err.Error()
		j.mu.Unlock()
		j.spec.Log.Warn("worker of a jail has ended", "jail", j.spec.Name, "err", err, "next", backoff)
		if j.spec.OnDeath != nil {
			j.spec.OnDeath(err)
		}
		timer := time.NewTimer(backoff)
		select {
		case <-j.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// bury lets go of a process that has ended.
func (j *Jail) bury(p *process) {
	j.mu.Lock()
	j.p.CompareAndSwap(p, nil)
	j.status.CPU += p.cpu.Load()
	j.status.Sealed = nil
	j.mu.Unlock()
	p.drop()
}

// launch starts a worker, with as much around it as the machine permits, and waits until it is sealed. wait returns when it has ended, and why.
func (j *Jail) launch() (*process, func() error, error) {
	if len(numbers) == 0 {
		return nil, nil, errs.New(errs.NotSupported, "vm/jail: no list of system calls for %s", runtime.GOARCH)
	}
	if !entered.Load() {
		return nil, nil, errs.New(errs.NotSupported, "vm/jail: this program cannot start itself as a worker: call jail.Enter first in main")
	}
	if err := sys.CanSeccomp(); err != nil {
		return nil, nil, errs.New(errs.NotSupported, "vm/jail: the kernel has no filter that ends a process (Linux 4.14, CONFIG_SECCOMP_FILTER): %w", err)
	}
	var missing []string
	var last error
	for _, a := range attempts() {
		p, wait, err := j.launchAs(a)
		if err == nil {
			p.sealed.Missing = append(missing, p.sealed.Missing...)
			j.mu.Lock()
			j.status.Starts++
			j.status.Sealed = p.sealed
			for n, q := range j.live {
				p.queues[n].Store(q)
			}
			j.p.Store(p)
			j.mu.Unlock()
			return p, wait, nil
		}
		last = err
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EACCES) {
			return nil, nil, err // not a matter of what is permitted
		}
		missing = append(missing, fmt.Sprintf("%s: %v", a.name, err))
	}
	return nil, nil, last
}

// attempt is a way to start a worker.
type attempt struct {
	name   string
	flags  uintptr
	nobody bool
}

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// attempts are the ways, the best first.
func attempts() []attempt {
	if os.Geteuid() == 0 {
		return []attempt{{"namespaces", namespaces, true}, {"none", 0, true}}
	}
	return []attempt{{"namespaces of an own user", namespaces | unix.CLONE_NEWUSER, false}, {"none", 0, false}}
}

func (j *Jail) launchAs(a attempt) (*process, func() error, error) {
	root, err := os.MkdirTemp("", "jn-jail-")
	if err != nil {
		return nil, nil, fmt.Errorf("vm/jail: %w", err)
	}
	defer os.Remove(root)
	var opened []int
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	fd, mem, err := newMemory(j.layout.bytes())
	if err != nil {
		return nil, nil, err
	}
	opened = append(opened, fd)
	p := &process{j: j, mem: mem, classes: map[*vm.Class]*classRef{}, more: make(chan struct{}, 1), places: make([]place, j.layout.lanes), queues: make([]atomic.Pointer[Queue], j.layout.lanes)}
	p.refs.Store(1)
	for n := range j.layout.lanes {
		p.lanes = append(p.lanes, j.layout.lane(mem, n))
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	var life, words [2]int
	if err == nil {
		opened = append(opened, null)
		err = unix.Pipe2(life[:], unix.O_CLOEXEC)
	}
	if err == nil {
		opened = append(opened, life[0])
		if err = unix.Pipe2(words[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			unix.Close(life[1])
		}
	}
	if err != nil {
		p.drop()
		return nil, nil, fmt.Errorf("vm/jail: %w", err)
	}
	opened = append(opened, words[1])
	b, err := json.Marshal(birth{Name: j.spec.Name, Mode: j.spec.Mode, Memory: j.spec.Memory, CPU: int64((j.spec.CPU + time.Second - 1) / time.Second),
		Window: j.spec.Window, Lanes: j.layout.lanes, Root: root, Separate: a.flags != 0, Nobody: a.nobody})
	if err == nil {
		files := []uintptr{uintptr(null), uintptr(null), uintptr(words[1]), uintptr(fd), uintptr(life[0])}
		for _, e := range j.events {
			drain(e)
			files = append(files, uintptr(e))
		}
		attr := &syscall.SysProcAttr{Cloneflags: a.flags, Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if a.flags&unix.CLONE_NEWUSER != 0 {
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
		env := []string{birthEnv + "=" + string(b), "GOTRACEBACK=none", "GOMAXPROCS=" + strconv.Itoa(min(runtime.NumCPU(), j.layout.lanes+1)),
			"GODEBUG=decoratemappings=0,containermaxprocs=0,updatemaxprocs=0"}
		p.pid, err = syscall.ForkExec("/proc/self/exe", []string{"janos", command, j.spec.Name}, &syscall.ProcAttr{Dir: "/", Env: env, Files: files, Sys: attr})
	}
	if err != nil {
		unix.Close(life[1])
		unix.Close(words[0])
		p.drop()
		return nil, nil, fmt.Errorf("vm/jail: jail %s: starting a worker (%s): %w", j.spec.Name, a.name, err)
	}
	gone := make(chan struct{})
	var reaping sync.Mutex
	reaped := false
	p.end = func() {
		reaping.Lock()
		defer reaping.Unlock()
		if !reaped {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
	go func() { // buries it
		var info unix.Siginfo
		for unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		var ws unix.WaitStatus
		var ru unix.Rusage
		reaping.Lock()
		reaped = true
		for {
			if _, err := unix.Wait4(p.pid, &ws, 0, &ru); err != unix.EINTR {
				break
			}
		}
		reaping.Unlock()
		p.cpu.Store(ru.Utime.Nano() + ru.Stime.Nano())
		unix.Close(life[1])
		reason := errs.New(errs.Dead, "vm/jail: the worker of jail %s ended: %s", j.spec.Name, obituary(ws, words[0]))
		unix.Close(words[0])
		p.dead.CompareAndSwap(nil, &reason)
		for _, fd := range j.events {
			sys.Signal(fd)
		}
		close(gone)
	}()
	idle := make(chan struct{})
	go func() { // ends it with the jail
		defer close(idle)
		select {
		case <-j.stop:
			p.kill(errs.New(errs.Dead, "the jail was closed"))
		case <-gone:
		}
	}()
	wait := func() error {
		<-gone
		<-idle
		return p.Err()
	}
	r, err := p.ask(&ctlReq{Op: askHello}, nil, startLimit)
	if err == nil && r.Sealed == nil {
		err = errs.New(errs.Corrupt, "it does not say that it is sealed")
	}
	if err != nil {
		p.kill(err)
		_ = wait()
		p.drop()
		return nil, nil, err
	}
	p.sealed = r.Sealed
	if a.nobody {
		p.sealed.User = nobody
	} else {
		p.sealed.User = os.Geteuid()
	}
	watched, cleaned := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(cleaned)
		p.clean(gone)
	}()
	go func() {
		defer close(watched)
		p.watch(gone, func() (time.Duration, error) {
			reaping.Lock()
			defer reaping.Unlock()
			if reaped {
				return 0, unix.ESRCH
			}
			return sys.CPUTime(p.pid)
		})
	}()
	return p, func() error { err := wait(); <-watched; <-cleaned; return err }, nil
}

// obituary says how a worker ended, with the first of its last words.
func obituary(ws unix.WaitStatus, words int) string {
	b := make([]byte, 512)
	n, _ := unix.Read(words, b)
	b, _, _ = bytes.Cut(b[:max(n, 0)], []byte("\n\n")) // behind it are the runtime's stacks
	said := strings.TrimSpace(printable(b))
	var how string
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGSYS:
		how = "it made a system call that is not in its list"
	case ws.Signaled() && ws.Signal() == unix.SIGXCPU:
		how = "it used up its processor time"
	case ws.Signaled() && ws.Signal() == unix.SIGKILL:
		how = "killed"
	case ws.Signaled():
		how = ws.Signal().String()
	default:
		how = fmt.Sprintf("exit code %d", ws.ExitStatus())
	}
	if said != "" {
		how += ": " + said
	}
	return how
}
