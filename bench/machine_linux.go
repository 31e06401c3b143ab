package bench

import (
	"fmt"
	"os"
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
type usage struct{ busy, stolen, total, own time.Duration }

func readUsage() (u usage) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u
	}
	var v [8]int64 // user nice system idle iowait irq softirq steal, in hundredths of a second
	line, _, _ := strings.Cut(string(b), "\n")
	_, _ = fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7])
	const tick = time.Second / 100
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
	return u
}

// since sets the shares of the time from u until now.
func (m *Machine) since(u usage) {
	now := readUsage()
	if total := now.total - u.total; total > 0 {
		m.Others = max(0, float64((now.busy-u.busy)-(now.own-u.own))/float64(total))
		m.Stolen = float64(now.stolen-u.stolen) / float64(total)
	}
}
