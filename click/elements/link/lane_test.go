package link_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/linkmodel"
	"github.com/janos-os/janos/packet"
)

// departure is a packet, by the number in its first bytes, and when it left a link.
type departure struct {
	at clock.Time
	n  uint32
}

// Departures is an element that records what reaches it.
type Departures struct {
	click.Base
	list []departure
}

func init() {
	click.Register(click.Class{Name: "Departures", Ports: "1/0", Processing: "h", New: func() click.Element { return &Departures{} }, Doc: click.Doc{Group: "test"}})
}

// Configure implements click.Element.
func (e *Departures) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *Departures) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		d := p.Data()
		e.list = append(e.list, departure{e.Now(), uint32(d[0])<<16 | uint32(d[1])<<8 | uint32(d[2])})
	}
	e.Cache().FreeBatch(b)
}

// TestLinkIsALane gives the same arrivals, under a virtual clock, to the element and to the lane that laboratories use, changes
// both now and then, and wants the same departures, to the nanosecond, and the same losses of each kind.
func TestLinkIsALane(t *testing.T) {
	var carried, lost, full, down, direct int
	for seed := range uint64(40) {
		r := clock.NewRand(seed, 1)
		s, err := elementtest.New(t, "in :: ScriptIn -> l :: Link -> out :: Departures;", elementtest.Options{Rand: clock.NewRand(seed, 2)})
		if err != nil {
			t.Fatal(err)
		}
		in, out := s.Router.Element("in").(*elementtest.ScriptIn), s.Router.Element("out").(*Departures)
		own := clock.NewRand(seed, 2) // the router's, from which the link takes the seed of its own
		lane := linkmodel.NewLane(linkmodel.Impairment{}, clock.NewRand(own.Uint64(), own.Uint64()))
		var want []departure
		var wantLost, wantFull, wantDown int
		write := func(handler, value string) {
			if err := s.Router.Write("l."+handler, value); err != nil {
				t.Fatal(err)
			}
		}
		next := uint32(0)
		for range 300 {
			switch r.IntN(12) {
			case 0, 1:
				im := linkmodel.Impairment{Delay: time.Duration(r.IntN(3)) * time.Duration(r.IntN(2_000_000)), Queue: 1 + r.IntN(20)}
				rate := uint64(r.IntN(2) * (1 + r.IntN(5_000_000))) // bytes per second
				im.Rate = linkmodel.BitRate(8 * rate)
				if r.IntN(2) == 0 {
					im.Loss = 0.3
				}
				write("delay", strconv.Itoa(int(im.Delay))+"ns")
				write("loss", fmt.Sprint(im.Loss))
				write("rate", strconv.FormatUint(rate, 10))
				write("queue", strconv.Itoa(im.Queue))
				lane.Set(im)
			case 2:
				if r.IntN(4) > 0 {
					break
				}
				// What has not left by now is lost.
				k := len(want)
				for k > 0 && want[k-1].at > s.Clock.Now() {
					k--
				}
				wantDown += len(want) - k
				want = want[:k]
				write("down", "")
				lane.Reset()
				write("up", "")
			}
			now := s.Clock.Now()
			err := s.Router.Do(func() {
				b := in.Thread().Scratch()
				defer in.Thread().Release(b)
				for range r.IntN(min(30, b.Room())) {
					size := 3 + r.IntN(1498)
					text := fmt.Sprintf("hex %s zero %d", hex.EncodeToString([]byte{byte(next >> 16), byte(next >> 8), byte(next)}), size-3)
					p, err := elementtest.Build(in.Cache(), in.Owner(), text)
					if err != nil {
						t.Error(err)
						return
					}
					b.Append(p)
					switch at, v := lane.Offer(now, p.Len()); v {
					case linkmodel.Carried:
						want = append(want, departure{at, next})
						if at == now {
							direct++
						}
					case linkmodel.Lost:
						wantLost++
					case linkmodel.QueueFull:
						wantFull++
					}
					next++
				}
				in.Out(0).Push(b)
			})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Router.Read("l.length", ""); err != nil || got != strconv.Itoa(lane.Sending(now)) {
				t.Fatalf("seed %d at %d: %s packets wait or are being sent (%v), want %d", seed, now, got, err, lane.Sending(now))
			}
			// Often nothing passes, so that things happen at one time.
			if !s.Run(time.Duration(r.IntN(3)) * time.Duration(r.IntN(3_000_000))) {
				t.Fatal("the graph does not become idle")
			}
		}
		if !s.Run(time.Minute) {
			t.Fatal("the graph does not become idle")
		}
		for i := range max(len(want), len(out.list)) {
			w, g := departure{math.MaxInt64, 0}, departure{math.MaxInt64, 0}
			if i < len(want) {
				w = want[i]
			}
			if i < len(out.list) {
				g = out.list[i]
			}
			if w != g {
				t.Fatalf("seed %d: departure %d is packet %d at %d, want packet %d at %d", seed, i, g.n, g.at, w.n, w.at)
			}
		}
		drops, err := s.Router.Read("l.drop_details", "")
		if err != nil || drops != fmt.Sprintf("%d loss\n%d queue\n%d down\n", wantLost, wantFull, wantDown) {
			t.Fatalf("seed %d: drops (%v):\n%swant %d loss, %d queue, %d down", seed, err, drops, wantLost, wantFull, wantDown)
		}
		if n, err := s.Router.Read("l.drops", ""); err != nil || strings.TrimSpace(n) != strconv.Itoa(wantLost+wantFull+wantDown) {
			t.Errorf("seed %d: %s drops (%v), want %d", seed, n, err, wantLost+wantFull+wantDown)
		}
		carried, lost, full, down = carried+len(want), lost+wantLost, full+wantFull, down+wantDown
	}
	t.Logf("%d carried, %d of them at once; %d lost, %d found the queue full, %d were on a link that went down", carried, direct, lost, full, down)
	if min(carried, direct, lost, full, down) < 100 {
		t.Error("the arrivals do not reach what they are for")
	}
}
