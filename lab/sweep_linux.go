package lab

import (
	"errors"
	"fmt"
	"os"

	"github.com/janos-os/janos/internal/netns"
)

// Sweep removes what laboratories left under base (zero means DefaultStateDir) whose owner has died: processes, namespaces, links, files. It
// touches nothing of an owner that lives. It returns the names of the labs that it removed.
func Sweep(base string) ([]string, error) {
	dirs, err := stateDirs(base)
	if err != nil {
		return nil, err
	}
	var swept []string
	var all []error
	for _, d := range dirs {
		if ours(d.path) != nil {
			continue // somebody else's, in /tmp
		}
		gone, err := sweep(d.path)
		if err != nil {
			all = append(all, fmt.Errorf("leftovers of lab %s: %w", d.name, err))
		}
		if gone {
			swept = append(swept, d.name)
		}
	}
	return swept, errors.Join(all...)
}

// sweep removes one lab, unless its owner lives.
func sweep(dir string) (bool, error) {
	lock, err := tryLock(dir)
	if errors.Is(err, errBusy) || errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	s, err := readState(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		// The owner died before it had made anything.
	case err != nil:
		return false, err
	default:
		if err := s.remove(); err != nil {
			return false, err
		}
	}
	return true, removeState(dir)
}

// remove ends the processes and removes the namespaces that the state names.
func (s *State) remove() error {
	var all []error
	for _, p := range s.Processes {
		// They died with their parent unless it had no time to say so; the start time tells whether this is still the same process.
		if err := netns.Kill(p.PID, p.alive, grace); err != nil {
			all = append(all, fmt.Errorf("process %d (%s): %w", p.PID, p.Role, err))
		}
	}
	if s.OwnUserNS {
		// The namespaces were mounted where only the owner could see them, and went with it; only empty files are left.
		return errors.Join(all...)
	}
	return errors.Join(append(all, removeSpaces(s.SpaceDir, s.Spaces))...)
}
