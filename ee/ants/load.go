package ants

// How code comes here. An unknown method id makes a domain (bootstrap). It asks the previous hop for the
// directory of the method's group, which the method id covers, and then for the code of each class, in windows of
// chunks, which the code id covers. Responses are handed off to the domain, which checks and stores them in its own
// turn. When all is there the codes go through the gate and are installed.
//
//	bootstrap -> directory -> chunks of class 0, 1, ... -> gate -> install -> activate
//	     \___________\______________\_______________________\______\-> fail: refused for a time

import (
	"encoding/hex"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// load is the state of loading one group from one previous hop.
type load struct {
	flow   *flow
	method MethodID
	peer   NodeAddr
	token  uint32
	in     *nodeos.InChan // responses
	timer  *nodeos.Timer
	until  clock.Time // the whole load
	tries  int

	dir      *directory // nil: not yet here
	dirBytes []byte
	group    GroupID
	codes    [][]byte
	current  int // class whose chunks are wanted
	have     [maxChunks]bool
	first    int // of the window that was asked for
	open     int // chunks of it that are still missing
	charged  int64

	bytes, chunks int
	packet        packet.Batch
	done          bool
}

// bootstrap makes the domain of a protocol whose code is not here and begins to load it, or returns nil.
func (e *EE) bootstrap(w *nodeos.Worker, c *Capsule, link uint16) *flow {
	l := &e.spec.Limits
	h, ok := e.spec.Router.Neighbour(c.Prev)
	if !ok || h.Link != link || e.loading >= l.Loading {
		return nil
	}
	from := 0
	for _, f := range e.flows {
		if f.state == flowLoading && f.load != nil && f.load.peer == c.Prev {
			from++
		}
	}
	if from >= max(1, l.Loading/2) || !e.loadRate.take(1, w.Now()) {
		return nil
	}
	short := hex.EncodeToString(c.Method[:4])
	f, err := e.newFlow(short, c.Method.String(), e.spec.Jail)
	if err != nil {
		e.spec.Log.Warn("no domain for a new protocol", "method", c.Method.String(), "err", err)
		return nil
	}
	e.loading++
	f.claim(c.Method, nil)
	f.load = &load{flow: f, method: c.Method, peer: c.Prev, token: uint32(e.rand.Uint64()), until: w.Now().Add(l.LoadTotal)}
	if err := f.domain.Account().Take(resctl.CodeLoads, 1); err != nil {
		f.fail(err)
		return nil
	}
	e.counts.Loads++
	f.load.in, err = f.domain.NewInChan(nodeos.InChanSpec{
		Protocol: "ants load", Worker: -1, Quota: 2 * windowChunks, HandOffOnly: true, Handler: f.load.received,
	})
	if err != nil {
		f.fail(err)
		return nil
	}
	f.load.timer = f.domain.NewTimer(-1, f.load.timeout)
	e.emit(Event{Kind: LoadRequested, Domain: f.domain.Path(), Method: c.Method.String(), Peer: c.Prev})
	f.load.ask(w)
	return f
}

// ask sends the request for what is missing next and arms the timer.
func (l *load) ask(w *nodeos.Worker) {
	e := l.flow.ee
	l.timer.Set(min(w.Now().Add(e.spec.Limits.LoadTimeout), l.until))
	r := dlRequest{method: l.method, token: l.token}
	if l.dir != nil {
		d := &l.dir.classes[l.current]
		n := chunksOf(d.length)
		r.code = d.code
		for l.first = 0; l.have[l.first]; {
			l.first++
		}
		r.first = uint32(l.first)
		l.open = 0
		for i := 0; i < windowChunks && l.first+i < n && l.open < e.spec.Limits.LoadWindow; i++ {
			if !l.have[l.first+i] {
				r.mask |= 1 << i
				l.open++
			}
		}
	}
	var b [dlRequestLen]byte
	if e.message(w, l.flow.domain, MethodDLRequest, l.peer, r.put(b[:0])) {
		e.counts.Requests++
	}
	e.flush(w)
}

func chunksOf(n int) int { return (n + ChunkSize - 1) / ChunkSize }

// message sends a builtin capsule to a neighbour. The domain pays.
func (e *EE) message(w *nodeos.Worker, d *nodeos.Domain, method MethodID, to NodeAddr, body []byte) bool {
	h, ok := e.spec.Router.Neighbour(to)
	if !ok {
		e.drops[DropNoRoute]++
		return false
	}
	p := w.Cache().Alloc(d.Owner())
	if p == nil {
		e.drops[DropNoMemory]++
		return false
	}
	c := Capsule{Method: method, Src: e.spec.Addr, Dst: to, Prev: e.spec.Addr, Data: body}
	if !c.Encode(p) {
		e.drop(w, p, DropNoMemory)
		return false
	}
	return e.send(w, p, &h, nil)
}

// timeout repeats the request, or gives up.
func (l *load) timeout(now clock.Time) {
	if l.done || l.flow.state == flowEnded {
		return
	}
	l.tries++
	lim := &l.flow.ee.spec.Limits
	if l.tries >= lim.LoadTries || now >= l.until {
		l.flow.fail(errs.New(errs.Timeout, "load: node %s did not answer %d requests in time", l.peer, l.tries))
		return
	}
	l.ask(l.flow.ee.home)
}

// response takes a load response that came by a link and gives it to whom it is for.
func (e *EE) response(w *nodeos.Worker, p *packet.Packet, c *Capsule) {
	var r dlResponse
	if r.decode(c.Data) != nil || c.Dst != e.spec.Addr {
		e.drop(w, p, DropMalformed)
		return
	}
	f := e.methods[r.method].flow
	if f == nil || f.load == nil || f.load.done || f.load.method != r.method || f.load.peer != c.Src || f.load.token != r.token {
		e.drop(w, p, DropUnexpected)
		return
	}
	e.one.Append(p)
	if f.load.in.HandOff(w, &e.one) == 0 {
		e.drops[DropQueueFull]++
	}
}

// received handles responses in the protocol's own domain.
func (l *load) received(w *nodeos.Worker, b *packet.Batch) {
	var c Capsule
	var r dlResponse
	for _, p := range b.Packets() {
		if l.done || l.flow.state == flowEnded || c.Decode(p.Data()) != nil || r.decode(c.Data) != nil {
			l.flow.ee.drops[DropUnexpected]++
		} else if err := l.handle(w, &r); err != nil {
			l.flow.fail(err)
		}
		w.Cache().Free(p)
	}
	b.Reset()
}

// handle acts on one response; an error ends the load.
func (l *load) handle(w *nodeos.Worker, r *dlResponse) error {
	switch {
	case r.kind == dlRefusal:
		return errs.New(errs.NotFound, "load: node %s does not have the code", l.peer)
	case r.kind == dlDirectory && l.dir == nil:
		if err := l.directory(r.body); err != nil {
			return err
		}
	case r.kind == dlChunk && l.dir != nil:
		ok, err := l.chunk(r.body)
		if err != nil {
			return err
		}
		if !ok {
			l.flow.ee.drops[DropUnexpected]++
			return nil
		}
		l.tries = 0
		if l.open > 0 {
			return nil
		}
	default:
		l.flow.ee.drops[DropUnexpected]++
		return nil
	}
	l.tries = 0
	if l.current < len(l.dir.classes) {
		l.ask(w)
		return nil
	}
	l.complete()
	return nil
}

// directory checks and keeps the directory.
func (l *load) directory(b []byte) error {
	f := l.flow
	d := new(directory)
	if err := d.decode(b); err != nil {
		return err
	}
	group, protocol, methods, err := d.verify(l.method)
	if err != nil {
		return err
	}
	need := int64(len(b))
	for _, c := range d.classes {
		need += int64(c.length)
	}
	if err := f.domain.Account().Take(resctl.Memory, need); err != nil {
		return err
	}
	l.charged = need
	l.dir, l.dirBytes, l.group = d, append([]byte(nil), b...), group
	l.bytes += len(b)
	l.codes = make([][]byte, len(d.classes))
	l.codes[0] = make([]byte, d.classes[0].length)
	f.id, f.groupIDs = protocol, d.groups
	if d.name != "" {
		f.name = d.name
	}
	for _, m := range methods {
		if _, taken := f.ee.methods[m]; !taken {
			f.claim(m, nil)
		}
	}
	return nil
}

// chunk stores a chunk; false if nobody waits for it. The last one of a class is followed by the check of
// the whole code.
func (l *load) chunk(b []byte) (ok bool, err error) {
	var c chunk
	if err := c.decode(b); err != nil {
		return false, err
	}
	i := int(c.index)
	d := &l.dir.classes[l.current]
	if c.code != d.code || i >= chunksOf(d.length) || l.have[i] {
		return false, nil
	}
	buf := l.codes[l.current]
	at := i * ChunkSize
	if len(c.data) != min(ChunkSize, len(buf)-at) {
		return false, errs.New(errs.Corrupt, "load: chunk %d of code %s has %d bytes", i, d.code, len(c.data))
	}
	copy(buf[at:], c.data)
	l.have[i] = true
	l.open--
	l.bytes += len(c.data)
	l.chunks++
	l.flow.ee.counts.ChunksIn++
	if l.open > 0 {
		return true, nil
	}
	for j := range chunksOf(d.length) {
		if !l.have[j] {
			return true, nil
		}
	}
	if id := CodeIDOf(buf); id != d.code {
		return false, errs.New(errs.Corrupt, "load: what node %s sent for code %s has the fingerprint %s", l.peer, d.code, id)
	}
	l.have = [maxChunks]bool{}
	if l.current++; l.current < len(l.codes) {
		l.codes[l.current] = make([]byte, l.dir.classes[l.current].length)
	}
	return true, nil
}

// complete passes the code through the gate.
func (l *load) complete() {
	l.done = true
	l.timer.Stop()
	l.flow.ee.prepareFor(l.flow, l.codes, l.prepared)
}

// prepared installs what passed the gate.
func (l *load) prepared(ps []prepared, err error) {
	f, e := l.flow, l.flow.ee
	if err != nil {
		f.fail(err)
		return
	}
	target := f
	if o := e.protocols[f.id]; o != nil && o != f {
		// Another group of the protocol came first: the code joins it, and so does what waits for it.
		err = l.join(o, ps)
		target = o
	} else {
		err = f.install(l.dirBytes, l.group, ps)
		if err == nil {
			l.charged = 0 // it is the group's now
		} else {
			release(ps)
		}
	}
	if err != nil {
		f.fail(err)
		return
	}
	e.counts.LoadsDone++
	ev := Event{Kind: LoadCompleted, Domain: target.domain.Path(), Protocol: f.name, Method: l.method.String(), Peer: l.peer,
		Bytes: l.bytes, Chunks: l.chunks, Took: e.home.Now().Sub(f.started)}
	for _, g := range target.groups {
		for _, c := range g.classes {
			if c.method == l.method {
				ev.Class = c.name
			}
		}
	}
	e.emit(ev)
	if target == f {
		f.activate()
	}
	l.codes = nil
}

// join installs the group in the domain that the protocol has already, and ends this one. The code is loaded
// again, at that domain's cost; the engine knows it, so that takes no time.
func (l *load) join(o *flow, ps []prepared) error {
	defer release(ps)
	if !o.hasGroup(l.group) {
		account := o.domain.Account()
		if err := account.Take(resctl.Memory, l.charged); err != nil {
			return err
		}
		held := l.charged
		then := func(qs []prepared, err error) error {
			if err == nil && o.hasGroup(l.group) { // it came another way meanwhile
				release(qs)
				account.Return(resctl.Memory, held)
				return nil
			}
			if err == nil {
				if err = o.install(l.dirBytes, l.group, qs); err != nil {
					release(qs)
				}
			}
			if err != nil {
				account.Return(resctl.Memory, held)
			}
			return err
		}
		if o.jail != nil { // another process, which the worker does not wait for
			l.flow.ee.prepareFor(o, l.codes, func(qs []prepared, err error) {
				switch err = then(qs, err); {
				case l.flow.state == flowEnded:
				case err != nil:
					l.flow.fail(err)
				default:
					l.joined(o)
				}
			})
			return nil
		}
		if err := then(l.flow.ee.prepare(l.codes, l.flow.ee.class, account, o.gone)); err != nil {
			return err
		}
	}
	l.joined(o)
	return nil
}

// joined lets what waits go on in the domain that has the protocol, and ends this one.
func (l *load) joined(o *flow) {
	o.takeOver(l.flow)
	l.flow.end(errs.New(errs.Exists, "its protocol is here already"), 0)
}

// fail ends a load: the domain goes, with the capsules that wait in it, and its methods are refused for a time.
func (f *flow) fail(reason error) {
	if f.state == flowEnded {
		return
	}
	e, l := f.ee, f.load
	l.done = true
	e.counts.LoadsFailed++
	waiting := f.in.Stats().Held + f.pending.Len()
	e.drops[DropLoadFailed] += uint64(waiting)
	f.counted = true
	e.emit(Event{Kind: LoadFailed, Domain: f.domain.Path(), Protocol: f.name, Method: l.method.String(), Peer: l.peer,
		Bytes: l.bytes, Chunks: l.chunks, Took: e.home.Now().Sub(f.started), Reason: reason.Error(), Dropped: uint64(waiting)})
	e.spec.Log.Warn("load failed", "node", e.spec.Addr.String(), "method", l.method.String(), "peer", l.peer.String(), "err", reason)
	f.end(reason, e.home.Now().Add(e.spec.Limits.Negative))
}

// close returns what the load holds.
func (l *load) close() {
	l.flow.domain.Account().Return(resctl.Memory, l.charged)
	l.charged = 0
}
