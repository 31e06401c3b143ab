package capsulecmd

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm"
)

// runSpec is what run was asked for.
type runSpec struct {
	links    string
	capsules []string
	pcap     string
	node     string
	fuel     uint64
	memory   int
	max      int
	json     bool
	quiet    bool
	record   string
}

func runCommand() *cobra.Command {
	var s runSpec
	c := &cobra.Command{
		Use: "run FILE", Short: "Evaluate capsules on a network in this process, and show what they do", Args: cobra.ExactArgs(1),
		Long: `Evaluates capsules of a module (FILE.wasm) or of a protocol (its YAML file or directory), hop by hop, and shows for each
evaluation the verdict, the fuel, the window before and after, changes of soft state, and what is sent.

The network is given by --links: pairs of node addresses, such as 10.255.0.1-10.255.0.2, with commas between them; a
number N stands for 10.255.0.N. Every node routes by the least number of hops.

Each --capsule is injected in turn, after the one before has come to its end, with settings separated by commas:

  class=NAME     which class (the first)
  from=NODE      where it is injected (the first node of --links)
  to=NODE        its destination (the last node of --links)
  data=HEX       class-specific bytes (zeros, as many as the class wants at least)
  size=N         zeros behind data up to N bytes
  count=N        so many capsules, one second apart (1)
  seq=OFFSET     the number of the capsule, from 1, is written at OFFSET in 4 bytes
  ttl=N          hops (64)
  credit=N       work that it may cause (TTL + 1)
  at=SECONDS     time of the first, if it is later than the present

With --pcap the capsules come from a capture file instead and each is evaluated once, at --node or at its destination.`,
		Example: `  janos capsule run ping.wasm
  janos capsule run multicast --links 1-2,2-3,2-4 --capsule class=subscribe,from=3,to=1,data=0000000a0aff0001 \
    --capsule class=data,from=1,to=1,data=0000000a0aff0001,seq=8,size=12`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := load(args[0])
			if err != nil {
				return err
			}
			return run(cmd.OutOrStdout(), p, &s)
		},
	}
	f := c.Flags()
	f.StringVar(&s.links, "links", "1-2,2-3", "the network")
	f.StringArrayVar(&s.capsules, "capsule", []string{""}, "a capsule to inject; may be repeated")
	f.StringVar(&s.pcap, "pcap", "", "evaluate the capsules of a capture file (pcap)")
	f.StringVar(&s.node, "node", "", "with --pcap: evaluate them all at this node")
	f.Uint64Var(&s.fuel, "fuel", vm.DefaultBudget, "fuel of an evaluation")
	f.IntVar(&s.memory, "memory", 512, "KiB of memory for the protocol's classes together; 0: no limit")
	f.IntVar(&s.max, "max", 1000, "stop after so many evaluations")
	f.BoolVar(&s.json, "json", false, "print a JSON object for each evaluation")
	f.StringVar(&s.record, "record", "", "write a recording of each evaluation for janos capsule debug to this directory, as 1.json and so on")
	f.BoolVar(&s.quiet, "quiet", false, "print one line for each evaluation")
	return c
}

// run does what the command does.
func run(w io.Writer, p *protocol, s *runSpec) error {
	if s.memory < 0 || s.memory > 1<<20 || s.max < 1 || s.fuel < 1 || s.fuel > 1<<40 {
		return errs.New(errs.Invalid, "--memory %d, --max %d, --fuel %d: want 0 to 1048576, at least 1, and 1 to %d", s.memory, s.max, s.fuel, uint64(1)<<40)
	}
	n, err := newNetwork(s.links)
	if err != nil {
		return err
	}
	n.budget, n.max = s.fuel, s.max
	if n.engine, err = newEngine(n); err != nil {
		return err
	}
	defer n.engine.close()
	n.engine.memory = int64(s.memory) << 10
	if n.recordings = s.record; s.record != "" {
		if err := os.MkdirAll(s.record, 0o777); err != nil {
			return errs.New(errs.Permission, "--record: %w", err)
		}
	}
	for _, c := range p.classes {
		in, err := n.engine.load(c.code)
		if err != nil {
			return fmt.Errorf("%s: class %s is not accepted: %w", c.file, c.name, err)
		}
		n.classes = append(n.classes, &liveClass{class: c, in: in})
	}
	var t total
	print := func(st *step) { printStep(w, st) }
	switch {
	case s.json:
		e := json.NewEncoder(w)
		print = func(st *step) { e.Encode(st) }
	case s.quiet:
		print = func(st *step) { printLine(w, st) }
	}
	n.record = func(st *step) {
		t.add(st)
		print(st)
	}
	if s.pcap != "" {
		err = n.capture(p, s.pcap, s.node)
	} else {
		for _, c := range s.capsules {
			if err = n.inject(s.links, c); err != nil {
				break
			}
		}
	}
	if !s.json && t.evaluations > 0 {
		t.print(w)
	}
	return err
}

// ends returns the first and the last node of a list of links.
func ends(links string) (first, last addr) {
	f := strings.FieldsFunc(links, func(r rune) bool { return r == '-' || r == ',' || r == ' ' })
	first, _ = parseAddr(f[0]) // newNetwork has parsed them all
	last, _ = parseAddr(f[len(f)-1])
	return first, last
}

// inject sends the capsules that text describes, each after the one before has come to its end.
func (n *network) inject(links, text string) error {
	bad := func(format string, args ...any) error {
		return errs.New(errs.Invalid, "capsule %q: %s", text, fmt.Sprintf(format, args...))
	}
	f := flight{class: n.classes[0], ttl: 64}
	f.to, f.dst = ends(links)
	var data []byte
	count, seq, size, at := 1, -1, -1, -1
	given := map[string]bool{}
	for _, field := range strings.Split(text, ",") {
		if field == "" {
			continue
		}
		name, v, _ := strings.Cut(field, "=")
		if given[name] {
			return bad("%s is there twice", name)
		}
		given[name] = true
		var err error
		num := func(p *int, least, most int) {
			if *p, err = strconv.Atoi(v); err != nil || *p < least || *p > most {
				err = fmt.Errorf("%s=%s: want a number from %d to %d", name, v, least, most)
			}
		}
		k := 0
		switch name {
		case "class":
			if f.class = n.classNamed(v); f.class == nil {
				err = fmt.Errorf("there is no class %q", v)
			}
		case "from":
			f.to, err = parseAddr(v)
		case "to":
			f.dst, err = parseAddr(v)
		case "data":
			if data, err = hex.DecodeString(v); err == nil && len(data) > maxData {
				err = fmt.Errorf("more than %d bytes", maxData)
			}
		case "size":
			num(&size, 0, maxData)
		case "count":
			num(&count, 1, 1_000_000)
		case "seq":
			num(&seq, 0, maxData-4)
		case "at":
			num(&at, 0, 1_000_000)
		case "ttl":
			num(&k, 0, 255)
			f.ttl = uint32(k)
		case "credit":
			num(&k, 1, 1<<30)
			f.credit = uint32(k)
		default:
			err = fmt.Errorf("unknown setting %q (there are class, from, to, data, size, count, seq, ttl, credit, at)", name)
		}
		if err != nil {
			return bad("%v", err)
		}
	}
	if n.nodes[f.to] == nil {
		return bad("node %s is not in --links", f.to)
	}
	if size < 0 {
		size = int(f.class.in.Code().Manifest().WindowMin)
	}
	if seq >= 0 {
		size = max(size, seq+4)
	}
	f.src = f.to
	if f.credit == 0 {
		f.credit = f.ttl + 1
	}
	f.at = max(n.now, time.Duration(at)*time.Second)
	for i := range count {
		f.data = make([]byte, max(size, len(data)))
		copy(f.data, data)
		if seq >= 0 {
			b := f.data[seq:]
			b[0], b[1], b[2], b[3] = byte((i+1)>>24), byte((i+1)>>16), byte((i+1)>>8), byte(i+1)
		}
		n.flying = append(n.flying, f)
		if err := n.run(); err != nil {
			return err
		}
		f.at = max(f.at+time.Second, n.now)
	}
	return nil
}

func (n *network) classNamed(name string) *liveClass {
	for _, c := range n.classes {
		if c.name == name || c.group != "" && c.group+"/"+c.name == name {
			return c
		}
	}
	return nil
}
