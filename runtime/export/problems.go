package export

import (
	"os/exec"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/disk/ext4"
)

// A tool is a program of the host and Debian's package that has it.
type tool struct{ program, pkg string }

var (
	qemuImg    = tool{"qemu-img", "qemu-utils"}
	mksquashfs = tool{"mksquashfs", "squashfs-tools"}
)

// Problems returns what the host lacks to write the formats with the boot mode
// of an Op. It starts nothing and is cheap.
func Problems(names []string, boot string) []platforms.Problem {
	var list []platforms.Problem
	add := func(what, pkg, need string) {
		p := platforms.Problem{What: what, Fix: "apt-get install --no-install-recommends " + pkg, Need: need}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	fromDisk := false
	for _, name := range names {
		f, err := format(name)
		if err != nil {
			list = append(list, platforms.Problem{What: err.Error(), Fix: "use one of " + strings.Join(formatNames(), ", "), Need: "export"})
			continue
		}
		fromDisk = fromDisk || f.From == FromDisk
		for _, t := range f.tools {
			if _, err := exec.LookPath(t.program); err != nil {
				add(t.program+" is not installed", t.pkg, "the format "+name)
			}
		}
	}
	if !fromDisk {
		return list
	}
	if _, err := ext4.Tool("mke2fs"); err != nil {
		add("mke2fs is not installed", "e2fsprogs", "disks")
	}
	for _, t := range disk.Missing(boot) {
		add("GRUB for "+t.Format+" is not installed", "grub-common "+t.Package, "disks that boot")
	}
	return list
}

func formatNames() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}
