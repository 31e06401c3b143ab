package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (m *Machine) readHost() {
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			switch name = strings.TrimSpace(name); {
			case m.CPU == "" && (name == "model name" || name == "CPU part"):
				m.CPU = strings.TrimSpace(value)
			case name == "flags":
				m.Hypervisor = m.Hypervisor || strings.Contains(value, " hypervisor")
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); err == nil {
		m.Governor = strings.TrimSpace(string(b))
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.Memory = int64(si.Totalram) * int64(si.Unit)
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &m.Load[0], &m.Load[1], &m.Load[2])
	}
}

// usage is a reading of the machine's processor time.
type usage struct {
	busy, stolen, total time.Duration // of all
	own                 time.Duration // of this process and of those that it has started
	kernel              time.Duration // of the kernel's threads, which do network work for everybody
}

func readUsage() (u usage) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u
	}
	var v [8]int64 // user nice system idle iowait irq softirq steal, in hundredths of a second
	line, _, _ := strings.Cut(string(b), "\n")
	_, _ = fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7])
	for i, n := range v {
		u.total += time.Duration(n) * tick
		if i != 3 && i != 4 && i != 7 {
			u.busy += time.Duration(n) * tick
		}
	}
	u.stolen = time.Duration(v[7]) * tick
	u.own = processTime()
	var children unix.Rusage // programs that were run beside
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &children) == nil {
		u.own += time.Duration(children.Utime.Nano() + children.Stime.Nano())
	}
	u.readThreads()
	return u
}

const pfKthread = 0x200000 // PF_KTHREAD of linux/sched.h

// readThreads adds the kernel's threads, and the programs that run beside and have not ended.
func (u *usage) readThreads() {
	dirs, _ := os.ReadDir("/proc")
	self := strconv.Itoa(os.Getpid())
	for _, d := range dirs {
		if c := d.Name()[0]; c < '0' || c > '9' {
			continue
		}
		b, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		// After the name, which may contain anything: state, parent, ..., flags (the seventh), ..., user and system time (12th and 13th).
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 13 {
			continue
		}
		flags, _ := strconv.ParseUint(f[6], 10, 64)
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		switch t := time.Duration(user+system) * tick; {
		case flags&pfKthread != 0:
			u.kernel += t
		case f[1] == self:
			u.own += t
		}
	}
}

// tick is the unit of the times in /proc.
const tick = time.Second / 100

// since returns which shares of the machine's time from v until u other processes had, and a hypervisor. What the kernel does in threads of its own counts as
// nobody's: most of it is what is measured.
func (u usage) since(v usage) (others, stolen float64) {
	total := u.total - v.total
	if total <= 0 {
		return 0, 0
	}
	others = max(0, float64((u.busy-v.busy)-(u.own-v.own)-(u.kernel-v.kernel))/float64(total))
	return others, float64(u.stolen-v.stolen) / float64(total)
}
