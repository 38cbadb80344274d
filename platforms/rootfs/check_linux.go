package rootfs

import "bake.build/bake/platforms"

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem { return nil }
