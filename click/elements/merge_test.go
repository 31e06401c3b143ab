package elements_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{Name: "TestNumbers", Ports: "0/1", Processing: "h", Merging: click.Merged, New: func() click.Element { return &numbers{} }, Doc: click.Doc{Group: "test"}})
	click.Register(click.Class{Name: "TestRecord", Ports: "1/1", Processing: "h", Merging: click.Merged, New: func() click.Element { return &record{} }, Doc: click.Doc{Group: "test"}})
}

// numbers pushes packets with its own number and a count.
type numbers struct {
	click.Base
	id, burst, limit, count int
	task                    *click.Task
	full                    *click.Signal
}

func (e *numbers) Configure(a *click.Args) {
	a.Parse(click.Must("ID", click.IntRange(&e.id, 0, 255)), click.Must("BURST", click.IntRange(&e.burst, 1, 64)), click.Must("LIMIT", click.IntRange(&e.limit, 0, 1<<20)))
}

func (e *numbers) Initialize() error {
	e.task = e.NewTask(e.run)
	e.full = e.DownstreamFull(0, e.task)
	e.task.Schedule()
	return nil
}

func (e *numbers) run() (int, bool) {
	if !e.full.Active() {
		return 0, false
	}
	n := min(e.task.Merge(e.burst), e.limit-e.count)
	b := e.Thread().Scratch()
	for range n {
		p := e.Cache().AllocFrom(e.Owner(), binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(e.id<<24|e.count)))
		p.Anno.Paint = byte(e.count * 7 >> 2)
		b.Append(p)
		e.count++
	}
	e.Out(0).Push(b)
	e.Thread().Release(b)
	return n, e.count < e.limit
}

// record remembers which packets came.
type record struct {
	click.Base
	seen []uint32
}

func (e *record) Configure(a *click.Args) { a.Parse() }

func (e *record) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		e.seen = append(e.seen, binary.BigEndian.Uint32(p.Data()))
	}
	e.Out(0).Push(b)
}

// randomGraph is a graph of sources, elements without side effects, queues, forks and places where ways meet.
func randomGraph(r *rand.Rand) string {
	var b strings.Builder
	var open []string
	n := 0
	name := func(class string) string {
		n++
		fmt.Fprintf(&b, "e%d :: %s;\n", n, class)
		return fmt.Sprintf("e%d", n)
	}
	for i := range 1 + r.IntN(3) {
		open = append(open, name(fmt.Sprintf("TestNumbers(%d, %d, 3000)", i, max(1, r.IntN(6)-2))))
	}
	for range 2 + r.IntN(6) {
		k := r.IntN(len(open))
		from := open[k]
		switch r.IntN(8) {
		case 0:
			q, u := name(fmt.Sprintf("Queue(%d)", 4+r.IntN(200))), name(fmt.Sprintf("Unqueue(%d)", 1+r.IntN(3)))
			fmt.Fprintf(&b, "%s -> %s -> %s;\n", from, q, u)
			open[k] = u
		case 1, 2:
			f := name([]string{"RoundRobinSwitch", "PaintSwitch", "Tee", "Classifier(3/01%01, -)", "Classifier(3/02%02, -)"}[r.IntN(5)])
			fmt.Fprintf(&b, "%s -> %s;\n", from, f)
			open[k] = f + "[0]"
			open = append(open, f+"[1]")
		case 3, 4:
			if len(open) > 1 {
				j := (k + 1) % len(open)
				to := name("Null")
				fmt.Fprintf(&b, "%s -> %s; %s -> %s;\n", from, to, open[j], to)
				open[k] = to
				open = slices.Delete(open, j, j+1)
			}
		case 5:
			to := name("CheckPaint(0)") // what it takes out goes before what passes
			fmt.Fprintf(&b, "%s -> %s;\n", from, to)
			open[k] = to
			open = append(open, to+"[1]")
		case 6:
			to := name("Counter")
			fmt.Fprintf(&b, "%s -> %s;\n", from, to)
			open[k] = to
		case 7:
			if r.IntN(3) == 0 { // nothing that it is connected with may be merged
				q, u := name("Queue(300)"), name("RatedUnqueue(1000000)")
				fmt.Fprintf(&b, "%s -> %s -> %s;\n", from, q, u)
				open[k] = u
			}
		}
	}
	for i, o := range open {
		fmt.Fprintf(&b, "%s -> r%d :: TestRecord -> Discard;\n", o, i)
	}
	return b.String()
}

// seen runs a graph and returns what each TestRecord saw, and how many runs were merged.
func seen(t *testing.T, config string, unmerged bool) (map[string][]uint32, uint64) {
	t.Helper()
	s, err := elementtest.New(t, config, elementtest.Options{Unmerged: unmerged})
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	for range 20_000 {
		if s.Node.Step() {
			continue
		}
		at := s.Node.NextEvent()
		if at > s.Clock.Now().Add(1e9) {
			break
		}
		s.Clock.AdvanceTo(at)
	}
	all := map[string][]uint32{}
	merged := uint64(0)
	for _, el := range s.Router.Elements() {
		switch e := el.(type) {
		case *record:
			all[e.Name()] = e.seen
		case *numbers:
			merged += e.task.Merged()
		}
	}
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames were leaked", n)
	}
	return all, merged
}

// Every element sees the same packets in the same order whether runs are merged or not.
func TestMergedRunsKeepTheOrder(t *testing.T) {
	graphs, merging, waiting := 150, 0, 0
	if testing.Short() {
		graphs = 30
	}
	for i := range graphs {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			config := randomGraph(rand.New(rand.NewPCG(7, uint64(i))))
			want, none := seen(t, config, true)
			got, merged := seen(t, config, false)
			if none != 0 {
				t.Fatal("runs were merged that should not be")
			}
			for name, w := range want {
				if g := got[name]; !slices.Equal(g, w) {
					k := 0
					for k < min(len(g), len(w)) && g[k] == w[k] {
						k++
					}
					t.Errorf("%s saw %d packets and should see %d, from number %d on others\n%s", name, len(g), len(w), k, config)
				}
			}
			if merged > 0 {
				merging++
			} else {
				waiting++
			}
		})
	}
	if merging < graphs/8 || waiting < graphs/8 {
		t.Errorf("%d graphs were merged and %d were not: the test says little", merging, waiting)
	}
}
