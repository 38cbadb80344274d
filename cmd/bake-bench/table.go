package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// A row is one line of the results.
type row struct {
	Name string  `json:"name"`
	Got  float64 `json:"got"`
	Unit string  `json:"unit"`           // "s" or "MiB"
	Runs int     `json:"runs,omitempty"` // Got is the median of so many, if more than one

	// What Got is compared with, in Unit; "" and 0 where there is nothing.
	Than string  `json:"than,omitempty"`
	Base float64 `json:"base,omitempty"`

	// Limit is the highest ratio of Got to Base that meets the target or, in a
	// row with no Than, the highest Got. Zero means that there is no target.
	Limit float64 `json:"limit,omitempty"`

	Ratio float64 `json:"ratio,omitempty"` // set by finish
	Met   *bool   `json:"met,omitempty"`   // set by finish; nil where it cannot be told
}

// finish computes the ratio and whether the target is met.
func (r row) finish() row {
	value := r.Got
	if r.Than != "" {
		if r.Base <= 0 {
			return r
		}
		r.Ratio = r.Got / r.Base
		value = r.Ratio
	}
	if r.Limit > 0 {
		met := value <= r.Limit
		r.Met = &met
	}
	return r
}

// target says in words what the row should reach.
func (r row) target() string {
	switch {
	case r.Limit == 0:
		return ""
	case r.Than == "":
		return "≤ " + quantity(r.Limit, r.Unit)
	case r.Limit <= 0.1:
		return fmt.Sprintf("≤ 1/%.0f", 1/r.Limit)
	}
	return "≤ " + strconv.FormatFloat(r.Limit, 'g', 4, 64)
}

// ratio is written as a fraction where it is small, as targets are.
func (r row) ratio() string {
	switch {
	case r.Ratio == 0:
		return ""
	case r.Ratio <= 0.1:
		return fmt.Sprintf("1/%.0f", 1/r.Ratio)
	}
	return fmt.Sprintf("%.2f", r.Ratio)
}

func (r row) verdict() string {
	switch {
	case r.Met == nil && r.Limit > 0:
		return "unknown"
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	}
	return "MISSED"
}

func (r row) than() string {
	switch {
	case r.Than == "":
		return ""
	case r.Base <= 0:
		return r.Than + " (no figure)"
	}
	return r.Than + " " + quantity(r.Base, r.Unit)
}

func (r row) runs() string {
	if r.Runs > 1 {
		return fmt.Sprintf("median of %d", r.Runs)
	}
	return ""
}

// quantity writes v with as many digits as its size deserves.
func quantity(v float64, unit string) string {
	digits := 3
	switch {
	case v >= 100:
		digits = 0
	case v >= 10:
		digits = 1
	case v >= 1:
		digits = 2
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}

// writeTable prints rows as aligned columns and the notes below them.
func writeTable(w io.Writer, rows []row, notes []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEASUREMENT\tRESULT\tRUNS\tCOMPARED WITH\tRATIO\tTARGET\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Name, quantity(r.Got, r.Unit), r.runs(), r.than(), r.ratio(), r.target(), r.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, "note:", n); err != nil {
			return err
		}
	}
	return nil
}

// median returns the middle of values, which are not empty.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// medianSeconds returns the median time of runs.
func medianSeconds(runs []usage) float64 {
	var s []float64
	for _, u := range runs {
		s = append(s, u.wall.Seconds())
	}
	return median(s)
}

// largestPeak returns the largest resident size of runs, in MiB.
func largestPeak(runs []usage) float64 {
	var most int64
	for _, u := range runs {
		most = max(most, u.peak)
	}
	return mib(most)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func seconds(d time.Duration) float64 { return d.Seconds() }
