package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/janos-os/janos/click"
)

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

var signalNames = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	"ALRM": syscall.SIGALRM, "CHLD": syscall.SIGCHLD, "CONT": syscall.SIGCONT, "PIPE": syscall.SIGPIPE, "TSTP": syscall.SIGTSTP,
	"TTIN": syscall.SIGTTIN, "TTOU": syscall.SIGTTOU, "WINCH": syscall.SIGWINCH, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP,
}

func parseSignal(s string) (syscall.Signal, error) {
	if n, ok := signalNames[strings.TrimPrefix(strings.ToUpper(s), "SIG")]; ok {
		return n, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 64 {
		return 0, fmt.Errorf("expected a signal such as INT or 2, not '%s'", s)
	}
	return syscall.Signal(n), nil
}

// watch brings signals of the process to a script. While the script runs they wait, as one.
type watch struct {
	e         *Script
	ch        chan os.Signal
	installed bool // the worker's
	pending   bool // the worker's
	released  atomic.Bool
	once      sync.Once
	done      chan struct{}
}

func newWatch(e *Script) *watch {
	w := &watch{e: e, ch: make(chan os.Signal, 8), done: make(chan struct{})}
	go func() {
		for {
			select {
			case s := <-w.ch:
				if n, ok := s.(syscall.Signal); ok && w.released.Load() && fatal(n) {
					os.Exit(128 + int(n)) // as a shell reports it
				}
				e.Thread().Worker().Post(func() {
					if e.firstFor(s) { // of several, so that they run in their order
						e.Router().DoHere(func() { e.deliverNow(s) })
					}
				})
			case <-w.done:
				return
			}
		}
	}()
	return w
}

// install makes the script take its signals. On the worker.
func (w *watch) install() {
	w.installed = true
	w.released.Store(false)
	signal.Notify(w.ch, w.e.signals...)
}

func (w *watch) close() {
	w.once.Do(func() {
		signal.Stop(w.ch)
		close(w.done)
	})
}

// arrived runs the script soon, once for all signals that came meanwhile. On the worker.
func (w *watch) arrived() {
	if !w.installed || w.pending {
		return
	}
	w.pending = true
	w.e.timerForSignal()
}

// timerForSignal has the script run in the router's turn.
func (e *Script) timerForSignal() {
	e.frame = frame{}
	e.timer.SetAfter(0)
}

// begin is called when the script runs for a signal: from here on it is left to the system, until the script has ended well.
func (w *watch) begin() {
	w.installed, w.pending = false, false
}

// release leaves the signals to the system, which ends the process if no other script takes them. The language's runtime would ignore them.
func (w *watch) release() {
	for _, s := range w.e.signals {
		if w.e.handled(s) {
			return
		}
	}
	w.released.Store(true)
}

// fatal reports whether a signal that nobody handles ends a process.
func fatal(s syscall.Signal) bool {
	switch s {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH, syscall.SIGURG:
		return false
	}
	return true
}

// Handles reports whether a script of the router takes a signal of the process, so that a front end leaves it to that. It may be called
// from anywhere.
func Handles(r *click.Router, s os.Signal) bool {
	for _, el := range r.Elements() {
		if e, ok := el.(*Script); ok && e.kind == onSignal && slices.Contains(e.signals, s) {
			return true
		}
	}
	return false
}

// kill sends a signal. One to this process that a script of the same router waits for gets there without the system, hence in order.
func kill(e *Script, s string) (string, error) {
	w := words(s)
	if len(w) < 2 {
		return "", errors.New("kill: expected SIGNAL PID...")
	}
	if !e.Router().Host() {
		return "", errNoHost
	}
	sig, err := parseSignal(w[0])
	if err != nil {
		return "", fmt.Errorf("kill: %w", err)
	}
	for _, x := range w[1:] {
		pid, err := strconv.Atoi(x)
		if err != nil || pid <= 0 {
			return "", fmt.Errorf("kill: '%s' is no number of a process", x)
		}
		if pid == os.Getpid() && e.deliver(sig) {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return "", fmt.Errorf("kill: process %d: %w", pid, err)
		}
	}
	return "", nil
}

// handled reports whether a script of the router waits for a signal.
func (e *Script) handled(sig os.Signal) bool {
	for _, el := range e.Router().Elements() {
		if s, ok := el.(*Script); ok && s.kind == onSignal && slices.Contains(s.signals, sig) && s.watching.installed {
			return true
		}
	}
	return false
}

// firstFor reports whether no script before e in the configuration has to do with a signal.
func (e *Script) firstFor(sig os.Signal) bool {
	for _, el := range e.Router().Elements() {
		if s, ok := el.(*Script); ok && s.kind == onSignal && slices.Contains(s.signals, sig) {
			return s == e
		}
	}
	return false
}

// deliverNow runs all scripts that wait for a signal, also when one of them stops the router. On the worker, outside of any run.
func (e *Script) deliverNow(sig os.Signal) {
	if !e.deliver(sig) {
		return
	}
	for _, el := range e.Router().Elements() {
		if s, ok := el.(*Script); ok && s.kind == onSignal && s.watching.pending && slices.Contains(s.signals, sig) {
			s.timer.Stop()
			s.timeout()
		}
	}
}

// deliver gives a signal to the scripts that wait for it.
func (e *Script) deliver(sig os.Signal) bool {
	if !e.handled(sig) {
		return false
	}
	for _, el := range e.Router().Elements() {
		if s, ok := el.(*Script); ok && s.kind == onSignal && slices.Contains(s.signals, sig) {
			s.watching.arrived()
		}
	}
	return true
}
