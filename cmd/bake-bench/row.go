package main

import (
	"fmt"
	"strconv"
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
