package build

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// memoryShare is how much of the usable memory machines may take together, in
// hundredths, when nobody says.
const memoryShare = 80

// memoryLimit returns how many bytes machines may take together; 0 when nobody
// knows.
func (o *Options) memoryLimit() (int64, error) {
	if o.MaxMemory != 0 {
		return o.MaxMemory, nil
	}
	total, err := usableMemory(os.DirFS("/"))
	return total / 100 * memoryShare, err
}

// claims returns what machines take of the host beside their number.
func (b *Build) claims(o Options) func(n *plan.Node) []solve.Claim {
	return func(n *plan.Node) []solve.Claim {
		if len(n.Uses) > 0 {
			return nil // made of files: what it uses has started the machine
		}
		size, ok := b.machineSize(n)
		limit, err := o.memoryLimit()
		if !ok || err != nil || limit == 0 {
			return nil // told by checkSizes
		}
		cpus := int64(size.CPUs)
		return []solve.Claim{
			{Resource: "memory", Amount: size.Memory, Capacity: limit, Bytes: true},
			{Resource: "CPUs", Amount: cpus, Capacity: max(int64(2*runtime.NumCPU()), cpus)},
		}
	}
}

// machineSize returns what the machine that n runs in takes of this host.
func (b *Build) machineSize(n *plan.Node) (platforms.Resources, bool) {
	p := workPlatform(n)
	if p == nil {
		return platforms.Resources{}, false
	}
	d, err := b.Driver(p)
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
func (b *Build) checkSizes(nodes []*plan.Node, o Options) error {
	limit, err := o.memoryLimit()
	if err != nil || limit == 0 {
		return err
	}
	var errs []error
	told := map[string]bool{}
	for _, n := range nodes {
		size, ok := b.machineSize(n)
		if !ok || size.Memory <= limit || told[workPlatform(n).ID()] {
			continue
		}
		p := workPlatform(n)
		told[p.ID()] = true
		errs = append(errs, &plan.Error{Pos: p.Pos, Err: fmt.Errorf(
			"%s: a machine takes %s of memory, and machines may take %s together: give it less, or raise --max-memory",
			p.Name, platforms.FormatSize(size.Memory>>20<<20), platforms.FormatSize(limit>>20<<20))})
	}
	return of(KindHost, errors.Join(errs...))
}
