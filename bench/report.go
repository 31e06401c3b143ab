package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/janos-os/janos/errs"
)

// Schema names the form of a report in JSON. It changes when a field's meaning does.
const Schema = "janos-bench/1"

// maxReport is the largest file that ReadReport reads.
const maxReport = 64 << 20

// shared is the share of the machine above which others disturb what is measured.
const shared = 0.1

// Report is the outcome of a run.
type Report struct {
	Schema  string    `json:"schema"`
	Program string    `json:"program"`
	Started time.Time `json:"started"`
	Rounds  int       `json:"rounds"`
	Seed    uint64    `json:"seed"`
	Quick   bool      `json:"quick,omitempty"` // nothing in it is publishable
	Results []Result  `json:"results"`
}

// Result is what one scenario gave. It stands by itself: the machine is in each.
type Result struct {
	Scenario string   `json:"scenario"`
	Tier     string   `json:"tier"`
	Driver   string   `json:"driver,omitempty"`
	Machine  Machine  `json:"machine"`
	Skipped  string   `json:"skipped,omitempty"` // why it was not measured
	Notes    []string `json:"notes"`             // what was measured, with which driver, and what to know about it
	Metrics  []Metric `json:"metrics"`
}

// Encode writes the report as indented JSON.
func (r *Report) Encode(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// ReadReport reads a report from a file. One of another schema is errs.Invalid.
func ReadReport(path string) (*Report, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.NotFound, "report: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, errs.New(errs.Permission, "report: %w", err)
	case err != nil:
		return nil, errs.New(errs.Invalid, "report: %w", err)
	}
	defer f.Close()
	r := new(Report)
	if err := json.NewDecoder(io.LimitReader(f, maxReport)).Decode(r); err != nil {
		return nil, errs.New(errs.Invalid, "%s is no report of janos bench run --json: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, errs.New(errs.Invalid, "%s has schema %q, this program reads %q: measure again", path, r.Schema, Schema)
	}
	for _, res := range r.Results {
		for _, m := range res.Metrics {
			if len(m.Samples) == 0 {
				return nil, errs.New(errs.Invalid, "%s: %s, %s has no samples", path, res.Scenario, m.Name)
			}
		}
	}
	return r, nil
}

// Text writes the report as people read it.
func (r *Report) Text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Results) > 0 {
		m := &r.Results[0].Machine
		fmt.Fprintf(w, "%s, %s/%s, kernel %s, %s, %d cores%s\n", orUnknown(m.CPU), m.OS, m.Arch, orUnknown(m.Kernel), m.Go, m.Cores, governor(m))
		fmt.Fprintf(w, "load %.2f %.2f %.2f; during the run other processes had %.0f %% of the machine, a hypervisor %.0f %%\n",
			m.Load[0], m.Load[1], m.Load[2], 100*m.Others, 100*m.Stolen)
		fmt.Fprintf(w, "yardstick %s ns [%s to %s]; medians of %d rounds, [least to greatest]\n", Figure(m.Yardstick.Median), Figure(m.Yardstick.Min), Figure(m.Yardstick.Max), r.Rounds)
		if r.Quick {
			fmt.Fprintln(w, "a quick run: it shows that the scenarios work; quote no figure of it")
		}
		if m.Others+m.Stolen > shared {
			fmt.Fprintln(w, "the machine was shared: compare ratios of this run; absolute figures are too high, and tails say nothing")
		}
	}
	for _, res := range r.Results {
		driver := ""
		if res.Driver != "" {
			driver = ", driver " + res.Driver
		}
		fmt.Fprintf(tw, "\n%s (tier %s%s)\n", res.Scenario, res.Tier, driver)
		if res.Skipped != "" {
			fmt.Fprintf(tw, "  skipped: %s\n", res.Skipped)
			continue
		}
		for _, n := range res.Notes {
			for _, line := range wrap(n, 110) {
				fmt.Fprintf(tw, "  %s\n", line)
			}
		}
		for i, m := range res.Metrics {
			if strings.HasSuffix(m.Name, allocsSuffix) {
				continue // in the line of what allocates
			}
			v := fmt.Sprintf("%s %s\t[%s to %s]", Figure(m.Median), m.Unit, Figure(m.Min), Figure(m.Max))
			if m.Bound != "" {
				v = fmt.Sprintf("%s %s %s, %s-bound\t[%s to %s]", bounded(m.Unit), Figure(m.Median), m.Unit, m.Bound, Figure(m.Min), Figure(m.Max))
			}
			yard := ""
			if m.Yardsticks != nil {
				yard = Figure(m.Yardsticks.Median) + " yardsticks"
			}
			allocs := ""
			if i+1 < len(res.Metrics) && res.Metrics[i+1].Name == m.Name+allocsSuffix {
				allocs = Figure(res.Metrics[i+1].Median) + " allocs"
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", m.Name, v, yard, allocs)
		}
	}
	return tw.Flush()
}

// bounded says on which side of the figure the true value is.
func bounded(unit string) string {
	if LowerIsBetter(unit) {
		return "at most"
	}
	return "at least"
}

func governor(m *Machine) string {
	s := ""
	if m.Governor != "" {
		s = ", governor " + m.Governor
	}
	if m.Hypervisor {
		s += ", virtual machine"
	}
	return s
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Figure prints a number with three or four significant digits and no exponent.
func Figure(v float64) string {
	switch a := math.Abs(v); {
	case a == 0 || a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// wrap breaks text into lines of at most n bytes where it can.
func wrap(s string, n int) (lines []string) {
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// Skipped returns how many scenarios were not measured.
func (r *Report) Skipped() (n int) {
	for _, res := range r.Results {
		if res.Skipped != "" {
			n++
		}
	}
	return n
}
