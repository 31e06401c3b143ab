package click

// Runs of a task that handle few packets each cost more than the packets. Where nobody can tell, several runs that would follow each other are made
// one: the task is told to handle several bursts at once, and pays for as many runs.
//
// Nobody can tell if every element still gets the same packets in the same order. That holds for tasks whose packets pass only
// elements of classes that say so (Class.Merging), where no two tasks push or pull through the same element: tasks then meet
// only in elements that store packets, and it does not matter how far one of them has got before the other goes on, as long as
// nothing is dropped there. So who pushes into such an element must send packets one at a time and heed that it is full. Where ways
// lead apart and together again, packets must come one at a time too, for the order among those of a burst is another matter.
// The way, in the order of this file:
//
//  1. when a thread starts, the elements that each of its tasks reaches are collected; tasks that meet in storage stand or fall together
//  2. elements whose outputs lead together again, so that the order between outputs counts, are told to keep it (Base.Split)
//  3. at the beginning of a run the element asks how many packets it may handle (Task.Merge)

// Merging says what a class allows, see Class.
type Merging uint8

const (
	// Unmerged is for classes that care how many packets come together, look at the time or at other elements, call handlers, or print.
	Unmerged Merging = iota
	// Merged is for classes where what happens to a packet depends on that packet, on those before it and on what handlers set. Packets
	// keep their order within an output, but those for one output may leave before earlier ones for another.
	Merged
	// MergedInOrder is Merged for classes that send packets to their outputs with Base.Split alone.
	MergedInOrder
)

// Storer is an element that keeps what is pushed to it until it is pulled.
type Storer interface {
	// Room returns how many more packets can be pushed before one is dropped. On the worker.
	Room() int
}

const (
	// mergeTo is how many packets a merged run handles at most.
	mergeTo = 32
	// mergeAfter is how many runs a thread must have had since it was idle before it merges: merging is for load.
	mergeAfter = 128
	// forkWork bounds how many elements are looked at to find out whether outputs lead together.
	forkWork = 1 << 20
)

// merger looks at a graph for what may be merged.
type merger struct {
	router *Router
	push   []*Task // whose packets pass an element, or are pushed to it if it stores them
	pull   []*Task // who pulls from an element that stores packets
	stack  []bool  // elements on the way to the present one
	below  []int8  // whether a place where ways meet is at an element or behind it: 0 not known, 1 no, 2 yes
	forks  []int   // elements with several outputs in use
	work   int
}

// findMerging decides which tasks of the thread may be merged. On its worker, or when it starts.
func (t *Thread) findMerging() {
	r := t.router
	n := len(r.elements)
	m := &merger{router: r, push: make([]*Task, n), pull: make([]*Task, n), stack: make([]bool, n), below: make([]int8, n)}
	for _, k := range t.tasks {
		k.with, k.rooms, k.apart, k.single = k, nil, r.env.Unmerged || len(k.el.tasks) > 1, false
	}
	for _, k := range t.tasks {
		m.visit(k, k.el.index, false)
	}
	for _, i := range m.forks {
		m.fork(i)
	}
	for _, k := range t.tasks {
		if len(k.rooms) > 1 || len(k.rooms) == 1 && !k.heeds {
			k.root().apart = true
		}
	}
	t.countWild()
}

// countWild takes over what is known of tasks that stand or fall together.
func (t *Thread) countWild() {
	for _, k := range t.tasks {
		k.wild = k.root().apart
	}
	t.wild = 0
	for _, k := range t.heap {
		if k.wild {
			t.wild++
		}
	}
}

// root stands for all tasks that stand or fall together.
func (k *Task) root() *Task {
	for k.with != k {
		k.with = k.with.with
		k = k.with
	}
	return k
}

func (m *merger) join(a, b *Task) {
	if a, b = a.root(), b.root(); a != b {
		b.with = a
		a.apart = a.apart || b.apart
	}
}

// visit collects what a task reaches from an element on; pulled says that it pulls there.
func (m *merger) visit(k *Task, i int, pulled bool) {
	el := m.router.elements[i]
	b := el.base()
	if b.class.Merging == Unmerged {
		k.root().apart = true
	}
	if p, ok := el.(interface{ Plain() bool }); ok && !p.Plain() {
		k.root().apart = true
	}
	s, stores := el.(Storer)
	if m.router.crossed[i] { // the other side is another thread's
		k.root().apart = true
		return
	}
	if stores && pulled {
		if m.pull[i] != nil && m.pull[i] != k {
			k.root().apart = true
		}
		if m.pull[i] != nil {
			m.join(m.pull[i], k)
		} else if m.push[i] != nil {
			m.join(m.push[i], k)
		}
		m.pull[i] = k
		return
	}
	if m.stack[i] {
		k.root().apart = true // a circle
		return
	}
	if old := m.push[i]; old != nil {
		if old != k {
			m.join(old, k)
			k.root().apart = true
		}
		return
	}
	m.push[i] = k
	if stores {
		k.rooms = append(k.rooms, s)
		if m.pull[i] != nil {
			m.join(m.pull[i], k)
		}
	}
	m.stack[i] = true
	outs := 0
	for _, e := range m.router.from[i] {
		if b.outKinds[e.FromPort] == PushKind {
			outs++
			m.visit(k, e.To, false)
		}
	}
	for _, e := range m.router.into[i] {
		if b.inKinds[e.ToPort] == PullKind {
			m.visit(k, e.From, true)
		}
	}
	m.stack[i] = false
	if outs > 1 {
		m.forks = append(m.forks, i)
	}
}

// meets reports whether ways meet at an element or behind it. There are no circles where it matters.
func (m *merger) meets(i int) bool {
	if m.below[i] != 0 {
		return m.below[i] == 2
	}
	m.below[i] = 1
	ways := 0
	for _, e := range m.router.into[i] {
		if m.router.elements[i].base().inKinds[e.ToPort] == PushKind {
			ways++
		}
	}
	found := ways > 1
	for _, e := range m.pushes(i) {
		if m.meets(e) {
			found = true
		}
	}
	if found {
		m.below[i] = 2
	}
	return found
}

// pushes returns the elements to which one pushes.
func (m *merger) pushes(i int) (to []int) {
	b := m.router.elements[i].base()
	for _, e := range m.router.from[i] {
		if b.outKinds[e.FromPort] == PushKind {
			to = append(to, e.To)
		}
	}
	return to
}

// fork decides about an element with several outputs.
func (m *merger) fork(i int) {
	b := m.router.elements[i].base()
	b.ordered = false
	k := m.push[i]
	if k.root().apart {
		return
	}
	var starts []int
	for _, to := range m.pushes(i) {
		if m.meets(to) {
			starts = append(starts, to)
		}
	}
	if len(starts) < 2 || !m.together(starts) {
		return
	}
	if b.class.Merging == MergedInOrder {
		b.ordered, k.single = true, true
	} else {
		k.root().apart = true
	}
}

// together reports whether an element is behind two of the given ones, or is given twice.
func (m *merger) together(starts []int) bool {
	seen := map[int]int{}
	for n, s := range starts {
		work := []int{s}
		for len(work) > 0 {
			i := work[len(work)-1]
			work = work[:len(work)-1]
			if by, ok := seen[i]; ok {
				if by != n {
					return true
				}
				continue
			}
			if m.work++; m.work > forkWork {
				return true // perhaps
			}
			seen[i] = n
			work = append(work, m.pushes(i)...)
		}
	}
	return false
}

// Merge returns how many packets the task may handle in its present run instead of one burst, of which it is a multiple. It is for
// elements of a class with Merging, at the beginning of a run.
func (k *Task) Merge(burst int) int {
	t := k.thread
	if burst > 1 && !k.wild && (k.single || len(k.rooms) > 0) {
		k.root().apart = true
		t.countWild()
	}
	if burst >= mergeTo || k.wild || t.wild > 0 || t.busy < mergeAfter || t.current != k {
		return burst
	}
	n := min(mergeTo, t.left, t.runsLeft*burst)
	for _, s := range k.rooms {
		n = min(n, s.Room())
	}
	if n -= n % burst; n <= burst {
		return burst
	}
	t.merged, k.burst = true, burst
	return n
}

// MergingChanged is called by an element whose Plain returns something else than before. On the worker.
func (e *Base) MergingChanged() {
	if e.thread.started {
		e.thread.findMerging()
	}
}
