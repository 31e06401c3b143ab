package gate

import "github.com/janos-os/janos/errs"

// stacks finds which functions may be reached from themselves and how much call stack the
// module needs. Functions on a cycle are counted at run time, with a weight that
// covers their own frame and every chain of uncounted calls below it; the chains
// themselves are bounded here.
func (d *decoded) stacks() *Error {
	g := callGraph{d: d, state: make([]visit, len(d.funcs)+len(d.types))}
	g.byType = make([][]uint32, len(d.types))
	placed := make([]bool, len(d.funcs))
	for _, s := range d.elems {
		for _, i := range s.funcs {
			if n := len(d.imports); int(i) >= n && !placed[int(i)-n] {
				placed[int(i)-n] = true
				for t := range d.types {
					if d.types[t].Equal(d.types[d.funcs[int(i)-n].typ]) {
						g.byType[t] = append(g.byType[t], i-uint32(n))
					}
				}
			}
		}
	}
	for i := range g.state {
		if g.state[i].index == 0 {
			g.connect(i)
		}
	}
	var deepest uint32
	at := 0
	for i := range d.funcs {
		f := &d.funcs[i]
		f.weight = f.frame + g.below(i)
		if !f.counted && f.weight > deepest {
			deepest, at = f.weight, i
		}
	}
	if max := d.cfg.Limits.Stack; deepest > max {
		f := &d.funcs[at]
		r := reader{body: f.code.body}
		r.fail(errs.Refused, f.start, "nest calls less deeply, split large functions",
			"the calls below it need %d slots of stack, limit %d", deepest, max)
		return r.err
	}
	d.deepest = deepest
	return nil
}

type visit struct {
	index, low int // Tarjan's numbers; 0 is not visited
	open       bool
	below      uint32 // 1 + slots below, once known
}

// callGraph has a node for each function and, behind them, one for each type, which stands for
// all functions of that type in the table.
type callGraph struct {
	d      *decoded
	byType [][]uint32
	state  []visit
	stack  []int
	next   int
}

// each calls fn for every node that n leads to.
func (g *callGraph) each(n int, fn func(int)) {
	if t := n - len(g.d.funcs); t >= 0 {
		for _, c := range g.byType[t] {
			fn(int(c))
		}
		return
	}
	f := &g.d.funcs[n]
	for _, c := range f.calls {
		fn(int(c))
	}
	for _, t := range f.indirect {
		fn(len(g.d.funcs) + int(t))
	}
}

// connect is Tarjan's algorithm. Its recursion is bounded by the number of functions and types.
func (g *callGraph) connect(n int) {
	s := &g.state[n]
	g.next++
	s.index, s.low, s.open = g.next, g.next, true
	g.stack = append(g.stack, n)
	self := false
	g.each(n, func(m int) {
		t := &g.state[m]
		self = self || m == n
		if t.index == 0 {
			g.connect(m)
			s.low = min(s.low, t.low)
		} else if t.open {
			s.low = min(s.low, t.index)
		}
	})
	if s.low != s.index {
		return
	}
	for size := 1; ; size++ {
		m := g.stack[len(g.stack)-1]
		g.stack = g.stack[:len(g.stack)-1]
		g.state[m].open = false
		if m < len(g.d.funcs) {
			g.d.funcs[m].counted = size > 1 || m != n || self
		}
		if m == n {
			return
		}
	}
}

// below returns the slots of the deepest chain of uncounted functions that n calls. Uncounted functions are on no cycle, so the recursion ends.
func (g *callGraph) below(n int) uint32 {
	if b := g.state[n].below; b > 0 {
		return b - 1
	}
	if n < len(g.d.funcs) {
		// A counted function's own chain is asked for once; cycles lead through counted functions, which are skipped.
		g.state[n].below = 1
	}
	var deepest uint32
	g.each(n, func(m int) {
		if m >= len(g.d.funcs) {
			deepest = max(deepest, g.below(m))
		} else if f := &g.d.funcs[m]; !f.counted {
			deepest = max(deepest, f.frame+g.below(m))
		}
	})
	g.state[n].below = deepest + 1
	return deepest
}
