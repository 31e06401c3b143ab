package click

// Upstream visits the elements from which packets come to input port, or to any input if port is negative, the nearest first and each once, with
// the number of connections in between, counted from 1. It goes on beyond an element along its flow code if visit says so. From Initialize on.
func (e *Base) Upstream(port int, visit func(el Element, distance int) (beyond bool)) {
	e.router.walk(e.index, port, false, visit)
}

// Downstream is Upstream in the direction of the packets.
func (e *Base) Downstream(port int, visit func(el Element, distance int) (beyond bool)) {
	e.router.walk(e.index, port, true, visit)
}

func (r *Router) walk(from, port int, down bool, visit func(Element, int) bool) {
	type place struct{ el, port int }
	edges := r.into
	if down {
		edges = r.from
	}
	seen, entered := map[int]bool{from: true}, map[place]bool{}
	now := []place{{from, port}}
	for distance := 1; len(now) > 0; distance++ {
		var reached []place
		for _, at := range now {
			for _, e := range edges[at.el] {
				p, next := e.ToPort, place{e.From, e.FromPort}
				if down {
					p, next = e.FromPort, place{e.To, e.ToPort}
				}
				if (at.port < 0 || p == at.port) && !entered[next] {
					entered[next] = true
					reached = append(reached, next)
				}
			}
		}
		now = nil
		for _, at := range reached {
			el := r.elements[at.el]
			if !seen[at.el] {
				seen[at.el] = true
				if !visit(el, distance) {
					continue
				}
			} else if at.el == from {
				continue
			}
			b := el.base()
			f, _ := parseFlow(b.class.Flow)
			n := b.nin
			if down {
				n = b.nout
			}
			for i := range n {
				in, out := i, at.port
				if down {
					in, out = at.port, i
				}
				if f.linked(in, out) {
					now = append(now, place{at.el, i})
				}
			}
		}
	}
}
