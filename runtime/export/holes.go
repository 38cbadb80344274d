package export

import (
	"fmt"

	"bake.build/bake/runtime/disk/tree"
)

// How many bytes of holes the files of a tree have together at most, in formats that
// do not leave them out at no cost.
const (
	// The OCI image specification advises against sparse files: "they lack consistent
	// support across tar implementations". The zeros of 64 GiB take two minutes.
	ociHoles = 64 << 30
	// mksquashfs takes ten minutes for them.
	squashHoles = 1 << 40
)

// checkHoles fails where files have more holes than a format can be given. why says
// what is the matter with them.
func checkHoles(t *tree.Tree, most int64, why string) error {
	var sum, largest int64
	var name string
	seen := map[*tree.Inode]bool{}
	err := t.Walk(func(p string, e *tree.Entry) error {
		if e.Type() != tree.TypeRegular || e.Stored >= e.Size {
			return nil
		}
		if e.Links > 1 {
			if seen[e.Inode] {
				return nil
			}
			seen[e.Inode] = true
		}
		holes := e.Size - e.Stored
		if sum += holes; holes > largest {
			largest, name = holes, p
		}
		return nil
	})
	if err != nil || sum <= most {
		return err
	}
	return fmt.Errorf("/%s has %d GiB of holes, and the format has room for %d of all files: %s; remove the file or make it shorter in a step before, or export tar or a disk", name, largest>>30, most>>30, why)
}
