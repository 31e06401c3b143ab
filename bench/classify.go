package bench

import (
	"fmt"
	"strings"

	"github.com/janos-os/janos/clock"
)

func init() {
	register(Scenario{Name: "graph-classify", Tier: "memory", Title: "IPFilter with ten and with 1,000 rules to four outputs",
		Text: graphText + " Rules are by destination network, by source network and destination port, by source host and by destination port in turn, and lead to four outputs. " +
			"Every packet was made for a rule chosen at random, so that in a list half of the rules would be tried; what no rule wants is dropped, and the run fails. A peer has the ten rules, and its packet fits the eleventh, which takes what is left.",
		Open: openClassify})
}

// ruleOf is a rule of the scenario and a packet that it, and no other one, is for.
func ruleOf(i int) (rule string, packet func(r *clock.Rand) []byte) {
	hi, lo := byte(i>>8), byte(i)
	make64 := func(src, dst [4]byte, dport uint16) func(*clock.Rand) []byte {
		return func(r *clock.Rand) []byte {
			return frame64(toMAC, fromMAC, src, dst, uint16(1024+r.IntN(60000)), dport)
		}
	}
	other := [4]byte{192, 0, 2, 1}
	switch i % 4 {
	case 0:
		return fmt.Sprintf("dst net 10.%d.%d.0/24", hi, lo), make64(other, [4]byte{10, hi, lo, 9}, 7)
	case 1:
		return fmt.Sprintf("src net 10.%d.%d.0/24 and udp dst port %d", hi, lo, 2000+i), make64([4]byte{10, hi, lo, 9}, other, uint16(2000+i))
	case 2:
		return fmt.Sprintf("src host 172.16.%d.%d", hi, lo), make64([4]byte{172, 16, hi, lo}, other, 7)
	}
	return fmt.Sprintf("udp dst port %d", 2000+i), make64(other, other, uint16(2000+i))
}

func forRules(n int) func(r *clock.Rand) [][]byte {
	return func(r *clock.Rand) [][]byte {
		fs := make([][]byte, distinct)
		for i := range fs {
			_, packet := ruleOf(r.IntN(n))
			fs[i] = packet(r)
		}
		return fs
	}
}

func classifyGraph(src string, n int, others string) string {
	var b strings.Builder
	for i := range n {
		rule, _ := ruleOf(i)
		fmt.Fprintf(&b, "%d %s,\n", i%4, rule)
	}
	return fmt.Sprintf(`%s -> MarkIPHeader(14) -> f :: IPFilter(%s %s all);
f[0] -> c :: Counter -> Discard; f[1] -> c; f[2] -> c; f[3] -> c;`, src, b.String(), others)
}

// classifyTrial is a graphTrial with the ratio of its rows.
type classifyTrial struct{ Trial }

func openClassify(e *Env) (Trial, error) {
	t, err := openGraph(classifyGraph("$SRC", 10, "0"), graphRow{"10 rules, burst 1", classifyGraph(benchSource(1), 10, "deny"), forRules(10)},
		graphRow{"10 rules, burst 32", classifyGraph(benchSource(32), 10, "deny"), forRules(10)}, graphRow{"1,000 rules, burst 1", classifyGraph(benchSource(1), 1000, "deny"), forRules(1000)},
		graphRow{"1,000 rules, burst 32", classifyGraph(benchSource(32), 1000, "deny"), forRules(1000)})(e)
	return classifyTrial{t}, err
}

// Measure implements Trial.
func (t classifyTrial) Measure(r *Round) error {
	if err := t.Trial.Measure(r); err != nil {
		return err
	}
	return r.Ratio("1,000 rules to 10 rules, burst 32", "1,000 rules, burst 32", "10 rules, burst 32")
}
