package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
)

// Bounds of what Tables follow. The kernel allows a program 64 maps; 50 of them are for this package (one for each shape, one for all filters, one for keys of shapes without
// a map), and 14 for what runs when a rule matches. A packet asks all mask shapes of the chains of layers that it has, each for about 2 ns.
const (
	MaxFilterShapes = 48 // mask shapes of one link
	MaxChainShapes  = 16 // mask shapes of one chain of layers
)

// A group is written out in the program, as instructions or as a table that does not change, while it has up to inlineMost keys, and gets a map beyond. It goes back
// when only inlineLeast are left, so that a group does not change its form with every key.
const (
	inlineMost  = 16
	inlineLeast = 4
)

// Tables keep the keys of one link's rules in maps of the kernel, one hash map for each mask shape, so that a key more or less of a shape that is there
// is one update of a map. A shape of a few keys is written out in the program instead, which is faster to ask; then another key makes another program.
//
// The life of Tables: Follow brings them up to a Program; where it says so, Code writes the instructions, which the owner loads, puts in the place of
// the old program and reports with Installed; Close forgets the maps, which the kernel keeps as long as a program uses them.
//
// A packet is judged by the rules before or those after each single change, while programs run and whatever they are doing:
//
//   - A new key of a map sets its bit in the filter that is asked before the map, then it enters the map.
//   - A key that goes leaves the map; its bit may stay a while.
//   - A key whose oldest rule goes or comes has its entry replaced by the kernel, which does not leave it without one. A program that looks at an entry at the moment at
//     which it gets another key notices that and looks again.
//   - All other changes make new maps, fill them, and take effect with the new program. The old program and its maps stay as they are.
//
// Tables are for one goroutine at a time.
type Tables struct {
	xdp     bool
	prog    *Program
	tabs    map[string]*tab
	inlined map[string]uint64 // version of the groups that are written out
	current bool              // the installed program is that of Code
	mul     [maxWords]uint64

	fixed map[string]*fixed // of those groups that are written out and have one
	fixes *ebpf.Map         // what they point into

	filter *ebpf.Map // one array of bits for each tab
	words  *sys.SharedWords

	most, least, few int // inlineMost, inlineLeast and fixedLeast
}

// tab is the map of a group.
type tab struct {
	bpfTable
	group *group // whose keys it has
	m     *ebpf.Map
	words *sys.SharedWords // the filters of all groups; nil: this has none yet
	size  int              // most entries
	nbits int              // of the filter
	stale int              // keys removed since the filter was made
}

// NewTables returns tables for programs of type XDP or, if xdp is not set, for socket filters and tc. It makes no maps yet.
func NewTables(xdp bool) *Tables {
	t := &Tables{xdp: xdp, tabs: map[string]*tab{}, inlined: map[string]uint64{}, fixed: map[string]*fixed{}, most: inlineMost, least: inlineLeast, few: fixedLeast}
	for i := range t.mul {
		t.mul[i] = rand.Uint64() | 1
	}
	return t
}

// Follow brings the tables up to p, in place where that is possible, and reports whether the program that is installed must be replaced by that of Code to make the rest of
// the changes take effect. It must be, too, if it was to be after the call before and Installed has not been called. The cost is that of the changes,
// if p was made from the program before with With or Without.
//
// On an error (errs.Limit with the rule that is too much, errs.NotSupported, or of the kernel) changes may have been made in part. A call with the program before
// undoes them.
func (t *Tables) Follow(p *Program) (replace bool, err error) {
	if p.base != Ether {
		return false, errs.New(errs.NotSupported, "demux: no filter for links whose frames begin with %s", p.base)
	}
	if err := t.check(p); err != nil {
		return false, err
	}
	t.prog = p
	seen := map[string]bool{}
	p.root.each(func(_ *node, g *group) {
		seen[g.name] = true
		if err == nil {
			err = t.follow(g)
		}
	})
	for name, b := range t.tabs {
		if !seen[name] {
			b.close()
			delete(t.tabs, name)
			t.current = false
		}
	}
	for name := range t.inlined {
		if !seen[name] {
			delete(t.inlined, name)
			t.current = false
		}
	}
	if err == nil && !t.current {
		err = t.layFilters()
	}
	if err == nil && !t.current {
		err = t.layFixed()
	}
	return !t.current, err
}

// layFixed makes a new map of the tables of groups that are written out. The old one stays with the program that runs.
func (t *Tables) layFixed() error {
	var data []byte
	kept := map[string]*fixed{}
	t.prog.root.each(func(_ *node, g *group) {
		if t.inlined[g.name] == 0 {
			return
		}
		f := t.fixed[g.name]
		if f == nil || f.forRev != g.version {
			f = newFixed(g, t.few)
		}
		if f != nil {
			kept[g.name] = f
			f.off = uint32(len(data))
			data = append(data, f.data...)
		}
	})
	t.fixed = kept
	t.dropFixed()
	if len(data) == 0 {
		return nil
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "janos_fixed", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(data)), MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("map for the keys of %d mask shapes: %w", len(kept), err)
	}
	if err := m.Put(uint32(0), data); err != nil {
		m.Close()
		return fmt.Errorf("writing the keys of %d mask shapes: %w", len(kept), err)
	}
	t.fixes = m
	for _, f := range kept {
		f.mapFD = m.FD()
	}
	return nil
}

func (t *Tables) dropFixed() {
	if t.fixes != nil {
		t.fixes.Close()
		t.fixes = nil
	}
}

// layFilters makes a new map of filters if there is a tab that has none. The old one stays with the program that runs.
func (t *Tables) layFilters() error {
	size, missing := 0, false
	for _, b := range t.tabs {
		size += b.nbits / 8
		missing = missing || b.words == nil
	}
	if !missing {
		return nil
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "janos_filters", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return fmt.Errorf("map for the filters of %d mask shapes: %w", len(t.tabs), err)
	}
	w, err := sys.MapSharedWords(m.FD(), size)
	if err != nil {
		m.Close()
		return err
	}
	t.dropFilters()
	t.filter, t.words = m, w
	off := 0
	for _, b := range t.tabs {
		b.words, b.filterFD, b.filterOff = w, m.FD(), uint32(off)
		b.refilter()
		off += b.nbits / 8
	}
	return nil
}

func (t *Tables) dropFilters() {
	if t.words != nil {
		t.words.Close()
		t.filter.Close()
		t.words, t.filter = nil, nil
	}
}

// check refuses programs beyond the bounds.
func (t *Tables) check(p *Program) error {
	all := p.Shapes()
	var over *group // a new one, if there is one among those that are too many
	what := ""
	p.root.each(func(n *node, g *group) {
		if over != nil && (t.tabs[g.name] != nil || t.inlined[g.name] != 0) {
			return
		}
		if len(n.groups) > MaxChainShapes {
			over, what = g, fmt.Sprintf("%d mask shapes on one protocol string", MaxChainShapes)
		} else if all > MaxFilterShapes {
			over, what = g, fmt.Sprintf("%d mask shapes on one link", MaxFilterShapes)
		}
	})
	if over == nil {
		return nil
	}
	return over.first.errorf("%w", errs.New(errs.Limit, "more than %s; use masks that other keys use", what))
}

// follow brings one group up.
func (t *Tables) follow(g *group) (err error) {
	keys := g.table.len()
	b := t.tabs[g.name]
	if keys <= t.least || b == nil && keys <= t.most {
		if b != nil {
			b.close()
			delete(t.tabs, g.name)
		}
		if t.inlined[g.name] != g.version {
			t.inlined[g.name] = g.version
			t.current = false
		}
		return nil
	}
	if b != nil && g.table.len() <= b.size {
		if err = b.update(g); err == nil {
			return nil
		}
	}
	if b != nil {
		b.close()
		delete(t.tabs, g.name)
	}
	delete(t.inlined, g.name)
	t.current = false
	if err != nil {
		return err
	}
	if b, err = t.newTab(g); err != nil {
		return err
	}
	t.tabs[g.name] = b
	return nil
}

// newTab makes the maps of a group and fills them.
func (t *Tables) newTab(g *group) (_ *tab, err error) {
	size := 64
	for size < 2*g.table.len() {
		size *= 2
	}
	b := &tab{size: size, nbits: size * filterBits / 2}
	b.mul = t.mul
	b.shift = 64 - bits.TrailingZeros(uint(b.nbits))
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "janos_keys", Type: ebpf.Hash, KeySize: uint32(8 * max(1, len(g.shape))), ValueSize: valueSize,
		MaxEntries: uint32(size), Flags: unix.BPF_F_NO_PREALLOC}); err != nil {
		return nil, fmt.Errorf("map for %d keys: %w", size, err)
	}
	b.mapFD = b.m.FD()
	tb := &g.table
	for _, s := range tb.slots {
		if s == 0 {
			continue
		}
		id, age := tb.rule(int(s - 1))
		if err := b.put(tb.key(int(s-1)), id, age); err != nil {
			return nil, err
		}
	}
	b.group = g
	return b, nil
}

// hash is that of the generated program.
func (b *tab) hash(key []uint64) (h uint64) {
	for i, w := range key {
		h += littleWord(w) * b.mul[i]
	}
	return h
}

// bit is the place of a hash in the filter.
func (b *tab) bit(h uint64) uint64 { return (h ^ h<<mixShift) >> b.shift }

// word is the one of the filter that has a bit.
func (b *tab) word(bit uint64) *atomic.Uint64 { return b.words.At(int(b.filterOff) + int(bit/64*8)) }

func (b *tab) bytes(key []uint64) []byte {
	k := make([]byte, 0, 8*maxWords)
	for _, w := range key {
		k = binary.BigEndian.AppendUint64(k, w)
	}
	return k[:max(8, len(k))]
}

// put enters a key or replaces its rule.
func (b *tab) put(key []uint64, id uint32, age uint64) error {
	h := b.hash(key)
	if b.words != nil {
		bit := b.bit(h)
		w := b.word(bit)
		w.Store(w.Load() | 1<<(bit%64)) // nobody else writes
	}
	var v [valueSize]byte
	binary.NativeEndian.PutUint64(v[valueAge:], age)
	binary.LittleEndian.PutUint32(v[valueID:], id)
	binary.LittleEndian.PutUint32(v[valueID+4:], uint32(h>>32))
	if err := b.m.Put(b.bytes(key), v[:]); err != nil {
		return fmt.Errorf("entering a demux key: %w", err)
	}
	return nil
}

func (b *tab) remove(key []uint64) error {
	if err := b.m.Delete(b.bytes(key)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("removing a demux key: %w", err)
	}
	b.stale++
	return nil
}

// update makes of the keys of b those of g.
func (b *tab) update(g *group) error {
	if b.group.version == g.version {
		return nil
	}
	old := b.group
	b.group = g
	if g.from == old.version {
		for _, c := range g.changes {
			if err := b.apply(c); err != nil {
				return err
			}
		}
	} else if err := b.diff(&old.table, &g.table); err != nil {
		return err
	}
	if b.words != nil && b.stale > 8+g.table.len()/4 {
		b.refilter()
	}
	return nil
}

func (b *tab) apply(c change) error {
	if c.gone {
		return b.remove(c.key)
	}
	return b.put(c.key, c.id, c.age)
}

// diff turns the keys of old into those of t. What comes is first, so that a key that goes over to another rule is never without one.
func (b *tab) diff(old, t *table) error {
	for _, s := range t.slots {
		if s == 0 {
			continue
		}
		key := t.key(int(s - 1))
		id, age := t.rule(int(s - 1))
		if was, ok := old.get(key, hash(key)); ok {
			if i, a := old.rule(was); i == id && a == age {
				continue
			}
		}
		if err := b.put(key, id, age); err != nil {
			return err
		}
	}
	for _, s := range old.slots {
		if s == 0 {
			continue
		}
		key := old.key(int(s - 1))
		if _, ok := t.get(key, hash(key)); ok {
			continue
		}
		if err := b.remove(key); err != nil {
			return err
		}
	}
	return nil
}

// refilter makes the filter anew. Bits of keys that are there stay set all the time.
func (b *tab) refilter() {
	t := &b.group.table
	words := make([]uint64, b.nbits/64)
	for _, s := range t.slots {
		if s != 0 {
			bit := b.bit(b.hash(t.key(int(s - 1))))
			words[bit/64] |= 1 << (bit % 64)
		}
	}
	for i, w := range words {
		b.word(uint64(64 * i)).Store(w)
	}
	b.stale = 0
}

func (b *tab) close() {
	if b.m != nil {
		b.m.Close()
	}
}

// Code writes the program of the rules that the last Follow was called with. It runs match when some rule matches, as [Program.Match] has it, and miss
// otherwise. Both must end in a return, find the context in R6, and may use the whole stack. In match R7 is the number of the rule, R8 the offset in the packet of
// the payload that Match would pull to, and R9 that of its end. A VLAN tag that the kernel has taken out of an skb's data counts as if it were there, but the
// offsets are without it; XDP sees tags only where they are in the data. The program uses the maps, so it must be loaded before the next call of Follow or Close.
func (t *Tables) Code(match, miss asm.Instructions) (asm.Instructions, error) {
	if t.prog == nil {
		return nil, errs.New(errs.Internal, "demux: tables that follow no program")
	}
	return t.prog.filter(t.xdp, match, miss, func(g *group) (*bpfTable, *fixed) {
		if b := t.tabs[g.name]; b != nil {
			return &b.bpfTable, nil
		}
		return nil, t.fixed[g.name]
	})
}

// Installed says that the program that Code wrote last runs instead of the one before.
func (t *Tables) Installed() { t.current = true }

// Close forgets the maps. A program that still runs keeps its own.
func (t *Tables) Close() error {
	for name, b := range t.tabs {
		b.close()
		delete(t.tabs, name)
	}
	t.dropFilters()
	t.dropFixed()
	t.current = false
	return nil
}
