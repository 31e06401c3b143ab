package ants

import (
	"encoding/binary"

	"github.com/janos-os/janos/errs"
)

// The builtin capsule classes. They are not evaluated by guest code, go from neighbour to neighbour (errors go
// from node to node), and their version is part of their name.
var (
	MethodDLRequest  = builtinID("dl-request/1")
	MethodDLResponse = builtinID("dl-response/1")
	MethodError      = builtinID("error/1")
)

// Bounds of what is loaded. They are the same on all nodes, because a protocol that one node accepts
// would otherwise end at the next.
const (
	MaxGroups    = 16       // of a protocol
	MaxClasses   = 32       // of a group
	MaxCode      = 64 << 10 // bytes of a class
	MaxNameLen   = 32       // bytes of a protocol's or group's name
	ChunkSize    = 1024     // bytes of code in a response
	maxChunks    = MaxCode / ChunkSize
	windowChunks = 32 // chunks that one request can name
)

// dlRequest asks the previous hop of a capsule for what is needed to evaluate it:
//
//	 0  method id of the capsule       16
//	16  code id, zero: the directory   16
//	32  token                           4   repeated in the responses
//	36  first chunk of the window       4
//	40  chunks wanted, a bit mask       4   bit i: chunk first+i
type dlRequest struct {
	method MethodID
	code   CodeID
	token  uint32
	first  uint32
	mask   uint32
}

const dlRequestLen = 44

var (
	errDLRequest  = errs.New(errs.Invalid, "ants: malformed load request")
	errDLResponse = errs.New(errs.Invalid, "ants: malformed load response")
	errDLName     = errs.New(errs.Invalid, "ants: the protocol name in a load response has a byte that is not printable ASCII")
	errErrorMsg   = errs.New(errs.Invalid, "ants: malformed error capsule")
)

func (r *dlRequest) put(b []byte) []byte {
	b = append(b, r.method[:]...)
	b = append(b, r.code[:]...)
	b = binary.BigEndian.AppendUint32(b, r.token)
	b = binary.BigEndian.AppendUint32(b, r.first)
	return binary.BigEndian.AppendUint32(b, r.mask)
}

func (r *dlRequest) decode(b []byte) error {
	if len(b) != dlRequestLen {
		return errDLRequest
	}
	*r = dlRequest{
		method: MethodID(b[:16]), code: CodeID(b[16:32]), token: binary.BigEndian.Uint32(b[32:]),
		first: binary.BigEndian.Uint32(b[36:]), mask: binary.BigEndian.Uint32(b[40:]),
	}
	if dir := r.code == (CodeID{}); dir != (r.mask == 0) || dir && r.first != 0 || r.first >= maxChunks {
		return errDLRequest
	}
	return nil
}

// dlResponse answers a dlRequest. It begins with
//
//	 0  method id   16
//	16  token        4
//	20  kind         1   0 directory, 1 chunk, 2 refusal
//	21  zero         3
//
// and goes on according to its kind.
type dlResponse struct {
	method MethodID
	token  uint32
	kind   uint8
	body   []byte
}

const (
	dlDirectory = 0
	dlChunk     = 1
	dlRefusal   = 2

	dlResponseLen = 24
)

func (r *dlResponse) put(b []byte) []byte {
	b = append(b, r.method[:]...)
	b = binary.BigEndian.AppendUint32(b, r.token)
	b = append(b, r.kind, 0, 0, 0)
	return append(b, r.body...)
}

func (r *dlResponse) decode(b []byte) error {
	if len(b) < dlResponseLen || b[21]|b[22]|b[23] != 0 || b[20] > dlRefusal {
		return errDLResponse
	}
	*r = dlResponse{method: MethodID(b[:16]), token: binary.BigEndian.Uint32(b[16:]), kind: b[20], body: b[24:]}
	return nil
}

// directory says what a group consists of. Everything in it but the lengths and the name is covered by the
// method id that was asked for:
//
//	0  number of groups of the protocol   1   1 to 16
//	1  number of classes of the group     1   1 to 32
//	2  length of the protocol's name      1   at most 32
//	3  zero                               1
//	4  group ids                         16 each
//	   code id, length of the code       20 each
//	   name                                   printable ASCII, a label that nothing vouches for
type directory struct {
	name    string
	groups  []GroupID
	classes []dirClass
}

type dirClass struct {
	code   CodeID
	length int
}

func (d *directory) put(b []byte) []byte {
	b = append(b, uint8(len(d.groups)), uint8(len(d.classes)), uint8(len(d.name)), 0)
	for _, g := range d.groups {
		b = append(b, g[:]...)
	}
	for _, c := range d.classes {
		b = append(b, c.code[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(c.length))
	}
	return append(b, d.name...)
}

func (d *directory) decode(b []byte) error {
	if len(b) < 4 || b[3] != 0 {
		return errDLResponse
	}
	ng, nc, nn := int(b[0]), int(b[1]), int(b[2])
	if ng < 1 || ng > MaxGroups || nc < 1 || nc > MaxClasses || nn > MaxNameLen || len(b) != 4+16*ng+20*nc+nn {
		return errDLResponse
	}
	b = b[4:]
	*d = directory{groups: make([]GroupID, ng), classes: make([]dirClass, nc)}
	for i := range d.groups {
		d.groups[i] = GroupID(b[:16])
		b = b[16:]
	}
	for i := range d.classes {
		n := binary.BigEndian.Uint32(b[16:])
		if n == 0 || n > MaxCode {
			return errDLResponse
		}
		d.classes[i] = dirClass{code: CodeID(b[:16]), length: int(n)}
		b = b[20:]
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return errDLName
		}
	}
	d.name = string(b)
	return nil
}

// verify checks that the directory is what method names, and returns the ids that follow from it.
func (d *directory) verify(method MethodID) (group GroupID, protocol ProtocolID, methods []MethodID, err error) {
	codes := make([]CodeID, len(d.classes))
	seen := make(map[[16]byte]bool)
	for i, c := range d.classes {
		codes[i] = c.code
		if seen[c.code] {
			return group, protocol, nil, errs.New(errs.Corrupt, "load: code %s is twice in the group", c.code)
		}
		seen[c.code] = true
	}
	group = GroupIDOf(codes)
	member := false
	for _, g := range d.groups {
		if seen[g] {
			return group, protocol, nil, errs.New(errs.Corrupt, "load: group %s is twice in the protocol", g)
		}
		seen[g] = true
		member = member || g == group
	}
	if !member {
		return group, protocol, nil, errs.New(errs.Corrupt, "load: group %s is not a group of the protocol it came with", group)
	}
	protocol = ProtocolIDOf(d.groups)
	found := false
	for _, c := range codes {
		m := MethodIDOf(c, group, protocol)
		methods = append(methods, m)
		found = found || m == method
	}
	if !found {
		return group, protocol, nil, errs.New(errs.Corrupt, "load: no class of group %s has method id %s", group, method)
	}
	return group, protocol, methods, nil
}

// chunk is a piece of a class's code:
//
//	 0  code id   16
//	16  number     4
//	20  bytes      ChunkSize, less in the last
type chunk struct {
	code  CodeID
	index uint32
	data  []byte
}

func (c *chunk) put(b []byte) []byte {
	b = append(b, c.code[:]...)
	b = binary.BigEndian.AppendUint32(b, c.index)
	return append(b, c.data...)
}

func (c *chunk) decode(b []byte) error {
	if len(b) <= 20 || len(b) > 20+ChunkSize {
		return errDLResponse
	}
	*c = chunk{code: CodeID(b[:16]), index: binary.BigEndian.Uint32(b[16:]), data: b[20:]}
	if c.index >= maxChunks {
		return errDLResponse
	}
	return nil
}

// ErrorReport is what an error capsule tells the node where the refused capsule was injected:
//
//	 0  method id of the refused capsule   16
//	16  trace id, or zero                  16
//	32  node that refused it                4
//	36  destination it had                  4
//	40  kind of error (package errs)        2
//	42  zero                                2
//	44  limit: the path MTU for errs.TooBig 4
type ErrorReport struct {
	Method MethodID
	Trace  TraceID
	Node   NodeAddr
	Dst    NodeAddr
	Kind   errs.Kind
	Limit  uint32
}

const errorLen = 48

func (r *ErrorReport) put(b []byte) []byte {
	b = append(b, r.Method[:]...)
	b = append(b, r.Trace[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Node))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Dst))
	b = append(b, 0, uint8(r.Kind), 0, 0)
	return binary.BigEndian.AppendUint32(b, r.Limit)
}

func (r *ErrorReport) decode(b []byte) error {
	if len(b) != errorLen || b[40]|b[42]|b[43] != 0 {
		return errErrorMsg
	}
	*r = ErrorReport{
		Method: MethodID(b[:16]), Trace: TraceID(b[16:32]), Node: NodeAddr(binary.BigEndian.Uint32(b[32:])),
		Dst: NodeAddr(binary.BigEndian.Uint32(b[36:])), Kind: errs.Kind(b[41]), Limit: binary.BigEndian.Uint32(b[44:]),
	}
	return nil
}
