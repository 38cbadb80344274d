package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// memoryShare is how much of the host's memory machines may take together, in
// hundredths, when --max-memory does not say.
const memoryShare = 80

// memoryLimit returns how many bytes machines may take together; 0 when nobody
// knows.
func (f *buildFlags) memoryLimit() (int64, error) {
	if f.maxMemory != "" {
		n, err := platforms.ParseSize(f.maxMemory)
		if err != nil {
			return 0, coded(exitUsage, fmt.Errorf("--max-memory: %w", err))
		}
		return n, nil
	}
	total, err := hostMemory()
	return total / 100 * memoryShare, err
}

// hostMemory returns the memory of this host in bytes, or 0 where the system does
// not tell as Linux does.
func hostMemory() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil
}

// claims returns what machines take of the host beside their number.
func (s *session) claims(f *buildFlags) func(n *plan.Node) []solve.Claim {
	return func(n *plan.Node) []solve.Claim {
		size, ok := s.machineSize(n)
		limit, err := f.memoryLimit()
		if !ok || err != nil || limit == 0 {
			return nil // a wrong limit was told before
		}
		cpus := int64(size.CPUs)
		return []solve.Claim{
			{Resource: "memory", Amount: size.Memory, Capacity: limit, Bytes: true},
			{Resource: "CPUs", Amount: cpus, Capacity: max(int64(2*runtime.NumCPU()), cpus)},
		}
	}
}

// machineSize returns what the machine that n runs in takes of this host.
func (s *session) machineSize(n *plan.Node) (platforms.Resources, bool) {
	p := workPlatform(n)
	if p == nil {
		return platforms.Resources{}, false
	}
	d, err := s.drivers.get(p)
	if err != nil {
		return platforms.Resources{}, false // told where the driver is asked for more
	}
	sizer, ok := d.(platforms.Sizer)
	if !ok {
		return platforms.Resources{}, false
	}
	return sizer.MachineSize(), true
}

// checkSizes refuses machines that do not fit in the limit at all.
func (s *session) checkSizes(nodes []*plan.Node, f *buildFlags) error {
	limit, err := f.memoryLimit()
	if err != nil || limit == 0 {
		return err
	}
	var errs []error
	told := map[string]bool{}
	for _, n := range nodes {
		size, ok := s.machineSize(n)
		if !ok || size.Memory <= limit || told[workPlatform(n).ID()] {
			continue
		}
		p := workPlatform(n)
		told[p.ID()] = true
		errs = append(errs, &plan.Error{Pos: p.Pos, Err: fmt.Errorf(
			"%s: a machine takes %s of memory, and machines may take %s together: give it less, or raise --max-memory",
			p.Name, platforms.FormatSize(size.Memory>>20<<20), platforms.FormatSize(limit>>20<<20))})
	}
	return coded(exitHost, errors.Join(errs...))
}
