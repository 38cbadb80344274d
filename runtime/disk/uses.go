package disk

import (
	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/disk/tree"
)

// CheckTree tells warn what the kernel in the file tree dir lacks for uses. An initial
// file system that cannot be read is nothing that it fails for.
func CheckTree(dir string, uses []Use, warn func(string)) error {
	t, err := tree.Scan(dir)
	if err != nil {
		return err
	}
	k, ok := findKernel(t)
	if !ok || len(uses) == 0 {
		return nil
	}
	found, err := drivers.Read(t, k)
	if err != nil || found == nil {
		return err
	}
	found.Wait()
	for _, u := range uses {
		lacks, err := found.Check(u.Hypervisor)
		if err != nil {
			warn("the drivers are not checked: " + err.Error())
			return nil
		}
		for _, l := range lacks {
			warn(u.Format + ": " + l)
		}
	}
	return nil
}
