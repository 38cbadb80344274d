package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// watchOwn samples the peak resident size of a process, without those that it
// starts, until stop is closed. It returns the last sample in bytes, or 0 on a
// host without Linux's /proc. The kernel keeps the peak, so that a sample misses
// only what the process still grew after it.
func watchOwn(pid int, stop <-chan struct{}) int64 {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	path := fmt.Sprintf("/proc/%d/status", pid)
	var peak int64
	for {
		if data, err := os.ReadFile(path); err == nil {
			peak = max(peak, highWater(data))
		}
		select {
		case <-stop:
			return peak
		case <-tick.C:
		}
	}
}

// highWater reads VmHWM, in bytes, from a process's status file; see proc(5).
func highWater(status []byte) int64 {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		kib, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
		if n, err := strconv.ParseInt(string(kib), 10, 64); err == nil {
			return n << 10
		}
	}
	return 0
}

// forgetPeak has the kernel measure this process's peak resident size from now on.
func forgetPeak() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // a host without it tells more than there was
}

// ownPeak returns this process's peak resident size in bytes, or 0 on a host without
// Linux's /proc.
func ownPeak() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return highWater(data)
}
