package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
)

// spawner starts processes inside namespaces, all from one thread that lives as long as it does: the kernel sends a
// child its parent-death signal when the thread that started it ends, not the process.
type spawner struct {
	jobs chan job
}

type job struct {
	space *netns.Namespace
	cmd   *exec.Cmd
	err   chan error
}

// newSpawner starts the thread. close ends it, which kills what it started and still runs.
func newSpawner() (*spawner, error) {
	s := &spawner{jobs: make(chan job)}
	ready := make(chan error)
	go s.run(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, nil
}

func (s *spawner) run(ready chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with this goroutine
	home, err := os.Open("/proc/thread-self/ns/net")
	ready <- err
	if err != nil {
		return
	}
	defer home.Close()
	for j := range s.jobs {
		j.err <- start(home, j.space, j.cmd)
	}
}

// raised is the nice value of a lab's processes.
const raised = -10

func start(home *os.File, space *netns.Namespace, cmd *exec.Cmd) error {
	if space == nil {
		return cmd.Start()
	}
	if err := space.Enter(); err != nil {
		return err
	}
	err := cmd.Start()
	if err == nil {
		// Nodes and wires stand for machines of their own: what else runs on this one should not make them slow. Without
		// privileges the kernel refuses, and they compete like everybody.
		_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, raised)
	}
	if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
		return errors.Join(err, fmt.Errorf("leave namespace %s: %w", space.Name(), e))
	}
	return err
}

// start starts cmd in space (nil means where we are), as the leader of a process group that dies with the spawner.
func (s *spawner) start(space *netns.Namespace, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	j := job{space, cmd, make(chan error, 1)}
	s.jobs <- j
	return <-j.err
}

func (s *spawner) close() { close(s.jobs) }

// child is a process that the lab started and watches.
type child struct {
	Process
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; exit is then set
	exit string

	mu    sync.Mutex
	asked string // why it ends, when that was our wish
}

// watch takes charge of a started command. after is called once it has ended.
func watch(cmd *exec.Cmd, role string, after func(*child)) *child {
	c := &child{cmd: cmd, done: make(chan struct{})}
	c.Process, _ = process(cmd.Process.Pid, role)
	c.PID, c.Role = cmd.Process.Pid, role // it may have ended already, but nobody has waited for it, so the number is its own
	go func() {
		err := cmd.Wait()
		switch {
		case err == nil:
			c.exit = "exit status 0"
		default:
			c.exit = err.Error()
		}
		after(c)
		close(c.done)
	}()
	return c
}

// signal sends sig to the process group.
func (c *child) signal(sig syscall.Signal, why string) {
	select {
	case <-c.done:
		return
	default:
	}
	c.mu.Lock()
	if c.asked == "" {
		c.asked = why
	}
	c.mu.Unlock()
	// The leader has not been waited for while done is open, but for the moment between Wait and close; a group
	// number is not reused while the group has members, and an empty one makes this fail.
	_ = syscall.Kill(-c.PID, sig)
}

// reason returns why the child was told to end, or "".
func (c *child) reason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// end asks the process group to end, and kills it if it has not after the grace period. It returns when the leader has ended. Members of the
// group that outlive it are found in the node's namespace.
func (c *child) end(why string) {
	c.signal(syscall.SIGTERM, why)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
		c.signal(syscall.SIGKILL, why)
		<-c.done
	}
}

// exitCode returns the exit code of an ended command in the way of shells: 128 plus the number of a signal.
func exitCode(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	var ee *exec.ExitError
	if !errors.As(err, &ee) {
		return 0, errs.New(errs.NotFound, "%w", err)
	}
	if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ee.ExitCode(), nil
}
