package nodeos

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// gaps is a task that is always runnable and notes how long after each other its runs begin.
type gaps struct {
	last   clock.Time
	wait   int64 // nanoseconds that the thread was runnable and others had the processor
	stat   *os.File
	buf    [64]byte
	list   []int64
	batch  packet.Batch
	record atomic.Bool
}

func (g *gaps) Run(b Budget) Used {
	if g.stat == nil {
		g.stat, _ = os.Open("/proc/thread-self/schedstat")
	}
	wait := g.wait
	if n, err := g.stat.ReadAt(g.buf[:], 0); n > 0 || err == nil {
		f := bytes.Fields(g.buf[:n])
		wait, _ = strconv.ParseInt(string(f[1]), 10, 64)
	}
	gap := int64(b.Now.Sub(g.last)) - (wait - g.wait)
	if g.last != 0 && g.record.Load() && len(g.list) < cap(g.list) {
		g.list = append(g.list, max(gap, 0))
	}
	g.last, g.wait = b.Now, wait
	c := b.Worker.Cache()
	for range 4 { // about what a batch of packets takes
		c.AllocBatch(packet.Node, &g.batch, 64)
		for _, p := range g.batch.Packets() {
			clear(p.Put(64))
		}
		c.FreeBatch(&g.batch)
	}
	return Used{Packets: 256, Next: More}
}

// slow is a link whose claims take as long as a kernel's.
type slow struct {
	pipe
	mu sync.Mutex
}

func (l *slow) Claim(Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	time.Sleep(time.Millisecond)
	return nil
}

// BenchmarkGap reports how long a loaded worker was away from its tasks: the time between two runs of one that is always
// runnable, less what other processes had of the processor, as /proc says. "worst" is of the worst gap in each
// 10 ms of such time.
func BenchmarkGap(b *testing.B) {
	for _, v := range []struct {
		name  string
		churn func(n *Node, stop *atomic.Bool)
	}{
		{"quiet", func(*Node, *atomic.Bool) {}},
		{"gc", func(_ *Node, stop *atomic.Bool) {
			var keep [1024][]*int
			for i := 0; !stop.Load(); i++ {
				p := make([]*int, 1024)
				for k := range p {
					p[k] = new(int)
				}
				keep[i%len(keep)] = p
				runtime.Gosched()
			}
		}},
		{"domains", func(n *Node, stop *atomic.Bool) {
			for i := 0; !stop.Load(); i++ {
				d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("c", i)}})
				if err == nil {
					_, err = d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":9", HandOffOnly: true})
				}
				if err != nil {
					b.Error(err)
					return
				}
				d.Terminate(nil)
				<-d.Done()
			}
		}},
		{"channels", func(n *Node, stop *atomic.Bool) {
			for i := 0; !stop.Load(); i++ {
				d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("c", i)}})
				if err == nil {
					_, err = d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: fmt.Sprintf(":%d", 1+i%60000)})
				}
				if err != nil {
					b.Error(err)
					return
				}
				n.Worker(0).Post(func() { d.Terminate(nil) }) // as for an over-bound run
				<-d.Done()
			}
		}},
	} {
		b.Run(v.name, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // workers + 2, as a node's daemon does
			n := live(b, 1)
			if err := n.AddLink(&slow{pipe: pipe{info: LinkInfo{Name: "eth0", Number: 1, Base: demux.Ether, MTU: 1500}}}, 0); err != nil {
				b.Fatal(err)
			}
			g := &gaps{list: make([]int64, 0, 1<<20)}
			task, err := domain(b, n.Root(), "load", 0).NewTask(TaskSpec{Name: "load", Worker: 0, Run: g})
			if err != nil {
				b.Fatal(err)
			}
			task.Wake()
			var stop atomic.Bool
			var wg sync.WaitGroup
			wg.Add(1)
			go func() { defer wg.Done(); v.churn(n, &stop) }()
			b.ResetTimer()
			g.record.Store(true)
			time.Sleep(time.Duration(b.N) * 10 * time.Millisecond)
			g.record.Store(false)
			stop.Store(true)
			wg.Wait()
			n.Worker(0).Call(func() { task.Close() })
			g.stat.Close()
			var worst []int64
			span, most := int64(0), int64(0)
			for _, t := range g.list {
				span += t
				if most = max(most, t); span >= 10e6 {
					worst = append(worst, most)
					span, most = 0, 0
				}
			}
			for name, list := range map[string][]int64{"gap": g.list, "worst": worst} {
				slices.Sort(list)
				if len(list) > 0 {
					b.ReportMetric(float64(list[len(list)/2])/1e3, name+"-p50-us")
					b.ReportMetric(float64(list[len(list)*99/100])/1e3, name+"-p99-us")
					b.ReportMetric(float64(list[len(list)-1])/1e3, name+"-max-us")
				}
			}
		})
	}
}
