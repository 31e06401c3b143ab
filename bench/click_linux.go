package bench

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/janos-os/janos/errs"
)

// clickForward is the graph of a Click program that forwards frames with its fastest packet-socket driver.
const clickForward = "FromDevice(r0, METHOD PCAP, PROMISC true, BURST 32) -> Queue(4096) -> ToDevice(r1, METHOD LINUX, BURST 32);"

// program is a forwarder that is a process of its own, with one thread.
type program struct {
	cmd  *exec.Cmd
	said bytes.Buffer // of its error output; read after it has ended
	done chan error
}

func (p *program) time() (time.Duration, error) {
	select {
	case err := <-p.done:
		p.done <- err
		return 0, errs.New(errs.Internal, "%s has ended: %v: %s", p.cmd.Path, err, strings.TrimSpace(p.said.String()))
	default:
		return timeOf(p.cmd.Process.Pid), nil
	}
}

func (p *program) place(cpus []int, nice int) error {
	return placeThread(p.cmd.Process.Pid, cpus, nice)
}

func (p *program) close() error {
	_ = p.cmd.Process.Kill()
	<-p.done
	return nil
}

// openClick starts a Click program on the router and waits until it forwards.
func (d *device) openClick(e *Env) error {
	p := &program{cmd: exec.Command(e.Click, "-e", clickForward), done: make(chan error, 1)}
	p.cmd.Stderr = &p.said
	// A group of its own: an interrupt at the terminal is for us, and close ends it. Who kills us leaves it to the sweep of the next run.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.chain.router.Do(p.cmd.Start); err != nil {
		return errs.New(errs.Invalid, "--click: %w", err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	d.worker = p
	d.later(p.close)
	for limit := e.Clock.Now().Add(10 * time.Second); e.Clock.Now() < limit && e.Context.Err() == nil; pause(e, 50*time.Millisecond) {
		if _, err := p.time(); err != nil {
			return err
		}
		d.closed.stall = 50 * time.Millisecond
		if err := d.closed.closed(64, 64); err != nil {
			return err
		}
		if d.closed.ledger.received == 64 {
			d.closed.stall = stall
			return nil
		}
	}
	return fmt.Errorf("%s forwards nothing with %s: %w", e.Click, clickForward, firstError(e.Context.Err(), errs.New(errs.Timeout, "after ten seconds")))
}
