package control

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	handlers := []string{
		"step (w): Goes on behind the instruction that waits; a number N does so N times.", "goto (w): Goes on at a label.",
		"run (rw): Runs the script with the given arguments; what it returns is the value. Of a TYPE PASSIVE script.",
		"set (w): VAR TEXT sets a variable.", "get (r): VAR: the value of a variable.", "shift (r): VAR: removes the first word of a variable and returns it.",
		"add, sub, mul, div, idiv, mod, rem, min, max (r): Arithmetic on numbers; with only integers the result is an integer, but of div. idiv truncates; mod takes integers, rem any numbers.",
		"neg, abs (r): Of one number.", "eq, ne, lt, gt, le, ge (r): Compare two numbers, or two texts byte by byte if one is no number.",
		"not, and, or, nand, nor (r): Of truth values.", "if (r): COND A B: A if COND is true, else B.", "in (r): X A...: whether X is one of the others.",
		"sprintf (r): FORMAT ARG...: formats, with the verbs of C.", "random (r): [[LO] N]: a random integer from 0; below N; or from LO to N.",
		"length (r): Bytes of the text.", "unquote (r): The text without its quotes.", "readable, writable (r): HANDLER...: whether all of them are.",
		"now (r): The calendar time in seconds.", "cat, catq (r): FILE: its contents, as it is or quoted.", "kill (r): SIGNAL PID...: sends a signal.",
		"htons, htonl, ntohs, ntohl (r): Change the byte order of a number.",
	}
	text := "Each argument is an instruction; they run one after the other. In their texts $VAR and ${VAR} stand for variables and $(HANDLER ARGS) for what a read handler " +
		"returns; the script's own handlers need no element name. Nothing is replaced within single quotes. The variants that end in q remove a layer of quotes from the result.\n\n" +
		"set, setq VAR TEXT sets a variable. init, initq VAR TEXT sets it once, before the router runs; export, exportq VAR [TEXT] too, and makes it a read handler. " +
		"print, printq, printn, printnq [>FILE|>>FILE] TEXT|HANDLER prints a text, or the value of a read handler if the argument begins with a letter, @ or _; printn without the end of the line. " +
		"read, readq HANDLER [ARGS] prints name and value to standard error. write, writeq HANDLER [ARGS] writes; $? is then 0, or -1 if it was refused.\n\n" +
		"pause [N] waits for N steps. wait TIME waits for a time or a step, wait alone for a step. label NAME names a place; goto NAME [COND] goes there if COND is true; " +
		"the names loop, end, exit, stop and error do as the instructions. loop begins anew. end ends the script; exit too, and a packet is dropped, a signal left to the system from then on. " +
		"stop also asks the router to stop. return, returnq [VALUE] ends with a value. error, errorq [TEXT] ends with an error.\n\n" +
		"TYPE ACTIVE begins when the router starts, and is what a script without ports is. PASSIVE runs when its handler run is called, with $args, $1 and so on, and $#. PACKET runs for every packet, with $input; " +
		"it leaves by the output that the script returns, 0 by default. PROXY runs for every handler that is not the script's own, $0 is the handler's name and $write whether it is written. DRIVER decides when the router stops. SIGNAL NAME... runs when the process gets a signal."
	click.Register(click.Class{
		Name: "Script", Ports: "-/-", Processing: "a/ah", New: func() click.Element { return &Script{} },
		Doc: click.Doc{
			Group: "control", Title: "runs instructions that read and write handlers", Text: text,
			Args:     []string{"<instruction>...: What to do.", "TYPE: ACTIVE, PASSIVE, PACKET, PROXY, DRIVER or SIGNAL NAME...; see above."},
			Handlers: handlers, Example: "Script(set x 0, label next, print $x, set x $(add $x 1), goto next $(lt $x 5), stop);", See: []string{"DriverManager"},
		},
	})
	click.Register(click.Class{
		Name: "DriverManager", Ports: "0/0", Processing: "a", New: func() click.Element { return &Script{kind: driver} },
		Doc: click.Doc{
			Group: "control", Title: "decides when the router stops",
			Text: "It is a Script of TYPE DRIVER. A request to stop (STOP of a source, the stop handler) is a step for it: it ends the present pause or wait. " +
				"The router stops when the script ends. Without instructions the first request stops it. wait_stop N is another name of pause N.",
			Args: []string{"<instruction>...: What to do, see Script."}, Handlers: handlers,
			Example: "DriverManager(pause 2, print c.count, stop);", See: []string{"Script"},
		},
	})
}

type kind uint8

const (
	unset kind = iota
	active
	passive
	perPacket
	proxy
	driver
	onSignal
)

type verb uint8

const (
	vSet verb = iota
	vInit
	vExport
	vPrint
	vRead
	vWrite
	vPause
	vWait
	vLabel
	vGoto
	vEnd
	vExit
	vStop
	vReturn
	vError
)

var verbs = map[string]verb{
	"set": vSet, "init": vInit, "export": vExport, "print": vPrint, "printn": vPrint, "read": vRead, "write": vWrite,
	"pause": vPause, "wait_step": vPause, "wait_stop": vPause, "wait_pause": vPause, "wait": vWait, "wait_time": vWait,
	"label": vLabel, "goto": vGoto, "loop": vGoto, "end": vEnd, "exit": vExit, "stop": vStop, "return": vReturn, "error": vError,
}

// quotable are the verbs that have a variant in q.
var quotable = map[string]bool{"set": true, "init": true, "export": true, "print": true, "printn": true, "read": true, "write": true, "return": true, "error": true}

// instruction is one argument.
type instruction struct {
	verb    verb
	unquote bool
	what    string // variable, label or file; of print also > or >> before it
	text    string // what is left
	newline bool
	n       int
	at      int // target of a goto, or one of the ends below
}

// Targets of jumps that are no instruction.
const (
	toEnd = -1 - iota
	toExit
	toStop
	toError
)

const (
	maxJumps = 1000
	maxDepth = 16 // of scripts that call each other
	maxVars  = 4096
	maxValue = 1 << 20 // bytes of a value
)

// Script runs instructions.
type Script struct {
	click.Base
	kind     kind
	code     []instruction
	labels   map[string]int
	exports  []string
	vars     map[string]string
	signals  []os.Signal
	watching *watch

	frame         // of the present run
	pending  int  // steps that came before there was anything to step
	ended    bool // the script runs no more by itself
	disabled bool // it looped
	depth    int  // of runs within runs
	timer    *click.Timer
}

// frame is where a run is.
type frame struct {
	pos     int
	waiting waiting
	left    int // steps to wait for
	jumps   int
	special map[string]string // variables of the call: args, input, 0, write
	result  string
	out     int // output for a packet, -1 to drop it
	err     error
	kept    bool // the run goes on later
	hasty   bool // the run must not wait
}

type waiting uint8

const (
	notWaiting waiting = iota
	forSteps
	forTime
)

// Configure implements click.Element.
func (e *Script) Configure(a *click.Args) {
	e.labels, e.vars = map[string]int{}, map[string]string{}
	for _, arg := range a.List() {
		if word, rest := lang.NextWord(arg); word == "TYPE" {
			e.configureType(rest, a)
			continue
		}
		e.add(arg, a)
	}
	for i := range e.code {
		if k := &e.code[i]; k.verb == vGoto {
			at, ok := e.target(k.what)
			if !ok {
				a.Errorf("goto: there is no label '%s'", k.what)
			}
			k.at = at
		}
	}
	if e.kind == unset {
		e.kind = active
		if a.Inputs()+a.Outputs() > 0 {
			e.kind = perPacket
		}
	}
	if e.kind == perPacket && a.Inputs() == 0 {
		a.Errorf("a script of TYPE PACKET needs an input")
	} else if e.kind != perPacket && a.Inputs()+a.Outputs() > 0 {
		a.Errorf("only a script of TYPE PACKET has ports")
	}
}

func (e *Script) configureType(s string, a *click.Args) {
	name, rest := lang.NextWord(s)
	kinds := map[string]kind{"ACTIVE": active, "PASSIVE": passive, "PACKET": perPacket, "PROXY": proxy, "DRIVER": driver, "SIGNAL": onSignal}
	k, ok := kinds[strings.ToUpper(lang.Unquote(name))]
	if !ok {
		a.Errorf("TYPE: expected ACTIVE, PASSIVE, PACKET, PROXY, DRIVER or SIGNAL, not '%s'", name)
		return
	}
	e.kind = k
	if k != onSignal {
		if rest != "" {
			a.Errorf("TYPE: nothing may follow '%s'", name)
		}
		return
	}
	for _, w := range lang.SplitWords(rest) {
		s, err := parseSignal(lang.Unquote(w))
		if err != nil {
			a.Errorf("TYPE: %v", err)
			continue
		}
		e.signals = append(e.signals, s)
	}
	if len(e.signals) == 0 && a.OK() {
		a.Errorf("TYPE SIGNAL: the name of a signal is missing")
	}
}

// add parses an instruction.
func (e *Script) add(arg string, a *click.Args) {
	word, rest := lang.NextWord(arg)
	if word == "" {
		return
	}
	base, q := word, false
	if _, ok := verbs[word]; !ok && strings.HasSuffix(word, "q") && quotable[word[:len(word)-1]] {
		base, q = word[:len(word)-1], true
	}
	v, ok := verbs[base]
	if !ok {
		a.Errorf("unknown instruction '%s'", word)
		return
	}
	k := instruction{verb: v, unquote: q, text: rest, n: 1}
	switch v {
	case vSet, vInit, vExport:
		k.what, k.text = lang.NextWord(rest)
		if !isName(k.what) {
			a.Errorf("%s: expected the name of a variable, not '%s'", word, k.what)
		}
		if v == vExport {
			e.exports = append(e.exports, k.what)
		}
	case vPrint:
		k.newline = base == "print"
		if strings.HasPrefix(rest, ">") {
			k.what, k.text = lang.NextWord(rest)
			if k.what == ">" || k.what == ">>" {
				var f string
				f, k.text = lang.NextWord(k.text)
				k.what += f
			}
		}
	case vRead, vWrite:
		if rest == "" {
			a.Errorf("%s: a handler is missing", word)
		}
	case vPause:
		if rest != "" {
			if err := click.IntRange(&k.n, 0, 1<<30)(rest, a); err != nil {
				a.Errorf("%s: %v", word, err)
			}
		}
	case vWait:
		if rest == "" {
			k.verb = vPause
		}
	case vLabel:
		if k.what = rest; !isName(rest) {
			a.Errorf("label: '%s' is no name", rest)
		} else if _, twice := e.labels[rest]; twice {
			a.Errorf("label %s is there twice", rest)
		}
		e.labels[rest] = len(e.code)
	case vGoto:
		if base == "loop" {
			k.what, k.text = "begin", ""
			if rest != "" {
				a.Errorf("loop: nothing may follow")
			}
		} else if k.what, k.text = lang.NextWord(rest); k.what == "" {
			a.Errorf("goto: a label is missing")
		}
	case vEnd, vExit, vStop:
		if rest != "" {
			a.Errorf("%s: nothing may follow", word)
		}
	}
	e.code = append(e.code, k)
}

// target finds where a label is.
func (e *Script) target(label string) (int, bool) {
	if at, ok := e.labels[label]; ok {
		return at, true
	}
	switch label {
	case "begin", "loop":
		return 0, true
	case "end":
		return toEnd, true
	case "exit":
		return toExit, true
	case "stop":
		return toStop, true
	case "error":
		return toError, true
	}
	return 0, false
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// Initialize implements click.Initializer.
func (e *Script) Initialize() error {
	if e.kind == driver && !e.Router().OnStop(e.request) {
		return fmt.Errorf("there can be only one DriverManager or Script of TYPE DRIVER")
	}
	if e.kind == onSignal {
		if !e.Router().Host() {
			return fmt.Errorf("TYPE SIGNAL: this graph has no rights on the process that it runs in")
		}
		e.watching = newWatch(e)
	}
	e.timer = e.NewTimer(e.timeout)
	return nil
}

// Start implements click.Starter: it sets the variables that are there from the beginning.
func (e *Script) Start() {
	for i := range e.code {
		if k := &e.code[i]; k.verb == vInit || k.verb == vExport && k.text != "" {
			e.setVar(k.what, e.text(k, k.text))
		}
	}
	switch e.kind {
	case active:
		e.timer.SetAfter(0) // not before everything runs
	case driver:
		if len(e.code) > 0 {
			e.timer.SetAfter(0)
		}
	case onSignal:
		e.watching.install()
	}
}

// Cleanup implements click.Cleaner.
func (e *Script) Cleanup() {
	if e.watching != nil {
		e.watching.close()
	}
}

// Push implements click.Pusher.
func (e *Script) Push(port int, b *packet.Batch) {
	for _, p := range b.Packets() {
		if out := e.judge(port); out >= 0 && out < e.Outputs() {
			e.ForwardOne(out, p)
		} else {
			e.DropOne(p)
		}
	}
	b.Reset()
}

// Pull implements click.Puller. Only packets for the output that is pulled are yielded.
func (e *Script) Pull(port int, b *packet.Batch, n int) {
	in := e.Thread().Scratch()
	e.In(0).Pull(in, n)
	for _, p := range in.Packets() {
		if out := e.judge(0); out == port {
			b.Append(p)
		} else if out > 0 && out < e.Outputs() && e.OutputKind(out) == click.PushKind {
			e.ForwardOne(out, p)
		} else {
			e.DropOne(p)
		}
	}
	in.Reset()
	e.Thread().Release(in)
}

// judge runs the script for a packet and returns the output, or -1.
func (e *Script) judge(port int) int {
	r := e.call(map[string]string{"input": strconv.Itoa(port)})
	if r.err != nil {
		e.complain(r.err)
		return -1
	}
	return r.out
}

// call runs the script from its beginning, within another run perhaps.
func (e *Script) call(special map[string]string) frame {
	if e.disabled {
		return frame{out: -1, err: fmt.Errorf("the script was given up")}
	}
	if e.depth++; e.depth > maxDepth {
		e.depth--
		return frame{out: -1, err: fmt.Errorf("scripts call each other more than %d deep", maxDepth)}
	}
	outer := e.frame
	// A run that waits goes on later as the script's own, of which there can be one.
	e.frame = frame{special: special, hasty: e.kind == perPacket || e.depth > 1 || outer.waiting != notWaiting}
	e.exec()
	r := e.frame
	if !r.kept {
		e.frame = outer
	}
	e.depth--
	return r
}

// timeout begins the script, or goes on after a wait.
func (e *Script) timeout() {
	if e.waiting == forTime {
		e.waiting = notWaiting
		e.pos++
	}
	if e.kind == onSignal && e.watching.pending {
		e.watching.begin()
	}
	e.resume()
}

// resume goes on with the run of the script itself.
func (e *Script) resume() {
	if e.ended || e.disabled {
		return
	}
	e.frame.jumps = 0
	e.exec()
	if e.frame.kept {
		return
	}
	e.over()
}

// over is the end of a run that nobody waits for.
func (e *Script) over() {
	if e.frame.err != nil {
		e.complain(e.frame.err)
	}
	switch e.kind {
	case driver:
		e.ended = true
		e.Router().Stop()
	case onSignal:
		if e.frame.out >= 0 {
			e.watching.install()
		} else {
			e.watching.release()
		}
	case active:
		e.ended = true
	}
}

// request decides about a request to stop.
func (e *Script) request() bool {
	if e.ended || len(e.code) == 0 {
		return false
	}
	e.step(1)
	return true
}

// step goes on behind the instruction that waits. What runs then does so in a run of its own.
func (e *Script) step(n int) {
	for ; n > 0; n-- {
		switch e.waiting {
		case forTime:
			e.timer.Stop()
		case forSteps:
			if e.left--; e.left > 0 {
				continue
			}
		default:
			e.pending += min(n, maxJumps)
			return
		}
		e.waiting = notWaiting
		e.pos++
		e.pending += n - 1
		e.timer.SetAfter(0)
		return
	}
}

// jump goes on at a label.
func (e *Script) jump(label string) error {
	at, ok := e.target(strings.TrimSpace(label))
	if !ok {
		return fmt.Errorf("there is no label '%s'", label)
	}
	e.timer.Stop()
	e.waiting, e.ended, e.frame.err, e.frame.out = notWaiting, false, nil, 0
	if at < 0 {
		e.end(at)
		e.over()
		return nil
	}
	e.pos = at
	e.timer.SetAfter(0)
	return nil
}

func (e *Script) complain(err error) {
	fmt.Fprintf(e.Output(), "%s :: %s: %v\n", e.Name(), e.Class().Name, err)
}

// waitFor parses the text of a wait.
func waitFor(s string) (time.Duration, error) {
	var d time.Duration
	err := click.Duration(&d)(strings.TrimSpace(s), nil)
	return d, err
}
