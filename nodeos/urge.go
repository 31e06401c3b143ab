package nodeos

import (
	"runtime"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// What Urge does.
const (
	urgentNice  = -10                    // of the threads of workers
	urgentSlice = 100 * time.Microsecond // of all threads of the process, the kernel's least
)

// Procs returns what GOMAXPROCS a program should have, at least, that is a node with so many workers. A worker keeps one while it runs; the garbage collector takes a quarter
// of all, which is one of four, so that it need not take turns with a worker; one is for the control plane, and one is free for the worker that the runtime has
// stopped, which it does after each ten milliseconds and in each collection.
func Procs(workers int) int { return max(runtime.GOMAXPROCS(0), max(workers, 1)+3) }

// Urge makes the node's workers wait less for the processor beside busy threads of the same and of other programs: it gives all threads of the process the
// shortest turns that the kernel has, and those of the workers a nice value of -10. The second takes CAP_SYS_NICE; errs.Permission says that it was refused, the first is done all the
// same. relax undoes it, and may be nil then. It is for programs that are a node, once, after NewNode. Both wait for the workers and must not be called from one; a stepped
// node has no threads of its own.
func (n *Node) Urge() (relax func(), err error) {
	if n.spec.Stepped {
		return func() {}, nil
	}
	var first error
	for _, w := range n.workers {
		var err error
		if !w.Call(func() {
			err = sys.SetNice(urgentNice)
			w.urged = err == nil
		}) {
			return nil, errs.New(errs.Dead, "node %s is closed", n.spec.Name)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	was, err := sys.ShortSlices(urgentSlice)
	if first == nil {
		first = err
	}
	if first != nil {
		return nil, errs.New(errs.Permission, "node %s: workers have no priority over other threads (it takes CAP_SYS_NICE): %w", n.spec.Name, first)
	}
	return func() {
		for _, w := range n.workers {
			w.Call(func() {
				if w.urged {
					w.urged = false
					_ = sys.SetNice(0)
				}
			})
		}
		if was > 0 {
			_, _ = sys.ShortSlices(was)
		}
	}, nil
}
