package builtins

import (
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// A diskOf is the disk of a layer.
type diskOf struct {
	layer *plan.Node
	disk  export.Disk
}

// disk returns the nodes that an artifact of the layer uses: that of the disk d, which
// artifacts of one layer and with the same options share. run and auto are the
// artifact's.
func (c *Call) disk(l *Layer, d *export.Disk, run plan.RunOptions, name string) []*plan.Node {
	of := diskOf{l.node, *d}
	n := c.disks[of]
	if n == nil {
		n = c.Add(&plan.Node{
			Op:       d,
			Platform: l.node.Platform,
			Deps:     []*plan.Node{l.node},
			Name:     "disk: " + name,
			Run:      plan.RunOptions{Timeout: run.Timeout, Retries: run.Retries},
		})
		c.disks[of] = n
	} else {
		n.Run = n.Run.Or(run)
	}
	return []*plan.Node{n}
}
