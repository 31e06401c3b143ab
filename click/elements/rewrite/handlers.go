package rewrite

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// AddHandlers implements click.HandlerAdder.
func (e *rewriter) AddHandlers(h *click.Handlers) {
	count := func(n int) string { return strconv.Itoa(n) }
	h.Read("table_size", func() string { return count(e.table.n) })
	h.Read("nmappings", func() string { return count(e.table.n) })
	h.Count("mapping_failures", &e.failures)
	h.Read("size", func() string { return count(e.set.size()) })
	h.Value("capacity", func() string { return count(e.set.capacity) }, func(s string, a *click.Args) error {
		if err := click.IntRange(&e.set.capacity, 0, maxCapacity)(s, a); err != nil {
			return errs.New(errs.Invalid, "CAPACITY: %v", err)
		}
		e.set.shrink(e.Now())
		return nil
	})
	h.Write("clear", func(string) error {
		e.table.each(func(i uint32, _ *flow) { e.table.remove(i) })
		return nil
	})
	h.Read("patterns", func() string {
		var b strings.Builder
		for i := range e.specs {
			b.WriteString(e.specText(i) + "\n")
		}
		return b.String()
	})
	for i := range e.specs {
		h.Value("pattern"+strconv.Itoa(i), func() string { return e.specText(i) }, func(s string, a *click.Args) error { return e.setSpec(i, s, a) })
	}
	lookup := func(name string, tag uint32) {
		h.Add(click.Handler{Name: name, Read: func(param string) (string, error) { return e.lookup(param, tag) }})
	}
	if e.kind == flows {
		for _, x := range []struct {
			name string
			tag  uint32
		}{{"tcp", tagTCP}, {"udp", tagUDP}} {
			h.Read(x.name+"_table", func() string { return e.list(x.tag) })
			h.Read(x.name+"_mappings", func() string { return e.list(x.tag) })
			lookup(x.name+"_lookup", x.tag)
		}
	} else {
		h.Read("table", func() string { return e.list(0) })
		h.Read("mappings", func() string { return e.list(0) })
		lookup("lookup", 0)
	}
	h.Write("add", e.addFlow)
	h.Write("remove", e.removeFlow)
}

// specText shows what an input does, and behind a pattern in brackets how many flows it has made that are still there, if any.
func (e *rewriter) specText(input int) string {
	p := e.specs[input].pattern
	n := 0
	if p != nil {
		e.Alone(func() {
			for _, x := range e.Router().Elements() { // which may have the same pattern
				if rw, ok := x.(sharer); ok {
					n += rw.core().madeBy(p)
				}
			}
		})
	}
	if n == 0 {
		return e.specs[input].String()
	}
	return e.specs[input].String() + " [" + strconv.Itoa(n) + "]"
}

// madeBy counts the flows of the inputs that have a pattern.
func (e *rewriter) madeBy(p *pattern) (n int) {
	e.table.each(func(_ uint32, f *flow) {
		if int(f.input) < len(e.specs) && e.specs[f.input].pattern == p {
			n++
		}
	})
	return n
}

// setSpec gives an input another specification. The flows that the old one made end.
func (e *rewriter) setSpec(input int, text string, a *click.Args) error {
	s, err := e.parseSpec(text, a)
	if err != nil {
		return errs.New(errs.Invalid, "input spec %d: %v", input, err)
	}
	if list := e.checkMapper(input, &s); len(list) > 0 {
		return list[0]
	}
	e.specs[input] = s
	e.table.each(func(i uint32, f *flow) {
		if int(f.input) == input {
			e.table.remove(i)
		}
	})
	return nil
}

// list shows the flows of a protocol, a line for each direction.
func (e *rewriter) list(tag uint32) string {
	var b []byte
	now := e.Now()
	e.table.each(func(_ uint32, f *flow) {
		if tag == 0 || f.key[0].tag() == tag {
			b = e.appendFlow(b, f, 0, now)
			b = e.appendFlow(b, f, 1, now)
		}
	})
	return string(b)
}

func (e *rewriter) appendFlow(b []byte, f *flow, dir int, now clock.Time) []byte {
	b = e.appendKey(b, f.key[dir], dir == 1)
	b = append(b, " => "...)
	b = e.appendKey(b, f.key[1-dir].reverse(e.table.flip), dir == 1)
	star := [2]string{}
	star[dir] = "*"
	b = fmt.Appendf(b, " [%s%d %s%d] ", star[0], f.out[0], star[1], f.out[1])
	if f.input == byHandler {
		b = append(b, "handler"...)
	} else {
		b = fmt.Appendf(b, "i%d", f.input)
	}
	if f.state&stPermanent != 0 {
		return append(b, " permanent\n"...)
	}
	life, _ := e.table.of(f)
	return fmt.Appendf(b, " exp%d\n", max(0, int(f.last.Add(life).Sub(now).Seconds())))
}

// appendKey shows the fields that this kind of rewriter goes by.
func (e *rewriter) appendKey(b []byte, k key, reply bool) []byte {
	switch e.kind {
	case addrs:
		if reply {
			return fmt.Append(b, toAddr(k.dst()))
		}
		return fmt.Append(b, toAddr(k.src()))
	case pairs:
		return fmt.Appendf(b, "(%v, %v)", toAddr(k.src()), toAddr(k.dst()))
	case pings:
		return fmt.Appendf(b, "(%v, %v, %d)", toAddr(k.src()), toAddr(k.dst()), k.sport())
	}
	return fmt.Appendf(b, "(%v, %d, %v, %d)", toAddr(k.src()), k.sport(), toAddr(k.dst()), k.dport())
}

// fields are the words of a key in handlers, and how they are called.
func (e *rewriter) fields() []string {
	switch e.kind {
	case addrs:
		return []string{"ADDR"}
	case pairs:
		return []string{"SADDR", "DADDR"}
	case pings:
		return []string{"SADDR", "DADDR", "IDENT"}
	}
	return []string{"SADDR", "SPORT", "DADDR", "DPORT"}
}

// parseKey reads a key from as many words as fields names. A dash is the field of def, if that is not nil.
func (e *rewriter) parseKey(w []string, tag uint32, def *key) (key, error) {
	var v [4]uint32
	var old [4]uint32
	if def != nil {
		old = [4]uint32{def.src(), uint32(def.sport()), def.dst(), uint32(def.dport())}
	}
	place := map[string]int{"ADDR": 0, "SADDR": 0, "SPORT": 1, "IDENT": 1, "DADDR": 2, "DPORT": 3}
	for i, name := range e.fields() {
		at := place[name]
		switch {
		case w[i] == "-" && def != nil:
			v[at] = old[at]
		case at == 1 || at == 3:
			n, err := strconv.ParseUint(w[i], 10, 16)
			if err != nil {
				return key{}, errs.New(errs.Invalid, "%s: expected a number from 0 to 65535, not '%s'", name, w[i])
			}
			v[at] = uint32(n)
		default:
			x, err := netip.ParseAddr(w[i])
			if err != nil || !x.Is4() {
				return key{}, errs.New(errs.Invalid, "%s: expected an IPv4 address, not '%s'", name, w[i])
			}
			v[at] = addr4(x)
		}
	}
	if e.kind == pings {
		v[3] = v[1]
	}
	return newKey(v[0], v[2], uint16(v[1]), uint16(v[3]), tag), nil
}

// words splits the value of a handler that begins with a key, after the protocol where keys have one.
func (e *rewriter) words(s string) (w []string, tag uint32, err error) {
	w = strings.Fields(s)
	if e.kind == flows {
		switch {
		case len(w) > 0 && w[0] == "tcp":
			tag = tagTCP
		case len(w) > 0 && w[0] == "udp":
			tag = tagUDP
		default:
			return nil, 0, errs.New(errs.Invalid, "expected 'tcp' or 'udp' first, not '%s'", s)
		}
		w = w[1:]
	}
	return w, tag, nil
}

// findFlow finds the flow that has a key in one of its directions.
func (e *rewriter) findFlow(k key) (i uint32, dir int, ok bool) {
	if i, dir, ok = e.table.find(k); ok {
		return i, dir, ok
	}
	switch e.kind {
	case addrs:
		return e.table.find(newKey(0, k.src(), 0, 0, tagReply))
	case pings:
		return e.table.find(newKey(k.src(), k.dst(), k.sport(), k.dport(), tagReply))
	}
	return 0, 0, false
}

// lookup says what becomes of a packet.
func (e *rewriter) lookup(param string, tag uint32) (string, error) {
	w := strings.Fields(param)
	names := e.fields()
	if len(w) != len(names) {
		return "", errs.New(errs.Invalid, "expected '%s', not '%s'", strings.Join(names, " "), param)
	}
	k, err := e.parseKey(w, tag, nil)
	if err != nil {
		return "", err
	}
	i, dir, ok := e.findFlow(k)
	if !ok {
		return "", nil
	}
	text := e.appendKey(nil, e.table.flow(i).key[1-dir].reverse(e.table.flip), dir == 1)
	return strings.NewReplacer("(", "", ")", "", ",", "").Replace(string(text)), nil
}

// addFlow is the handler that makes a flow: a key, what it becomes, the outputs and perhaps the word permanent.
func (e *rewriter) addFlow(s string) error {
	w, tag, err := e.words(s)
	if err != nil {
		return err
	}
	names := e.fields()
	n := len(names)
	state := uint8(0)
	if len(w) == 2*n+3 && w[2*n+2] == "permanent" {
		state = stPermanent
		w = w[:2*n+2]
	}
	if len(w) != 2*n+2 {
		list := strings.Join(names, " ")
		return errs.New(errs.Invalid, "expected '%s NEW%s FOUTPUT ROUTPUT [permanent]'", list, strings.ReplaceAll(list, " ", " NEW"))
	}
	k, err := e.parseKey(w[:n], tag, nil)
	if err != nil {
		return err
	}
	to, err := e.parseKey(w[n:2*n], tag, &k)
	if err != nil {
		return err
	}
	forward, reply, err := parseOutputs(w[2*n:])
	if err == nil && (forward >= e.Outputs() || reply >= e.Outputs()) {
		err = errRange
	}
	if err != nil {
		return errs.New(errs.Invalid, "%v", err)
	}
	rev := to.reverse(e.table.flip)
	if e.table.has(k) || e.table.has(rev) {
		return errs.New(errs.Exists, "there is a mapping for one of the two directions already")
	}
	if !e.set.room(e.Now()) {
		return errs.New(errs.Limit, "the table is full, see the handler capacity")
	}
	e.insert(k, rev, byHandler, forward, reply, state, e.Now())
	return nil
}

// removeFlow is the handler that ends the flow of a key.
func (e *rewriter) removeFlow(s string) error {
	w, tag, err := e.words(s)
	if err != nil {
		return err
	}
	names := e.fields()
	if len(w) != len(names) {
		return errs.New(errs.Invalid, "expected '%s'", strings.Join(names, " "))
	}
	k, err := e.parseKey(w, tag, nil)
	if err != nil {
		return err
	}
	i, _, ok := e.findFlow(k)
	if !ok {
		return errs.New(errs.NotFound, "no mapping for '%s'", strings.TrimSpace(s))
	}
	e.table.remove(i)
	return nil
}
