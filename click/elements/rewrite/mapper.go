package rewrite

import (
	"errors"
	"fmt"
	"sort"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "IPRewriterPatterns", Ports: "0/0", Processing: "a", New: func() click.Element { return &Patterns{} },
		Doc: click.Doc{
			Group: "rewrite", Title: "patterns that several rewriters share",
			Text:    "Rewriters and mappers of the whole configuration may write NAME instead of a pattern; those that do choose ports and addresses from it in turn.",
			Args:    []string{"<PATTERN>...: NAME and a pattern as IPRewriter describes it: SADDR SPORT DADDR DPORT, or SADDR DADDR. A name may be given once in a configuration."},
			Example: "IPRewriterPatterns(out 1.0.0.1 1024-65535 - -); rw :: IPRewriter(pattern out 0 1, drop);", See: []string{"IPRewriter", "RoundRobinIPMapper"},
		},
	})
	click.Register(click.Class{
		Name: "RoundRobinIPMapper", Ports: "0/0", Processing: "a", New: func() click.Element { return &RoundRobin{} },
		Doc: click.Doc{
			Group: "rewrite", Title: "gives new flows to patterns in turn",
			Text:    "A rewriter whose INPUTSPEC is the name of this element asks it about new flows. It tries its patterns in turn, beginning behind the one that was used last, and takes the first that has a mapping to give. Packets of known flows never get here, so a flow stays with its pattern.",
			Args:    []string{"<PATTERN>...: A pattern and its two outputs as in IPRewriter, without the word pattern: SADDR SPORT DADDR DPORT FOUTPUT ROUTPUT, or NAME FOUTPUT ROUTPUT."},
			Example: "servers :: RoundRobinIPMapper(- - 10.0.0.2 - 0 1, - - 10.0.0.3 - 0 1); rw :: IPRewriter(servers, drop);", See: []string{"IPRewriter", "SourceIPHashMapper"},
		},
	})
	click.Register(click.Class{
		Name: "SourceIPHashMapper", Ports: "0/0", Processing: "a", New: func() click.Element { return &SourceHash{} },
		Doc: click.Doc{
			Group: "rewrite", Title: "gives new flows to patterns by their source address",
			Text: "Like RoundRobinIPMapper, but all flows of a source address go to the same pattern. The patterns have numbers, by which they are spread over a ring (consistent hashing): if one is added or removed, only " +
				"the addresses next to it move. When the pattern of an address has no mapping to give, the next one on the ring is tried.",
			Args: []string{
				"<NNODES SEED>: Into how many places of the ring each pattern is put, from 1 to 1024, and a number that decides where.",
				"<PATTERN>...: A pattern, its two outputs, and its number: SADDR SPORT DADDR DPORT FOUTPUT ROUTPUT ID, or NAME FOUTPUT ROUTPUT ID. An ID is not negative.",
			},
			Example: "servers :: SourceIPHashMapper(50 17, - - 10.0.0.2 - 0 1 1, - - 10.0.0.3 - 0 1 2); rw :: IPRewriter(servers, drop);", See: []string{"IPRewriter", "RoundRobinIPMapper"},
		},
	})
}

// Patterns are shared patterns.
type Patterns struct {
	click.Base
	byName map[string]*pattern
}

// ConfigurePhase makes the names known before elements that use them are configured.
func (*Patterns) ConfigurePhase() int { return click.PhaseInfo + 1 }

// Configure implements click.Element.
func (e *Patterns) Configure(a *click.Args) {
	e.byName = map[string]*pattern{}
	for _, arg := range a.List() {
		w := lang.SplitWords(arg)
		if len(w) == 0 {
			continue
		}
		if _, err := findPattern(e.Router(), w[:1], a); err == nil {
			a.Errorf("pattern '%s' already defined", w[0])
			continue
		}
		p, err := parsePattern(w[1:], a)
		if err != nil {
			a.Errorf("%v", err)
			continue
		}
		e.byName[w[0]] = p
	}
}

// RoundRobin tries patterns in turn.
type RoundRobin struct {
	click.Base
	specs []spec
	next  int
}

// Configure implements click.Element.
func (e *RoundRobin) Configure(a *click.Args) {
	e.specs, _ = parseChoices(e.Router(), a, a.List(), false)
}

// parseChoices reads the patterns of a mapper, which begin with none of the words that IPRewriter's have, and with ids end with a number.
func parseChoices(r *click.Router, a *click.Args, args []string, ids bool) (list []spec, numbers []int) {
	switch len(args) {
	case 0:
		a.Errorf("no patterns given")
	case 1:
		a.Messagef("warning: only one pattern given")
	}
	for _, arg := range args {
		w := lang.SplitWords(arg)
		id := 0
		if ids && len(w) > 0 {
			n, err := strconv.ParseUint(w[len(w)-1], 10, 31)
			if err != nil {
				a.Errorf("bad server ID in pattern spec")
				continue
			}
			id, w = int(n), w[:len(w)-1]
		}
		if len(w) < 3 || len(w) > 6 {
			a.Errorf("%v", errSyntax)
			continue
		}
		p, err := findPattern(r, w[:len(w)-2], a)
		s := spec{kind: specPattern, pattern: p}
		if err == nil {
			s.forward, s.reply, err = parseOutputs(w[len(w)-2:])
		}
		if err != nil {
			a.Errorf("%v", err)
			continue
		}
		list, numbers = append(list, s), append(numbers, id)
	}
	return list, numbers
}

func checkChoices(list []spec, m *click.Base, e *rewriter) (errs []error) {
	for i := range list {
		err := e.fits(list[i].pattern)
		if list[i].forward >= e.Outputs() || list[i].reply >= e.Outputs() {
			err = errRange
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w in %s :: %s pattern %d", err, m.Name(), m.Class().Name, i))
		}
	}
	return errs
}

func (e *RoundRobin) checkOutputs(rw *rewriter) []error { return checkChoices(e.specs, &e.Base, rw) }

func (e *RoundRobin) choose(rw *rewriter, k key) (rev key, forward, reply int, ok bool) {
	for range e.specs {
		s := &e.specs[e.next]
		e.next = (e.next + 1) % len(e.specs)
		if rev, ok = s.pattern.apply(rw, k); ok {
			return rev, s.forward, s.reply, true
		}
	}
	return key{}, 0, 0, false
}

// Inherit implements click.Inheritor.
func (e *RoundRobin) Inherit(old click.Element) error {
	if o, ok := old.(*RoundRobin); ok && len(e.specs) == len(o.specs) {
		e.next = o.next
	}
	return nil
}

// SourceHash chooses patterns by source address.
type SourceHash struct {
	click.Base
	specs []spec
	ring  []node // by place
	seed  uint64
}

type node struct {
	place uint64
	spec  int
}

// mix spreads a number over 64 bits (the finalizer of MurmurHash3). Places must not change between runs, so that several gateways agree.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Configure implements click.Element.
func (e *SourceHash) Configure(a *click.Args) {
	args := a.List()
	if len(args) == 0 {
		a.Errorf("no hash seed given")
		return
	}
	var nodes, seed uint64
	w := lang.SplitWords(args[0])
	err := errors.New("requires 2 config params: numnodes seed")
	if len(w) == 2 {
		if err = click.Uint64(&nodes)(w[0], nil); err != nil || nodes < 1 || nodes > 1024 {
			err = errors.New("number of nodes must be an integer from 1 to 1024")
		} else if err = click.Uint64(&seed)(w[1], nil); err != nil {
			err = errors.New("hash seed must be an integer")
		}
	}
	if err != nil {
		a.Errorf("%v", err)
	}
	var ids []int
	e.specs, ids = parseChoices(e.Router(), a, args[1:], true)
	e.seed = mix(seed)
	if !a.OK() {
		return
	}
	for i, id := range ids {
		for n := range nodes {
			e.ring = append(e.ring, node{mix(e.seed ^ mix(uint64(id)<<32|n)), i})
		}
	}
	sort.Slice(e.ring, func(i, j int) bool {
		return e.ring[i].place < e.ring[j].place || e.ring[i].place == e.ring[j].place && e.ring[i].spec < e.ring[j].spec
	})
}

func (e *SourceHash) checkOutputs(rw *rewriter) []error { return checkChoices(e.specs, &e.Base, rw) }

func (e *SourceHash) choose(rw *rewriter, k key) (rev key, forward, reply int, ok bool) {
	at := mix(e.seed + uint64(k.src()))
	start := sort.Search(len(e.ring), func(i int) bool { return e.ring[i].place >= at })
	last := -1
	for i := range e.ring {
		n := e.ring[(start+i)%len(e.ring)].spec
		if n == last {
			continue
		}
		last = n
		s := &e.specs[n]
		if rev, ok = s.pattern.apply(rw, k); ok {
			return rev, s.forward, s.reply, true
		}
	}
	return key{}, 0, 0, false
}
