package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
)

// device is what forwards in a chain, with a generator before it and a sink behind.
type device struct {
	name    string
	chain   *chain
	closed  *tester   // for the closed loop
	rates   *tester   // for rates, from the kernel; it shares the sink with closed
	worker  forwarder // what forwards in user space; nil: the kernel does it all
	closers []func() error

	note  string  // about its generator; may be empty
	lost  uint64  // in closed loops, where nothing should be
	found float64 // loss-free rate of the former round

	reception []int // threads of the kernel that poll the router's first interface, within deviceCore
	cpu       int   // where they are
}

// forwarder is a thread, or more, that forwards.
type forwarder interface {
	time() (time.Duration, error) // that it has used of a processor
	place(cpus []int, priority int) error
}

// Priorities while rates are measured, so that a shared machine is not the limit; processor time per packet needs none. What generates, what receives and what
// forwards are real-time (SCHED_FIFO), reception and forwarder at one priority: each runs until it has nothing to do. Where that is refused they have a nice value.
const (
	ordinary = 0
	realtime = 10
	before   = realtime + 1 // reception that interrupts the forwarder
	urgent   = -15          // the nice value
)

// later adds what close calls, the last one first.
func (d *device) later(fn func() error) { d.closers = append(d.closers, fn) }

func (d *device) close() error {
	var first error
	for _, fn := range slices.Backward(d.closers) {
		first = firstError(first, fn())
	}
	return first
}

// Addresses of the frames of chains: to the router, or to nobody that it knows.
const chainPort = 5678

// chainTraffic are 1,024 frames of so many flows, to a hardware address.
func chainTraffic(to [6]byte) [][]byte {
	fs := make([][]byte, distinct)
	for i := range fs {
		fs[i] = frame64(to, macA0, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, uint16(1024+i), chainPort)
	}
	return fs
}

// loads says how the frames of a device come and go.
type loads struct {
	to     [6]byte // hardware address they are sent to
	ports  int     // UDP ports, a power of two
	sink   hook
	live   bool // the closed loop sends from the kernel, chunk frames a call; otherwise by AF_PACKET
	chunk  int
	merges bool // the router's first interface needs receive merging to take frames from the kernel's generator: it has no XDP program
}

// open makes the chain, the generators and the sink.
func (d *device) open(e *Env, l loads) (err error) {
	if d.chain, err = newChain(); err != nil {
		return err
	}
	d.later(d.chain.close)
	if l.merges {
		if err := d.chain.router.Do(func() error { return sys.SetGRO("r0", true) }); err != nil {
			return err
		}
	}
	var in *countIn
	if err := d.chain.sink.Do(func() (err error) { in, err = openCountIn("b0", l.sink); return err }); err != nil {
		return err
	}
	d.later(in.close)
	return d.chain.source.Do(func() error {
		if !l.live {
			out, err := openPacketOut("a0", chainTraffic(l.to))
			if err != nil {
				return err
			}
			d.later(out.close)
			d.closed = &tester{clock: e.Clock, out: out, in: in, stall: stall}
		}
		live, err := openLiveOut("a0", l.to, macA0, chainPort, l.ports, l.chunk)
		if !l.live && errs.KindOf(err) == errs.NotSupported {
			d.rates, d.note = d.closed, "Rates are by an AF_PACKET generator: "+err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		d.later(live.close)
		d.rates = &tester{clock: e.Clock, out: live, in: in, stall: stall}
		if l.live {
			d.closed = d.rates
		}
		return nil
	})
}

// place binds the forwarder to a processor, at a priority, until the function it returns is called.
func (d *device) place(cpu, priority int) (undo func() error, err error) {
	if d.worker == nil {
		return func() error { return nil }, nil
	}
	all, err := processors()
	if err != nil {
		return nil, err
	}
	return func() error { return d.worker.place(all, ordinary) }, d.worker.place([]int{cpu}, priority)
}

func (d *device) workerTime() (time.Duration, error) {
	if d.worker == nil {
		return 0, nil
	}
	return d.worker.time()
}

// cost is processor time per delivered packet.
type cost struct {
	whole, worker float64 // ns, of everything and of the forwarder's threads alone
	allocs        float64 // of the Go heap, in this process
}

// oneCore runs the closed loop with n frames, window of them on their way at most, on one processor: generator, device and sink. What counts is the time of the
// generator's thread, of the forwarder's and of the processor's ksoftirqd.
func (d *device) oneCore(cpu, soft, n, window int) (c cost, err error) {
	undo, err := d.place(cpu, ordinary)
	if err != nil {
		return c, err
	}
	defer func() { err = firstError(err, undo()) }()
	err = pinned(cpu, func() error {
		if err := d.closed.closed(2*window, window); err != nil { // fills caches and rings after the move
			return err
		}
		w0, err := d.workerTime()
		if err != nil {
			return err
		}
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		t0, s0 := threadTime(), timeOf(soft)
		if err := d.closed.closed(n, window); err != nil {
			return err
		}
		t1, s1 := threadTime(), timeOf(soft)
		runtime.ReadMemStats(&m1)
		w1, err := d.workerTime()
		if err != nil {
			return err
		}
		l := &d.closed.ledger
		d.lost += uint64(n) - min(l.received, uint64(n))
		if l.received < uint64(n)*9/10 || l.received > uint64(n) || l.duplicates+l.overtaken+l.corrupted > 0 {
			return errs.New(errs.Internal, "of %d frames %d arrived; %d twice, %d overtaken, %d damaged", n, l.received, l.duplicates, l.overtaken, l.corrupted)
		}
		c.allocs = round2(float64(m1.Mallocs-m0.Mallocs) / float64(l.received))
		c.worker = float64(w1-w0) / float64(l.received)
		c.whole = float64(t1-t0+s1-s0)/float64(l.received) + c.worker
		return nil
	})
	return c, err
}

// deviceCore runs fn with everything of the device on one processor - reception (a thread of the kernel polls the router's first
// interface), forwarder, sink - and the generator on another.
func (d *device) deviceCore(generator, cpu int, fn func() error) (err error) {
	threads, off, err := threadedNAPI(d.chain.router, "r0", cpu)
	if err != nil {
		return err
	}
	d.reception, d.cpu = threads, cpu
	defer func() {
		d.reception = nil
		err = firstError(err, off())
	}()
	return d.twoCores(generator, cpu, fn)
}

// twoCores runs fn with generator and reception, up to the forwarder's ring, on one processor, and the forwarder and the sink on another.
func (d *device) twoCores(generator, cpu int, fn func() error) (err error) {
	undo, err := d.place(cpu, realtime)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, undo()) }()
	return pinned(generator, func() error {
		if err := schedule(0, realtime); err != nil {
			return err
		}
		return firstError(fn(), schedule(0, ordinary))
	})
}

// receptionFirst runs fn, which deviceCore runs, with reception before the forwarder: whenever a packet arrives, it has the processor.
func (d *device) receptionFirst(fn func() error) (err error) {
	for _, pid := range d.reception {
		if err := placeThread(pid, []int{d.cpu}, before); err != nil {
			return err
		}
		defer func() { err = firstError(err, placeThread(pid, []int{d.cpu}, realtime)) }()
	}
	return fn()
}

// lossFree searches the loss-free rate, beginning where the former round ended.
func (d *device) lossFree(e *Env, tries int) (f finding, err error) {
	f, err = search(d.found/2, tries, func(rate float64) (point, error) {
		reached, err := d.rates.paced(rate, trialTime(e))
		if err == nil {
			err = e.Context.Err()
		}
		return point{reached, d.rates.ledger.clean(d.rates.sent)}, err
	})
	d.found = f.rate
	return f, err
}

// overload offers a rate.
func (d *device) overload(e *Env, rate float64) (excess, error) {
	// A search's trial is short; here queues that fill up must not count as deliveries for long.
	return overload(rate, func(rate float64) (reached, delivered float64, err error) {
		reached, err = d.rates.paced(rate, 2*trialTime(e))
		return reached, d.rates.ledger.goodput(), firstError(err, e.Context.Err())
	})
}

// add enters the cost, allocations beside it.
func (c cost) add(r *Round, d *device) {
	r.Add(d.name+" chain", "ns/packet", c.whole)
	r.Add(d.name+" chain"+allocsSuffix, "allocs/packet", c.allocs)
	if d.worker != nil {
		r.Add(d.name+" thread", "ns/packet", c.worker)
	}
}

// throughput searches the loss-free rate, times frames at half of it and offers twice as much. The caller is deviceCore.
func (d *device) throughput(e *Env, r *Round) error {
	if d.note != "" {
		r.Note("%s", d.note)
	}
	f, err := d.lossFree(e, e.tries())
	if err != nil {
		return err
	}
	r.bounded(d.name+" loss-free", "packets/s", f.rate, f.bound)
	if f.rate == 0 {
		r.Note("%s: %.0f packets/s were not free of losses in any try of a round: the processors are too busy with other work.", d.name, searchLeast)
		f.rate, f.bound = searchLeast, true
	}
	if _, err := d.rates.paced(f.rate/2, trialTime(e)); err != nil {
		return err
	}
	l := &d.rates.ledger
	r.Add(d.name+" delay p50", "us", float64(l.quantile(.5))/1e3)
	r.Add(d.name+" delay p99", "us", float64(l.quantile(.99))/1e3)
	x, err := d.overload(e, 2*f.rate)
	if err != nil {
		return err
	}
	r.bounded(d.name+" goodput at twice loss-free", "of loss-free", x.goodput/f.rate, x.bound || f.bound)
	if d.worker == nil || len(d.reception) == 0 {
		return nil // nothing that reception could displace
	}
	return d.receptionFirst(func() error {
		x, err := d.overload(e, 2*f.rate)
		if err == nil {
			r.bounded(d.name+" goodput at twice, reception first", "of loss-free", x.goodput/f.rate, x.bound || f.bound)
		}
		return err
	})
}

// nodeWorker is the worker of a node.
type nodeWorker struct{ node *nodeos.Node }

func (w nodeWorker) call(fn func() error) (err error) {
	if !w.node.Worker(0).Call(func() { err = fn() }) {
		return errs.New(errs.Dead, "the node has ended")
	}
	return err
}

func (w nodeWorker) time() (t time.Duration, err error) {
	err = w.call(func() error { t = threadTime(); return nil })
	return t, err
}

func (w nodeWorker) place(cpus []int, priority int) error {
	return w.call(func() error { return placeThread(0, cpus, priority) })
}

// placeThread binds a thread, 0 being the calling one, to processors and gives it a priority.
func placeThread(tid int, cpus []int, priority int) error {
	return firstError(unix.SchedSetaffinity(tid, cpuSet(cpus)), schedule(tid, priority))
}

// schedule gives a thread, 0 being the calling one, a real-time priority, or makes it ordinary again. Some hosts refuse the first to whole groups of
// processes; then a nice value has to do.
func schedule(tid, priority int) error {
	a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	if priority > ordinary {
		a.Policy, a.Priority = unix.SCHED_FIFO, uint32(priority)
	}
	err := unix.SchedSetAttr(tid, &a, 0)
	if err == unix.EPERM && priority > ordinary {
		err = unix.Setpriority(unix.PRIO_PROCESS, tid, urgent)
	}
	return err
}

// threadedNAPI makes kernel threads, which it returns, on one processor poll an interface, instead of the thread that sends to it. It takes an interface that has an
// XDP program or receive merging on.
func threadedNAPI(ns *netns.Namespace, ifname string, cpu int) (threads []int, off func() error, err error) {
	others := napiThreads(ifname)
	set := func(v string) error {
		return ns.Do(func() error { return writeSysfs("class/net/"+ifname+"/threaded", v) })
	}
	if err := set("1"); err != nil {
		return nil, nil, fmt.Errorf("a kernel thread that polls %s: %w", ifname, err)
	}
	off = func() error { return set("0") }
	for _, pid := range napiThreads(ifname) {
		if slices.Contains(others, pid) {
			continue
		}
		if err := placeThread(pid, []int{cpu}, realtime); err != nil {
			return nil, nil, errors.Join(err, off())
		}
		threads = append(threads, pid)
	}
	return threads, off, nil
}

// napiThreads returns the kernel threads that poll interfaces of a name, in all namespaces.
func napiThreads(ifname string) (pids []int) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile("/proc/" + d.Name() + "/comm"); err == nil && strings.HasPrefix(string(b), "napi/"+ifname+"-") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// writeSysfs writes to a file of the sysfs of the calling thread's network namespace, which is mounted nowhere for it.
func writeSysfs(path, value string) error {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mnt)
	fd, err := unix.Openat(mnt, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

// pinned runs fn on a thread that is bound to a processor, and undoes it afterwards.
func pinned(cpu int, fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return err
	}
	if err := allow([]int{cpu}); err != nil {
		return err
	}
	return firstError(fn(), unix.SchedSetaffinity(0, &old))
}

// cpuSet is the set of some processors.
func cpuSet(cpus []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	return &set
}

// allow binds the calling thread to a set of processors.
func allow(cpus []int) error { return unix.SchedSetaffinity(0, cpuSet(cpus)) }

// processors returns those that this process may use, lowest first.
func processors() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// softirqThread returns the id of the kernel thread that handles a processor's deferred network work; 0 if it is not seen here.
func softirqThread(cpu int) int {
	want := "ksoftirqd/" + strconv.Itoa(cpu)
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile("/proc/" + d.Name() + "/comm"); err == nil && strings.TrimSpace(string(b)) == want {
			return pid
		}
	}
	return 0
}
