package capsulecmd

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
)

// report is what nodes would say to a module. The JSON form is stable.
type report struct {
	File     string   `json:"file"`
	Code     string   `json:"code"` // fingerprint
	Bytes    int      `json:"bytes"`
	Accepted bool     `json:"accepted"`
	Refusal  *refusal `json:"refusal,omitempty"`

	Class      string   `json:"class,omitempty"`
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

	err error
}

// refusal says why a module is not accepted.
type refusal struct {
	Text   string `json:"text"`
	Offset int    `json:"offset"` // byte in the module; -1: it is not about a byte
	Where  string `json:"where,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

func checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "check FILE...", Short: "Show what nodes would say to a module", Args: cobra.MinimumNArgs(1),
		Long: `Puts modules (FILE.wasm), or all modules of a protocol (its YAML file, or the directory it is in), through the gate that
stands before every node's engine, and shows what they import and need, or why and at which byte they are refused.`,
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
				r.print(cmd.OutOrStdout())
			}
			return failed.Err()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
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
	r := &report{File: file, Code: ants.CodeIDOf(code).String(), Bytes: len(code)}
	m, err := gate.Check(code, gateConfig())
	if err != nil {
		r.refuse(err)
		return r
	}
	r.Pages, r.MaxPages, r.Stack, r.Recursive = m.MemoryMin, m.MemoryMax, m.Stack, m.Recursive
	r.Imports = imports(m.Wasm)
	// The engine, which has the last word, also wants to see the records of the ABI.
	e, err := newEngine(nil)
	if err == nil {
		defer e.close()
		code, lerr := e.engine.Load(code, e.class, nil)
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
	}
}

// print writes r for people.
func (r *report) print(w io.Writer) {
	if !r.Accepted {
		fmt.Fprintf(w, "%s: refused\n", r.File)
		if g := r.Refusal; g.Offset >= 0 {
			var ge *gate.Error
			errors.As(r.err, &ge)
			fmt.Fprintf(w, "  why      %s\n  where    byte %#x of %d", ge.Msg, g.Offset, r.Bytes)
			if g.Where != "" {
				fmt.Fprintf(w, ", %s", g.Where)
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
	lim := gate.HandlerLimits()
	fmt.Fprintf(w, "%s: accepted\n", r.File)
	fmt.Fprintf(w, "  class    %s\n", r.Class)
	fmt.Fprintf(w, "  code     %s, %d bytes of at most %d\n", r.Code, r.Bytes, lim.Module)
	fmt.Fprintf(w, "  window   %d bytes, capsules with less than %d are not evaluated\n", r.WindowSize, r.WindowMin)
	switch {
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
