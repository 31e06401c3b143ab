package standard

import (
	"testing"

	"github.com/janos-os/janos/click/elementtest"
)

const tenElements = `InfiniteSource(LENGTH 64, BURST 32) -> Null -> Paint(1) -> Null -> Counter -> Null -> SetTimestamp -> Null
	-> Strip(14) -> Null -> Unstrip(14) -> c :: Counter -> Discard;`

const queues = `InfiniteSource(LENGTH 64, BURST 32) -> Queue(1024) -> Unqueue(32) -> c :: Counter -> Discard;`

func TestGraphsDoNotAllocate(t *testing.T) {
	for name, config := range map[string]string{
		"ten elements": tenElements, "queue": queues,
		"sorted": `InfiniteSource(LENGTH 64, BURST 32) -> RoundRobinSwitch => Paint(0), Paint(1), Paint(2) -> ps :: PaintSwitch => Null, Null, Null
			-> cl :: Classifier(12/0800, -) => Null, Null -> t :: Tee(2) -> c :: Counter -> Discard; t [1] -> RandomSample(0.5) -> Discard;`,
		"timed": `RatedSource(LENGTH 64, RATE 1000000) -> Queue(1024) -> LinkUnqueue(1ms, 1GBps) -> Queue -> DelayUnqueue(1ms)
			-> Queue -> Shaper(1000000) -> Discard;`,
		"switched": `InfiniteSource(LENGTH 64, BURST 32) -> HashSwitch(0, 4) -> StrideSwitch(1) -> RandomSwitch -> Bypass -> Pad(70) -> CheckLength(70) -> SetCRC32 -> CheckCRC32
			-> RatedSplitter(1000000) -> Suppressor -> RandomBitErrors(0.001) -> MixedQueue -> StrideSched(1) -> DRRSched -> PullSwitch -> Unqueue(16) -> h :: Hub -> Idle; Idle -> [1] h [1] -> Discard;`,
		"shaped":    `InfiniteSource(LENGTH 64, BURST 32) -> Align(8, 1) -> RED(50, 100, 0.1) -> FrontDropQueue(1024) -> DelayShaper(1us) -> RatedUnqueue(1000000) -> Discard;`,
		"scheduled": `a, b :: InfiniteSource; a, b => RoundRobinSched -> Unqueue(16) -> Discard;`,
	} {
		t.Run(name, func(t *testing.T) {
			if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
				t.Errorf("a turn allocates %v times", n)
			}
		})
	}
}

func BenchmarkTenElements(b *testing.B) {
	elementtest.Bench(b, tenElements, "c.count", elementtest.Options{})
}

func BenchmarkQueue(b *testing.B) { elementtest.Bench(b, queues, "c.count", elementtest.Options{}) }

func BenchmarkSourceSink(b *testing.B) {
	elementtest.Bench(b, `InfiniteSource(LENGTH 64, BURST 32) -> c :: Counter -> Discard;`, "c.count", elementtest.Options{})
}

func BenchmarkSourceSinkBurst1(b *testing.B) {
	elementtest.Bench(b, `InfiniteSource(LENGTH 64) -> c :: Counter -> Discard;`, "c.count", elementtest.Options{})
}
