package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
)

// State is what a laboratory writes down about itself, in the file state.json of its directory, before it makes the thing.
// Who finds it after the owner has died can remove everything.
type State struct {
	Name       string      `json:"name"`
	File       string      `json:"file,omitempty"` // the topology's, absolute
	Owner      Process     `json:"owner"`
	Dir        string      `json:"-"`           // where it was read from
	Control    string      `json:"control"`     // unix socket of the owner
	SpaceDir   string      `json:"space_dir"`   // where the namespaces have their names
	Spaces     []string    `json:"spaces"`      // their names: one per node in the order of the plan, then that of the wires
	OwnUserNS  bool        `json:"own_user_ns"` // namespaces are in a user namespace that only the owner is in
	WireConfig string      `json:"wire_config"`
	Processes  []Process   `json:"processes"` // of the owner
	Plan       *Plan       `json:"plan"`
	Nodes      []NodeState `json:"nodes"`
}

// Process names a process for good: its number may be used again, its number and start time are not.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the machine started
	Role  string `json:"role"`  // "owner", "wire", or a node's name
}

// NodeState is what is known about a node's process.
type NodeState struct {
	Name    string   `json:"name"`
	Space   string   `json:"space"`
	PID     int      `json:"pid,omitempty"` // 0: not running
	Started int      `json:"started"`       // how often
	Exit    string   `json:"exit,omitempty"`
	Dir     string   `json:"dir"` // its files: node.yaml, log
	Log     string   `json:"log"`
	Command []string `json:"command,omitempty"`
}

// process describes a running process; it fails when there is none.
func process(pid int, role string) (Process, error) {
	start, err := startTime(pid)
	return Process{pid, start, role}, err
}

// alive reports whether the process still runs. A zombie has ended.
func (p Process) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// startTime reads field 22 of /proc/PID/stat; a process that has ended but was not waited for is an error.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses that may contain anything.
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return 0, fmt.Errorf("/proc/%d/stat has no name", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	if f[0] == "Z" || f[0] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(f[19], 10, 64)
}

const (
	statePrefix = "janos-lab-"
	stateFile   = "state.json"
	lockFile    = "lock"

	rootStateDir = "/run/janos" // made by the first lab, removed with the last
)

// DefaultStateDir returns the directory under which laboratories keep their state: /run/janos for root, the user's
// runtime directory, or else the temporary one.
func DefaultStateDir() string {
	if d := os.Getenv(envStateDir); d != "" {
		return d
	}
	if os.Geteuid() == 0 {
		return rootStateDir
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return d
	}
	return os.TempDir()
}

// lockState makes or takes over the state directory of the lab called name. busy is the state of a live owner when there
// is one. The lock lasts until the file is closed, or the process ends in whatever way.
func lockState(base, name string) (dir string, lock *os.File, err error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", nil, errs.New(errs.NotSupported, "state directory: %w; name another one", err)
	}
	dir = filepath.Join(base, statePrefix+name)
	for {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", nil, errs.New(errs.NotSupported, "state directory: %w; name another one", err)
		}
		if err := ours(dir); err != nil {
			return "", nil, err
		}
		lock, err = tryLock(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // somebody swept it between Mkdir and now
		}
		return dir, lock, err
	}
}

// ours refuses a directory that somebody else made, since /tmp is everybody's.
func ours(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return errs.New(errs.Permission, "%s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return errs.New(errs.Permission, "%s is not a directory that only you can write; remove it, or name another state directory", dir)
	}
	return nil
}

// errBusy says that the lock of a state directory is held: its owner lives.
var errBusy = errors.New("busy")

// tryLock takes the lock of a state directory without waiting. It fails with fs.ErrNotExist when the directory is removed meanwhile.
func tryLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errBusy
		}
		return nil, err
	}
	// The file may have been removed by a sweep before the lock was ours.
	var here, there unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &here); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.Stat(path, &there); err != nil || here.Ino != there.Ino || here.Dev != there.Dev {
		f.Close()
		return nil, os.ErrNotExist
	}
	return f, nil
}

// ReadState returns what the laboratory called name under base (zero means DefaultStateDir) has written down.
func ReadState(base, name string) (*State, error) {
	if base == "" {
		base = DefaultStateDir()
	}
	if msg := badName(name, MaxLabName); msg != "" {
		return nil, errs.New(errs.Invalid, "name of lab: %s", msg)
	}
	s, err := readState(filepath.Join(base, statePrefix+name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "no lab %q is up; start it with janos lab up", name)
	}
	return s, err
}

func readState(dir string) (*State, error) {
	if err := ours(dir); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	s := &State{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, errs.New(errs.Corrupt, "%s: %w", filepath.Join(dir, stateFile), err)
	}
	s.Dir = dir
	if s.Plan != nil {
		s.Plan.index()
	}
	return s, nil
}

// States returns the states of all labs under base (zero means DefaultStateDir) whose owners live, by name.
func States(base string) ([]*State, error) {
	dirs, err := stateDirs(base)
	if err != nil {
		return nil, err
	}
	var out []*State
	for _, d := range dirs {
		if s, err := readState(d.path); err == nil && s.Alive() {
			out = append(out, s)
		}
	}
	return out, nil
}

// stateDir is a directory that has the name of a lab's state.
type stateDir struct{ name, path string }

// stateDirs lists them under base, by name; none where base is not there.
func stateDirs(base string) (dirs []stateDir, err error) {
	if base == "" {
		base = DefaultStateDir()
	}
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.New(errs.Permission, "state directory: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), statePrefix); ok && e.IsDir() && badName(name, MaxLabName) == "" {
			dirs = append(dirs, stateDir{name, filepath.Join(base, e.Name())})
		}
	}
	return dirs, nil
}

// Node returns what is known about the process of a node, or nil.
func (s *State) Node(name string) *NodeState {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// FindNode is Node with an error of kind errs.NotFound where there is none.
func (s *State) FindNode(name string) (*NodeState, error) {
	if n := s.Node(name); n != nil {
		return n, nil
	}
	return nil, errs.New(errs.NotFound, "lab %s has no node %q; see janos lab status", s.Name, clip(name))
}

// Become replaces this process by a command in the namespace of a node. It returns only if it fails. It needs root, and a lab that is not in
// a user namespace of its own.
func (s *State) Become(node string, argv []string) error {
	n, err := s.FindNode(node)
	if err != nil {
		return err
	}
	if len(argv) == 0 {
		return errs.New(errs.Invalid, "no command for node %s", node)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return errs.New(errs.NotFound, "%w", err)
	}
	ns, err := netns.Open(s.SpaceDir, n.Space)
	if err != nil {
		return errs.New(errs.NotFound, "%w", err)
	}
	defer ns.Close()
	// The namespace of the thread that calls exec is the one that the new program gets.
	return ns.Do(func() error {
		return errs.New(errs.Permission, "%s: %w", path, unix.Exec(path, argv, os.Environ()))
	})
}

// Alive reports whether the owner runs.
func (s *State) Alive() bool { return s.Owner.alive() }

// write replaces the state file, so that a reader sees the old or the new one.
func (s *State) write() error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.Dir, stateFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("state of lab: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("state of lab: %w", err)
	}
	return nil
}
