package jail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// Here native code that is hostile runs in the worker on purpose: the test's own binary, started as a worker of a jail whose name says what it is to do.

// enterHostile runs such a worker.
func enterHostile() {
	if len(os.Args) < 3 || os.Args[1] != command {
		return
	}
	name, hostile := strings.CutPrefix(os.Args[2], "h-")
	if !hostile {
		return
	}
	what, arg, _ := strings.Cut(name, ".")
	w, err := newWorker()
	if err == nil {
		switch what {
		case "call":
			err = hostileCall(w, arg)
		case "all":
			err = hostileCalls(w)
		case "open":
			err = hostileWithoutFilter(w, arg)
		case "ring":
			err = hostileRing(w, arg)
		case "ctl":
			err = hostileControl(w, arg)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// systemCall makes a system call, whatever it is.
func systemCall(nr uintptr, a ...uintptr) unix.Errno {
	var args [6]uintptr
	copy(args[:], a)
	_, _, e := unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	return e
}

// attacks are calls as somebody who broke out of the engine would make them. Arguments matter only for those that are on the list.
var attacks = map[string][]uintptr{
	"open": {unix.SYS_OPENAT, ^uintptr(99), 0, 0}, "socket": {unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0}, "connect": {unix.SYS_CONNECT, 5, 0, 16},
	"ptrace": {unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1}, "kill": {unix.SYS_KILL, 1, 9}, "killall": {unix.SYS_KILL, ^uintptr(0), 9}, "tkill": {unix.SYS_TKILL, 1, 9},
	"clone": {unix.SYS_CLONE, uintptr(unix.SIGCHLD)}, "thread": {unix.SYS_CLONE, 0x50f00}, "clone3": {unix.SYS_CLONE3}, "execve": {unix.SYS_EXECVE}, "execveat": {unix.SYS_EXECVEAT},
	"mount": {unix.SYS_MOUNT}, "umount": {unix.SYS_UMOUNT2}, "pivot_root": {unix.SYS_PIVOT_ROOT}, "chroot": {unix.SYS_CHROOT}, "setns": {unix.SYS_SETNS, 5}, "unshare": {unix.SYS_UNSHARE, unix.CLONE_NEWUSER},
	"bpf": {unix.SYS_BPF}, "io_uring": {unix.SYS_IO_URING_SETUP, 4}, "peek": {unix.SYS_PROCESS_VM_READV, 1}, "poke": {unix.SYS_PROCESS_VM_WRITEV, 1},
	"setuid": {unix.SYS_SETUID, 0}, "capset": {unix.SYS_CAPSET}, "prctl": {unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1}, "seccomp": {unix.SYS_SECCOMP}, "memfd": {unix.SYS_MEMFD_CREATE},
	"truncate": {unix.SYS_FTRUNCATE, 3}, "punch": {unix.SYS_FALLOCATE, 3}, "dup": {unix.SYS_DUP, 5}, "fcntl": {unix.SYS_FCNTL, 5, unix.F_SETFL, 0}, "ioctl": {unix.SYS_IOCTL, 5},
	"sendmsg": {unix.SYS_SENDMSG, 5}, "userfaultfd": {unix.SYS_USERFAULTFD}, "perf": {unix.SYS_PERF_EVENT_OPEN}, "keyctl": {unix.SYS_KEYCTL}, "reboot": {unix.SYS_REBOOT},
	"sigaction": {unix.SYS_RT_SIGACTION, 9}, "prlimit": {unix.SYS_PRLIMIT64, 0}, "pidfd": {unix.SYS_PIDFD_OPEN, 1}, "getfd": {unix.SYS_PIDFD_GETFD, 1}, "futex_bad": {unix.SYS_FUTEX, 0, 13},
	"map_code": {unix.SYS_MMAP, 0, 4096, 7, 0x22, ^uintptr(0), 0}, "map_file": {unix.SYS_MMAP, 0, 4096, 3, 1, 3, 0}, "map_file_private": {unix.SYS_MMAP, 0, 4096, 3, 0x22, 3, 0},
	"write_code": {unix.SYS_MPROTECT, 0, 4096, 7}, "write_elsewhere": {unix.SYS_WRITE, 3, 0, 0}, "write_one": {unix.SYS_WRITE, 1, 0, 0}, "read_event": {unix.SYS_READ, 5, 0, 0},
	"signal_node": {unix.SYS_TGKILL, 2, 2, 9}, "signal_itself": {unix.SYS_TGKILL, 1, 1, 11}, "remove": {unix.SYS_MADVISE, 0, 4096, unix.MADV_REMOVE}, "exit_thread": {unix.SYS_EXIT},
}

func hostileCall(w *worker, name string) error {
	if _, err := w.seal(); err != nil {
		return err
	}
	a := attacks[name]
	e := systemCall(a[0], a[1:]...)
	return fmt.Errorf("call %s was answered %v", name, e)
}

// hostileCalls tries every number, with a filter that refuses where the real one kills.
func hostileCalls(w *worker) error {
	s, p, err := w.confine()
	if err != nil {
		return err
	}
	const refused = 4000
	if err := bar(s, p, unix.SECCOMP_RET_ERRNO|refused); err != nil {
		return err
	}
	listed := map[uintptr]bool{}
	for _, c := range calls(p) {
		listed[uintptr(c.nr)] = true
	}
	n := 0
	for nr := range uintptr(1024) {
		for _, k := range []uintptr{nr, nr | 0x40000000, nr | 0x80000000} {
			if k == nr && (listed[nr] || runtime.GOARCH == "amd64" && (nr == 335 || nr == 336)) {
				// The last two are uretprobe and uprobe, which Linux 6.14 lets pass every filter; called by anything but the kernel's own
				// trampolines they end the process with SIGILL.
				continue
			}
			if e := systemCall(k, ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0)); e != refused {
				return fmt.Errorf("call %#x was answered %v", k, e)
			}
			n++
		}
	}
	for name, a := range attacks {
		if e := systemCall(a[0], a[1:]...); e != refused {
			return fmt.Errorf("call %s was answered %v", name, e)
		}
		n++
	}
	return fmt.Errorf("all %d refused", n)
}

// hostileWithoutFilter does what the other walls are for, as if there were no list of calls. node is the number of the node's process.
func hostileWithoutFilter(w *worker, node string) error {
	if _, _, err := w.confine(); err != nil {
		return err
	}
	var got []string
	say := func(what string, err error) { got = append(got, fmt.Sprintf("%s: %v;", what, errno(err))) }
	for _, name := range []string{"/etc/passwd", "/proc/1/mem", "/proc/self/exe", "/dev/null", "/tmp"} {
		say("stat", unix.Stat(name, new(unix.Stat_t)))
	}
	_, err := unix.Open("/", unix.O_RDONLY, 0)
	say("open", err)
	say("create", unix.Mkdir("/x", 0o700))
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	say("socket", err)
	say("mount", unix.Mount("x", "/", "tmpfs", 0, ""))
	say("chroot", unix.Chroot("/"))
	say("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	pid, err := strconv.Atoi(node)
	if err != nil {
		return err
	}
	say("kill", unix.Kill(pid, unix.SIGKILL))
	if w.Nobody { // otherwise it is root of its own namespace, where there is nothing
		say("setuid", unix.Setuid(0))
	}
	say("fork", systemCall(unix.SYS_CLONE, uintptr(unix.SIGCHLD)))
	_, err = unix.FcntlInt(fdMemory, unix.F_GETFD, 0)
	say("memory", err)
	_, err = unix.FcntlInt(0, unix.F_GETFD, 0)
	say("stdin", err)
	return errors.New(strings.Join(got, " "))
}

func errno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return errors.New(unix.ErrnoName(e))
	}
	return err
}

// hostileRing answers the control area as it should, and does to lane 1 what kind says.
func hostileRing(w *worker, kind string) error {
	sealed, err := w.seal()
	if err != nil {
		return err
	}
	go w.station(0).run()
	s := w.station(1)
	go func() {
		l := s.lane
		for {
			if l.submitted.Load() == 0 {
				if kind == "burn" {
					continue
				}
				if kind == "storm" {
					sys.Signal(s.event)
					continue
				}
				l.sleeping.Store(1)
				sys.WaitWord(l.submitted, 0)
				continue
			}
			break
		}
		good := func() {
			s.evaluate()
			s.now++
			l.completed.Store(s.now)
		}
		bad := func(off int, v uint32) {
			s.evaluate()
			le.PutUint32(l.answer(s.now)[off:], v)
			s.now++
			l.completed.Store(s.now)
		}
		hostCall := func(n uint32, change func(m []byte)) {
			m := l.mem[laneCall : laneCall+callBytes]
			le.PutUint32(m[callSlot:], s.now)
			le.PutUint32(m[callFn:], 3) // neighbour
			change(m)
			l.calls.Store(n)
		}
		good()
		switch kind {
		case "ahead":
			l.completed.Store(1000)
		case "back":
			l.completed.Store(^uint32(0))
		case "calls":
			l.calls.Store(2)
		case "callflood": // without end, each when the one before was served
			for n := uint32(1); ; n++ {
				hostCall(n, func([]byte) {})
				sys.Signal(s.event)
				for l.replies.Load() != n {
					sys.WaitWord(l.replies, n-1)
				}
			}
		case "callfree": // and one that it says has cost nothing
			hostCall(1, func([]byte) {})
			sys.Signal(s.event)
			for l.replies.Load() != 1 {
				sys.WaitWord(l.replies, 0)
			}
			bad(respUsed, 1)
		case "callslot":
			hostCall(1, func(m []byte) { le.PutUint32(m[callSlot:], 77) })
		case "callfn":
			hostCall(1, func(m []byte) { le.PutUint32(m[callFn:], ^uint32(0)) })
		case "callviews":
			hostCall(1, func(m []byte) { le.PutUint32(m[callViews:], 1<<30) })
		case "callsize":
			hostCall(1, func(m []byte) {
				le.PutUint32(m[callFn:], 4) // log
				le.PutUint32(m[callViews:], 1)
				le.PutUint32(m[callView+4:], abi.LogMax+1)
			})
		case "status":
			bad(respStatus, 9)
		case "verdict":
			bad(respVerdict, 99)
		case "used":
			bad(respUsed+4, 1)
		case "payload":
			bad(respPayload, ^uint32(0))
		case "short":
			bad(respPayload, 3)
		case "emits":
			bad(respEmits, ^uint32(0))
		case "length":
			bad(respBlock+abi.BlockOutLengthOff, 1<<20)
		case "outputs":
			bad(respBlock+abi.BlockOutCountOff, ^uint32(0))
		case "emitcount":
			bad(respBlock+abi.BlockEmitCountOff, 1<<16)
		case "emit":
			bad(respBlock+abi.BlockEmitCountOff, 1) // one that lies outside what it sent
		case "act":
			bad(respBlock+abi.BlockStateActOff, 1) // there is no declared state
		case "reason":
			le.PutUint32(l.answer(s.now)[respReason:], 200)
			le.PutUint32(l.answer(s.now)[respStatus:], statusFault)
			l.completed.Store(s.now + 1)
		case "kind":
			le.PutUint32(l.answer(s.now)[respKind:], 200)
			le.PutUint32(l.answer(s.now)[respStatus:], statusError)
			l.completed.Store(s.now + 1)
		case "die":
			sys.Signal(s.event)
			systemCall(unix.SYS_EXIT_GROUP, 3)
		case "crash":
			systemCall(unix.SYS_GETUID)
		case "panic":
			panic("\x1b[2Jhostile words")
		case "exhaust":
			var all [][]byte
			for {
				b := make([]byte, 8<<20)
				for k := 0; k < len(b); k += 4096 {
					b[k] = 1
				}
				all = append(all, b)
				runtime.KeepAlive(all)
			}
		case "silent": // never answers
			for {
				sys.WaitWord(l.submitted, l.submitted.Load())
			}
		}
		sys.Signal(s.event)
	}()
	return w.control(sealed)
}

// hostileControl answers the first module with what kind says.
func hostileControl(w *worker, kind string) error {
	sealed, err := w.seal()
	if err != nil {
		return err
	}
	for n := range w.Lanes {
		go w.station(n).run()
	}
	submitted, completed := sys.Word(w.mem, ctlSubmitted), sys.Word(w.mem, ctlCompleted)
	done := uint32(0)
	answer := func(resp string) {
		n := copy(w.mem[ctlResponse:], resp)
		sys.Word(w.mem, ctlRespLen).Store(uint32(n))
		done++
		completed.Store(done)
		sys.Signal(w.events[w.Lanes])
	}
	for {
		if submitted.Load() == done {
			sys.WaitWord(submitted, done)
			continue
		}
		n := sys.Word(w.mem, ctlReqLen).Load()
		req := string(w.mem[ctlRequest : ctlRequest+n])
		switch {
		case strings.Contains(req, `"`+askHello+`"`):
			answer(fmt.Sprintf(`{"sealed":{"calls":%d}}`, sealed.Calls))
			continue
		case !strings.Contains(req, `"`+askLoad+`"`):
			answer("{}")
			continue
		}
		switch kind {
		case "length":
			sys.Word(w.mem, ctlRespLen).Store(^uint32(0))
			done++
			completed.Store(done)
		case "json":
			answer(`{"manifest":[[[[`)
		case "ahead":
			completed.Store(done + 7)
		case "manifest":
			answer(`{"manifest":"AAAA"}`)
		case "negative", "much":
			n := "-1"
			if kind == "much" {
				n = "9000000000000000000"
			}
			answer(`{"manifest":"` + b64(putManifest(&abi.Manifest{Name: "x", WindowSize: 64})) + `","info":{"charge":` + n + `}}`)
		case "kind":
			answer(`{"kind":200,"error":"\u001b[2J` + strings.Repeat("long", 1000) + `"}`)
		case "wide":
			answer(`{"manifest":"` + b64(putManifest(&abi.Manifest{Name: "x", WindowSize: 65536})) + `","info":{}}`)
		}
		sys.Signal(w.events[w.Lanes])
	}
}

// TestSystemCallsKill starts one worker for each call that is not on the list, which dies of it.
func TestSystemCallsKill(t *testing.T) {
	for name := range attacks {
		t.Run(name, func(t *testing.T) {
			j, err := New(Spec{Name: "h-call." + name, Mode: vm.ModeCompiled})
			if err == nil {
				j.Close()
				t.Fatal("the worker said that it was ready")
			}
			if !strings.Contains(err.Error(), "not in its list") {
				t.Errorf("it ended otherwise: %v", err)
			}
		})
	}
}

func TestEveryOtherSystemCallIsRefused(t *testing.T) {
	j, err := New(Spec{Name: "h-all"})
	if err == nil {
		j.Close()
	}
	if err == nil || !regexp.MustCompile(`exit code 1: all 3\d\d\d refused`).MatchString(err.Error()) {
		t.Fatalf("%v", err)
	}
}

// TestWallsBehindTheFilter has the worker do what it could if the kernel did not know the list.
func TestWallsBehindTheFilter(t *testing.T) {
	j, err := New(Spec{Name: "h-open." + strconv.Itoa(os.Getpid())})
	if err == nil {
		j.Close()
		t.Fatal("the worker said that it was ready")
	}
	got := err.Error()
	for _, bad := range []string{"<nil>"} {
		if strings.Contains(got, bad) {
			t.Errorf("something worked: %s", got)
		}
	}
	for _, want := range []string{"stat: ENOENT; stat: ENOENT; stat: ENOENT; stat: ENOENT; stat: ENOENT;", "open: EMFILE", "create: EROFS", "socket: EMFILE", "fork: EAGAIN", "mount: EPERM", "chroot: EPERM", "kill: ESRCH", "memory: EBADF", "stdin: EBADF"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// TestHostileWorkers has workers cheat, hang and die in the middle of a batch, beside an honest jail.
func TestHostileWorkers(t *testing.T) {
	victim := newRig(t, Spec{Name: "victim"})
	good := victim.instance(victim.outside, "echo")
	beside := func(t *testing.T) {
		t.Helper()
		c := call(numbered(1))
		if v, err := good.Evaluate(victim.acct.Meter(0), c); err != nil || v != abi.Forward {
			t.Errorf("the jail beside: %v %v", v, err)
		}
	}
	for kind, want := range map[string]string{
		"ahead": "answered 1000 requests", "back": "answered 4294967295 requests", "calls": "made 2 calls", "callslot": "for request 77", "callflood": "beyond the budget", "callfree": "with host calls for", "callfn": "function", "callviews": "views", "callsize": "view of 129 bytes",
		"status": "status 9", "verdict": "verdict 99", "used": "units of fuel", "payload": "bytes of payload", "short": "3 bytes of payload", "emits": "of emits", "length": "out_length", "outputs": "out_count",
		"emitcount": "emit_count", "emit": "", "act": "state_act", "reason": "fault 200", "kind": "error kind 200",
		"die": "exit code 3", "crash": "not in its list", "panic": "hostile words", "exhaust": "memory|failed to allocate", "silent": "did not answer",
	} {
		t.Run(kind, func(t *testing.T) {
			spec := Spec{Name: "h-ring." + kind, Memory: minMemory}
			if kind == "silent" {
				spec.Hang = 100 * time.Millisecond
			}
			r := newRig(t, spec)
			in := r.instance(r.outside, "echo")
			q, err := r.j.Queue()
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			meter := r.acct.Meter(0)
			const n = 10
			for range n {
				if _, v, err := q.Submit(in, meter, call(numbered(1)), 0); err != nil || v != abi.Drop {
					t.Fatal(v, err)
				}
			}
			q.Flush()
			var used uint64
			var lost int
			var last error
			for q.Pending() > 0 {
				if err := q.Wait(time.Minute); err != nil {
					t.Fatal(err)
				}
				for c := new(vm.Call); ; {
					d, ok := q.Collect(c)
					if !ok {
						break
					}
					used += c.Used
					if d.Err != nil {
						lost, last = lost+1, d.Err
					} else if kind == "emit" && lost == 0 { // an emit without bytes is none of ours to judge
						continue
					}
				}
				if kind == "emit" && q.Pending() == n-2 {
					q.p.kill(errors.New("enough"))
				}
			}
			says := slices.ContainsFunc(strings.Split(want, "|"), func(s string) bool { return strings.Contains(last.Error(), s) })
			if lost < 8 || !errors.Is(last, errs.Dead) || !says {
				t.Errorf("%d lost, the last with: %v, want %q", lost, last, want)
			}
			if strings.ContainsAny(last.Error(), "\x1b\n") {
				t.Errorf("the reason has control characters: %q", last)
			}
			meter.Fold()
			if got := r.acct.Use(resctl.Fuel); got != int64(used) {
				t.Errorf("%d units of fuel are charged, %d were used", got, used)
			}
			if _, _, err := q.Submit(in, meter, call(numbered(1)), 0); !errors.Is(err, errs.Dead) || !errors.Is(Dead(in), errs.Dead) {
				t.Errorf("after its death: %v, %v", err, Dead(in))
			}
			beside(t)
		})
	}
}

func TestHostileControl(t *testing.T) {
	for kind, want := range map[string]errs.Kind{"length": errs.Dead, "json": errs.Dead, "ahead": errs.Dead, "manifest": errs.Dead, "negative": errs.Dead, "much": errs.Dead, "kind": errs.Internal,
		"wide": errs.Refused} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, Spec{Name: "h-ctl." + kind})
			_, err := r.load(r.outside, "echo")
			if errs.KindOf(err) != want || strings.ContainsAny(fmt.Sprint(err), "\x1b\n") || len(fmt.Sprint(err)) > 1500 {
				t.Errorf("%v, want %v", err, want)
			}
		})
	}
}

// TestWorkWithoutWork: a worker that uses the processor, or wakes the node, without having been asked anything, is ended.
func TestWorkWithoutWork(t *testing.T) {
	for _, kind := range []string{"burn", "storm"} {
		t.Run(kind, func(t *testing.T) {
			died := make(chan error, 10)
			r := newRig(t, Spec{Name: "h-ring." + kind, Hang: 200 * time.Millisecond, OnDeath: func(err error) { died <- err }})
			_ = r
			if err := <-died; !strings.Contains(err.Error(), "without having been asked") {
				t.Error(err)
			}
		})
	}
}

func TestProcessorTimeIsLimited(t *testing.T) {
	died := make(chan error, 10)
	newRig(t, Spec{Name: "h-ring.burn", CPU: time.Second, Hang: time.Minute, OnDeath: func(err error) { died <- err }})
	if err := <-died; !strings.Contains(err.Error(), "killed") && !strings.Contains(err.Error(), "cpu limit") && !strings.Contains(err.Error(), "processor time") {
		t.Error(err)
	}
}

// TestNothingStays lets workers die while they are asked, again and again: memory, descriptors and goroutines go with them (leak.Main looks after the last two).
func TestNothingStays(t *testing.T) {
	mappings := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "janos-jail")
	}
	before := mappings()
	for range 10 {
		t.Run("", func(t *testing.T) {
			r := newRig(t, Spec{Name: "h-ring.die"})
			in := r.instance(r.outside, "echo")
			q, err := r.j.Queue()
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			for range MaxBatch {
				if _, _, err := q.Submit(in, nil, call(numbered(1)), 0); err != nil {
					t.Fatal(err)
				}
			}
			for c := new(vm.Call); q.Pending() > 0; {
				if _, ok := q.Collect(c); !ok {
					_ = q.Wait(time.Minute)
				}
			}
		})
	}
	if n := mappings(); n != before {
		t.Errorf("%d mappings of what was shared with workers, %d before", n, before)
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "jn-jail-*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute {
			t.Logf("an earlier run has left %s", dir)
		}
	}
}

// numbered is a window whose first byte is n.
func numbered(n byte) []byte {
	b := make([]byte, 64)
	b[0] = n
	return b
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
