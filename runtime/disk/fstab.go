package disk

import (
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/fstab"
	"bake.build/bake/runtime/disk/tree"
)

// growOption makes systemd grow the file system to the size of its partition.
const growOption = "x-systemd.growfs"

// writeFstab makes /etc/fstab and the disk's partitions agree. The machine waits
// for each device of the table and does not start without it, and a tree may come
// from a disk that was divided otherwise.
func (o *Options) writeFstab(t *tree.Tree, root string, sec int64) error {
	text, err := readText(t, "etc/fstab")
	if err != nil {
		return err
	}
	var lines []string
	hasRoot := false
	for _, l := range fstab.Parse(text) {
		if e := l.Entry; e != nil && e.Dir == "/" {
			if hasRoot {
				continue
			}
			hasRoot = true
			l.Text = rootEntry(t, *e, root)
		} else if e != nil {
			l.Text = o.partitionEntry(t, l)
		}
		lines = append(lines, l.Text)
	}
	if !hasRoot {
		e := fstab.Entry{Type: "ext4", Options: []string{"defaults", "errors=remount-ro"}, Dir: "/", Rest: "0 1"}
		lines = append([]string{"# " + header, rootEntry(t, e, root)}, withEntries(lines)...)
	}
	made := strings.Join(lines, "\n") + "\n"
	if made == text {
		return nil
	}
	return t.Add("etc/fstab", 0o644, []byte(made), sec)
}

// withEntries returns the lines of a table, or nothing if it has no entry.
func withEntries(lines []string) []string {
	if len(fstab.Entries(strings.Join(lines, "\n"))) == 0 {
		return nil
	}
	return lines
}

// rootEntry returns the line of the root file system.
func rootEntry(t *tree.Tree, e fstab.Entry, root string) string {
	if !slices.Contains([]string{"ext2", "ext3", "ext4"}, e.Type) {
		e.Options = []string{"defaults"} // the others are of another file system
	}
	e.Spec, e.Type = root, "ext4"
	if exists(t, "usr/lib/systemd/systemd-growfs", "lib/systemd/systemd-growfs") && !e.Has(growOption) {
		e.Options = append(slices.Clone(e.Options), growOption)
	}
	if e.Rest == "" {
		e.Rest = "0 1"
	}
	return e.String()
}

// partitionEntry returns the line of a file system that is not the root.
func (o *Options) partitionEntry(t *tree.Tree, l fstab.Line) string {
	e := *l.Entry
	dir := strings.Trim(e.Dir, "/")
	switch {
	case !e.OnDevice():
		return l.Text
	case o.uefi() && isESP(e):
		e.Spec = "PARTUUID=" + o.espID().String()
		return e.String()
	case e.Has("nofail") || e.Has("noauto"):
		return l.Text // the machine starts without it
	case e.Swap() || isESP(e) || hasFiles(t, dir):
		// What was in the partition of another disk is in the tree.
		o.Note(fmt.Sprintf("/etc/fstab: %s is not on this disk: the line of %s is left out", e.Spec, e.Dir))
		return "# Not on this disk: " + l.Text
	}
	o.Warn(fmt.Sprintf("/etc/fstab: %s for %s is not on this disk: it got the option nofail, so that the machine starts without it", e.Spec, e.Dir))
	e.Options = append(slices.Clone(e.Options), "nofail")
	return e.String()
}

// isESP reports whether an entry is that of the EFI system partition.
func isESP(e fstab.Entry) bool {
	return (e.Dir == "/boot/efi" || e.Dir == "/efi") && slices.Contains([]string{"vfat", "msdos", "auto"}, e.Type)
}

// hasFiles reports whether there is anything in a directory of the tree.
func hasFiles(t *tree.Tree, dir string) bool {
	e := t.Lookup(dir)
	return e != nil && len(e.Children) > 0
}

// readText returns a small file of the tree, or "" where it is none.
func readText(t *tree.Tree, path string) (string, error) {
	e := t.Lookup(path)
	if e == nil || !e.IsRegular() {
		return "", nil
	}
	b, err := readAll(t, e.Inode)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", path, err)
	}
	return string(b), nil
}
