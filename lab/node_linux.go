package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/janos-os/janos/errs"
)

// startNode starts the process of node i, if nodes have one and it does not run.
func (l *Lab) startNode(ctx context.Context, i int, again bool) error {
	if l.opt.Node == nil {
		return nil
	}
	n := &l.plan.Nodes[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errs.New(errs.Dead, "lab %s is down", l.plan.Name)
	}
	if c := l.nodes[i]; c != nil {
		select {
		case <-c.done:
		default:
			return errs.New(errs.Exists, "node %s runs already, as process %d", n.Name, c.PID)
		}
	}
	st := &l.state.Nodes[i]
	argv, err := l.opt.Node(n, st.Dir)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	if len(argv) == 0 {
		return errs.New(errs.Invalid, "node %s: no command", n.Name)
	}
	log, err := os.OpenFile(st.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = st.Dir, log, log
	if err := l.spawn.start(l.net.nodes[i].Namespace, cmd); err != nil {
		return errs.New(errs.NotFound, "node %s: %s: %w", n.Name, argv[0], err)
	}
	c := watch(cmd, n.Name, func(c *child) { l.nodeEnded(i, c) })
	l.nodes[i] = c
	st.PID, st.Exit, st.Command = c.PID, "", argv
	st.Started++
	l.state.Processes = append(l.state.Processes, c.Process)
	what := "start"
	if again {
		what = "restart"
	}
	l.event(what, n.Name, "", fmt.Sprintf("process %d", c.PID))
	return l.state.write()
}

// nodeEnded is called by the watcher of a node's process.
func (l *Lab) nodeEnded(i int, c *child) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := &l.state.Nodes[i]
	st.PID, st.Exit = 0, c.exit
	for k, p := range l.state.Processes {
		if p == c.Process {
			l.state.Processes = append(l.state.Processes[:k:k], l.state.Processes[k+1:]...)
			break
		}
	}
	if l.down {
		return
	}
	what, detail := "died", c.exit+", see "+st.Log
	if why := c.reason(); why != "" {
		what, detail = "ended", why+": "+c.exit
	}
	l.event(what, st.Name, "", detail)
	if err := l.state.write(); err != nil {
		l.event("warning", st.Name, "", err.Error())
	}
}

// awaitNode waits until node i is ready; its process ending first is an error that tells where its log is.
func (l *Lab) awaitNode(ctx context.Context, i int) error {
	n := &l.plan.Nodes[i]
	l.mu.Lock()
	c, st := l.nodes[i], l.state.Nodes[i]
	l.mu.Unlock()
	if c == nil || l.opt.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- l.opt.Ready(ctx, n, st.Dir) }()
	select {
	case err := <-ready:
		if err != nil {
			return fmt.Errorf("node %s is not ready: %w%s", n.Name, err, tail(st.Log))
		}
		return nil
	case <-c.done:
		cancel()
		<-ready
		return errs.New(errs.Dead, "node %s ended before it was ready: %s%s", n.Name, c.exit, tail(st.Log))
	}
}

// tail returns the end of a log file as lines of an error.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return ""
	}
	if len(b) > 1500 {
		b = b[len(b)-1500:]
	}
	return "\n" + string(b)
}

// process returns the process of a node, which is running.
func (l *Lab) process(node string) (*child, error) {
	n, err := l.node(node)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.nodes[n.Index]; c != nil {
		select {
		case <-c.done:
		default:
			return c, nil
		}
	}
	return nil, errs.New(errs.NotFound, "node %s has no running process; start it first", node)
}

// Kill sends SIGKILL to the node's process group and waits until it has ended. The node's interfaces and its kernel's stack stay.
func (l *Lab) Kill(node string) error {
	c, err := l.enterProcess(node)
	if err != nil {
		return err
	}
	defer l.leave()
	c.signal(syscall.SIGKILL, "killed")
	<-c.done
	return nil
}

// Stop asks the node's process to end, kills it after two seconds, and waits for it.
func (l *Lab) Stop(node string) error {
	c, err := l.enterProcess(node)
	if err != nil {
		return err
	}
	defer l.leave()
	c.end("stopped")
	return nil
}

// Start starts the node's process again after Kill, Stop or its own end, and waits until it is ready.
func (l *Lab) Start(ctx context.Context, node string) error {
	n, err := l.enterNode(node)
	if err != nil {
		return err
	}
	defer l.leave()
	if l.opt.Node == nil {
		return errs.New(errs.NotFound, "nodes of lab %s have no process", l.plan.Name)
	}
	if err := l.startNode(ctx, n.Index, true); err != nil {
		return err
	}
	return l.awaitNode(ctx, n.Index)
}
