package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Comparison is two reports beside each other.
type Comparison struct {
	Machines []string `json:"machines_differ,omitempty"` // in what; absolute figures are then not comparable
	Rows     []Delta  `json:"rows"`
	OnlyA    []string `json:"only_a,omitempty"` // "scenario metric"
	OnlyB    []string `json:"only_b,omitempty"`
}

// Delta is one metric of both reports.
type Delta struct {
	Scenario string  `json:"scenario"`
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	A        Summary `json:"a"`
	B        Summary `json:"b"`
	Ratio    float64 `json:"ratio"` // median of B through median of A; 0 where that of A is 0
	// Yardsticks is Ratio of the figures as multiples of the yardstick, which leaves out how fast the machine was at the time; 0: not known.
	Yardsticks float64 `json:"ratio_yardsticks,omitempty"`
	Overlap    bool    `json:"overlap"` // the ranges from least to greatest have something in common: no difference is shown
	Verdict    string  `json:"verdict"` // "better", "worse", "same" (ranges overlap) or "bounded" (one of the two is no true value)
}

// Compare sets the metrics of b against those of a. Metrics are the same when scenario, name and unit are.
func Compare(a, b *Report) *Comparison {
	c := &Comparison{Rows: []Delta{}}
	if len(a.Results) > 0 && len(b.Results) > 0 {
		c.Machines = a.Results[0].Machine.differs(&b.Results[0].Machine)
	}
	type key struct{ scenario, name, unit string }
	index := func(r *Report) (order []key, by map[key]*Metric) {
		by = make(map[key]*Metric)
		for i := range r.Results {
			res := &r.Results[i]
			for j := range res.Metrics {
				k := key{res.Scenario, res.Metrics[j].Name, res.Metrics[j].Unit}
				if by[k] == nil {
					order = append(order, k)
				}
				by[k] = &res.Metrics[j]
			}
		}
		return order, by
	}
	orderA, inA := index(a)
	orderB, inB := index(b)
	for _, k := range orderA {
		x, y := inA[k], inB[k]
		if y == nil {
			c.OnlyA = append(c.OnlyA, k.scenario+" "+k.name)
			continue
		}
		d := Delta{Scenario: k.scenario, Metric: k.name, Unit: k.unit, A: x.Summary, B: y.Summary, Overlap: x.Min <= y.Max && y.Min <= x.Max}
		if x.Median != 0 {
			d.Ratio = y.Median / x.Median
		}
		if x.Yardsticks != nil && y.Yardsticks != nil && x.Yardsticks.Median != 0 {
			d.Yardsticks = y.Yardsticks.Median / x.Yardsticks.Median
		}
		switch {
		case x.Bound != "" || y.Bound != "":
			d.Verdict = "bounded"
		case d.Overlap:
			d.Verdict = "same"
		case (y.Median < x.Median) == LowerIsBetter(k.unit):
			d.Verdict = "better"
		default:
			d.Verdict = "worse"
		}
		c.Rows = append(c.Rows, d)
	}
	for _, k := range orderB {
		if inA[k] == nil {
			c.OnlyB = append(c.OnlyB, k.scenario+" "+k.name)
		}
	}
	return c
}

// Text writes the comparison as people read it.
func (c *Comparison) Text(w io.Writer) error {
	if len(c.Machines) > 0 {
		fmt.Fprintf(w, "the machines differ in %s: compare ratios and multiples of the yardstick, not absolute figures\n", strings.Join(c.Machines, ", "))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "scenario\tmetric\tA\tB\tunit\tB/A\tin yardsticks\tranges\t")
	for _, d := range c.Rows {
		ratio, yards, ranges := "-", "-", "apart"
		if d.Ratio != 0 && !math.IsInf(d.Ratio, 0) {
			ratio = fmt.Sprintf("%.3f", d.Ratio)
		}
		if d.Yardsticks != 0 {
			yards = fmt.Sprintf("%.3f", d.Yardsticks)
		}
		if d.Overlap {
			ranges = "overlap"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Scenario, d.Metric, Figure(d.A.Median), Figure(d.B.Median), d.Unit, ratio, yards, ranges, d.Verdict)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, o := range []struct {
		name string
		list []string
	}{{"A", c.OnlyA}, {"B", c.OnlyB}} {
		if len(o.list) > 0 {
			fmt.Fprintf(w, "only in %s: %s\n", o.name, strings.Join(o.list, "; "))
		}
	}
	return nil
}
