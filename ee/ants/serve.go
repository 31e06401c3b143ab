package ants

import (
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// serve answers a load request of a neighbour with what this node has. It takes p.
func (e *EE) serve(w *nodeos.Worker, p *packet.Packet, c *Capsule) {
	defer w.Cache().Free(p)
	var r dlRequest
	if r.decode(c.Data) != nil || c.Dst != e.spec.Addr {
		e.drops[DropMalformed]++
		return
	}
	h, ok := e.spec.Router.Neighbour(c.Src)
	if !ok || h.Link != p.Anno.Link || !e.serveRate.take(1, w.Now()) {
		e.drops[DropServe]++
		return
	}
	m := e.methods[r.method]
	answer := dlResponse{method: r.method, token: r.token}
	var buf [dlResponseLen + ChunkSize + 64]byte
	if m.class == nil {
		answer.kind = dlRefusal
		e.message(w, e.domain, MethodDLResponse, c.Src, answer.put(buf[:0]))
		return
	}
	m.flow.lastUse = w.Now()
	served, chunks := 0, 0
	if r.mask == 0 {
		answer.kind, answer.body = dlDirectory, m.class.group.directory
		if e.message(w, e.domain, MethodDLResponse, c.Src, answer.put(buf[:0])) {
			served = len(answer.body)
			e.counts.DirsOut++
		}
	} else {
		served, chunks = e.serveChunks(w, m.class.group, &r, &answer, buf[:0], c.Src)
	}
	if served > 0 {
		e.counts.Served++
		e.emit(Event{Kind: LoadServed, Domain: m.flow.domain.Path(), Protocol: m.flow.name, Method: r.method.String(), Peer: c.Src, Bytes: served, Chunks: chunks})
	}
}

func (e *EE) serveChunks(w *nodeos.Worker, g *group, r *dlRequest, answer *dlResponse, buf []byte, to NodeAddr) (served, chunks int) {
	var code []byte
	for _, c := range g.classes {
		if c.id == r.code {
			code = c.bytes
		}
	}
	var body [20 + ChunkSize]byte
	answer.kind = dlChunk
	for i := range windowChunks {
		n := int(r.first) + i
		if r.mask&(1<<i) == 0 || n >= chunksOf(len(code)) {
			continue
		}
		if chunks > 0 && !e.serveRate.take(1, w.Now()) {
			e.drops[DropServe]++
			return served, chunks
		}
		k := chunk{code: r.code, index: uint32(n), data: code[n*ChunkSize : min(len(code), (n+1)*ChunkSize)]}
		answer.body = k.put(body[:0])
		if !e.message(w, e.domain, MethodDLResponse, to, answer.put(buf)) {
			return served, chunks
		}
		served += len(k.data)
		chunks++
		e.counts.ChunksOut++
	}
	return served, chunks
}
