package rootfs

import (
	"fmt"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/origin"
)

// Name is the platform's name in definitions.
const Name = "rootfs"

// Options are the options of rootfs().
type Options struct {
	Memory string `bake:"memory,size" json:"memory,omitempty" help:"Memory limit of one machine, where bake may create control groups." default:"no limit"`
	Pids   int    `bake:"pids" json:"pids,omitempty" help:"Limit on processes and threads of one machine, where bake may create control groups." default:"16384"`
}

const defaultPids = 16384

// Spec declares the platform.
func Spec() platforms.Spec {
	return platforms.Declare[Options, origin.Options](Name,
		"File trees of this host. Steps run in namespaces on a stack of layers, as root or, where the host has user namespaces and subordinate ids, as an ordinary user.",
		open)
}

// limits are the options as numbers.
type limits struct {
	memory int64 // bytes, 0 for none
	pids   int
}

func (o Options) limits() (limits, error) {
	l := limits{pids: o.Pids}
	if o.Pids < 0 {
		return l, fmt.Errorf("rootfs: option pids: %d is less than zero", o.Pids)
	}
	if o.Pids == 0 {
		l.pids = defaultPids
	}
	if o.Memory != "" {
		n, err := platforms.ParseSize(o.Memory)
		if err != nil {
			return l, fmt.Errorf("rootfs: option memory: %w", err)
		}
		l.memory = n
	}
	return l, nil
}
