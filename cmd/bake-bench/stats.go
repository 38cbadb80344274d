package main

import (
	"slices"
	"time"
)

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
