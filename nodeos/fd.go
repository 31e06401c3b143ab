package nodeos

import "github.com/janos-os/janos/errs"

// FD is a descriptor in a worker's poll set that wakes a task. It is edge-triggered: the task
// goes idle only after it has read everything there is.
type FD struct {
	fd   int
	task *Task
	gone bool
}

// NewFD makes fd wake t when it is readable or, with write, writable. The descriptor stays the
// caller's, who must close the FD first. Stepped nodes have no poll set and refuse with errs.NotSupported.
func (t *Task) NewFD(fd int, write bool) (*FD, error) {
	if err := t.domain.may(OpNewFD, t.name, true); err != nil {
		return nil, err
	}
	w := t.seat.worker
	if w.poll == nil {
		return nil, errs.New(errs.NotSupported, "task %s: a stepped node has no descriptors", t.name)
	}
	f := &FD{fd: fd, task: t}
	d := t.domain
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active {
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	}
	if err := w.poll.Add(fd, write, t.Wake); err != nil {
		return nil, err
	}
	d.fds = append(d.fds, f)
	return f, nil
}

// Close takes the descriptor out of the poll set. Closing twice is fine.
func (f *FD) Close() {
	d := f.task.domain
	d.mu.Lock()
	defer d.mu.Unlock()
	f.remove()
	for i, g := range d.fds {
		if g == f {
			d.fds = append(d.fds[:i], d.fds[i+1:]...)
			return
		}
	}
}

// remove is Close with the domain's lock held.
func (f *FD) remove() {
	if !f.gone {
		f.gone = true
		f.task.seat.worker.poll.Remove(f.fd)
	}
}
