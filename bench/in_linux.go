package bench

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// inPort is a sink: it takes what arrives by one interface into a ledger. It belongs to one goroutine.
type inPort interface {
	begin(run uint16)
	drain(l *ledger) bool // enters what has arrived, and reports whether something had
	wait(d time.Duration) // sleeps until frames arrive, where that can be known, or d has passed
	close() error
}

// packetIn is a mapped AF_PACKET ring.
type packetIn struct{ ring *sys.PacketRing }

// sinkFrames is the sink's receive ring.
const sinkFrames = 16384

// openPacketIn opens it on an interface of the calling thread's namespace.
func openPacketIn(ifname string) (*packetIn, error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	ring, err := sys.OpenPacketRing(sys.RingSpec{Ifindex: i.Index, Frames: sinkFrames, MaxLen: 128, Blocks: true, RetireMS: 1, Promisc: true})
	if err != nil {
		return nil, err
	}
	if err := ring.Bind(); err != nil {
		return nil, errors.Join(err, ring.Close())
	}
	return &packetIn{ring}, nil
}

func (p *packetIn) begin(uint16) {
	var f sys.RxFrame
	for p.ring.Next(&f) { // what a former run left
	}
	p.ring.Release()
	_, _ = p.ring.Drops()
}

func (p *packetIn) drain(l *ledger) bool {
	var f sys.RxFrame
	now, some := uint64(0), false
	for p.ring.Next(&f) {
		if !some {
			now, some = monotonic(), true
		}
		l.arrived(f.Data, now)
	}
	p.ring.Release()
	if some {
		l.looked(now)
	}
	return some
}

func (p *packetIn) wait(d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(p.ring.FD()), Events: unix.POLLIN}}
	ts := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(fds, &ts, nil)
}

func (p *packetIn) close() error { return p.ring.Close() }

// countIn is an eBPF program that checks and drops stamped frames where they arrive; what is not stamped, or of another run, is the host's or another sink's. It does not know
// a frame that came twice from one that was overtaken: both are late.
type countIn struct {
	attached link.Link
	prog     *ebpf.Program
	state    *ebpf.Map
	words    *sys.SharedWords
	seen     uint64 // received, when it was read last
	samples  uint64
}

// Words of its state, by offset.
const (
	inReceived  = 0
	inLate      = 8
	inCorrupted = 16
	inForeign   = 24 // of another run
	inSamples   = 40
	inFirstAt   = 48
	inFirst     = 56 // received then
	inLastAt    = 64
	inLast      = 72
	inRun       = 128 // of user space
	inNext      = 192 // one above the highest number that came, for each of inPorts destination ports: those may be channels of their own
	inPorts     = 16
	inRing      = inNext + 8*inPorts // of delays
	inDelays    = 4096
	inSize      = inRing + 8*inDelays
)

// dportAt is where a frame has its destination port: UDP over IPv4 without options.
const dportAt = 36

// hook is where a program is attached.
type hook int

const (
	hookXDP hook = iota // native: what is sent by XDP_REDIRECT arrives nowhere else
	hookTC              // ingress: sees socket buffers, which cost nothing more where the device has made them already
)

// openCountIn attaches it to an interface of the calling thread's namespace. A program of somebody else is left alone.
func openCountIn(ifname string, at hook) (_ *countIn, err error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	c := &countIn{}
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	if c.state, c.words, err = sharedState("jnb_sink", inSize); err != nil {
		return nil, err
	}
	sort := ebpf.XDP
	if at == hookTC {
		sort = ebpf.SchedCLS
	}
	if c.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jnb_sink", Type: sort, License: "GPL", Instructions: countCode(c.state.FD(), at)}); err != nil {
		return nil, fmt.Errorf("sink program: %w", err)
	}
	if at == hookXDP {
		c.attached, err = link.AttachXDP(link.XDPOptions{Program: c.prog, Interface: i.Index})
	} else {
		c.attached, err = link.AttachTCX(link.TCXOptions{Program: c.prog, Interface: i.Index, Attach: ebpf.AttachTCXIngress})
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return nil, errs.New(errs.Exists, "interface %s has an XDP program of somebody else, which is left alone: %w", ifname, err)
	}
	if err != nil {
		return nil, fmt.Errorf("attaching the sink to %s: %w", ifname, err)
	}
	return c, nil
}

// sharedState makes an array map of one value that user space has mapped.
func sharedState(name string, size int) (*ebpf.Map, *sys.SharedWords, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", name, err)
	}
	w, err := sys.MapSharedWords(m.FD(), size)
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return m, w, nil
}

// Verdicts and context offsets of linux/bpf.h.
const (
	xdpDrop = 1
	xdpPass = 2
	tcxDrop = 2
	tcxNext = -1

	xdpData, xdpDataEnd = 0, 4
	skbData, skbDataEnd = 76, 80
)

// countCode is the sink. R6 number, R7 packet, R8 state, R9 received.
func countCode(state int, at hook) asm.Instructions {
	data, end, pass, drop := int16(xdpData), int16(xdpDataEnd), int32(xdpPass), int32(xdpDrop)
	if at == hookTC {
		data, end, pass, drop = skbData, skbDataEnd, tcxNext, tcxDrop
	}
	bump := func(off int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R1, asm.R8, off, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R8, off, asm.R1, asm.DWord),
		}
	}
	ins := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, data, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, end, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, tagAt+tagLen),
		asm.JGT.Reg(asm.R3, asm.R2, "pass"),
		asm.LoadMem(asm.R1, asm.R7, tagAt, asm.Half),
		asm.JNE.Imm(asm.R1, tagMagic, "pass"),
		asm.LoadMapValue(asm.R8, state, 0),
		asm.LoadMem(asm.R1, asm.R7, tagAt+2, asm.Half),
		asm.LoadMem(asm.R2, asm.R8, inRun, asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R2, "foreign"),
		asm.LoadMem(asm.R6, asm.R7, tagAt+4, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Mul.Imm32(asm.R2, stampFactorSigned),
		asm.Xor.Reg32(asm.R2, asm.R1),
		asm.LoadMem(asm.R1, asm.R7, tagAt+16, asm.Word),
		asm.JNE.Reg(asm.R1, asm.R2, "corrupted"),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R8, asm.R2, asm.DWord, inReceived),
		asm.LoadMem(asm.R2, asm.R7, dportAt+1, asm.Byte),
		asm.And.Imm(asm.R2, inPorts-1),
		asm.LSh.Imm(asm.R2, 3),
		asm.Add.Reg(asm.R2, asm.R8),
		asm.LoadMem(asm.R1, asm.R2, inNext, asm.DWord),
		asm.JLT.Reg(asm.R6, asm.R1, "late"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R2, inNext, asm.R1, asm.DWord),
		asm.And.Imm(asm.R6, sampleMask),
		asm.JNE.Imm(asm.R6, 0, "drop"),
		// One in sixteen: what time is it, and how long was the frame on its way.
		asm.LoadMem(asm.R6, asm.R7, tagAt+8, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R9, asm.R8, inReceived, asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, inFirstAt, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "last"),
		asm.StoreMem(asm.R8, inFirstAt, asm.R0, asm.DWord),
		asm.StoreMem(asm.R8, inFirst, asm.R9, asm.DWord),
		asm.StoreMem(asm.R8, inLastAt, asm.R0, asm.DWord).WithSymbol("last"),
		asm.StoreMem(asm.R8, inLast, asm.R9, asm.DWord),
		asm.JEq.Imm(asm.R6, 0, "drop"),
		asm.Sub.Reg(asm.R0, asm.R6),
		asm.LoadMem(asm.R1, asm.R8, inSamples, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R8, inSamples, asm.R2, asm.DWord),
		asm.And.Imm(asm.R1, inDelays-1),
		asm.LSh.Imm(asm.R1, 3),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.StoreMem(asm.R8, inRing, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return(),
	}
	for _, s := range []struct {
		name string
		off  int16
		then string
	}{{"late", inLate, "drop"}, {"corrupted", inCorrupted, "drop"}, {"foreign", inForeign, "pass"}} {
		b := bump(s.off)
		b[0] = b[0].WithSymbol(s.name)
		ins = append(append(ins, b...), asm.Ja.Label(s.then))
	}
	return append(ins, asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"), asm.Return())
}

// stampFactorSigned is stampFactor as the immediate of an instruction.
const stampFactorSigned = stampFactor - 1<<32

func (c *countIn) begin(run uint16) {
	c.words.At(inRun).Store(1 << 32) // no run's, so that nothing is counted while the rest is cleared
	for off := 0; off <= inLast; off += 8 {
		c.words.At(off).Store(0)
	}
	for i := range inPorts {
		c.words.At(inNext + 8*i).Store(0)
	}
	c.seen, c.samples = 0, 0
	c.words.At(inRun).Store(uint64(run))
}

func (c *countIn) drain(l *ledger) bool {
	n := c.words.At(inReceived).Load()
	some := n != c.seen
	c.seen = n
	l.received = n
	l.overtaken, l.corrupted, l.foreign = c.words.At(inLate).Load(), c.words.At(inCorrupted).Load(), c.words.At(inForeign).Load()
	l.firstAt, l.firstReceived = c.words.At(inFirstAt).Load(), c.words.At(inFirst).Load()
	l.lastAt, l.lastReceived = c.words.At(inLastAt).Load(), c.words.At(inLast).Load()
	k := c.words.At(inSamples).Load()
	if k-c.samples > inDelays {
		c.samples = k - inDelays
	}
	for ; c.samples < k; c.samples++ {
		l.delay(time.Duration(c.words.At(inRing + 8*int(c.samples%inDelays)).Load()))
	}
	return some
}

func (c *countIn) wait(d time.Duration) {
	ts := unix.NsecToTimespec(int64(min(d, 200*time.Microsecond)))
	_ = unix.Nanosleep(&ts, nil)
}

func (c *countIn) close() error {
	var first error
	if c.attached != nil {
		first = c.attached.Close()
	}
	if c.prog != nil {
		first = firstError(first, c.prog.Close())
	}
	if c.words != nil {
		first = firstError(first, c.words.Close())
	}
	if c.state != nil {
		first = firstError(first, c.state.Close())
	}
	return first
}
