package disk

import (
	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/disk/tree"
)

// CheckTree tells warn what the kernel in the file tree dir lacks for uses.
func CheckTree(dir string, uses []Use, warn func(string)) error {
	t, err := tree.Scan(dir)
	if err != nil {
		return err
	}
	o := Options{Uses: uses, Warn: warn}
	check, err := o.checkDrivers(t)
	if err != nil {
		return err
	}
	check(true)
	return nil
}

// checkDrivers begins to look for the drivers that o.Uses take and returns a
// function that waits for that and, if told to, warns of what is missing. An initial file system
// that cannot be read is nothing that a disk fails for.
func (o *Options) checkDrivers(t *tree.Tree) (func(tell bool), error) {
	none := func(bool) {}
	k, ok := findKernel(t)
	if !ok || o.Boot == BootNone || len(o.Uses) == 0 {
		return none, nil
	}
	found, err := drivers.Read(t, k)
	if err != nil || found == nil {
		return none, err
	}
	return func(tell bool) {
		found.Wait()
		if !tell {
			return
		}
		for _, u := range o.Uses {
			lacks, err := found.Check(u.Hypervisor)
			if err != nil {
				o.Warn("the drivers are not checked: " + err.Error())
				return
			}
			for _, l := range lacks {
				o.Warn(u.Format + ": " + l)
			}
		}
	}, nil
}
