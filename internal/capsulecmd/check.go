package capsulecmd

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/sdk/abi/elem"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/symbol"
)

// report is what nodes would say to a module. The JSON form is stable.
type report struct {
	File     string   `json:"file"`
	Code     string   `json:"code"` // fingerprint
	Bytes    int      `json:"bytes"`
	Accepted bool     `json:"accepted"`
	Refusal  *refusal `json:"refusal,omitempty"`

	Class      string   `json:"class,omitempty"`
	Element    bool     `json:"element,omitempty"` // of graphs; else a capsule
	Process    string   `json:"process,omitempty"` // guest or wasi; else none
	WindowSize uint32   `json:"window_size,omitempty"`
	WindowMin  uint32   `json:"window_min,omitempty"`
	StateSize  uint16   `json:"state_size,omitempty"`
	StateSpace uint32   `json:"state_space,omitempty"`
	StateKey   []string `json:"state_key,omitempty"` // ranges of bytes of the window
	Pages      uint32   `json:"memory_pages,omitempty"`
	MaxPages   uint32   `json:"memory_pages_max,omitempty"`
	Stack      uint32   `json:"stack_slots,omitempty"`
	Recursive  bool     `json:"recursive,omitempty"`
	Imports    []string `json:"imports,omitempty"`

	// Functions are the module's own, in order; Limits what the gate holds it to.
	Functions []function `json:"functions,omitempty"`
	Limits    []use      `json:"limits,omitempty"`

	err     error
	most    gate.Limits
	symbols *symbol.Table
}

// function is what one of its functions can use at most.
type function struct {
	Index    int    `json:"index"`
	Name     string `json:"name,omitempty"`
	Source   string `json:"source,omitempty"` // file:line
	Offset   int    `json:"offset"`           // of its body in the module
	Bytes    int    `json:"bytes"`
	Fuel     uint64 `json:"fuel,omitempty"`     // most that a call uses, with what it calls; 0: not bounded
	NoBound  string `json:"no_bound,omitempty"` // why it is not
	NoSource string `json:"no_bound_source,omitempty"`
	NoOffset int    `json:"no_bound_offset,omitempty"`
}

// use is how much of a limit a module needs.
type use struct {
	What  string `json:"what"`
	Used  uint32 `json:"used"`
	Limit uint32 `json:"limit"`
}

// refusal says why a module is not accepted.
type refusal struct {
	Text   string `json:"text"`
	Offset int    `json:"offset"` // byte in the module; -1: it is not about a byte
	Where  string `json:"where,omitempty"`
	Name   string `json:"function,omitempty"` // in which function, if the module says how it is called
	Source string `json:"source,omitempty"`   // file:line, if the module has them
	Remedy string `json:"remedy,omitempty"`
}

func checkCommand() *cobra.Command {
	var asJSON, long bool
	c := &cobra.Command{
		Use: "check FILE...", Short: "Show what nodes would say to a module", Args: cobra.MinimumNArgs(1),
		Long: `Puts modules (FILE.wasm), or all modules of a protocol (its YAML file, or the directory it is in), through the gate that
stands before every node's engine, and shows what they import and need, or why and at which byte they are refused, and what to change.

"fuel" is the most that an evaluation can use, which follows from the text of the code where every loop counts from one constant to
another. Where that is not so it says which place is in the way; the code is metered all the same, and the evaluation ends when its budget is used
up. --functions shows that for each function, and how much of each limit the module uses. Modules built with --debug show their own
names and lines; for others the source map FILE.wasm.map is read if there is one.

The exit code is 0 if all are accepted; otherwise that of the refusal: 18 for what is no valid module, 32 for one that uses
more than is allowed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			rs := []*report{} // not null in JSON
			var failed errs.List
			for _, a := range args {
				p, err := load(a)
				if err != nil {
					failed.Add(err)
					continue
				}
				for _, cl := range p.classes {
					name := cl.file
					if p.ants != nil {
						name += " (class " + cl.name + ")"
					}
					r := examine(name, cl.code)
					if p.ants != nil && r.Accepted && r.Class != cl.name {
						r.refuse(errs.New(errs.Invalid, "the description calls the class %s, its manifest %s: make them the same", cl.name, r.Class))
					}
					if r.err != nil {
						failed.Add(errs.New(errs.KindOf(r.err), "%s is refused", name))
					}
					rs = append(rs, r)
				}
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				if err := e.Encode(rs); err != nil {
					return err
				}
				return failed.Err()
			}
			for _, r := range rs {
				r.print(cmd.OutOrStdout(), long)
			}
			return failed.Err()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&long, "functions", false, "show each function, and the limits")
	return c
}

// gateConfig is what capsules may be on every node (package vm, NewClass).
func gateConfig() *gate.Config {
	c := &gate.Config{Limits: gate.HandlerLimits(), Exports: []gate.Export{{Name: abi.ExportEvaluate, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}}
	for _, f := range abi.Calls {
		i := gate.Import{Module: abi.Module, Name: f.Name, Fuel: f.Fuel, Sig: gate.Sig{Params: slices.Repeat([]gate.Type{gate.I32}, f.Params)}}
		if f.Result {
			i.Sig.Results = []gate.Type{gate.I32}
		}
		c.Imports = append(c.Imports, i)
	}
	return c
}

// examine puts a module through the gate.
func examine(file string, code []byte) *report {
	r := &report{File: file, Code: ants.CodeIDOf(code).String(), Bytes: len(code), symbols: symbol.Read(code, sourceMap(file)), Process: processOf(code)}
	cfg, err := configOf(code)
	if err != nil {
		r.refuse(err)
		return r
	}
	r.most = cfg.Limits
	m, err := gate.Check(code, cfg)
	if err != nil {
		r.refuse(err)
		return r
	}
	bounds, err := gate.Bounds(code, cfg)
	if err != nil {
		r.refuse(err)
		return r
	}
	for _, b := range bounds {
		f := function{Index: b.Func, Name: r.symbols.Func(b.Func), Source: r.firstLine(b.Start, b.Size), Offset: b.Start, Bytes: b.Size, Fuel: b.Fuel}
		if b.Why != "" {
			f.Fuel, f.NoBound, f.NoOffset, f.NoSource = 0, b.Why, b.At, r.line(b.At)
		}
		r.Functions = append(r.Functions, f)
	}
	uses, err := gate.Uses(code, cfg)
	if err != nil {
		r.refuse(err)
		return r
	}
	for _, u := range uses {
		r.Limits = append(r.Limits, use{u.What, u.Used, u.Limit})
	}
	r.Pages, r.MaxPages, r.Stack, r.Recursive = m.MemoryMin, m.MemoryMax, m.Stack, m.Recursive
	r.Imports = imports(m.Wasm)
	// The engine, which has the last word, also wants to see the records of the ABI.
	e, err := newEngine(nil)
	if err == nil {
		defer e.close()
		class := e.class
		if r.Process != "" {
			if class, err = e.processClass(r.Process); err != nil {
				r.refuse(err)
				return r
			}
		}
		if _, ok := m.Constant(elem.ExportElement); ok {
			r.Element = true
			if class, err = e.engine.NewClass(vm.ClassSpec{Name: "element", Element: true}); err != nil {
				r.refuse(err)
				return r
			}
		}
		code, lerr := e.engine.Load(code, class, nil)
		if err = lerr; err == nil {
			man := code.Manifest()
			code.Release()
			r.Class, r.WindowSize, r.WindowMin, r.StateSize, r.StateSpace = man.Name, man.WindowSize, man.WindowMin, man.StateSize, man.StateSpace
			for _, k := range man.Key {
				r.StateKey = append(r.StateKey, fmt.Sprintf("%d-%d", k.Offset, k.Offset+k.Length-1))
			}
		}
	}
	if err != nil {
		r.refuse(err)
		return r
	}
	r.Accepted = true
	return r
}

func (r *report) refuse(err error) {
	r.Accepted, r.err = false, err
	r.Refusal = &refusal{Text: err.Error(), Offset: -1}
	var g *gate.Error
	if errors.As(err, &g) {
		r.Refusal.Offset, r.Refusal.Where, r.Refusal.Remedy = g.Offset, g.Where, g.Remedy
		if n, ok := strings.CutPrefix(g.Where, "function "); ok {
			if i, err := strconv.Atoi(n); err == nil {
				r.Refusal.Name = r.symbols.Func(i)
			}
			r.Refusal.Source = r.line(g.Offset)
		}
	}
}

// line is where the instruction at offset comes from, or "".
func (r *report) line(offset int) string {
	if file, line, ok := r.symbols.Line(offset); ok {
		return fmt.Sprintf("%s:%d", filepath.Base(file), line)
	}
	return ""
}

// firstLine is where the first instruction of a body that comes from somewhere does.
func (r *report) firstLine(start, size int) string {
	for at := start; at < start+size; at++ {
		if s := r.line(at); s != "" {
			return s
		}
	}
	return ""
}

// sourceMap reads the source map of a module, where there is one.
func sourceMap(file string) []byte {
	const most = 16 << 20
	if st, err := os.Stat(file + ".map"); err != nil || st.Size() > most {
		return nil
	}
	b, err := os.ReadFile(file + ".map")
	if err != nil {
		return nil
	}
	return b
}

// print writes r for people.
func (r *report) print(w io.Writer, long bool) {
	if !r.Accepted {
		fmt.Fprintf(w, "%s: refused\n", r.File)
		if g := r.Refusal; g.Offset >= 0 {
			var ge *gate.Error
			errors.As(r.err, &ge)
			fmt.Fprintf(w, "  why      %s\n  where    byte %#x of %d", ge.Msg, g.Offset, r.Bytes)
			if g.Where != "" {
				fmt.Fprintf(w, ", %s", g.Where)
			}
			if g.Name != "" {
				fmt.Fprintf(w, " (%s)", g.Name)
			}
			if g.Source != "" {
				fmt.Fprintf(w, ", %s", g.Source)
			}
			fmt.Fprintln(w)
			if g.Remedy != "" {
				fmt.Fprintf(w, "  remedy   %s\n", g.Remedy)
			}
			return
		}
		fmt.Fprintf(w, "  why      %s\n", r.Refusal.Text)
		return
	}
	lim := r.most
	fmt.Fprintf(w, "%s: accepted\n", r.File)
	if r.Process != "" {
		r.printProcess(w)
	} else if r.Element {
		fmt.Fprintf(w, "  element  %s\n", r.Class)
	} else {
		fmt.Fprintf(w, "  class    %s\n", r.Class)
	}
	fmt.Fprintf(w, "  code     %s, %d bytes of at most %d\n", r.Code, r.Bytes, lim.Module)
	what := "capsules"
	if r.Element {
		what = "packets"
	}
	if r.Process == "" {
		fmt.Fprintf(w, "  window   %d bytes, %s with less than %d are not evaluated\n", r.WindowSize, what, r.WindowMin)
	}
	switch {
	case r.Element || r.Process != "":
	case r.StateSize == 0:
		fmt.Fprintf(w, "  state    none declared\n")
	case len(r.StateKey) == 0:
		fmt.Fprintf(w, "  state    %d bytes, space %d, one value for the protocol\n", r.StateSize, r.StateSpace)
	default:
		fmt.Fprintf(w, "  state    %d bytes, space %d, key is bytes %s\n", r.StateSize, r.StateSpace, strings.Join(r.StateKey, ", "))
	}
	fmt.Fprintf(w, "  memory   %d KiB, may grow to %d, at most %d\n", r.Pages*64, r.MaxPages*64, lim.MemoryPages*64)
	if r.Recursive {
		fmt.Fprintf(w, "  stack    it calls itself: counted while it runs, at most %d slots of 8 bytes\n", lim.Stack)
	} else {
		fmt.Fprintf(w, "  stack    %d slots of 8 bytes, at most %d\n", r.Stack, lim.Stack)
	}
	if len(r.Imports) == 0 {
		fmt.Fprintln(w, "  imports  nothing")
	} else {
		fmt.Fprintf(w, "  imports  %s\n", strings.Join(r.Imports, ", "))
	}
	if i, ok := r.symbols.Exported(abi.ExportEvaluate); ok {
		if k := slices.IndexFunc(r.Functions, func(f function) bool { return f.Index == i }); k >= 0 {
			r.printFuel(w, "fuel    ", &r.Functions[k])
		}
	}
	if !long {
		return
	}
	for i := range r.Functions {
		f := &r.Functions[i]
		name := f.Name
		if name == "" {
			name = "-"
		}
		if f.Source != "" {
			name += " " + f.Source
		}
		fmt.Fprintf(w, "  function %d %s, byte %#x, %d bytes\n", f.Index, name, f.Offset, f.Bytes)
		r.printFuel(w, "  fuel  ", f)
	}
	for _, u := range r.Limits {
		fmt.Fprintf(w, "  limit    %s: %d of %d\n", u.What, u.Used, u.Limit)
	}
}

// printFuel writes what a function uses at most.
func (r *report) printFuel(w io.Writer, head string, f *function) {
	if f.NoBound == "" {
		fmt.Fprintf(w, "  %s at most %d\n", head, f.Fuel)
		return
	}
	at := fmt.Sprintf("byte %#x", f.NoOffset)
	if f.NoSource != "" {
		at += ", " + f.NoSource
	}
	fmt.Fprintf(w, "  %s no bound but the budget: %s (%s)\n", head, f.NoBound, at)
}

// imports lists what a metered module imports beyond the meter itself, with the price of a call. The bytes come from the
// gate; all the same nothing is believed.
func imports(wasm []byte) []string {
	var out []string
	b := wasm[min(8, len(wasm)):]
	for len(b) > 0 {
		id := b[0]
		body, rest, ok := sized(b[1:])
		if !ok {
			return out
		}
		b = rest
		if id != 2 {
			continue
		}
		n, k := binary.Uvarint(body)
		if k <= 0 {
			return out
		}
		body = body[k:]
		for range n {
			module, rest, ok := sized(body)
			if !ok {
				return out
			}
			name, rest, ok := sized(rest)
			if !ok || len(rest) < 2 || rest[0] != 0 { // a function; capsules can import nothing else
				return out
			}
			if _, k = binary.Uvarint(rest[1:]); k <= 0 {
				return out
			}
			body = rest[1+k:]
			if string(module) == gate.OutModule {
				continue
			}
			price := ""
			if i := slices.IndexFunc(abi.Calls[:], func(c abi.Call) bool { return c.Name == string(name) }); i >= 0 {
				price = fmt.Sprintf(" (%d fuel)", abi.Calls[i].Fuel)
			}
			out = append(out, string(module)+"."+string(name)+price)
		}
	}
	return out
}

// sized splits off a byte string with its length in front.
func sized(b []byte) (s, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}

func sortClasses(cs []class) {
	slices.SortStableFunc(cs, func(a, b class) int { return cmp.Compare(a.name, b.name) })
}
