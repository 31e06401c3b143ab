package capsulecmd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
	stepper "github.com/janos-os/janos/vm/step"
	"github.com/janos-os/janos/vm/symbol"
)

func debugCommand() *cobra.Command {
	var recording, do string
	c := &cobra.Command{
		Use: "debug FILE", Short: "Replay a recorded evaluation step by step", Args: cobra.ExactArgs(1),
		Long: `Replays one evaluation of a module (FILE.wasm) from a recording, and stops wherever it is told to. A recording has the context block, the window,
the state and the host's answers, so the replay does what the evaluation did and uses the same fuel. Recordings are made by

  janos capsule run --record DIR      of every evaluation, as DIR/1.json and so on
  janos capsule record                at a running node: of faults, and on demand

Commands come from the standard input, one a line, or from --do with semicolons between them. "help" lists them. A module that was built with
--debug, or has a source map FILE.wasm.map beside it, is stepped by lines of its source; others by instructions.`,
		Example: `  janos capsule debug ping.wasm --recording rec/1.json
  janos capsule debug ping.wasm --recording rec/1.json --do 'break evaluate; continue; window; finish'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if recording == "" {
				return errs.New(errs.Invalid, "--recording: say which evaluation; janos capsule run --record DIR makes recordings")
			}
			code, err := os.ReadFile(args[0])
			if err != nil {
				return errs.New(errs.NotFound, "%w", err)
			}
			text, err := readBounded(recording, vm.MaxRecording)
			if err != nil {
				return err
			}
			rec, err := vm.ParseRecording(text)
			if err != nil {
				return fmt.Errorf("%s: %w", recording, err)
			}
			if id := sha256.Sum256(code); !bytes.Equal(id[:], rec.Code) {
				return errs.New(errs.Corrupt, "%s is of the code with SHA-256 %x, that of %s is %x: name the module that was evaluated", recording, []byte(rec.Code), args[0], id[:])
			}
			d, err := newDebugger(cmd.Context(), cmd.OutOrStdout(), args[0], code, rec)
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if cmd.Flags().Changed("do") {
				in = strings.NewReader(strings.ReplaceAll(do, ";", "\n"))
			}
			return d.converse(in)
		},
	}
	c.Flags().StringVar(&recording, "recording", "", "file with the recording")
	c.Flags().StringVar(&do, "do", "", "commands, with semicolons between them, in place of the standard input")
	return c
}

// readBounded reads a file of at most max bytes.
func readBounded(path string, max int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(max)+1))
	if err == nil && len(b) > max {
		err = errs.New(errs.TooBig, "%s has more than %d bytes", path, max)
	}
	return b, err
}

// debugger is one replay.
type debugger struct {
	ctx      context.Context
	w        io.Writer
	file     string
	rec      *vm.Recording
	prog     *gate.Program
	manifest *abi.Manifest
	block    uint32
	window   uint32
	pages    int
	entry    int
	symbols  *symbol.Table
	sources  map[string][]string

	m      *stepper.Machine
	calls  int      // host calls so far
	notes  []string // what the host did while the last command ran
	end    error    // of the evaluation; nil if it returned
	ended  bool
	breaks []breakpoint
	watch  []watched
}

// breakpoint is a place to stop at.
type breakpoint struct {
	text string
	at   []int // offsets
}

// watched is memory that is looked at after each instruction.
type watched struct {
	addr uint32
	was  []byte
}

func newDebugger(ctx context.Context, w io.Writer, file string, code []byte, rec *vm.Recording) (*debugger, error) {
	d := &debugger{ctx: ctx, w: w, file: file, rec: rec, symbols: symbol.Read(code, sourceMap(file)), sources: map[string][]string{}}
	mod, err := gate.Check(code, gateConfig())
	if err == nil {
		d.prog, err = gate.Decode(code, gateConfig())
	}
	if err != nil {
		return nil, err
	}
	d.pages, d.entry = int(mod.MemoryMax), d.prog.Exports[abi.ExportEvaluate]
	at := map[string]uint32{}
	for _, name := range []string{abi.ExportManifest, abi.ExportBlock, abi.ExportWindow} {
		v, ok := mod.Constant(name)
		if !ok {
			return nil, errs.New(errs.Refused, "%s does not export %s: it is no capsule", file, name)
		}
		at[name] = v
	}
	raw := make([]byte, abi.ManifestSize)
	if !mod.Data(at[abi.ExportManifest], raw) {
		return nil, errs.New(errs.Refused, "%s has its manifest outside of its memory", file)
	}
	if d.manifest, err = abi.ParseManifest(raw); err != nil {
		return nil, err
	}
	d.block, d.window = at[abi.ExportBlock], at[abi.ExportWindow]
	size := uint64(mod.MemoryMin) << 16
	if uint64(d.block)+abi.BlockSize > size || uint64(d.window)+uint64(d.manifest.WindowSize) > size || uint32(len(rec.Window)) > d.manifest.WindowSize ||
		len(rec.State) > int(d.manifest.StateSize) {
		return nil, errs.New(errs.Invalid, "the recording does not fit the module's block, window or state")
	}
	return d, d.restart()
}

// restart begins the evaluation anew, as package vm does.
func (d *debugger) restart() error {
	d.m = stepper.New(d.prog, d.pages, d.answer)
	d.calls, d.notes, d.end, d.ended = 0, nil, nil, false
	b := d.m.Memory[d.block : d.block+abi.BlockSize]
	in := d.rec.In
	in.Put(b)
	in.Preset(b)
	copy(b[abi.BlockStateOff:abi.BlockStateOff+int(d.manifest.StateSize)], d.rec.State)
	copy(d.m.Memory[d.window:], d.rec.Window)
	d.m.Fuel = int64(in.Fuel)
	for i := range d.watch {
		d.watch[i].was = slices.Clone(d.memory(d.watch[i].addr, uint32(len(d.watch[i].was))))
	}
	if err := d.m.Enter(d.entry); err != nil {
		d.finish(err)
	}
	return nil
}

// answer answers a host call from the recording.
func (d *debugger) answer(m *stepper.Machine, i int, args []uint64) ([]uint64, error) {
	imp := d.prog.Imports[i]
	var list []string
	for _, a := range args {
		list = append(list, fmt.Sprint(uint32(a)))
	}
	text := fmt.Sprintf("%s.%s(%s)", imp.Module, imp.Name, strings.Join(list, ", "))
	n := d.calls
	d.calls++
	if n < len(d.rec.Calls) {
		c := &d.rec.Calls[n]
		same := c.Module == imp.Module && c.Name == imp.Name && len(c.Args) == len(args)
		for k := 0; same && k < len(args); k++ {
			same = c.Args[k] == uint32(args[k])
		}
		if same {
			for _, p := range c.Wrote {
				if b := d.memory(p.Addr, uint32(len(p.Bytes))); b != nil {
					copy(b, p.Bytes)
				}
			}
			d.note("host call %d: %s = %d", n+1, text, int32(c.Result))
			return []uint64{uint64(c.Result)}, nil
		}
	}
	d.note("host call %d: %s is not in the recording: answered as if nothing were found", n+1, text)
	return []uint64{refusal32(errs.NotFound)}, nil
}

func (d *debugger) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *debugger) memory(addr, n uint32) []byte {
	if uint64(addr)+uint64(n) > uint64(len(d.m.Memory)) {
		return nil
	}
	return d.m.Memory[addr : uint64(addr)+uint64(n)]
}

func (d *debugger) finish(err error) { d.end, d.ended = err, true }

// step executes one instruction and reports whether there is a reason to stop.
func (d *debugger) step() bool {
	if d.ended {
		return true
	}
	if err := d.m.Step(); err != nil || d.m.Done() {
		d.finish(err)
		return true
	}
	stop := false
	for i := range d.watch {
		x := &d.watch[i]
		if now := d.memory(x.addr, uint32(len(x.was))); !bytes.Equal(now, x.was) {
			d.note("memory at %#x was %x, is %x", x.addr, x.was, now)
			x.was = slices.Clone(now)
			stop = true
		}
	}
	return stop
}

// maxSteps bounds what one command runs.
const maxSteps = 200_000_000

// run steps until stop says so, at a breakpoint, or at the end.
func (d *debugger) run(stop func() bool) {
	for n := 0; ; n++ {
		if d.step() {
			return
		}
		at := d.m.Next().At
		for _, b := range d.breaks {
			if slices.Contains(b.at, at) {
				d.note("breakpoint %s", b.text)
				return
			}
		}
		if stop() {
			return
		}
		if n == maxSteps || n&0xffff == 0 && d.ctx.Err() != nil {
			d.note("stopped after %d instructions", n)
			return
		}
	}
}

// line is the line of the next instruction, or "".
func (d *debugger) line() string {
	if in := d.m.Next(); in != nil {
		if file, line, ok := d.symbols.Line(in.At); ok {
			return fmt.Sprintf("%s:%d", file, line)
		}
	}
	return ""
}

// stepLine runs to another line, or for one instruction if there are none.
func (d *debugger) stepLine(over bool) {
	if d.symbols.Kind == "" {
		depth := len(d.m.Frames)
		d.run(func() bool { return !over || len(d.m.Frames) <= depth })
		return
	}
	was, depth := d.line(), len(d.m.Frames)
	d.run(func() bool {
		now := d.line()
		return now != "" && (now != was || !over && len(d.m.Frames) > depth || len(d.m.Frames) < depth) && (!over || len(d.m.Frames) <= depth)
	})
}

// converse executes commands until they end.
func (d *debugger) converse(r io.Reader) error {
	fmt.Fprintf(d.w, "class %s, %d bytes of window, %s\n", d.rec.Class, len(d.rec.Window), d.outcome())
	if !d.rec.Fresh {
		fmt.Fprintln(d.w, "the memory had been used before, which is not in the recording")
	}
	if !d.rec.CallsKnown && len(d.prog.Imports) > 0 {
		fmt.Fprintln(d.w, "the host's answers are not in the recording")
	}
	d.place()
	s := bufio.NewScanner(r)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		fmt.Fprintf(d.w, "> %s\n", strings.Join(f, " "))
		if f[0] == "quit" || f[0] == "q" {
			return nil
		}
		if err := d.command(f[0], f[1:]); err != nil {
			fmt.Fprintf(d.w, "%v\n", err)
		}
	}
	return s.Err()
}

// outcome is what the recording says became of it.
func (d *debugger) outcome() string {
	if d.rec.Fault != "" {
		return fmt.Sprintf("killed: %s after %d fuel", d.rec.Fault, d.rec.Used)
	}
	return fmt.Sprintf("verdict %s after %d fuel", d.rec.Verdict, d.rec.Used)
}

// place tells where it is, and what happened on the way.
func (d *debugger) place() {
	for _, n := range d.notes {
		fmt.Fprintln(d.w, n)
	}
	d.notes = nil
	if d.ended {
		d.conclusion()
		return
	}
	fmt.Fprintln(d.w, d.describe(len(d.m.Frames)-1))
	if text := d.source(d.m.Next().At); text != "" {
		fmt.Fprintf(d.w, "    %s\n", text)
	}
}

// describe tells where a frame is.
func (d *debugger) describe(i int) string {
	f := &d.m.Frames[i]
	pc := f.PC
	if i < len(d.m.Frames)-1 {
		pc-- // the call
	}
	in := &f.Body.Code[pc]
	text := d.funcName(f.Body.Index)
	if file, line, ok := d.symbols.Line(in.At); ok {
		text += fmt.Sprintf(" at %s:%d", filepath.Base(file), line)
	}
	return fmt.Sprintf("%s, byte %#x: %s", text, in.At, in)
}

func (d *debugger) funcName(i int) string {
	if n := d.symbols.Func(i); n != "" {
		return n
	}
	return fmt.Sprintf("function %d", i)
}

// source is the text of the line that an instruction came from, where the file can be read.
func (d *debugger) source(at int) string {
	file, line, ok := d.symbols.Line(at)
	if !ok {
		return ""
	}
	lines, known := d.sources[file]
	if !known {
		// It is looked for beside the module too, for the module tells the name as the compiler was given it.
		for _, path := range []string{filepath.Join(filepath.Dir(d.file), filepath.Base(file)), file} {
			if ext := filepath.Ext(path); ext != ".c" && ext != ".h" && ext != ".ts" && ext != ".rs" && ext != ".cc" && ext != ".cpp" {
				continue
			}
			if b, err := readBounded(path, 4<<20); err == nil {
				lines = strings.Split(string(b), "\n")
				break
			}
		}
		d.sources[file] = lines
	}
	if line > len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[line-1])
}

// conclusion tells how it ended, and whether that is what was recorded.
func (d *debugger) conclusion() {
	used := d.rec.In.Fuel - uint64(max(d.m.Fuel, 0))
	var verdict, fault string
	var trap *stepper.Trap
	switch {
	case d.end == nil:
		v := abi.Verdict(uint32(d.m.Results[0]))
		verdict = v.String()
		var out abi.Out
		in := d.rec.In
		err := out.Get(d.m.Memory[d.block:d.block+abi.BlockSize], &in, d.manifest.WindowSize, d.manifest.StateSize > 0, uint32(len(d.m.Memory)))
		if !v.Valid() || err != nil {
			verdict, fault = "", vm.BadOutput.String()
		}
		fmt.Fprintf(d.w, "ended: returned %d (%s), %d fuel\n", uint32(d.m.Results[0]), cmp.Or(verdict, fault), used)
	case errors.As(d.end, &trap):
		fault = string(trap.Reason)
		if trap.Reason == stepper.Table {
			fault = vm.IndirectCall.String()
		}
		where := fmt.Sprintf("%s, byte %#x", d.funcName(trap.Func), trap.At)
		if file, line, ok := d.symbols.Line(trap.At); ok {
			where += fmt.Sprintf(", %s:%d", filepath.Base(file), line)
		}
		fmt.Fprintf(d.w, "ended: %s in %s, %d fuel\n", fault, where, used)
		if text := d.source(trap.At); text != "" {
			fmt.Fprintf(d.w, "    %s\n", text)
		}
	default:
		fault = d.end.Error()
		fmt.Fprintf(d.w, "ended: %v, %d fuel\n", d.end, used)
	}
	same := verdict == d.rec.Verdict && used == d.rec.Used && fault == d.rec.Fault
	if d.rec.Fault == vm.OutOfMemory.String() && fault != "" {
		same = true // what it was refused follows from the account, which is not recorded
	}
	if same {
		fmt.Fprintln(d.w, "as recorded")
	} else {
		fmt.Fprintf(d.w, "the recording has another end: %s\n", d.outcome())
	}
}

const debugHelp = `step [N]          to the next line, N times; without lines of source, instructions (s)
next [N]          the same, without stopping in what is called (n)
stepi [N]         N instructions (si)
finish            until the function returns
continue          to a breakpoint, a watched change, or the end (c)
break PLACE       stop at FILE:LINE, a line, a function, or *OFFSET of the module (b); without PLACE: list them
delete            all breakpoints and watches
watch ADDR N      stop when one of N bytes of memory changes
where             the frames, the innermost first (bt)
list              the instructions around, with prices of loops (l)
locals, operands, globals
block             the context block: what came in, what it asks for
window, state     their bytes now
mem ADDR N        bytes of memory (x)
fuel              what is left
restart, quit
`

func (d *debugger) command(name string, args []string) error {
	count := func() (int, error) {
		if len(args) == 0 {
			return 1, nil
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return 0, errs.New(errs.Invalid, "%s: want how often", args[0])
		}
		return n, nil
	}
	times := func(do func()) error {
		n, err := count()
		if err != nil {
			return err
		}
		if d.ended {
			return errs.New(errs.Dead, "it has ended; restart begins anew")
		}
		for ; n > 0 && !d.ended && d.ctx.Err() == nil; n-- {
			do()
		}
		d.place()
		return nil
	}
	never := func() bool { return false }
	switch name {
	case "help", "h":
		fmt.Fprint(d.w, debugHelp)
	case "step", "s":
		return times(func() { d.stepLine(false) })
	case "next", "n":
		return times(func() { d.stepLine(true) })
	case "stepi", "si":
		return times(func() { d.step() })
	case "finish":
		depth := len(d.m.Frames)
		return times(func() { d.run(func() bool { return len(d.m.Frames) < depth }) })
	case "continue", "c":
		return times(func() { d.run(never) })
	case "restart":
		if err := d.restart(); err != nil {
			return err
		}
		d.place()
	case "break", "b":
		return d.setBreak(args)
	case "delete":
		d.breaks, d.watch = nil, nil
	case "watch", "mem", "x":
		addr, n, err := d.area(args)
		if err != nil {
			return err
		}
		if name == "watch" {
			d.watch = append(d.watch, watched{addr, slices.Clone(d.memory(addr, n))})
			return nil
		}
		fmt.Fprint(d.w, d.dump(addr, n))
	case "where", "bt":
		for i := len(d.m.Frames) - 1; i >= 0; i-- {
			fmt.Fprintf(d.w, "  %d  %s\n", len(d.m.Frames)-1-i, d.describe(i))
		}
	case "list", "l":
		d.list()
	case "locals":
		f := d.m.Top()
		if f == nil {
			return errs.New(errs.Dead, "it has ended")
		}
		for i, v := range f.Locals {
			kind := "local"
			if i < len(f.Body.Sig.Params) {
				kind = "param"
			}
			fmt.Fprintf(d.w, "%s %d %s = %s\n", kind, i, f.Body.Locals[i], number(f.Body.Locals[i], v))
		}
	case "operands":
		for i, v := range d.m.Operands() {
			fmt.Fprintf(d.w, "%d: %d (%#x)\n", i, int64(v), v)
		}
	case "globals":
		for i, v := range d.m.Globals {
			fmt.Fprintf(d.w, "global %d %s = %s\n", i, d.prog.Globals[i].Type, number(d.prog.Globals[i].Type, v))
		}
	case "block":
		d.printBlock()
	case "window":
		fmt.Fprint(d.w, d.dump(d.window, min(d.manifest.WindowSize, max(d.rec.In.Captured, d.field(abi.BlockOutLengthOff)))))
	case "state":
		if d.manifest.StateSize == 0 {
			return errs.New(errs.NotFound, "the class declares no state")
		}
		fmt.Fprint(d.w, d.dump(d.block+abi.BlockStateOff, uint32(d.manifest.StateSize)))
	case "fuel":
		fmt.Fprintf(d.w, "%d of %d left, %d used, %d instructions\n", max(d.m.Fuel, 0), d.rec.In.Fuel, d.rec.In.Fuel-uint64(max(d.m.Fuel, 0)), d.m.Steps)
	default:
		return errs.New(errs.Invalid, "%s is no command; help lists them", name)
	}
	return nil
}

// number is a value in words.
func number(t gate.Type, v uint64) string {
	switch t {
	case gate.I32:
		return fmt.Sprintf("%d (%#x)", int32(v), uint32(v))
	case gate.I64:
		return fmt.Sprintf("%d (%#x)", int64(v), v)
	}
	return fmt.Sprintf("bits %#x", v)
}

// area reads an address and a length.
func (d *debugger) area(args []string) (addr, n uint32, err error) {
	var v [2]uint64
	for i := range v {
		if len(args) != 2 {
			err = errors.New("two numbers wanted")
		} else if err == nil {
			v[i], err = strconv.ParseUint(args[i], 0, 32)
		}
	}
	if err != nil {
		return 0, 0, errs.New(errs.Invalid, "want an address and how many bytes: %w", err)
	}
	if v[1] > 4096 || d.memory(uint32(v[0]), uint32(v[1])) == nil {
		return 0, 0, errs.New(errs.Invalid, "%d bytes at %#x: want at most 4096, and inside the memory of %d", v[1], v[0], len(d.m.Memory))
	}
	return uint32(v[0]), uint32(v[1]), nil
}

// dump shows memory, with addresses.
func (d *debugger) dump(addr, n uint32) string {
	var out strings.Builder
	b := d.memory(addr, n)
	for i := 0; i < len(b); i += 16 {
		row := b[i:min(i+16, len(b))]
		text := bytes.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, row)
		fmt.Fprintf(&out, "%08x  % -48x  %s\n", addr+uint32(i), row, text)
	}
	return out.String()
}

func (d *debugger) field(off uint32) uint32 {
	b := d.memory(d.block+off, 4)
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func (d *debugger) printBlock() {
	in := d.rec.In
	fmt.Fprintf(d.w, "in: node %s, prev %s, src %s, dst %s, length %d, captured %d, credit %d, ttl %d, link %d, neighbours %d, ports %d %d, time %d, random %#x, state found %d\n",
		addr(in.Node), addr(in.Prev), addr(in.Src), addr(in.Dst), in.Length, in.Captured, in.Credit, in.TTL, in.InLink, in.Neighbours, in.SrcPort, in.DstPort, in.TimeNS, in.Random, in.StateFound)
	fmt.Fprintf(d.w, "out: dst %s, length %d, %d outputs, %d emits, state act %d, lifetime %d\n", addr(d.field(abi.BlockOutDstOff)), d.field(abi.BlockOutLengthOff),
		d.field(abi.BlockOutCountOff), d.field(abi.BlockEmitCountOff), d.field(abi.BlockStateActOff), d.field(abi.BlockStateLifetimeOff))
}

// list shows the instructions around the next one.
func (d *debugger) list() {
	f := d.m.Top()
	if f == nil {
		return
	}
	for i := max(0, f.PC-4); i < min(len(f.Body.Code), f.PC+8); i++ {
		mark, in := "  ", &f.Body.Code[i]
		if i == f.PC {
			mark = "->"
		}
		extra := ""
		if in.Fuel > 0 {
			extra = fmt.Sprintf("   ; %d fuel each time", in.Fuel)
		}
		if d.symbols.Breaks(in.At) {
			if file, line, ok := d.symbols.Line(in.At); ok {
				extra += fmt.Sprintf("   ; %s:%d", filepath.Base(file), line)
			}
		}
		fmt.Fprintf(d.w, "%s %#06x  %s%s\n", mark, in.At, in, extra)
	}
}

func (d *debugger) setBreak(args []string) error {
	if len(args) == 0 {
		for _, b := range d.breaks {
			fmt.Fprintf(d.w, "break %s\n", b.text)
		}
		return nil
	}
	place := args[0]
	b := breakpoint{text: place}
	file, text := "", place
	if k := strings.LastIndexByte(place, ':'); k >= 0 {
		file, text = place[:k], place[k+1:]
	}
	want, err := strconv.Atoi(text)
	isLine := err == nil
	offset := int64(-1)
	if strings.HasPrefix(place, "*") {
		if offset, err = strconv.ParseInt(place[1:], 0, 32); err != nil {
			return errs.New(errs.Invalid, "%s: want * and the offset of an instruction", place)
		}
	}
	last := ""
	for i := range d.prog.Funcs {
		body := &d.prog.Funcs[i]
		for k := range body.Code {
			at := body.Code[k].At
			f, line, ok := d.symbols.Line(at)
			now := fmt.Sprint(f, line, ok)
			switch {
			case offset >= 0:
				if int64(at) == offset {
					b.at = append(b.at, at)
				}
			case isLine: // where the line begins, once or more
				if ok && line == want && now != last && (file == "" || filepath.Base(f) == filepath.Base(file)) {
					b.at = append(b.at, at)
				}
			case k == 0 && (d.symbols.Func(body.Index) == place || place == fmt.Sprint("function", body.Index)):
				b.at = append(b.at, at)
			}
			last = now
		}
	}
	if b.at == nil {
		return errs.New(errs.NotFound, "there is no instruction at %s", place)
	}
	d.breaks = append(d.breaks, b)
	fmt.Fprintf(d.w, "breakpoint %s: %d places\n", place, len(b.at))
	return nil
}
