package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// liveOut sends from the kernel: an XDP program that runs on frames of its own (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18) and redirects them to the
// interface. What is behind a virtual interface must have an XDP program, or receive merging on. It writes each frame anew, since the kernel uses the
// memory again as it was left; each of 1,024 flows has a source port of its own.
//
// A call waits some 20 to 30 ms for other processors, without using this one. Paced, the program itself waits for each frame's time, with interrupts on
// and this processor's other network work held up; so the rate is bounded by what comes behind only.
type liveOut struct {
	state *ebpf.Map
	words *sys.SharedWords
	dev   *ebpf.Map
	flood *ebpf.Program // as fast as it can
	timed *ebpf.Program // by schedule, stamped with the time
	mixed *ebpf.Program // the same, with other frames in between
	frame []byte
	chunk int // frames a call of send

	// mix is how many frames go in place of each that paced counts: the others are to the next port and have no stamp.
	mix int
}

// Words of its state, by offset.
const (
	outNumber   = 0
	outStart    = 8 // of the schedule, moved when a deadline is missed
	outFirst    = 16
	outLast     = 24
	outMissed   = 32
	outPaused   = 40 // ns of deadlines that were missed by more than holdup
	outRun      = 64 // of user space
	outInterval = 72 // ns, times 1,024
	outLimit    = 80 // number of the first frame not to be sent
	outMask     = 88 // frames of one time, a power of two, less 1
	outMix      = 96
	outSize     = 128
)

const (
	liveBatch   = 64      // frames that are passed on at a time
	livePaced   = 64      // the same at most, by schedule: they have one time, that of the first, which is stamped. With fewer, the kernel's pool of their pages is so small that most go back to the system
	liveSpins   = 4000    // turns while waiting, with four looks at the clock of some 25 ns each; the verifier wants a bound
	intervalLSh = 10      // of outInterval
	liveCall    = 1 << 20 // frames of one system call at most
)

// openLiveOut prepares it for an interface of the calling thread's namespace. Frame i goes to UDP port port+i modulo ports, a power of two. send takes up to
// chunk frames.
func openLiveOut(ifname string, dst, src [6]byte, port uint16, ports, chunk int) (_ *liveOut, err error) {
	i, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, errs.New(errs.NotFound, "interface %s: %w", ifname, err)
	}
	o := &liveOut{chunk: chunk, mix: 1, frame: frame64(dst, src, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, 1024, port)}
	// A checksum, as most packets have one, so that what looks at it is measured. It cannot be right for all, and nothing on the way needs it to be; it is not the sum of the
	// pseudo-header, by which unfinished checksums are known.
	addrs := o.frame[26:34]
	binary.BigEndian.PutUint16(o.frame[40:], demux.Fold(demux.Sum(uint64(demux.ProtoUDP)+uint64(len(o.frame)-34), addrs)))
	defer func() {
		if err != nil {
			_ = o.close()
		}
	}()
	if o.state, o.words, err = sharedState("jnb_live", outSize); err != nil {
		return nil, err
	}
	if o.dev, err = ebpf.NewMap(&ebpf.MapSpec{Name: "jnb_live", Type: ebpf.DevMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("map of interfaces: %w", err)
	}
	if err = o.dev.Put(uint32(0), uint32(i.Index)); err != nil {
		return nil, fmt.Errorf("interface %s as a target of XDP: %w", ifname, err)
	}
	for _, p := range []struct {
		to           **ebpf.Program
		timed, mixed bool
	}{{&o.flood, false, false}, {&o.timed, true, false}, {&o.mixed, true, true}} {
		if *p.to, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "jnb_live", Type: ebpf.XDP, License: "GPL", Instructions: o.code(port, ports, p.timed, p.mixed)}); err != nil {
			return nil, fmt.Errorf("generator program: %w", err)
		}
	}
	if err = o.probe(); err != nil {
		return nil, err
	}
	return o, nil
}

// probe finds out whether the kernel runs programs on live frames; the limit is 0, so that none is sent.
func (o *liveOut) probe() error {
	_, err := o.flood.Run(&ebpf.RunOptions{Data: o.frame, Repeat: 1, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES})
	if err != nil {
		return errs.New(errs.NotSupported, "the kernel has no generator of frames (XDP live frames, Linux 5.18): %w", err)
	}
	return nil
}

// code is the generator. R6 packet, R7 number, R8 state, R9 deadline, then the time.
func (o *liveOut) code(port uint16, ports int, timed, mixed bool) asm.Instructions {
	const spins = -8
	ins := asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, xdpData, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, xdpDataEnd, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, int32(len(o.frame))),
		asm.JGT.Reg(asm.R3, asm.R2, "drop"),
		asm.LoadMapValue(asm.R8, o.state.FD(), 0),
		asm.LoadMem(asm.R7, asm.R8, outNumber, asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, outLimit, asm.DWord),
		asm.JGE.Reg(asm.R7, asm.R1, "drop"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R8, outNumber, asm.R1, asm.DWord),
	}
	if timed {
		ins = append(ins,
			asm.Mov.Imm(asm.R9, 0),
			asm.LoadMem(asm.R1, asm.R8, outMask, asm.DWord),
			asm.And.Reg(asm.R1, asm.R7),
			asm.JNE.Imm(asm.R1, 0, "write"), // goes with the one before it
			asm.FnKtimeGetNs.Call(),
			asm.LoadMem(asm.R9, asm.R8, outStart, asm.DWord),
			asm.JNE.Imm(asm.R9, 0, "begun"),
			asm.Mov.Reg(asm.R9, asm.R0),
			asm.StoreMem(asm.R8, outStart, asm.R0, asm.DWord),
			asm.StoreMem(asm.R8, outFirst, asm.R0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R8, outInterval, asm.DWord).WithSymbol("begun"),
			asm.Mul.Reg(asm.R1, asm.R7),
			asm.RSh.Imm(asm.R1, intervalLSh),
			asm.Add.Reg(asm.R9, asm.R1),
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(asm.RFP, spins, asm.R1, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R9),
			asm.Add.Imm(asm.R1, lateness),
			asm.JLE.Reg(asm.R0, asm.R1, "wait"),
			asm.LoadMem(asm.R1, asm.R8, outMissed, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R8, outMissed, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R8, outStart, asm.DWord),
			asm.Add.Reg(asm.R1, asm.R0),
			asm.Sub.Reg(asm.R1, asm.R9),
			asm.StoreMem(asm.R8, outStart, asm.R1, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R0),
			asm.Sub.Reg(asm.R1, asm.R9),
			asm.JLE.Imm(asm.R1, holdup, "go"),
			asm.LoadMem(asm.R2, asm.R8, outPaused, asm.DWord),
			asm.Add.Reg(asm.R2, asm.R1),
			asm.StoreMem(asm.R8, outPaused, asm.R2, asm.DWord),
			asm.Ja.Label("go"),
			asm.JGE.Reg(asm.R0, asm.R9, "go").WithSymbol("wait"),
			asm.LoadMem(asm.R1, asm.RFP, spins, asm.DWord),
			asm.JGE.Imm(asm.R1, liveSpins, "go"),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.RFP, spins, asm.R1, asm.DWord),
			asm.FnKtimeGetNs.Call(), // several, since the verifier bounds how often the loop turns, not how long a turn is
			asm.FnKtimeGetNs.Call(),
			asm.FnKtimeGetNs.Call(),
			asm.FnKtimeGetNs.Call(),
			asm.Ja.Label("wait"),
			asm.StoreMem(asm.R8, outLast, asm.R0, asm.DWord).WithSymbol("go"),
			asm.Mov.Reg(asm.R9, asm.R0),
		)
	} else {
		ins = append(ins, asm.Mov.Imm(asm.R9, 0))
	}
	write := len(ins)
	for at := 0; at < len(o.frame); at += 8 {
		ins = append(ins,
			asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(o.frame[at:])), asm.DWord),
			asm.StoreMem(asm.R6, int16(at), asm.R1, asm.DWord))
	}
	ins[write] = ins[write].WithSymbol("write")
	ins = append(ins,
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.And.Imm(asm.R1, distinct-1),
		asm.Add.Imm(asm.R1, 1024),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R6, 34, asm.R1, asm.Half),
	)
	if ports > 1 {
		ins = append(ins,
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.And.Imm(asm.R1, int32(ports-1)),
			asm.Add.Imm(asm.R1, int32(port)),
			asm.HostTo(asm.BE, asm.R1, asm.Half),
			asm.StoreMem(asm.R6, dportAt, asm.R1, asm.Half),
		)
	}
	if mixed {
		ins = append(ins,
			asm.LoadMem(asm.R1, asm.R8, outMix, asm.DWord),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mod.Reg(asm.R2, asm.R1),
			asm.Div.Reg(asm.R7, asm.R1),
			asm.JEq.Imm(asm.R2, 0, "stamp"),
			asm.Mov.Imm(asm.R1, int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port+1)))),
			asm.StoreMem(asm.R6, dportAt, asm.R1, asm.Half),
			asm.Ja.Label("send"),
		)
	}
	return append(ins,
		asm.Mov.Imm(asm.R1, tagMagic).WithSymbol("stamp"),
		asm.StoreMem(asm.R6, tagAt, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.R8, outRun, asm.DWord),
		asm.StoreMem(asm.R6, tagAt+2, asm.R1, asm.Half),
		asm.StoreMem(asm.R6, tagAt+4, asm.R7, asm.Word),
		asm.StoreMem(asm.R6, tagAt+8, asm.R9, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mul.Imm32(asm.R2, stampFactorSigned),
		asm.Xor.Reg32(asm.R2, asm.R1),
		asm.StoreMem(asm.R6, tagAt+16, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, o.dev.FD()).WithSymbol("send"),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	)
}

func (o *liveOut) burst() int { return o.chunk }

func (o *liveOut) run(p *ebpf.Program, n, batch int) error {
	for n > 0 { // a call that is interrupted begins again, and the limit keeps it from sending more
		k := min(n, liveCall)
		before := o.words.At(outNumber).Load()
		if _, err := p.Run(&ebpf.RunOptions{Data: o.frame, Repeat: uint32(k), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: uint32(batch)}); err != nil {
			return fmt.Errorf("generator: %w", err)
		}
		got := int(o.words.At(outNumber).Load() - before)
		if got <= 0 {
			return errs.New(errs.Internal, "the generator's program sent nothing")
		}
		n -= got
	}
	return nil
}

func (o *liveOut) send(run uint16, from uint64, n int) error {
	o.words.At(outRun).Store(uint64(run))
	o.words.At(outNumber).Store(from)
	o.words.At(outLimit).Store(from + uint64(n))
	return o.run(o.flood, n, liveBatch)
}

// paced implements pacer. The wait is bounded, so that rates below about 10,000 may be exceeded.
func (o *liveOut) paced(run uint16, n int, rate float64) (reached float64, missed int, err error) {
	for _, off := range []int{outNumber, outStart, outFirst, outLast, outMissed, outPaused} {
		o.words.At(off).Store(0)
	}
	o.words.At(outRun).Store(uint64(run))
	prog := o.timed
	if o.mix > 1 {
		prog, n, rate = o.mixed, n*o.mix, rate*float64(o.mix)
	}
	o.words.At(outMix).Store(uint64(o.mix))
	o.words.At(outInterval).Store(uint64(1e9 / rate * (1 << intervalLSh)))
	o.words.At(outLimit).Store(uint64(n))
	batch := 1
	for batch < livePaced && float64(2*batch)/rate < 2*lateness/1e9 {
		batch *= 2
	}
	o.words.At(outMask).Store(uint64(batch - 1))
	if err := o.run(prog, n, batch); err != nil {
		return 0, 0, err
	}
	span := time.Duration(o.words.At(outLast).Load() - o.words.At(outFirst).Load())
	reached = offered((n-1)&^(batch-1), span, time.Duration(o.words.At(outPaused).Load())) / float64(o.mix)
	return reached, int(o.words.At(outMissed).Load()), nil
}

func (o *liveOut) close() error {
	var first error
	for _, p := range []*ebpf.Program{o.flood, o.timed, o.mixed} {
		if p != nil {
			first = firstError(first, p.Close())
		}
	}
	if o.words != nil {
		first = firstError(first, o.words.Close())
	}
	for _, m := range []*ebpf.Map{o.state, o.dev} {
		if m != nil {
			first = firstError(first, m.Close())
		}
	}
	return first
}
