package bench

import "runtime"

// Machine is what figures depend on beside the program. A field that the machine does not tell is empty.
type Machine struct {
	CPU        string     `json:"cpu,omitempty"`
	Cores      int        `json:"cores"`
	GOMAXPROCS int        `json:"gomaxprocs"`
	OS         string     `json:"os"`
	Arch       string     `json:"arch"`
	Kernel     string     `json:"kernel,omitempty"`
	Go         string     `json:"go"`
	Governor   string     `json:"governor,omitempty"` // of the processor's frequency
	Hypervisor bool       `json:"hypervisor"`
	Memory     int64      `json:"memory_bytes,omitempty"`
	Load       [3]float64 `json:"load"` // average when the run began
	// Others is the share of the machine's processor time that other processes had during the run, 0 to 1, and Stolen what a
	// hypervisor kept back.
	Others float64 `json:"others"`
	Stolen float64 `json:"stolen"`
	// Yardstick is the loop in ns/op, taken once in each round.
	Yardstick Metric `json:"yardstick"`
}

// fingerprint describes this machine; Others, Stolen and Yardstick are known at the end.
func fingerprint() Machine {
	m := Machine{Cores: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
	m.readHost()
	return m
}

// differs returns what is different enough between two machines that absolute figures cannot be compared.
func (m *Machine) differs(o *Machine) (what []string) {
	for _, c := range []struct {
		name string
		same bool
	}{
		{"cpu", m.CPU == o.CPU}, {"cores", m.Cores == o.Cores}, {"arch", m.Arch == o.Arch}, {"kernel", m.Kernel == o.Kernel},
		{"go", m.Go == o.Go}, {"governor", m.Governor == o.Governor},
	} {
		if !c.same {
			what = append(what, c.name)
		}
	}
	return what
}
