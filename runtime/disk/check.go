package disk

import (
	"fmt"

	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/disk/tree"
)

// Check returns why Build would fail with the tree in dir, as far as the tree
// says: no kernel, no init, a disk that is too small. Nothing is written. It reads
// dir on the calling goroutine only.
func Check(dir string, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	t, err := tree.Scan(dir)
	if err != nil {
		return err
	}
	if err := prepare(t, &o); err != nil {
		return err
	}
	if o.Size == 0 {
		return nil
	}
	need := ext4.Need(t) + int64(t.Usage().Inodes)*256
	l, err := o.layout(roundUp(o.Size, mib))
	if err != nil {
		return err
	}
	if need > l.root.size {
		return fmt.Errorf("the tree needs %d MiB and a disk of %s has room for %d MiB: give size = %q or more",
			roundUp(need, mib)/mib, Size(o.Size), l.root.size/mib, Size(o.enough(need, o.Size)))
	}
	return nil
}
